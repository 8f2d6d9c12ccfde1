"""Selective Amnesia of several generators as one program: see `unlearn.stack`."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unlearn.errors import NotFinite
from unlearn.generators.targets import TARGETS, draw_labels
from unlearn.methods.base import Losses, Run, StepFunction, Unlearned, elbo_options
from unlearn.models import Weights
from unlearn.objectives import ElboOptions
from unlearn.stack import Stack, StillStack, results, stacked_tensors, unstack, watching
from unlearn.stacked import StackedElbo, elbo_draws
from unlearn.train import logged_steps

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
    watch = watching(stack, members, [_watch_of(run) for run in runs])
    logged = logged_steps(stack, terms, method.training(), _penalty(stack, runs), watch)
    unstack(stack, members)
    return [_unlearned(made) for made in results(students, logged)]


def _watch_of(run: Run) -> Callable[[int, Any], Any] | None:
    """Return the run's own watch of its network; None where it has none."""
    own = run.needs.get("watch")
    if own is None:
        return None

    def watch(step: int, member: StackedElbo) -> None:
        own(step, member.model)

    if hasattr(own, "moments"):
        watch.moments = own.moments  # type: ignore[attr-defined]
    return watch


def _unlearned(made: tuple[Weights, Any] | NotFinite) -> Unlearned | NotFinite:
    return made if isinstance(made, NotFinite) else Unlearned(*made)


def _loss_terms(
    method: Any, stack: Stack, runs: Sequence[Run], options: ElboOptions
) -> StepFunction:
    """Return the function that computes `forget` and `replay`, each (members,)."""
    frozen = StillStack([run.model for run in runs])
    generators = [run.generator for run in runs]
    labels = [_labels(run) for run in runs]
    reduce, half = REDUCTIONS[method.reduction], method.batch

    def losses() -> Losses:
        drawn = [_draws(method, run, *own) for run, own in zip(runs, labels, strict=True)]
        c_f, c_r, targets, z = map(torch.stack, zip(*drawn, strict=True))
        x = torch.cat([targets, frozen(z, c_r)], 1)
        c = torch.cat([c_f, c_r], 1)
        noise, dropped = elbo_draws(2 * half, z.shape[2], options.z_dropout, generators)
        per_image = stack(x, c, noise, dropped)
        forget, replay = per_image.chunk(2, 1)
        return {"forget": reduce(forget), "replay": method.gamma * reduce(replay)}

    return losses


def _labels(run: Run) -> tuple[Tensor, Tensor]:
    """Return the labels to forget and those to keep, on the run's device."""
    train, device = run.splits.train, run.generator.device
    return train.forget.y.unique().to(device), train.retain.y.unique().to(device)


def _draws(method: Any, run: Run, forget: Tensor, retain: Tensor) -> tuple[Tensor, ...]:
    """Draw forgotten labels, kept labels, target images and latents, as `amnesia_batch` does."""
    model, generator, n = run.model, run.generator, method.batch
    c_f = draw_labels(model, forget, n, generator)
    c_r = draw_labels(model, retain, n, generator)
    images = TARGETS[method.target](model, n, retain, generator)
    return c_f, c_r, images, torch.randn(n, model.z_dim, generator=generator, device=images.device)


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
            penalty += (s * m).flatten(1).sum(1)
        for p, pull, twice in zip(theta, scaled, doubled, strict=True):
            if p.grad is not None:
                p.grad.addcmul_(pull, twice)
        return {"ewc": weight * penalty}

    return add_gradients
