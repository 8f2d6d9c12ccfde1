"""Train several generators of one architecture as one program (`unlearn.stack`).

Each member has its own images, order of images and random stream.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.errors import NotFinite, require
from unlearn.feeds import Batches, Feed, StepChange
from unlearn.models.base import Generative
from unlearn.moving_average import MovingAverage
from unlearn.objectives import elbo_of_draws
from unlearn.splits import Images
from unlearn.stack import Stack, Trained, can_be_stacked, results, unstack
from unlearn.train import Training, autocast, logged_steps, make_critic


class StackedElbo(nn.Module):
    """A member's negative ELBO per image (n,), nats, for numbers that are drawn already."""

    def __init__(
        self, model: Generative, kl_weight: float = 1.0, critic: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.model, self.critic, self.kl_weight = model, critic, kl_weight

    def forward(self, x: Tensor, c: Tensor, noise: Tensor, dropped: Tensor | None) -> Tensor:
        code = self.model.encode(x, c)
        return elbo_of_draws(self.model, x, c, code, noise, dropped, self.kl_weight, self.critic)


class StackedBatches(Feed[tuple[Tensor, Tensor]]):
    """A batch of every member, gathered at once; images that members share are kept once.

    The host acts only where a member's epoch ends. Items are pixels in [0, 1] (members, n,
    channels, height, width) and labels (members, n).
    """

    def __init__(self, members: Sequence[Batches]) -> None:
        self.members, self.size = members, members[0].size
        require(
            all(member.size == self.size for member in members),
            "stacked members must have at least one batch of images each",
        )
        shared = {member.x.data_ptr(): member for member in members}
        starts, total = {}, 0
        for address, member in shared.items():
            starts[address] = total
            total += len(member.y)
        self.x = torch.cat([member.x for member in shared.values()])
        self.y = torch.cat([member.y for member in shared.values()])
        self.starts = [starts[member.x.data_ptr()] for member in members]
        longest = max(len(member.y) for member in members)
        whole = self.y.new_zeros((), dtype=torch.long)
        self.order = whole.new_zeros(len(members), longest)  # of the present epochs
        self.place = whole.new_zeros(len(members), 1)  # the next batch's in `order`
        self.within = torch.arange(self.size, device=self.y.device)
        self.index = whole.new_zeros(len(members), self.size)

    def upcoming(self) -> StepChange:
        odd = any(member.upcoming() is StepChange.ODD for member in self.members)
        return StepChange.ODD if odd else StepChange.SAME

    def advance(self) -> None:
        for row, (member, start) in enumerate(zip(self.members, self.starts, strict=True)):
            before = member.order
            member.next_index()
            if member.order is not before:
                self.order[row, : len(member.order)] = member.order + start
                self.place[row] = 0
        torch.gather(self.order, 1, self.place + self.within, out=self.index)
        self.place += self.size

    def item(self) -> tuple[Tensor, Tensor]:
        return self.x[self.index].float() / 255, self.y[self.index]


def can_stack(model: Any, plan: Training) -> bool:
    """Return whether models like this can train under `plan` as one program.

    Generators without batch norms and dropout can, on images that are not augmented.
    """
    return bool(model.task == "generator" and can_be_stacked(model) and plan.augment == "none")


def fit_together(
    models: Sequence[Any],
    images: Sequence[Images],
    plan: Training,
    generators: Sequence[torch.Generator],
) -> list[Trained | NotFinite]:
    """Train copies of several generators of one architecture at once; see `unlearn.train.fit`.

    Returns weights and curve of every member: what it gives alone, up to rounding. A member whose
    weights or loss are not finite gives its `NotFinite`; the others stand.

    models: the members, of one architecture, on one device
    images: training images per member, at least one batch
    plan: the same for all
    generators: random stream per member

    Raises `BadInput` where the members cannot be stacked (`can_stack`) or have too few images.
    """
    require(all(can_stack(model, plan) for model in models), "these models cannot be stacked")
    require(
        min(len(some) for some in images) >= plan.batch,
        f"a stacked member needs at least {plan.batch} images, one batch",
    )
    device = next(models[0].parameters()).device
    pupils = [copy.deepcopy(model).train() for model in models]
    sources = [
        some.to(device).batches(plan.batch, generator)
        for some, generator in zip(images, generators, strict=True)
    ]
    critics = [make_critic(p, plan, g) for p, g in zip(pupils, generators, strict=True)]
    losses = [
        StackedElbo(p, plan.kl_weight, critic) for p, critic in zip(pupils, critics, strict=True)
    ]
    stack, batches = Stack(losses), StackedBatches(sources)
    average = MovingAverage(stack, plan.ema) if plan.ema else None

    def terms() -> dict[str, Tensor]:
        x, y = next(batches)
        noise, dropped = elbo_draws(plan.batch, pupils[0].z_dim, plan.z_dropout, generators)
        with autocast(device, plan.precision):
            per_image = stack(x, pupils[0].one_hot(y), noise, dropped)
        return {"loss": per_image.mean(1)}

    logged = logged_steps(stack, terms, plan, after=average)
    unstack(stack if average is None else average.mean, losses)
    return list(results(pupils, logged))


def elbo_draws(
    n: int, z_dim: int, z_dropout: float, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor | None]:
    """Draw every member's numbers of one ELBO, in the order in which a member alone draws them.

    Returns latent noise (members, n, z_dim) and, where latents are dropped, which ones
    (members, n, 1).
    """
    noise, chances = [], []
    for generator in generators:
        device = generator.device
        noise.append(torch.randn(n, z_dim, generator=generator, device=device))
        if z_dropout > 0:
            chances.append(torch.rand(n, 1, generator=generator, device=device))
    return torch.stack(noise), torch.stack(chances) < z_dropout if chances else None
