"""Train several generators of one architecture as one program: small models alone leave a GPU idle.

The members' weights are stacked, the forward pass is vectorised over them (torch.func), and one
optimizer moves the stack. Each member has its own images, order of images and random stream.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from unlearn.errors import NotFinite, require
from unlearn.feeds import Batches, Feed, Turn
from unlearn.models import Weights
from unlearn.models.base import Generative
from unlearn.moving_average import MovingAverage
from unlearn.objectives import elbo_of_draws
from unlearn.splits import Images
from unlearn.streams import draws_in_layers
from unlearn.train import (
    Curve,
    Log,
    Training,
    finite_curve,
    logged_steps,
    make_critic,
    not_finite,
    snapshot,
)

Trained = tuple[Weights, Curve]


class _Loss(nn.Module):
    """A member's mean loss over a batch, a function of numbers that are drawn already."""

    def __init__(self, model: Generative, critic: nn.Module | None, kl_weight: float) -> None:
        super().__init__()
        self.model, self.critic, self.kl_weight = model, critic, kl_weight

    def forward(self, x: Tensor, c: Tensor, noise: Tensor, dropped: Tensor | None) -> Tensor:
        code = self.model.encode(x, c)
        loss = elbo_of_draws(self.model, x, c, code, noise, dropped, self.kl_weight, self.critic)
        return loss.mean()


class _Stack(nn.Module):
    """The weights of all members, stacked: each (members, ...)."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        stacked, buffers = stack_module_state(list(members))
        self.names = list(stacked)
        self.weights = nn.ParameterList(
            [nn.Parameter(tensor.detach()) for tensor in stacked.values()]
        )
        self.constants = buffers

    def state(self) -> dict[str, Tensor]:
        """Return stacked parameters and buffers by a member's own names."""
        return {**dict(zip(self.names, self.weights, strict=True)), **self.constants}


class _Together(Feed[tuple[Tensor, Tensor]]):
    """A batch of every member, gathered at once; images that members share are kept once.

    Items are pixels in [0, 1] (members, n, channels, height, width) and labels (members, n).
    """

    def __init__(self, members: Sequence[Batches]) -> None:
        self.members = members
        shared = {member.x.data_ptr(): member for member in members}
        starts, total = {}, 0
        for address, member in shared.items():
            starts[address] = total
            total += len(member.y)
        self.x = torch.cat([member.x for member in shared.values()])
        self.y = torch.cat([member.y for member in shared.values()])
        self.starts = [starts[member.x.data_ptr()] for member in members]
        size = (len(members), members[0].size)
        self.index = torch.zeros(size, dtype=torch.long, device=self.y.device)

    def upcoming(self) -> Turn:
        odd = any(member.upcoming() is Turn.ODD for member in self.members)
        return Turn.ODD if odd else Turn.SAME

    def advance(self) -> None:
        for row, start, member in zip(self.index, self.starts, self.members, strict=True):
            torch.add(member.next_index(), start, out=row)

    def item(self) -> tuple[Tensor, Tensor]:
        return self.x[self.index].float() / 255, self.y[self.index]


def can_stack(model: Any, plan: Training) -> bool:
    """Return whether models like this can train under `plan` as one program.

    Generators without batch norms and dropout can, on images that are not augmented, where all
    that their state dict holds is trained.
    """
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    still = not draws_in_layers(model) and set(trained) == set(model.state_dict())
    return bool(model.task == "generator" and still and plan.augment == "none")


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
    losses = [_Loss(p, critic, plan.kl_weight) for p, critic in zip(pupils, critics, strict=True)]
    stack, batches = _Stack(losses), _Together(sources)
    average = MovingAverage(stack, plan.ema) if plan.ema else None

    def terms() -> dict[str, Tensor]:
        x, y = next(batches)
        noise, dropped = _draws(pupils[0].z_dim, plan, generators)
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
            each = _each(losses[0], stack, x, pupils[0].one_hot(y), noise, dropped)
        return {str(member): loss for member, loss in enumerate(each.unbind())}

    logged = logged_steps(stack, terms, plan, after=average)
    _unstack(stack if average is None else average.mean, losses)
    return [_result(member, pupil, logged) for member, pupil in enumerate(pupils)]


def _draws(
    z_dim: int, plan: Training, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor | None]:
    """Draw every member's numbers of one step, in the order in which a member alone draws them.

    Returns latent noise (members, n, z_dim) and, where the plan drops latents, which ones
    (members, n, 1).
    """
    noise, chances = [], []
    for generator in generators:
        device = generator.device
        noise.append(torch.randn(plan.batch, z_dim, generator=generator, device=device))
        if plan.z_dropout > 0:
            chances.append(torch.rand(plan.batch, 1, generator=generator, device=device))
    return torch.stack(noise), torch.stack(chances) < plan.z_dropout if chances else None


def _each(
    member: _Loss, stack: _Stack, x: Tensor, c: Tensor, noise: Tensor, dropped: Tensor | None
) -> Tensor:
    """Compute the loss of every member (members,)."""

    def one(state: dict[str, Tensor], *inputs: Tensor | None) -> Tensor:
        loss: Tensor = functional_call(member, state, inputs)
        return loss

    mapped = (0, 0, 0, 0, None if dropped is None else 0)
    losses: Tensor = vmap(one, in_dims=mapped)(stack.state(), x, c, noise, dropped)
    return losses


@torch.no_grad()
def _unstack(stack: Any, members: Sequence[nn.Module]) -> None:
    """Copy each member's slice of the stack into that member."""
    state = stack.state()
    for number, member in enumerate(members):
        for name, tensor in member.named_parameters():
            tensor.copy_(state[name][number])


def _result(member: int, pupil: Any, logged: Log) -> Trained | NotFinite:
    own = [(step, {"loss": losses[str(member)]}) for step, losses in logged]
    try:
        return snapshot(pupil), finite_curve(own, pupil, not_finite(pupil))
    except NotFinite as error:
        return error
