"""Fisher forgetting (arXiv:1911.04933): noise where the retained images do not need the weights."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlearn.errors import lookup, require
from unlearn.fisher.classifiers import classifier_fisher
from unlearn.methods.base import Method, SearchSpace, Unlearned, map_parameters
from unlearn.splits import Split, Splits

FORMS = {"paper": 0.25, "code": 0.5}  # the exponent of alpha / F


@dataclass(frozen=True)
class FisherForgetting(Method):
    """theta_i <- theta_i + min(most, (alpha / F_i)^e) N(0, 1), F the diagonal Fisher of D_r.

    The paper's optimal noise for a quadratic loss has e = 1/4 (F in place of the Hessian); its
    authors' code has e = 1/2. There is no training; running statistics stay, and so
    do frozen weights.

    Deviations: F is exact over single images under their true labels, where the authors average
    squared gradients of batches over the model's own labels; they clip 1 / F at 1,000 (here the
    noise itself at `most`), average it over the inputs of a neuron, and multiply it by 10 in norms
    and in the last layer.

    alpha: strength of the noise, at least 0.
    form: exponent of alpha / F: `paper` (1/4) or `code` (1/2).
    most: largest standard deviation of the noise, above 0; what no retained image needs has F = 0.
    reset_head: set the forgotten classes' rows of a linear head to 0 before the noise, as the
        authors' code does; not where a class is forgotten in part.
    samples: number of retained images that the Fisher is estimated from, at least 1.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classifier",)
    space: ClassVar[SearchSpace] = {"alpha": [1e-10, 1e-4], "most": [1e-3, 1e-1]}

    alpha: float = 1e-8
    form: str = "paper"
    most: float = 0.03
    reset_head: bool = True
    samples: int = 1000

    def __post_init__(self) -> None:
        lookup("form", self.form, FORMS)
        require(self.alpha >= 0, f"alpha must be at least 0, not {self.alpha}")
        require(self.most > 0, f"most must be above 0, not {self.most}")
        require(self.samples >= 1, f"samples must be at least 1, not {self.samples}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        fisher = classifier_fisher(model, splits.train.retain, self.samples, generator)
        trainable = {name for name, p in model.named_parameters() if p.requires_grad}
        head = head_of(model) if self.reset_head else set()
        rows = whole_classes(splits.train)

        def change(name: str, p: Tensor) -> Tensor:
            if name not in trainable:
                return p
            start = p
            if name in head:
                start = p.index_fill(0, rows.to(p.device), 0)
            spread = noise_of(fisher[name], self.alpha, FORMS[self.form], self.most)
            noise = torch.randn(p.shape, generator=generator, device=generator.device)
            return start + spread * noise.to(p)

        return Unlearned(map_parameters(model, change))


def noise_of(fisher: Tensor, alpha: float, exponent: float, most: float) -> Tensor:
    """Return min(most, (alpha / F)^exponent), the noise's standard deviation, of F's shape."""
    smallest = torch.finfo(fisher.dtype).tiny
    ratio = alpha / fisher.clamp(min=smallest)
    return ratio.pow(exponent).clamp(max=most)


def head_of(model: Any) -> set[str]:
    """Name weight and bias of a linear head; none where the head is another module."""
    if not isinstance(model.head, nn.Linear):
        return set()
    own = {id(p) for p in model.head.parameters()}
    return {name for name, p in model.named_parameters() if id(p) in own}


def whole_classes(train: Split) -> Tensor:
    """Return the forgotten classes of which no image is retained, (k,)."""
    forgotten = train.forget.y.unique()
    partly = torch.isin(forgotten, train.retain.y)
    whole: Tensor = forgotten[~partly]
    return whole
