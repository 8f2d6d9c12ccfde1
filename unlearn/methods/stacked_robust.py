"""Robust Amnesia of several generators as one program: see `unlearn.stack`."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import NotFinite
from unlearn.generators.ood import decoder_draws
from unlearn.generators.targets import TARGETS
from unlearn.methods.base import (
    Losses,
    Run,
    StepFunction,
    Unlearned,
    elbo_options,
    unlearned_of,
)
from unlearn.models.base import Generative
from unlearn.objectives import ElboOptions, elbo_of_draws
from unlearn.stack import FrozenStack, Stack, descend_together
from unlearn.stacked import StackedBatches, elbo_draws


class _Losses(nn.Module):
    """A member's losses per image: of the ELBO's images (n,), then of the decoder's inputs (m,)."""

    def __init__(self, model: Generative, kl_weight: float) -> None:
        super().__init__()
        self.model, self.kl_weight = model, kl_weight

    def forward(
        self,
        x_r: Tensor,
        c_r: Tensor,
        noise: Tensor,
        dropped: Tensor | None,
        z: Tensor,
        c: Tensor,
        x: Tensor,
    ) -> Tensor:
        code = self.model.encode(x_r, c_r)
        replay = elbo_of_draws(self.model, x_r, c_r, code, noise, dropped, self.kl_weight)
        logits = self.model.decode(z, c)
        per_pixel = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        return torch.cat([replay, per_pixel.flatten(1).sum(1)])


def forget_robustly_together(runs: Sequence[Run]) -> list[Unlearned | NotFinite]:
    """Carry out runs of `RobustAmnesia` that differ in the original, the forget set and the random
    stream; see `Method.together`."""
    method: Any = runs[0].method
    options = elbo_options(method.objective, runs[0].needs)
    students = [method.starts_from(run.model, run.generator) for run in runs]
    members = [_Losses(student, options.kl_weight) for student in students]
    stack = Stack(members)
    terms = _loss_terms(method, stack, runs, options)
    watches = [run.needs.get("watch") for run in runs]
    made = descend_together(stack, members, students, terms, method.training(), watches=watches)
    return [unlearned_of(each) for each in made]


def _loss_terms(
    method: Any, stack: Stack, runs: Sequence[Run], options: ElboOptions
) -> StepFunction:
    """Return the function that computes `replay`, `distil`, `forget` and `closed`, (members,)."""
    frozen = FrozenStack([run.model for run in runs])
    generators = [run.generator for run in runs]
    labels = []
    for run in runs:
        train = run.splits.train
        labels.append((train.forget.y.unique(), train.retain.y.unique()))
    target, sizes, weights, n = TARGETS[method.target], method.sizes, method.weights, method.batch
    batches = _batches(runs, n) if method.replay == "data" else None

    def losses() -> Losses:
        drawn = []  # by each member in the order of `decoder_batch`
        for run, (forget, retain) in zip(runs, labels, strict=True):
            own = decoder_draws(run.model, forget, retain, sizes, target, run.generator)
            drawn.append(own)
        z, c, targets = map(torch.stack, zip(*drawn, strict=True))
        x_o = frozen(z[:, : sizes.retain], c[:, : sizes.retain])
        x_r, c_r = x_o, c[:, : sizes.retain]
        if batches is not None:
            x_r, y = next(batches)
            c_r = runs[0].model.one_hot(y)
        noise, dropped = elbo_draws(n, z.shape[2], options.z_dropout, generators)
        x = torch.cat([x_o, targets], 1)
        replay, *parts = stack(x_r, c_r, noise, dropped, z, c, x).split((n, *sizes), 1)
        found = {"replay": method.gamma * replay.mean(1)}
        for (name, weight), part in zip(weights.items(), parts, strict=True):
            found[name] = weight * part.mean(1)
        return found

    return losses


def _batches(runs: Sequence[Run], size: int) -> StackedBatches:
    """Return batches of every run's retained training images."""
    sources = []
    for run in runs:
        retain = run.splits.train.retain.to(run.generator.device)
        sources.append(retain.batches(size, run.generator))
    return StackedBatches(sources)
