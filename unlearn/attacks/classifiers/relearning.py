"""Relearning: how few mini-batches bring the forgotten class back, and the anamnesis index."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attacks.base import Attack, Target, check_at_least, check_positive
from unlearn.columns import Scale
from unlearn.errors import require
from unlearn.evaluation import ClassifierEvaluator, Scores
from unlearn.methods.iterative import logits_with_running_stats
from unlearn.splits import Images, Split
from unlearn.streams import layer_noise, stream
from unlearn.train import Schedule, descend

POINTS, RELATIVE = 0.05, 0.05  # the two margins below the original's accuracy
ROUNDING = 1e-9  # in floating point .54 - .05 is more than .49


@dataclass(frozen=True)
class Course:
    """A relearning curve.

    steps: mini-batches seen at each evaluation
    forget: accuracy on test-forget there, shares
    retain: accuracy on test-retain there, shares
    """

    steps: list[float]
    forget: list[float]
    retain: list[float]

    def reached(self, target: float) -> float | None:
        """Count mini-batches until forget accuracy first is at least `target`; None if never."""
        for step, share in zip(self.steps, self.forget, strict=True):
            if share >= target:
                return step
        return None


@dataclass(frozen=True)
class Relearning(Attack):
    """Train a copy on forgotten training images; count mini-batches until the class is back.

    Trains by Adam at a constant rate, with batch norms at their running statistics. The class is
    back when accuracy on test-forget reaches the original's less a margin. Two conventions: 5
    points (`_points`; seed 004), and 5 % of the original's accuracy (`_relative`;
    arXiv:2201.05629).

    ain_* = (mini-batches of the model + 1) / (of the oracle + 1): 1 is the oracle, near 0 a class
    that was only hidden. (The 1 keeps it finite for a model that needs none; public code sets 0
    to 1 instead.) A count that is not reached within `steps` is None, and so is its index.

    A wreck may need long and look well forgotten: read the retain accuracy along the way. A head
    that masks its logit hard enough is never reached (a bias of -10,000 outlasts any number of
    steps): use `reset_head`. Forgotten images alone teach any model to answer always with their
    class: use `rehearse`.

    relearn_steps: mini-batches seen at each evaluation
    relearn_forget_accuracy: accuracy on test-forget there, shares
    relearn_retain_accuracy: accuracy on test-retain there, shares
    relearn_batches_points: mini-batches until the class is back, by 5 points; null if never
    relearn_batches_relative: mini-batches until the class is back, by 5 %; null if never
    ain_points: anamnesis index by 5 points, above 0
    ain_relative: anamnesis index by 5 %, above 0

    Registered twice. `relearning` is the mode that is published: forgotten images alone, the head
    as it is. It mostly measures the head's bias against the class, and leaves a model that answers
    the forgotten class to most kept images. `relearning-rehearsed` has `reset_head` and `rehearse`
    on, so that features decide and the kept classes stay; its columns begin with `rehearsed_`.

    steps: most mini-batches, at least 1
    batch: images per mini-batch, at least 1
    lr: Adam's learning rate, above 0
    every: mini-batches between two evaluations, at least 1; the resolution of the count
    images: most test images per part at an evaluation, at least 1
    reset_head: start all models with the forgotten rows of the head at the mean of the kept rows,
        so that features decide
    rehearse: add as many retained images to each mini-batch
    """

    task: ClassVar[str] = "classifier"
    home: ClassVar[str] = "relearning"
    model_columns: ClassVar[Mapping[str, type]] = {
        "relearn_steps": list,
        "relearn_forget_accuracy": list,
        "relearn_retain_accuracy": list,
        "relearn_batches_points": float,
        "relearn_batches_relative": float,
    }
    subject_columns: ClassVar[Mapping[str, type]] = {"ain_points": float, "ain_relative": float}
    scales: ClassVar[Mapping[str, Scale]] = {
        "relearn_*_accuracy": Scale("share"),
        "relearn_*": Scale("mini-batches", "oracle"),
        "ain_*": Scale("ratio", "oracle"),
    }
    floor_columns: ClassVar[tuple[str, ...]] = (
        "relearn_batches_points",
        "relearn_batches_relative",
    )
    blind_spot: ClassVar[str] = (
        "a head that masks its logit hard is never reached at all, as if the class were gone for "
        "good, unless `reset_head` is on; a wreck may need long as well: see its kept accuracy."
    )

    steps: int = 60
    batch: int = 64
    lr: float = 3e-4
    every: int = 2
    images: int = 500
    reset_head: bool = False
    rehearse: bool = False

    def __post_init__(self) -> None:
        check_at_least(1, self, "steps", "batch", "every", "images")
        check_positive(self, "lr")

    def prepare(self, target: Target, original: Any) -> dict[str, float]:
        """Compute the forget accuracy that counts as back, by convention."""
        return targets(accuracy(original, target.splits.test.forget, self.images))

    def run(self, target: Target, model: Any, prepared: dict[str, float]) -> Scores:
        """Measure one model's relearning curve, and when it reaches the prepared accuracies."""
        course = self.course(target, model)
        values: Scores = {
            "relearn_steps": course.steps,
            "relearn_forget_accuracy": course.forget,
            "relearn_retain_accuracy": course.retain,
        }
        for convention, share in prepared.items():
            values[f"relearn_batches_{convention}"] = course.reached(share)
        return values

    def compare(self, own: Scores, oracle: Scores) -> Scores:
        values: Scores = {}
        for convention in ("points", "relative"):
            column = f"relearn_batches_{convention}"
            values[f"ain_{convention}"] = index(own[column], oracle[column])
        return values

    def course(self, target: Target, model: Any) -> Course:
        """Train a copy of one model and record its curve; every model sees the same batches."""
        device = next(model.parameters()).device
        pupil = copy.deepcopy(model).requires_grad_(True).train()
        if self.reset_head:
            neutral_rows(pupil.head, target.evaluator)
        generator = stream(target.seed, "relearning", device=device)
        train, test = target.splits.train, target.splits.test
        parts = [train.forget, train.retain] if self.rehearse else [train.forget]
        batches = [part.to(device).batches(self.batch, generator) for part in parts]
        course = Course([], [], [])

        def terms() -> dict[str, Tensor]:
            images, labels = zip(*[next(each) for each in batches], strict=True)
            logits = logits_with_running_stats(pupil, torch.cat(images))
            return {"relearning": F.cross_entropy(logits, torch.cat(labels))}

        def watch(step: int, _: nn.Module) -> None:
            if step % self.every == 0 or step == self.steps:
                self._evaluate(pupil, test, step, course)

        plan = Schedule(self.steps, self.batch, self.lr, "constant")
        with layer_noise(pupil, generator):
            descend(pupil, terms, plan, watch=watch)
        return course

    def _evaluate(self, pupil: nn.Module, test: Split, step: int, course: Course) -> None:
        """Append the accuracies after `step` mini-batches to `course`."""
        course.steps.append(float(step))
        course.forget.append(accuracy(pupil, test.forget, self.images))
        course.retain.append(accuracy(pupil, test.retain, self.images))
        pupil.train()  # as each step leaves it


@torch.no_grad()
def neutral_rows(head: nn.Module, evaluator: ClassifierEvaluator) -> None:
    """Set the forgotten rows of a linear `head`, in place, to the mean of the kept rows."""
    require(
        isinstance(head, nn.Linear),
        f"reset_head needs a linear head, not {type(head).__name__}; leave it off",
    )
    for tensor in head.parameters():
        tensor[list(evaluator.forget)] = tensor[evaluator.kept].mean(0)


@torch.no_grad()
def accuracy(model: nn.Module, images: Images, most: int) -> float:
    """Measure the share of right answers on up to `most` evenly spaced images, in eval mode.

    The model stays in eval mode.
    """
    model.eval()
    places = torch.linspace(0, len(images) - 1, min(most, len(images))).round().long()
    chosen = images.take(places.to(images.y.device)).to(next(model.parameters()).device)
    answers = model(chosen.pixels()).argmax(1)
    return float((answers == chosen.y).double().mean().item())


def targets(known: float) -> dict[str, float]:
    """Compute the forget accuracy that counts as back, by convention, from the original's."""
    return {"points": known - POINTS - ROUNDING, "relative": known * (1 - RELATIVE) - ROUNDING}


def index(own: float | None, oracle: float | None) -> float | None:
    """Compute the anamnesis index of two counts of mini-batches; None if one was not reached."""
    if own is None or oracle is None:
        return None
    return (own + 1) / (oracle + 1)
