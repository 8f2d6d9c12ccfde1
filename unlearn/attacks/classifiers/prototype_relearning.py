"""Prototypical relearning (arXiv:2506.01318): put a class's mean feature back into the head."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attacks.base import Attack, Target, check_at_least, check_share
from unlearn.attacks.classifiers.relearning import accuracy
from unlearn.columns import NO_SCALE, Scale
from unlearn.errors import lookup, require
from unlearn.evaluation import Scores
from unlearn.streams import stream

METRICS = {"cosine": "the normalised prototype, bias 0", "l2": "2 p, bias -|p|^2"}
ALPHAS = (0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class PrototypeRelearning(Attack):
    """Mix the mean feature of a few forgotten images into the forgotten class's row of the head.

    w <- alpha p + (1 - alpha) w, and the bias alike, with p the mean of the model's own features of
    `per_class` forgotten training images. Nothing is trained. What features still hold of the class
    comes back, whatever the head says.

    alpha is tried at 0.1, 0.25, 0.5, 0.75 and 1; reported is the one with the best accuracy on
    val-forget among those that cost at most `drop` of the accuracy on val-retain, or, if all cost
    more, the one that costs least. (The authors' code takes 0.5.)

    proto_forget_accuracy: accuracy on test-forget with the new rows; compare it with the oracle's,
        whose features never learned the class
    proto_retain_accuracy: accuracy on test-retain with the new rows
    proto_alpha: the share of the prototype that was chosen

    per_class: forgotten training images per class, at least 1; 5 in the authors' code
    metric: form of the prototype's row: `cosine`, the normalised prototype, bias 0; `l2`, which
        answers by distance: 2 p, bias -|p|^2
    drop: accuracy on val-retain that the new rows may cost, in [0, 1]
    images: most images per part of val and test, at least 1
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
    metric: str = "cosine"
    drop: float = 0.05
    images: int = 1000

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
        before = accuracy(model, val.retain, self.images)
        tried = []
        for alpha in ALPHAS:
            attacked = mixed(model, rows, alpha, self.metric)
            cost = max(0.0, before - accuracy(attacked, val.retain, self.images) - self.drop)
            back = accuracy(attacked, val.forget, self.images)
            tried.append((-cost, back, -alpha))
        alpha = -max(tried)[2]
        attacked = mixed(model, rows, alpha, self.metric)
        return {
            "proto_forget_accuracy": accuracy(attacked, test.forget, self.images),
            "proto_retain_accuracy": accuracy(attacked, test.retain, self.images),
            "proto_alpha": alpha,
        }

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


@torch.no_grad()
def mixed(model: Any, prototypes: Mapping[int, Tensor], alpha: float, metric: str) -> Any:
    """Return a copy of the model whose rows of the head are mixed with the prototypes (d,)."""
    attacked = copy.deepcopy(model)
    head = attacked.head
    for label, prototype in prototypes.items():
        row, bias = F.normalize(prototype, dim=0), 0.0
        if metric == "l2":
            row, bias = 2 * prototype, -float(prototype.square().sum())
        head.weight[label] = alpha * row + (1 - alpha) * head.weight[label]
        if head.bias is not None:
            head.bias[label] = alpha * bias + (1 - alpha) * head.bias[label]
    return attacked
