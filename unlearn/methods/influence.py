"""Influence unlearning (arXiv:1703.04730), by the WoodFisher estimate (arXiv:2004.14340)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import NotFinite, lookup, require
from unlearn.methods.base import Method, SearchSpace, Unlearned, map_parameters
from unlearn.splits import Images, Splits

SOLVES = {
    "woodbury": "the damped inverse, exactly",
    "published": "the recursion of arXiv:2304.04934's code, whose second vector starts at the "
    "first gradient and is no inverse of anything",
}


@dataclass(frozen=True)
class Influence(Method):
    """theta <- theta + alpha H^-1 g_f: a Newton step up the loss of the forgotten images.

    g_f is the mean gradient of CE over the forgotten training images; H = damping I + the mean of
    g g^T over gradients g of retained batches, the empirical Fisher of the retained images in place
    of their Hessian. The classical influence of removing n_f of n images is alpha = n_f / (n -
    n_f). arXiv:2304.04934 (`IU`) searches alpha; its code solves otherwise (see `solve`). There is
    no training; running statistics and frozen weights stay.

    Memory: `batches` gradients, each as large as the network.

    alpha: length of the step, at least 0.
    damping: added to the diagonal of H, above 0; not used by `published`.
    solve: `woodbury` inverts H exactly; `published` follows arXiv:2304.04934's code.
    batches: retained batches whose gradients make H, at least 1.
    batch: images per retained batch, at least 1; 32 in arXiv:2304.04934's code.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classifier",)
    space: ClassVar[SearchSpace] = {"alpha": [1e-4, 1e-1], "damping": [3e-3, 1e-1]}

    alpha: float = 0.007
    damping: float = 1e-2
    solve: str = "woodbury"
    batches: int = 64
    batch: int = 32

    def __post_init__(self) -> None:
        lookup("solve", self.solve, SOLVES)
        require(self.alpha >= 0, f"alpha must be at least 0, not {self.alpha}")
        require(self.damping > 0, f"damping must be above 0, not {self.damping}")
        require(self.batches >= 1, f"batches must be at least 1, not {self.batches}")
        require(self.batch >= 1, f"batch must be at least 1, not {self.batch}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        device = next(model.parameters()).device
        retain = splits.train.retain.to(device)
        drawn = retain.batches(self.batch, generator)
        rows = [gradient(model, *next(drawn)) for _ in range(self.batches)]
        wanted = mean_gradient(model, splits.train.forget.to(device))
        if self.solve == "woodbury":
            step = damped_inverse(torch.stack(rows), wanted, self.damping)
        else:
            step = published_inverse(rows, wanted)
        if not torch.isfinite(step).all():
            raise NotFinite("the influence step is not finite; raise damping")
        moves = dict(split_by_parameter(model, self.alpha * step))

        def change(name: str, p: Tensor) -> Tensor:
            return p + moves[name] if name in moves else p

        return Unlearned(map_parameters(model, change))


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient of the mean CE over a batch, in the order of the parameters, (p,)."""
    parameters = [p for _, p in _trained(model)]
    with torch.enable_grad():
        loss = F.cross_entropy(model(x), y)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in found])


def mean_gradient(model: nn.Module, images: Images) -> Tensor:
    """Return the gradient of the mean CE over all images, (p,)."""
    total = torch.zeros(())
    for piece in images.pieces():
        part = gradient(model, piece.pixels(), piece.y) * len(piece)
        total = total.to(part) + part
    mean: Tensor = total / len(images)
    return mean


def split_by_parameter(model: nn.Module, step: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the part of a step (p,) that belongs to each trained parameter, by name."""
    done = 0
    for name, p in _trained(model):
        yield name, step[done : done + p.numel()].view_as(p)
        done += p.numel()


def damped_inverse(rows: Tensor, wanted: Tensor, damping: float) -> Tensor:
    """Return (damping I + G^T G / m)^-1 v for G = `rows` (m, p) and v = `wanted` (p,).

    By Woodbury's identity this takes a system of m unknowns, in double precision:
    (v - G^T (m damping I + G G^T)^-1 G v) / damping.
    """
    m = len(rows)
    small = (rows @ rows.T).double()
    small += m * damping * torch.eye(m, dtype=small.dtype, device=small.device)
    inner = torch.linalg.solve(small, (rows @ wanted).double()).to(wanted)
    solved: Tensor = (wanted - rows.T @ inner) / damping
    return solved


def published_inverse(rows: list[Tensor], wanted: Tensor) -> Tensor:
    """Return what arXiv:2304.04934's `woodfisher` makes of the gradients (p,) and v (p,)."""
    count = len(rows)
    moved, other = wanted.clone(), rows[0].clone()
    for row in rows[1:]:
        shared = other @ row
        moved -= (moved @ row) / (count + shared) * other
        other -= shared / (count + shared) * other
    return moved
