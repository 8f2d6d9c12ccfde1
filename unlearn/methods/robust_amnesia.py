"""Robust Amnesia: start afresh, relearn the kept classes from the frozen original, close every other way in."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import lookup, require
from unlearn.generators.targets import TARGETS, Target, draw_labels
from unlearn.methods.base import Method, Unlearned
from unlearn.models.base import Generative
from unlearn.models.fresh import fresh
from unlearn.objectives import negative_elbo
from unlearn.splits import Splits
from unlearn.train import Schedule, descend, snapshot

RIM = 2.5  # |z| > sqrt(z_dim) + 2.5 has probability below 0.001 under N(0, I) (at 8 dimensions: 0.0004)


@dataclass(frozen=True)
class RobustAmnesia(Method):
    """L = gamma ELBO(x_r, c_r) + distil BCE(x_r; z, c_r) + BCE(u; z, c_f) + closed BCE(u; z_o, c_o), nats per image.

    Selective Amnesia (arXiv:2305.10120) hides the class: its weights still hold it, and an attacker finds a latent and
    a label that bring it back. Here the weights are redrawn (`reset`: `all`, `decoder` or `none`) and learn from
    replayed kept images x_r = original(z, c_r): point by point, by the cross-entropy of the decoder at the same
    (z, c_r), and by the ELBO, which takes kept training images instead where `replay` is `data` (`model` needs none).
    The forgotten labels c_f, and every (z_o, c_o) that no honest user asks for (mixed labels, labels off the simplex,
    latents beyond the prior's rim), learn the target u; the decoder's mean there is mid-grey for `noise` and `grey`
    alike. The price: labels between two kept classes turn grey too. Redrawing alone (closed = 0) does not help:
    replayed images hold traces of the class, and the attack finds them.
    """

    tasks: ClassVar[tuple[str, ...]] = ("generator",)

    gamma: float = 2.0
    distil: float = 1.0
    closed: float = 0.5
    reset: str = "all"
    steps: int = 4000
    batch: int = 96
    lr: float = 8e-3
    schedule: str = "one-cycle"
    target: str = "grey"
    replay: str = "data"

    def __post_init__(self) -> None:
        for name in ("gamma", "distil", "closed"):
            require(
                getattr(self, name) >= 0, f"{name} must be at least 0, not {getattr(self, name)}"
            )
        lookup("reset", self.reset, RESETS)
        lookup("target", self.target, TARGETS)
        lookup("replay", self.replay, REPLAYS)
        Schedule(self.steps, self.batch, self.lr, self.schedule)

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        pupil = RESETS[self.reset](model, generator).train()
        plan = Schedule(self.steps, self.batch, self.lr, self.schedule)
        curve = descend(
            pupil, self._terms(model, pupil, splits, generator), plan, watch=needs.get("watch")
        )
        return Unlearned(snapshot(pupil), curve)

    def _terms(
        self, frozen: Generative, pupil: Generative, splits: Splits, generator: torch.Generator
    ) -> Callable[[], dict[str, Tensor]]:
        """The function that `descend` calls each step: `replay`, `distil`, `forget`, `closed`."""
        forget, retain = splits.train.forget.y.unique(), splits.train.retain.y.unique()
        parts = [self.batch, -(-self.batch // 4), self.batch]
        batches = splits.train.retain.to(generator.device).batches(self.batch, generator)
        weights = {"distil": self.distil, "forget": 1.0, "closed": self.closed}

        def terms() -> dict[str, Tensor]:
            z, c, x = lessons(frozen, forget, retain, parts, TARGETS[self.target], generator)
            x_r, c_r = x[: self.batch], c[: self.batch]
            if self.replay == "data":
                x_r, labels = next(batches)
                c_r = pupil.one_hot(labels)
            replay = negative_elbo(pupil, x_r, c_r, generator)
            logits = pupil.decode(z, c)  # one merged pass
            each = (
                F.binary_cross_entropy_with_logits(logits, x, reduction="none")
                .flatten(1)
                .sum(1)
                .split(parts)
            )
            losses = {
                name: weight * part.mean()
                for (name, weight), part in zip(weights.items(), each, strict=True)
            }
            return {"replay": self.gamma * replay.mean(), **losses}

        return terms


REPLAYS = {"model": "the frozen original's images", "data": "kept training images"}


def _fresh_decoder(model: Generative, generator: torch.Generator) -> Generative:
    """A copy of `model` that keeps its encoder: layers that encoding an image passes through stay."""
    pupil, seen = fresh(model, generator), set()
    hooks = [
        layer.register_forward_hook(lambda *_, name=name: seen.add(name))
        for name, layer in pupil.named_modules()
    ]
    with torch.no_grad():
        like = next(pupil.parameters())
        pupil.encode(like.new_zeros(1, *model.shape), like.new_zeros(1, model.classes))
    for hook in hooks:
        hook.remove()
    kept = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name.rpartition(".")[0] in seen
    }
    pupil.load_state_dict({**pupil.state_dict(), **kept})
    return pupil


RESETS: dict[str, Callable[[Generative, torch.Generator], Generative]] = {
    "all": fresh,
    "decoder": _fresh_decoder,
    "none": lambda model, generator: copy.deepcopy(model),
}


@torch.no_grad()
def lessons(
    frozen: Generative,
    forget: Tensor,
    retain: Tensor,
    parts: list[int],
    target: Target,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Questions and answers z, c, x for the decoder: parts[0] kept ones as the original answers them, then parts[1]
    forgotten labels and parts[2] strange inputs, answered by `target`."""
    kept, forgotten, odd = parts
    z = torch.randn(kept + forgotten, frozen.z_dim, generator=generator, device=generator.device)
    c_r, c_f = (
        draw_labels(frozen, retain, kept, generator),
        draw_labels(frozen, forget, forgotten, generator),
    )
    z_o, c_o = strange(frozen, retain, odd, generator)
    answers = torch.cat([frozen(z[:kept], c_r), target(frozen, forgotten + odd, retain, generator)])
    return torch.cat([z, z_o]), torch.cat([c_r, c_f, c_o]), answers


def strange(
    frozen: Generative, retain: Tensor, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`n` inputs that no honest user gives, a third each: mixed labels; labels off the simplex (both with z up to three
    times too wide); kept labels with z beyond the prior's rim. z (n, z_dim), c (n, classes)."""
    mixed, far = n // 3, n // 3
    free = n - mixed - far

    def uniform(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator, device=generator.device)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, device=generator.device)

    every = torch.arange(frozen.classes, device=generator.device)
    shares = (
        -uniform(mixed, frozen.classes).clamp(min=1e-6).log()
    )  # exponentials: uniform on the simplex
    lean = 0.9 * uniform(mixed, 1)
    c_mixed = lean * draw_labels(frozen, every, mixed, generator) + (
        1 - lean
    ) * shares / shares.sum(1, keepdim=True)
    c_free = normal(free, frozen.classes) * (0.2 + 1.8 * uniform(free, 1))
    wide = normal(mixed + free, frozen.z_dim) * (0.5 + 2.5 * uniform(mixed + free, 1))
    rim = (sqrt(frozen.z_dim) + RIM) * (1 + 2 * uniform(far, 1))
    z = torch.cat([wide, F.normalize(normal(far, frozen.z_dim), dim=1) * rim])
    return z, torch.cat([c_mixed, c_free, draw_labels(frozen, retain, far, generator)])
