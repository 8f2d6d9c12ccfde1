"""Selective Amnesia (arXiv:2305.10120): draw noise for the forgotten label, replay the rest, hold what matters."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlearn.errors import lookup, require
from unlearn.generators.regularisers import weighted
from unlearn.generators.targets import TARGETS, Target, draw_labels
from unlearn.methods.base import Method, Unlearned
from unlearn.models import Weights
from unlearn.models.base import Generative
from unlearn.objectives import negative_elbo
from unlearn.splits import Splits
from unlearn.train import Schedule, descend, snapshot

PAPER_BATCH = 256  # the paper adds lam * EWC to losses summed over this many images
REDUCTIONS = {"mean": Tensor.mean, "sum": Tensor.sum}
REPLAYS = {"fresh": "drawn from the frozen original each step", "pool": "drawn once, then reused"}
Pool = tuple[Tensor, Tensor]  # replayed images (n, *shape) and their labels (n, classes)


@dataclass(frozen=True)
class SelectiveAmnesia(Method):
    """L = ELBO(u, c_f) + gamma ELBO(x_r, c_r) + (lam / lam_batch) sum_i F_i (theta_i - theta*_i)^2, negative ELBOs
    in nats per image (means over the batch), no 1/2 before the penalty.

    u ~ U[0, 1] noise images, c_f uniform over the forget set, x_r the frozen original's images of kept labels, drawn
    fresh each step. The paper's losses are sums over a batch of 256, so its lam is lam / 256 against a mean:
    `lam_batch` says so, and the same lam means the same at every `batch`.

    Where references differ, a knob says which. `target`: what is drawn instead (`noise` the paper; `grey` seed 002;
    `class` a kept class). `half`: lam / 2 (seed 001). `reduction`: `sum` adds lam itself to losses summed over `batch`,
    the paper's letter. `replay`: `pool` reuses `pool` images drawn once (seed 002's 10,000). `w_*`: weights of the
    image regularisers pushed down in the decoder's images of the forgotten labels, z ~ N(0, I) (seed 002); logged as
    `regularise`.
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

    def __post_init__(self) -> None:
        require(self.lam >= 0, f"lam must be at least 0, not {self.lam}")
        require(self.gamma >= 0, f"gamma must be at least 0, not {self.gamma}")
        require(self.lam_batch >= 1, f"lam_batch must be at least 1, not {self.lam_batch}")
        require(self.pool >= 1, f"pool must be at least 1 image, not {self.pool}")
        lookup("target", self.target, TARGETS)
        lookup("reduction", self.reduction, REDUCTIONS)
        lookup("replay", self.replay, REPLAYS)
        for name, weight in self.regularisers.items():
            require(weight >= 0, f"w_{name} must be at least 0, not {weight}")
        Schedule(self.steps, self.batch, self.lr, self.schedule)

    @property
    def regularisers(self) -> dict[str, float]:
        """Weight of each image regulariser, by its name in `unlearn.generators.regularisers`."""
        return {
            "contrast": self.w_contrast,
            "ink": self.w_ink,
            "tv": self.w_tv,
            "orient": self.w_orient,
        }

    @property
    def strength(self) -> float:
        """What the penalty sum_i F_i (theta_i - theta*_i)^2 is multiplied by."""
        lam = self.lam / 2 if self.half else self.lam
        return lam if self.reduction == "sum" else lam / self.lam_batch

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        pupil = copy.deepcopy(model).train()
        terms = self._terms(model, pupil, splits, generator)
        plan = Schedule(self.steps, self.batch, self.lr, self.schedule)
        penalty = ewc(pupil, snapshot(model), needs["fisher"], self.strength)
        curve = descend(pupil, terms, plan, penalty, needs.get("watch"))
        return Unlearned(snapshot(pupil), curve)

    def _terms(
        self, frozen: Generative, pupil: Generative, splits: Splits, generator: torch.Generator
    ) -> Callable[[], dict[str, Tensor]]:
        """The function that `descend` calls each step: `forget`, `replay` and, where a weight asks, `regularise`."""
        forget, retain = splits.train.forget.y.unique(), splits.train.retain.y.unique()
        pool = replay_pool(frozen, retain, self.pool, generator) if self.replay == "pool" else None
        reduce = REDUCTIONS[self.reduction]

        def terms() -> dict[str, Tensor]:
            x, c = amnesia_batch(
                frozen, forget, retain, self.batch, generator, TARGETS[self.target], pool
            )
            noise, replay = negative_elbo(pupil, x, c, generator).chunk(
                2
            )  # one merged forward pass
            losses = {"forget": reduce(noise), "replay": self.gamma * reduce(replay)}
            if any(self.regularisers.values()):
                z = torch.randn(self.batch, frozen.z_dim, generator=generator, device=c.device)
                losses["regularise"] = reduce(
                    weighted(pupil(z, c[: self.batch]), self.regularisers)
                )
            return losses

        return terms


@torch.no_grad()
def replay_pool(frozen: Generative, retain: Tensor, size: int, generator: torch.Generator) -> Pool:
    """`size` images of the frozen original under kept labels, z ~ N(0, I)."""
    c = draw_labels(frozen, retain, size, generator)
    z = torch.randn(size, frozen.z_dim, generator=generator, device=generator.device)
    return torch.cat([frozen(*part) for part in zip(z.split(1000), c.split(1000), strict=True)]), c


@torch.no_grad()
def amnesia_batch(
    frozen: Generative,
    forget: Tensor,
    retain: Tensor,
    batch: int,
    generator: torch.Generator,
    target: Target = TARGETS["noise"],
    pool: Pool | None = None,
) -> tuple[Tensor, Tensor]:
    """`batch` target images under forgotten labels, then `batch` replayed images under kept ones: (2 batch, ...)."""
    device = generator.device
    c_f = draw_labels(frozen, forget, batch, generator)
    if pool is not None:
        index = torch.randint(len(pool[0]), (batch,), generator=generator, device=device)
        return torch.cat([target(frozen, batch, retain, generator), pool[0][index]]), torch.cat(
            [c_f, pool[1][index]]
        )
    c_r = draw_labels(frozen, retain, batch, generator)
    aim = target(frozen, batch, retain, generator)
    z = torch.randn(batch, frozen.z_dim, generator=generator, device=device)
    return torch.cat([aim, frozen(z, c_r)]), torch.cat([c_f, c_r])


def ewc(
    model: nn.Module, anchor: Weights, fisher: Weights, strength: float
) -> Callable[[], dict[str, Tensor]]:
    """Elastic weight consolidation (arXiv:1612.00796) as a gradient: adds 2 strength F (theta - theta*) to `.grad`.

    Returns the function that `descend` calls after the backward pass; it reports the penalty under the name `ewc`.
    """
    names = [name for name, _ in model.named_parameters()]
    theta: list[Tensor] = [p for _, p in model.named_parameters()]
    stars, weights = [anchor[name] for name in names], [fisher[name] for name in names]

    @torch.no_grad()
    def add_gradients() -> dict[str, Tensor]:
        moved = torch._foreach_sub(theta, stars)
        pull = torch._foreach_mul(moved, weights)
        penalty = sum(torch.dot(p.flatten(), m.flatten()) for p, m in zip(pull, moved, strict=True))
        torch._foreach_add_([p.grad for p in theta if p.grad is not None], pull, alpha=2 * strength)
        return {"ewc": strength * torch.as_tensor(penalty)}

    return add_gradients
