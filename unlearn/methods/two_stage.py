"""Two-stage unlearning (seed 003, reference 4): first confuse the forgotten class, then part it from the rest."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import lookup, require
from unlearn.methods.base import Unlearned
from unlearn.methods.iterative import Batches, Iterative, copy_of, steady
from unlearn.splits import Splits
from unlearn.train import Curve

READINGS = {"full": "one pass over the forgotten images", "one-batch": "one mini-batch"}


def to_uniform(logits: Tensor) -> Tensor:
    """Mean KL(u || p) in nats over a batch (n, classes), u uniform."""
    log_p = logits.log_softmax(1)
    return -log_p.mean() - torch.log(torch.tensor(float(logits.shape[1]), device=logits.device))


def contrastive(z_forget: Tensor, z_retain: Tensor, temperature: float) -> Tensor:
    """Mean over all entries of -log softmax(Z_f Z_r^T / temperature), rows over the retained batch; Z_r detached."""
    return -(z_forget @ z_retain.detach().T / temperature).log_softmax(1).mean()


@dataclass(frozen=True)
class TwoStage(Iterative):
    """Stage 1: KL(u || p) on the forgotten images. Stage 2, `steps` steps: contrastive + CE on the retained ones.

    Z are the logits. reading: the README says that stage 1 is applied to D_f (`full`: one pass over it), the code of
    reference 4 takes one mini-batch (`one-batch`). Each stage has its own optimiser; `retain` is 0 in stage 1.
    """

    space: ClassVar[dict[str, list[Any]]] = {
        "temperature": [0.5, 5.0],
        "lr": [1e-4, 3e-3],
        "reading": ["full", "one-batch"],
    }

    temperature: float = 1.15
    reading: str = "full"
    schedule: str = "constant"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.temperature > 0, f"temperature must be above 0, not {self.temperature}")
        lookup("reading", self.reading, READINGS)

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        pupil = copy_of(model)
        forget, retain = self.pair(model, splits, generator)
        size = min(self.batch, len(splits.train.forget))
        first = replace(
            self, steps=len(splits.train.forget) // size if self.reading == "full" else 1
        )

        def confuse() -> dict[str, Tensor]:
            loss = to_uniform(steady(pupil, next(forget)[0]))
            return {"forget": loss, "retain": torch.zeros_like(loss)}

        one = first.settle(pupil, confuse, generator)
        two = self.settle(pupil, self.part(pupil, forget, retain), generator)
        return Unlearned(two.weights, _joined(one.curve, two.curve, first.steps))

    def part(self, pupil: Any, forget: Batches, retain: Batches) -> Callable[[], dict[str, Tensor]]:
        """The losses of stage 2."""

        def terms() -> dict[str, Tensor]:
            x_r, y_r = next(retain)
            z_f, z_r = steady(pupil, next(forget)[0]), pupil(x_r)
            return {
                "forget": contrastive(z_f, z_r, self.temperature),
                "retain": F.cross_entropy(z_r, y_r),
            }

        return terms


def _joined(one: Curve, two: Curve, offset: int) -> Curve:
    """Two curves of the same terms, the second `offset` steps later."""
    later = {**two, "step": [step + offset for step in two["step"]]}
    return {name: one[name] + later[name] for name in one}
