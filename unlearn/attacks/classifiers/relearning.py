"""Relearning: how few mini-batches of the forgotten class bring it back, and the anamnesis index that follows."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attacks.classifiers.base import Attack, beside
from unlearn.errors import NotFinite, require
from unlearn.evaluation import ClassifierEvaluator, Scores
from unlearn.methods.iterative import logits_with_running_stats
from unlearn.splits import Images
from unlearn.streams import layer_noise, stream

POINTS, RELATIVE = 0.05, 0.05  # the two margins below the original's accuracy
ROUNDING = 1e-9  # .54 - .05 is more than .49


@dataclass(frozen=True)
class Course:
    """A relearning curve: mini-batches seen, accuracy on test-forget and on test-retain at each, shares."""

    steps: list[float]
    forget: list[float]
    retain: list[float]

    def reached(self, target: float) -> float | None:
        """Mini-batches until the forget accuracy was first at `target`; None where it never was."""
        return next(
            (step for step, share in zip(self.steps, self.forget, strict=True) if share >= target),
            None,
        )


@dataclass(frozen=True)
class Relearning(Attack):
    """Trains a copy on forgotten training images alone (Adam, constant `lr`, norms at their running statistics) and
    counts mini-batches until its accuracy on test-forget is back at the original's, less a margin.

    Two conventions: 5 points (`_points`; seed 004) and 5 % of the original's accuracy (`_relative`; arXiv:2201.05629).
    ain_* = (mini-batches of the model + 1) / (of the oracle + 1): 1 is the oracle, near 0 a class that was only hidden
    (the 1 keeps a model that needs none finite; public code sets 0 to 1 instead). Not reached within `steps`: None,
    and so the index. A wreck may need long and look well forgotten: the retain accuracy along the way stands beside.
    Fooled by a head that masks its logit hard enough (a bias of -10,000 outlasts any number of steps): `reset_head`
    starts all three models with the forgotten rows of the head at the mean of the kept rows, so that features decide.
    Forgotten images alone teach any model to answer them always; `rehearse` adds as many retained images to each step.
    Looked at every `every` mini-batches, on up to `images` images a part: that is the resolution of the count.
    """

    blind_spot: ClassVar[str] = (
        "a head that masks its logit hard is never reached at all, as if the class were gone for good, unless "
        "`reset_head` is on; a wreck may need long as well: see its kept accuracy."
    )
    columns: ClassVar[Mapping[str, type]] = {
        **beside(
            {
                "relearn_steps": list,
                "relearn_forget_accuracy": list,
                "relearn_retain_accuracy": list,
                "relearn_batches_points": float,
                "relearn_batches_relative": float,
            }
        ),
        "ain_points": float,
        "ain_relative": float,
    }

    steps: int = 60
    batch: int = 64
    lr: float = 3e-4
    every: int = 2
    images: int = 500
    reset_head: bool = False
    rehearse: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "every", "images"):
            require(
                getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}"
            )
        require(self.lr > 0, f"lr must be above 0, not {self.lr}")

    def prepare(self, evaluator: ClassifierEvaluator, original: Any, seed: int) -> dict[str, float]:
        return targets(accuracy(original, evaluator.splits.test.forget, self.images))

    def run(
        self, evaluator: ClassifierEvaluator, model: Any, seed: int, prepared: dict[str, float]
    ) -> Scores:
        course = self.course(evaluator, model, seed)
        values: Scores = {
            "steps": course.steps,
            "forget_accuracy": course.forget,
            "retain_accuracy": course.retain,
        }
        values |= {f"batches_{way}": course.reached(target) for way, target in prepared.items()}
        return {f"relearn_{key}": value for key, value in values.items()}

    def compare(self, own: Scores, oracle: Scores) -> Scores:
        counts = {way: f"relearn_batches_{way}" for way in ("points", "relative")}
        return {f"ain_{way}": index(own[column], oracle[column]) for way, column in counts.items()}

    def course(self, evaluator: ClassifierEvaluator, model: Any, seed: int) -> Course:
        """The course of one model; every model sees the same mini-batches."""
        device = next(model.parameters()).device
        pupil = copy.deepcopy(model).requires_grad_(True)
        if self.reset_head:
            neutral_rows(pupil.head, evaluator)
        generator = stream(seed, "relearning", device=device)
        parts = [evaluator.splits.train.forget, evaluator.splits.train.retain][: 1 + self.rehearse]
        batches = [part.to(device).batches(self.batch, generator) for part in parts]
        optimizer = torch.optim.Adam(pupil.parameters(), lr=self.lr)
        course = Course([], [], [])
        with layer_noise(pupil, generator):
            for step in range(self.steps + 1):
                if step % self.every == 0 or step == self.steps:
                    self._look(evaluator, pupil, step, course)
                if step < self.steps:
                    _learn(pupil, optimizer, [next(batch) for batch in batches])
        return course

    def _look(
        self, evaluator: ClassifierEvaluator, model: nn.Module, step: int, course: Course
    ) -> None:
        test = evaluator.splits.test
        course.steps.append(float(step))
        course.forget.append(accuracy(model, test.forget, self.images))
        course.retain.append(accuracy(model, test.retain, self.images))


@torch.no_grad()
def neutral_rows(head: nn.Module, evaluator: ClassifierEvaluator) -> None:
    """Set the forgotten classes' rows of a linear `head`, in place, to the mean of the kept classes'."""
    require(
        isinstance(head, nn.Linear), f"reset_head needs a linear head, not {type(head).__name__}"
    )
    for tensor in head.parameters():
        tensor[list(evaluator.forget)] = tensor[evaluator.kept].mean(0)


def _learn(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[tuple[Tensor, Tensor]]
) -> None:
    x, y = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    loss = F.cross_entropy(logits_with_running_stats(model, x), y)
    if not torch.isfinite(loss):
        raise NotFinite(f"the relearning loss is {loss.item()}; lower lr")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: Images, most: int) -> float:
    """Share of right answers on up to `most` images, evenly spaced through `images`; the model is put in eval mode."""
    model.eval()
    index = torch.linspace(0, len(images) - 1, min(most, len(images))).round().long()
    some = images.take(index.to(images.y.device)).to(next(model.parameters()).device)
    return (model(some.pixels()).argmax(1) == some.y).double().mean().item()


def targets(known: float) -> dict[str, float]:
    """The forget accuracy that counts as back, by convention, from the original's accuracy."""
    return {"points": known - POINTS - ROUNDING, "relative": known * (1 - RELATIVE) - ROUNDING}


def index(own: float | None, oracle: float | None) -> float | None:
    """The anamnesis index of two counts of mini-batches; None where either was not reached."""
    return None if own is None or oracle is None else (own + 1) / (oracle + 1)
