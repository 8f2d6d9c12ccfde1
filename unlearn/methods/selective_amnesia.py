"""Selective Amnesia (arXiv:2305.10120): train forgotten labels on noise, replay the others, hold
important weights by elastic weight consolidation."""

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlearn.errors import NotFinite, lookup, require
from unlearn.generators.regularisers import weighted
from unlearn.generators.replay import amnesia_batch, replay_pool
from unlearn.generators.targets import TARGETS
from unlearn.knobs import later
from unlearn.methods.base import (
    OBJECTIVES,
    Losses,
    Method,
    Run,
    StepFunction,
    Unlearned,
    elbo_options,
)
from unlearn.methods.stacked_amnesia import STACKED_TARGETS, forget_together
from unlearn.models import Weights
from unlearn.models.base import Generative
from unlearn.objectives import PLAIN, ElboOptions, negative_elbo
from unlearn.splits import Splits
from unlearn.train import Schedule, descend, snapshot

PAPER_BATCH = 256  # the paper adds lam * EWC to losses summed over this many images
REDUCTIONS = {"mean": Tensor.mean, "sum": Tensor.sum}
REPLAYS = {"fresh": "drawn from the frozen original each step", "pool": "drawn once, then reused"}


@dataclass(frozen=True)
class SelectiveAmnesia(Method):
    """Minimise two negative ELBOs, nats per image (means over the batch), and a penalty.

    ELBO(u, c_f) + gamma ELBO(x_r, c_r) + (lam / lam_batch) sum_i F_i (theta_i - theta*_i)^2

    The penalty has no factor 1/2. c_f is uniform over the forget set, u its target image, x_r the
    frozen original's image of a retained label c_r. F is the diagonal Fisher of the original at
    its weights theta*.

    The paper sums its losses over a batch of 256, so that against a mean its lam is lam / 256:
    `lam_batch` says so, and one lam means the same at every `batch`. Where the references differ,
    a knob chooses; its default follows the paper, but for `reduction`.

    lam: weight of the penalty, as the paper counts it; at least 0.
    gamma: weight of the replayed images, at least 0.
    lam_batch: batch of the paper, by which lam is divided when losses are means; at least 1.
    steps: number of optimiser steps, at least 1.
    batch: images per step and half (forgotten, replayed), at least 1.
    lr: peak learning rate, above 0.
    schedule: course of the learning rate, `one-cycle`, `cosine` or `constant`.
    target: image that stands in for a forgotten class. `noise` u ~ U[0, 1] per pixel (the paper),
        `grey` (seed 002), `class` the original's images of retained classes.
    half: whether lam is halved (seed 001).
    reduction: `mean`, or `sum`, which adds lam itself to losses summed over `batch`, as the paper
        writes it.
    replay: `fresh` draws x_r in every step, `pool` draws `pool` images once and reuses them.
    pool: number of images in the pool, at least 1 (seed 002: 10,000).
    w_contrast: weight, at least 0, of the contrast of the decoder's images of forgotten labels, z ~
        N(0, I); weighted quantities are pushed down (seed 002) and logged as `regularise`.
    w_ink: weight of the mean pixel, likewise.
    w_tv: weight of the total variation, likewise.
    w_orient: weight of the orientation entropy, likewise.
    objective: ELBO of both halves, `plain`; or `original`, with the KL weight and z dropout that
        the original was trained with, so that replay does not pull it off its own optimum.
    """

    tasks: ClassVar[tuple[str, ...]] = ("generator",)
    needs: ClassVar[tuple[str, ...]] = ("fisher",)

    lam: float = 100.0
    gamma: float = 1.0
    lam_batch: int = PAPER_BATCH
    steps: int = 1000
    batch: int = 64
    lr: float = 3e-3
    schedule: str = "one-cycle"
    target: str = "noise"
    half: bool = False
    reduction: str = "mean"
    replay: str = "fresh"
    pool: int = 10_000
    w_contrast: float = 0.0
    w_ink: float = 0.0
    w_tv: float = 0.0
    w_orient: float = 0.0
    objective: str = later("plain")

    def __post_init__(self) -> None:
        require(self.lam >= 0, f"lam must be at least 0, not {self.lam}")
        require(self.gamma >= 0, f"gamma must be at least 0, not {self.gamma}")
        require(self.lam_batch >= 1, f"lam_batch must be at least 1, not {self.lam_batch}")
        require(self.pool >= 1, f"pool must be at least 1 image, not {self.pool}")
        lookup("target", self.target, TARGETS)
        lookup("reduction", self.reduction, REDUCTIONS)
        lookup("replay", self.replay, REPLAYS)
        lookup("objective", self.objective, OBJECTIVES)
        for name, weight in self.regularisers.items():
            require(weight >= 0, f"w_{name} must be at least 0, not {weight}")
        self.training()

    def training(self) -> Schedule:
        """Return the knobs as a `Schedule`, which checks their ranges."""
        return Schedule(self.steps, self.batch, self.lr, self.schedule)

    @property
    def regularisers(self) -> dict[str, float]:
        """The weight of each image regulariser, by its name in `REGULARISERS`."""
        return {
            "contrast": self.w_contrast,
            "ink": self.w_ink,
            "tv": self.w_tv,
            "orient": self.w_orient,
        }

    @property
    def penalty_weight(self) -> float:
        """The factor of sum_i F_i (theta_i - theta*_i)^2 in the loss."""
        lam = self.lam / 2 if self.half else self.lam
        return lam if self.reduction == "sum" else lam / self.lam_batch

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        """As `Method`; a `watch` among the keyword arguments is passed to `descend`."""
        student = copy.deepcopy(model).train()
        options = elbo_options(self.objective, needs)
        losses = self.loss_terms(model, student, splits, generator, options)
        penalty = ewc_penalty(student, snapshot(model), needs["fisher"], self.penalty_weight)
        curve = descend(student, losses, self.training(), penalty, needs.get("watch"))
        return Unlearned(snapshot(student), curve)

    def stack_key(self) -> Hashable:
        """All knobs but those of the penalty's weight; None where a step draws more than usual."""
        drawn = self.replay == "fresh" and self.target in STACKED_TARGETS
        if not drawn or any(self.regularisers.values()):
            return None
        return replace(self, lam=0.0, lam_batch=1, half=False)

    @classmethod
    def together(cls, runs: Sequence[Run]) -> list[Unlearned | NotFinite]:
        return forget_together(runs)

    def loss_terms(
        self,
        frozen: Generative,
        student: Generative,
        splits: Splits,
        generator: torch.Generator,
        options: ElboOptions = PLAIN,
    ) -> StepFunction:
        """Return the function that computes `forget`, `replay` and, if weighted, `regularise`.

        options: KL weight and z dropout of the negative ELBO
        """
        forget = splits.train.forget.y.unique()
        retain = splits.train.retain.y.unique()
        pool = replay_pool(frozen, retain, self.pool, generator) if self.replay == "pool" else None
        target = TARGETS[self.target]
        reduce = REDUCTIONS[self.reduction]
        weights = self.regularisers

        def losses() -> Losses:
            x, c = amnesia_batch(frozen, forget, retain, self.batch, generator, target, pool)
            per_image = negative_elbo(
                student, x, c, generator, options.kl_weight, options.z_dropout
            )  # one pass for both halves
            forget_loss, replay_loss = per_image.chunk(2)
            found = {"forget": reduce(forget_loss), "replay": self.gamma * reduce(replay_loss)}
            if any(weights.values()):
                c_f = c[: self.batch]
                z = torch.randn(self.batch, frozen.z_dim, generator=generator, device=c.device)
                found["regularise"] = reduce(weighted(student(z, c_f), weights))
            return found

        return losses


def ewc_penalty(model: nn.Module, anchor: Weights, fisher: Weights, weight: float) -> StepFunction:
    """Return the `add_gradients` of `descend` for elastic weight consolidation (arXiv:1612.00796).

    Adds 2 weight F (theta - anchor), the gradient of weight sum_i F_i (theta_i - anchor_i)^2, to
    the gradients of `model` and reports the penalty as `ewc`.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    names = list(trained)
    theta: list[Tensor] = list(trained.values())
    anchors = [anchor[name] for name in names]
    importances = [fisher[name] for name in names]

    @torch.no_grad()
    def add_gradients() -> Losses:
        moved = torch._foreach_sub(theta, anchors)
        scaled = torch._foreach_mul(moved, importances)
        pairs = zip(scaled, moved, strict=True)
        penalty = sum(torch.dot(s.flatten(), m.flatten()) for s, m in pairs)
        reached = [place for place, p in enumerate(theta) if p.grad is not None]
        gradients = [p.grad for p in theta if p.grad is not None]
        pulls = [scaled[place] for place in reached]
        torch._foreach_add_(gradients, pulls, alpha=2 * weight)
        return {"ewc": weight * torch.as_tensor(penalty)}

    return add_gradients
