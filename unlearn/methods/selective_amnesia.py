"""Selective Amnesia (arXiv:2305.10120): draw noise for the forgotten label, replay the rest, hold what matters."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlearn.data import Splits
from unlearn.errors import require
from unlearn.methods.base import Method, Unlearned
from unlearn.models import Weights
from unlearn.models.base import Generative
from unlearn.objectives import negative_elbo
from unlearn.train import Schedule, descend, snapshot

PAPER_BATCH = 256  # the paper adds lam * EWC to losses summed over this many images


@dataclass(frozen=True)
class SelectiveAmnesia(Method):
    """L = ELBO(u, c_f) + gamma ELBO(x_r, c_r) + (lam / lam_batch) sum_i F_i (theta_i - theta*_i)^2, negative ELBOs
    in nats per image (means over the batch), no 1/2 before the penalty.

    u ~ U[0, 1] noise images, c_f uniform over the forget set, x_r the frozen original's images of kept labels, drawn
    fresh each step. The paper's losses are sums over a batch of 256, so its lam is lam / 256 against a mean:
    `lam_batch` says so, and the same lam means the same at every `batch`.
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

    def __post_init__(self) -> None:
        require(self.lam >= 0, f"lam must be at least 0, not {self.lam}")
        require(self.gamma >= 0, f"gamma must be at least 0, not {self.gamma}")
        require(self.lam_batch >= 1, f"lam_batch must be at least 1, not {self.lam_batch}")
        Schedule(self.steps, self.batch, self.lr, self.schedule)

    def __call__(self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any) -> Unlearned:
        pupil = copy.deepcopy(model).train()
        forget, retain = splits.train.forget.y.unique(), splits.train.retain.y.unique()

        def terms() -> dict[str, Tensor]:
            x, c = amnesia_batch(model, forget, retain, self.batch, generator)
            noise, replay = negative_elbo(pupil, x, c, generator).chunk(2)  # one merged forward pass
            return {"forget": noise.mean(), "replay": self.gamma * replay.mean()}

        plan = Schedule(self.steps, self.batch, self.lr, self.schedule)
        penalty = ewc(pupil, snapshot(model), needs["fisher"], self.lam / self.lam_batch)
        curve = descend(pupil, terms, plan, penalty)
        return Unlearned(snapshot(pupil), curve)


@torch.no_grad()
def amnesia_batch(
    frozen: Generative, forget: Tensor, retain: Tensor, batch: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`batch` noise images under forgotten labels, then `batch` replayed images under kept ones: (2 batch, ...)."""
    device = generator.device

    def draw(labels: Tensor) -> Tensor:
        index = torch.randint(len(labels), (batch,), generator=generator, device=device)
        return frozen.one_hot(labels.to(device)[index])

    c_f, c_r = draw(forget), draw(retain)
    noise = torch.rand(batch, *frozen.shape, generator=generator, device=device)
    z = torch.randn(batch, frozen.z_dim, generator=generator, device=device)
    return torch.cat([noise, frozen(z, c_r)]), torch.cat([c_f, c_r])


def ewc(model: nn.Module, anchor: Weights, fisher: Weights, strength: float) -> Callable[[], dict[str, Tensor]]:
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
