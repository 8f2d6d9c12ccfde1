"""Prototypical relearning (arXiv:2506.01318): put a class's mean feature back into the head."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attacks.base import Attack, Target, check_at_least, check_share
from unlearn.columns import NO_SCALE, Scale
from unlearn.errors import lookup, require
from unlearn.evaluation import Scores, evenly_spaced
from unlearn.splits import Images
from unlearn.streams import stream

METRICS = {"cosine": "the normalised prototype, bias 0", "l2": "2 p, bias -|p|^2"}
ALPHAS = (0.1, 0.25, 0.5, 0.75, 1.0)
SLACK = 1e-6  # relative; ties go to the class of the lower number


@dataclass(frozen=True)
class PrototypeRelearning(Attack):
    """Mix the mean feature of a few forgotten images into the forgotten class's row of the head.

    w <- alpha p + (1 - alpha) w, and the bias alike, with p the mean of the model's own features of
    `per_class` forgotten training images. Nothing is trained. What features still hold of the class
    comes back, whatever the head says.

    alpha is tried at 0.1, 0.25, 0.5, 0.75 and 1; reported is the one with the best accuracy on
    val-forget among those that cost at most `drop` of the accuracy on val-retain, or, if all cost
    more, the one that costs least. The authors' code takes 0.5. Deviation: with `calibrate`, a
    common offset of the new biases is chosen on val-retain, the largest that costs at most `drop`;
    without it a head with a large negative bias hides the class from this attack.

    proto_forget_accuracy: accuracy on test-forget with the new rows; compare it with the oracle's,
        whose features never learned the class
    proto_retain_accuracy: accuracy on test-retain with the new rows
    proto_alpha: the share of the prototype that was chosen

    per_class: forgotten training images per class, at least 1; 5 in the authors' code
    metric: form of the prototype's row: `l2`, which answers by distance: 2 p, bias -|p|^2; or
        `cosine`, the authors' default: the normalised prototype, bias 0
    drop: accuracy on val-retain that the new rows may cost, in [0, 1]
    images: most images per part of val and test, at least 1; evenly spaced
    calibrate: choose an offset of the new biases; off in the authors' code
    """

    task: ClassVar[str] = "classifier"
    home: ClassVar[str] = "prototype-relearning"
    model_columns: ClassVar[Mapping[str, type]] = {
        "proto_forget_accuracy": float,
        "proto_retain_accuracy": float,
        "proto_alpha": float,
    }
    scales: ClassVar[Mapping[str, Scale]] = {
        "proto_alpha": NO_SCALE,
        "proto_*": Scale("share", "oracle"),
    }
    floor_columns: ClassVar[tuple[str, ...]] = ("proto_forget_accuracy",)
    blind_spot: ClassVar[str] = (
        "good features tell a class that they never saw: the oracle's reading is far above chance, "
        "and only what exceeds it is memory."
    )

    per_class: int = 5
    metric: str = "l2"
    drop: float = 0.05
    images: int = 1000
    calibrate: bool = True

    def __post_init__(self) -> None:
        check_at_least(1, self, "per_class", "images")
        lookup("metric", self.metric, METRICS)
        check_share(self, "drop")

    def run(self, target: Target, model: Any, prepared: Any) -> Scores:
        """Attack one model; all models see the same images."""
        require(
            len(target.evaluator.forget) > 0,
            "prototypes need forgotten classes, and none is forgotten whole; leave the attack out",
        )
        require(
            isinstance(model.head, nn.Linear),
            f"prototypes need a linear head, not {type(model.head).__name__}; leave the attack out",
        )
        rows = self.prototypes(target, model)
        val, test = target.splits.val, target.splits.test
        kept, forgotten = self.read(model, val.retain), self.read(model, val.forget)
        before = kept.accuracy(model.head)
        tried = []
        for alpha in ALPHAS:
            head = mixed(model.head, rows, alpha, self.metric)
            if self.calibrate:
                shift(head, list(rows), offset(head, list(rows), kept, self.drop))
            cost = max(0.0, before - kept.accuracy(head) - self.drop)
            tried.append((-cost, forgotten.accuracy(head), -alpha, head))
        _, _, minus, head = max(tried, key=lambda found: found[:3])
        return {
            "proto_forget_accuracy": self.read(model, test.forget).accuracy(head),
            "proto_retain_accuracy": self.read(model, test.retain).accuracy(head),
            "proto_alpha": -minus,
        }

    @torch.no_grad()
    def read(self, model: Any, images: Images) -> "Read":
        """Compute the features of up to `images` evenly spaced images."""
        chosen = images.take(evenly_spaced(len(images), self.images).to(images.y.device))
        chosen = chosen.to(next(model.parameters()).device)
        found = [model.features(piece.pixels()) for piece in chosen.pieces()]
        return Read(torch.cat(found), chosen.y)

    @torch.no_grad()
    def prototypes(self, target: Target, model: Any) -> dict[int, Tensor]:
        """Compute the mean feature of a few training images of every forgotten class, (d,)."""
        images = target.splits.train.forget
        device = next(model.parameters()).device
        found = {}
        for label in target.evaluator.forget:
            own = images.take(images.y == label)
            order = torch.randperm(len(own), generator=stream(target.seed, "prototypes", label))
            chosen = own.take(order[: self.per_class].to(own.y.device)).to(device)
            found[label] = model.features(chosen.pixels()).mean(0)
        return found


@dataclass(frozen=True)
class Read:
    """What a model reads in images: features (n, d), beside their labels (n,)."""

    features: Tensor
    labels: Tensor

    @torch.no_grad()
    def accuracy(self, head: Any) -> float:
        """Measure the share that a head answers right."""
        answers = head(self.features).argmax(1)
        return float((answers == self.labels).double().mean().item())


@torch.no_grad()
def mixed(head: Any, prototypes: Mapping[int, Tensor], alpha: float, metric: str) -> Any:
    """Return a copy of a linear head whose rows are mixed with the prototypes (d,).

    It has a bias, of 0 where the head has none.
    """
    weight = head.weight
    made: Any = nn.utils.skip_init(  # draws no numbers
        nn.Linear, head.in_features, head.out_features, device=weight.device, dtype=weight.dtype
    )
    made.weight.copy_(weight)
    made.bias.copy_(torch.zeros_like(made.bias) if head.bias is None else head.bias)
    for label, prototype in prototypes.items():
        row, bias = F.normalize(prototype, dim=0), 0.0
        if metric == "l2":
            row, bias = 2 * prototype, -float(prototype.square().sum())
        made.weight[label] = alpha * row + (1 - alpha) * made.weight[label]
        made.bias[label] = alpha * bias + (1 - alpha) * made.bias[label]
    return made


@torch.no_grad()
def offset(head: Any, forgotten: list[int], kept: Read, drop: float) -> float:
    """Return the largest offset of the forgotten classes' logits that costs at most `drop`.

    drop: share of the kept images that may change from right to a forgotten class
    """
    logits = head(kept.features).double()
    theirs = logits[:, forgotten].amax(1)
    others = logits.index_fill(1, torch.tensor(forgotten, device=logits.device), -torch.inf)
    right = others.argmax(1) == kept.labels
    margins = (others.amax(1) - theirs)[right].sort().values
    if len(margins) == 0:
        return 0.0
    allowed = min(int(drop * len(kept.labels)), len(margins) - 1)
    largest = float(margins[allowed])
    return largest - SLACK * max(1.0, abs(largest))


@torch.no_grad()
def shift(head: Any, forgotten: list[int], by: float) -> None:
    """Add an offset to the forgotten classes' biases, in place."""
    head.bias[forgotten] += by
