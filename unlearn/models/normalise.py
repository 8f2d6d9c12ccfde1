"""A model's own first step: pixels in [0, 1] to the scale it was made for."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unlearn.errors import require

CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))  # mean and deviation of each colour
HALF = ((0.5,), (0.5,))


class Normalise(nn.Module):
    """(x - mean) / std by channel. The two are options of the model, not weights: no state dict holds them.

    `mean` and `std` None take CIFAR-10's statistics for three channels and 0.5 for any other number.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: int, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        usual = CIFAR10 if channels == 3 else HALF
        for name, given, default in (("mean", mean, usual[0]), ("std", std, usual[1])):
            values = tuple(default if given is None else given)
            require(
                len(values) in (1, channels),
                f"{name} {values} has {len(values)} entries for {channels} channels",
            )
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        require(std is None or min(std) > 0, f"std must be above 0, not {std}")

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
