"""A model's first step: scale pixels in [0, 1] as the model was trained."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unlearn.errors import require

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)  # red, green, blue
CIFAR10_STD = (0.2470, 0.2435, 0.2616)
OTHER_MEAN = (0.5,)
OTHER_STD = (0.5,)


class Normalise(nn.Module):
    """Compute (x - mean) / std per channel.

    Mean and std are options of the model, not weights: no state dict holds them.

    channels: channels of an image
    mean: one number, or one per channel; None for CIFAR-10's (three channels) or 0.5 (any other)
    std: the same, above 0

    Raises `BadInput` for a number of entries that does not fit, and for a std of 0 or less.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: int, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        coloured = channels == 3
        if mean is None:
            mean = CIFAR10_MEAN if coloured else OTHER_MEAN
        if std is None:
            std = CIFAR10_STD if coloured else OTHER_STD
        for name, values in (("mean", tuple(mean)), ("std", tuple(std))):
            require(
                len(values) in (1, channels),
                f"{name} {values} has {len(values)} entries for {channels} channels; "
                "give one, or one per channel",
            )
            per_channel = torch.tensor(values).view(1, -1, 1, 1)
            self.register_buffer(name, per_channel, persistent=False)
        require(min(std) > 0, f"std must be above 0, not {std}")

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
