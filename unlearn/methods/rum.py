"""RUM (arXiv:2406.01257): divide the forget set by how far it is memorised, and forget each part by
a method of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearn.errors import lookup, require
from unlearn.methods.bad_teacher import BadTeacher
from unlearn.methods.base import SearchSpace, Unlearned, join_curves
from unlearn.methods.fine_tune import FineTune
from unlearn.methods.gradient_ascent import GradientAscent
from unlearn.methods.iterative import Iterative, training_copy
from unlearn.methods.l1_sparse import L1Sparse
from unlearn.methods.neg_grad_plus import NegGradPlus
from unlearn.methods.random_labels import RandomLabels
from unlearn.methods.salun import SalUn
from unlearn.methods.scrub import Scrub
from unlearn.splits import Images, Split, Splits
from unlearn.train import Curve, snapshot

PARTS: dict[str, type[Iterative] | None] = {  # what a part can be forgotten by
    "none": None,
    "fine-tune": FineTune,
    "gradient-ascent": GradientAscent,
    "neg-grad-plus": NegGradPlus,
    "random-labels": RandomLabels,
    "salun": SalUn,
    "scrub": Scrub,
    "bad-teacher": BadTeacher,
    "l1-sparse": L1Sparse,
}
SHARED = tuple(knob.name for knob in fields(Iterative))


@dataclass(frozen=True)
class Rum(Iterative):
    """Forget the little, the more and the most memorised third of the forget set, in this order.

    A part's method starts at the weights of the part before, and retains the retained images. The
    images are ordered by 1 - p(y | x) of the original: an image that a trained network still doubts
    is one that others do not teach it. The knobs here that every method has hold for each part;
    others are the part's method's own defaults.

    Deviations: the paper orders by leave-one-out memorisation, which takes hundreds of trainings.
    arXiv:2410.16516 has cheap proxies, of which confidence is one; it averages over the training,
    ours reads the end. The default methods are our choice; the paper chooses per data set.

    low: method for the least memorised third, `none` or one out of `unlearn.methods.rum.PARTS`.
    medium: method for the third between.
    high: method for the most memorised third.
    steps: number of optimiser steps of each part, at least 1.
    lr: peak learning rate of each part, above 0.
    epochs: passes per part over what its method reads, at least 0; 0 for `steps`.
    """

    space: ClassVar[SearchSpace] = {
        "low": ["none", "fine-tune"],
        "medium": ["fine-tune", "neg-grad-plus", "salun"],
        "high": ["neg-grad-plus", "random-labels", "salun"],
        "lr": [1e-4, 3e-3],
    }
    epoch_space: ClassVar[SearchSpace] = {**space, "epochs": [2.0, 8.0]}

    low: str = "none"
    medium: str = "fine-tune"
    high: str = "salun"
    steps: int = 100
    lr: float = 1e-3
    epochs: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (self.low, self.medium, self.high):
            lookup("method for a part", name, PARTS)
        require(
            {self.low, self.medium, self.high} != {"none"},
            "low, medium and high are all none, so nothing would be forgotten; name a method",
        )

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        # Each part's method counts its own epochs.
        return self.unlearn(model, splits, generator, **needs)

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        now = training_copy(model).eval()
        curves: list[Curve] = []
        for method, forget in zip(self.methods(), self.parts(model, splits), strict=True):
            if method is None or len(forget) == 0:
                continue
            part = replace(splits, train=Split(forget, splits.train.retain))
            unlearned = method(now, part, generator, **needs)
            now.load_state_dict(unlearned.weights)
            curves.append(_total(unlearned.curve))
        return Unlearned(snapshot(now), join_curves(curves))

    def methods(self) -> list[Iterative | None]:
        """Return the methods of the three parts, with the knobs of this one; None for `none`."""
        shared = {name: getattr(self, name) for name in SHARED}
        made: list[Iterative | None] = []
        for name in (self.low, self.medium, self.high):
            kind = PARTS[name]
            if kind is None:
                made.append(None)
            elif kind is Scrub and not self.epochs:
                made.append(Scrub(**shared, msteps=min(Scrub.msteps, self.steps)))
            else:
                made.append(kind(**shared))
        return made

    def parts(self, model: Any, splits: Splits) -> Sequence[Images]:
        """Return the thirds of the forgotten training images, the least memorised first."""
        forget = splits.train.forget
        order = doubts(model, forget).argsort(stable=True)
        return [forget.take(index) for index in order.tensor_split(3)]


@torch.no_grad()
def doubts(model: Any, images: Images) -> Tensor:
    """Compute 1 - p(y | x) of every image, (n,), on the images' device."""
    device = next(model.parameters()).device
    found = []
    for piece in images.to(device).pieces():
        p = model(piece.pixels()).double().softmax(1)
        found.append(1 - p.gather(1, piece.y[:, None]).squeeze(1))
    return torch.cat(found).to(images.y.device)


def _total(curve: Curve) -> Curve:
    """Return the steps and the sum of all terms: methods have different ones."""
    terms = [values for name, values in curve.items() if name != "step"]
    return {"step": curve["step"], "loss": [sum(at) for at in zip(*terms, strict=True)]}
