"""Selective Amnesia of several generators as one program: see `unlearn.stack`."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unlearn.errors import NotFinite
from unlearn.generators.targets import TARGETS
from unlearn.methods.base import (
    Losses,
    Run,
    StepFunction,
    Unlearned,
    elbo_options,
    unlearned_of,
)
from unlearn.objectives import ElboOptions
from unlearn.stack import FrozenStack, Stack, descend_together, stacked_tensors
from unlearn.stacked import StackedElbo, elbo_draws

STACKED_TARGETS = ("noise", "grey")  # those that need no image of the frozen original
REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda losses: losses.mean(1),
    "sum": lambda losses: losses.sum(1),
}


def forget_together(runs: Sequence[Run]) -> list[Unlearned | NotFinite]:
    """Carry out runs of `SelectiveAmnesia` that differ in the penalty's weight, the original, the
    forget set and the random stream; see `Method.together`."""
    method: Any = runs[0].method
    options = elbo_options(method.objective, runs[0].needs)
    students = [copy.deepcopy(run.model).train() for run in runs]
    members = [StackedElbo(student, options.kl_weight) for student in students]
    stack = Stack(members)
    terms = _loss_terms(method, stack, runs, options)
    watches = [run.needs.get("watch") for run in runs]
    made = descend_together(
        stack, members, students, terms, method.training(), _penalty(stack, runs), watches
    )
    return [unlearned_of(each) for each in made]


def _loss_terms(
    method: Any, stack: Stack, runs: Sequence[Run], options: ElboOptions
) -> StepFunction:
    """Return the function that computes `forget` and `replay`, each (members,)."""
    frozen = FrozenStack([run.model for run in runs])
    generators = [run.generator for run in runs]
    trains = [run.splits.train for run in runs]
    forget = _Labels([train.forget.y.unique() for train in trains], runs[0].model)
    retain = _Labels([train.retain.y.unique() for train in trains], runs[0].model)
    reduce, half = REDUCTIONS[method.reduction], method.batch

    def losses() -> Losses:
        drawn = []  # by each member in the order of `amnesia_batch`
        for member, run in enumerate(runs):
            f = forget.draw(member, half, run.generator)
            r = retain.draw(member, half, run.generator)
            images = TARGETS[method.target](run.model, half, trains[member].retain.y, run.generator)
            z = torch.randn(
                half, run.model.z_dim, generator=run.generator, device=run.generator.device
            )
            drawn.append((f, r, images, z))
        index_f, index_r, targets, z = map(torch.stack, zip(*drawn, strict=True))
        c_f, c_r = forget.one_hot(index_f), retain.one_hot(index_r)
        x = torch.cat([targets, frozen(z, c_r)], 1)
        c = torch.cat([c_f, c_r], 1)
        noise, dropped = elbo_draws(2 * half, z.shape[2], options.z_dropout, generators)
        per_image = stack(x, c, noise, dropped)
        loss_f, loss_r = per_image.chunk(2, 1)
        return {"forget": reduce(loss_f), "replay": method.gamma * reduce(loss_r)}

    return losses


class _Labels:
    """The labels that each member draws from."""

    def __init__(self, labels: Sequence[Tensor], model: Any) -> None:
        self.model = model
        self.counts = [len(own) for own in labels]
        device = next(model.parameters()).device
        self.table = torch.zeros(len(labels), max(self.counts), dtype=torch.long, device=device)
        for row, own in zip(self.table, labels, strict=True):
            row[: len(own)] = own.to(device)

    def draw(self, member: int, n: int, generator: torch.Generator) -> Tensor:
        """Draw positions (n,) in the member's labels, as `draw_labels` does."""
        return torch.randint(
            self.counts[member], (n,), generator=generator, device=generator.device
        )

    def one_hot(self, index: Tensor) -> Tensor:
        """Return the labels at positions (members, n) as (members, n, classes)."""
        encoded: Tensor = self.model.one_hot(self.table.gather(1, index))
        return encoded


def _penalty(stack: Stack, runs: Sequence[Run]) -> StepFunction:
    """Return the `add_gradients` of elastic weight consolidation, each member with its weight."""
    theta = list(stack.weights)
    names = [name.removeprefix("model.") for name in stack.names]
    starts = {id(run.model): dict(run.model.named_parameters()) for run in runs}
    anchors = stacked_tensors([starts[id(run.model)] for run in runs])
    fishers = stacked_tensors([run.needs["fisher"] for run in runs])
    anchor = [anchors[name].detach() for name in names]
    importance = [fishers[name] for name in names]
    weights: list[float] = [run.method.penalty_weight for run in runs]  # type: ignore[attr-defined]
    weight = torch.tensor(weights, device=theta[0].device)
    doubled = [(2 * weight).view(-1, *[1] * (p.dim() - 1)) for p in theta]

    @torch.no_grad()
    def add_gradients() -> Losses:
        moved = torch._foreach_sub(theta, anchor)
        scaled = torch._foreach_mul(moved, importance)
        penalty = torch.zeros_like(weight)
        for s, m in zip(scaled, moved, strict=True):
            penalty += torch.linalg.vecdot(s.flatten(1), m.flatten(1))
        for p, pull, twice in zip(theta, scaled, doubled, strict=True):
            if p.grad is not None:
                p.grad.addcmul_(pull, twice)
        return {"ewc": weight * penalty}

    return add_gradients
