"""Selective synaptic dampening (arXiv:2308.07707): shrink weights that forgotten images need."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearn.errors import NotFinite, require
from unlearn.fisher.classifiers import classifier_fisher
from unlearn.methods.base import Method, SearchSpace, Unlearned, map_parameters
from unlearn.splits import Images, Splits


@dataclass(frozen=True)
class SSD(Method):
    """theta_i <- min(lam F_i / F_f,i, 1) theta_i where F_f,i > alpha F_i (equations 5 and 6).

    F is the exact diagonal empirical Fisher over all training images, F_f that over the forgotten
    ones. There is no training; running statistics of norms stay.

    F counts the forgotten images as well, so that F_f <= F n / n_f: for one of ten equal classes
    no alpha of 10 or more selects anything but sampling noise, for two of them none of 5, for four
    none of 2.5. The authors' code squares the mean gradient of a batch instead, which has no such
    bound: their alpha of 10 is not ours.

    alpha: ratio F_f / F above which a weight is dampened, at least 0.
    lam: factor of the dampening, at least 0; the smaller, the closer to 0 a dampened weight comes.
    samples: number of images that each Fisher is estimated from, drawn without replacement; at
        least 1.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classifier",)
    space: ClassVar[SearchSpace] = {"alpha": [1.0, 10.0], "lam": [0.1, 1.0]}

    alpha: float = 3.0
    lam: float = 1.0
    samples: int = 1000

    def __post_init__(self) -> None:
        require(self.alpha >= 0, f"alpha must be at least 0, not {self.alpha}")
        require(self.lam >= 0, f"lam must be at least 0, not {self.lam}")
        require(self.samples >= 1, f"samples must be at least 1, not {self.samples}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        forget, retain = splits.train.forget, splits.train.retain
        images = torch.cat([forget.x, retain.x])
        labels = torch.cat([forget.y, retain.y])
        f_all = classifier_fisher(model, Images(images, labels), self.samples, generator)
        f_forget = classifier_fisher(model, forget, self.samples, generator)

        def change(name: str, p: Tensor) -> Tensor:
            changed = dampen(p, f_forget[name], f_all[name], self.alpha, self.lam)
            if not torch.isfinite(changed).all():
                raise NotFinite(f"weights {name!r} are not finite after dampening; lower lam")
            return changed

        return Unlearned(map_parameters(model, change))


def dampen(theta: Tensor, f_forget: Tensor, f_all: Tensor, alpha: float, lam: float) -> Tensor:
    """Return beta theta where F_f > alpha F, with beta = min(lam F / F_f, 1), and theta elsewhere.

    All tensors have one shape.
    """
    smallest = torch.finfo(f_forget.dtype).tiny
    ratio = lam * f_all / f_forget.clamp(min=smallest)
    beta = ratio.clamp(max=1)
    return torch.where(f_forget > alpha * f_all, beta * theta, theta)
