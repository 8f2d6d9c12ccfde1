"""Several networks of one architecture as one: their weights are stacked, a call is vectorised over
them (`torch.func`). Small networks alone leave a GPU idle."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from unlearn.errors import NotFinite
from unlearn.models import Weights
from unlearn.streams import draws_in_layers
from unlearn.train import Curve, Log, Schedule, finite_curve, logged_steps, not_finite, snapshot

Trained = tuple[Weights, Curve]


def can_be_stacked(model: nn.Module) -> bool:
    """Return whether networks like `model` can be trained as one.

    Not those with dropout, which draws one mask for all, or with state that is not trained, such
    as a batch norm's statistics.
    """
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    return not draws_in_layers(model) and trained == set(model.state_dict())


class Stack(nn.Module):
    """The weights of all members, each (members, ...), copied.

    members: networks of one architecture
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        stacked, buffers = stack_module_state(list(members))
        self.names = list(stacked)
        self.weights = nn.ParameterList(
            [nn.Parameter(tensor.detach()) for tensor in stacked.values()]
        )
        self.constants = buffers
        self.template = [members[0]]  # in a list: its parameters are none of this module's

    def state(self) -> dict[str, Tensor]:
        """Return stacked parameters and buffers by a member's own names."""
        return {**dict(zip(self.names, self.weights, strict=True)), **self.constants}

    def forward(self, *inputs: Tensor | None) -> Tensor:
        """Call every member on its own slice of the inputs (members, ...); None goes to all."""
        member = self.template[0]

        def one(state: dict[str, Tensor], *own: Tensor | None) -> Tensor:
            output: Tensor = functional_call(member, state, own)
            return output

        mapped = tuple(None if each is None else 0 for each in inputs)
        outputs: Tensor = vmap(one, in_dims=(0, *mapped))(self.state(), *inputs)
        return outputs


@torch.no_grad()
def unstack(stack: Any, members: Sequence[nn.Module]) -> None:
    """Copy each member's slice of a `Stack` into that member."""
    state = stack.state()
    for number, member in enumerate(members):
        for name, tensor in member.named_parameters():
            tensor.copy_(state[name][number])


class FrozenStack:
    """Networks that do not change: where all are one and the same, they are called as one.

    members: networks of one architecture, in eval mode
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        self.one = members[0] if all(member is members[0] for member in members) else None
        self.stack = None if self.one is not None else Stack(members)

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Tensor:
        """Call every member on its own slice of the inputs (members, n, ...)."""
        if self.stack is not None:
            outputs: Tensor = self.stack(*inputs)
            return outputs
        member: Any = self.one
        flat = member(*(each.flatten(0, 1) for each in inputs))
        output: Tensor = flat.unflatten(0, inputs[0].shape[:2])
        return output


def stacked_tensors(members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Stack tensors by name, (members, ...); (1, ...) where all members hold the very same one."""
    stacked = {}
    for name, first in members[0].items():
        tensors = [member[name] for member in members]
        shared = all(tensor is first for tensor in tensors)
        stacked[name] = first.unsqueeze(0) if shared else torch.stack(tensors)
    return stacked


def results(members: Sequence[nn.Module], logged: Log) -> Iterator[Trained | NotFinite]:
    """Yield weights and curve of every member, or why it has none.

    members: the trained networks
    logged: what `unlearn.train.logged_steps` returned; every term is (members,)
    """
    for number, member in enumerate(members):
        own = []
        for step, terms in logged:
            own.append((step, {name: values[number] for name, values in terms.items()}))
        yield _checked(member, own)


def _checked(member: nn.Module, logged: Log) -> Trained | NotFinite:
    try:
        return snapshot(member), finite_curve(logged, member, not_finite(member))
    except NotFinite as error:
        return error


def descend_together(
    stack: Stack,
    members: Sequence[nn.Module],
    networks: Sequence[nn.Module],
    terms: Callable[[], dict[str, Tensor]],
    plan: Schedule,
    add_gradients: Callable[[], dict[str, Tensor]] | None = None,
    watches: Sequence[Callable[[int, Any], Any] | None] = (),
) -> list[Trained | NotFinite]:
    """Train a stack as `unlearn.train.descend` trains a network; see `results`.

    stack: of `members`, each of which holds one of `networks`
    terms, add_gradients: return terms (members,)
    watches: per member, called with (step, network); one with an attribute `moments` is shown those
        steps only
    """
    watch = _watch(stack, members, networks, watches) if any(watches) else None
    logged = logged_steps(stack, terms, plan, add_gradients, watch)
    unstack(stack, members)
    return list(results(networks, logged))


def _watch(
    stack: Stack,
    members: Sequence[nn.Module],
    networks: Sequence[nn.Module],
    watches: Sequence[Callable[[int, Any], Any] | None],
) -> Callable[[int, nn.Module], None]:
    """Return a `watch` of `descend` that shows each network to its own watch."""

    def watch(step: int, model: nn.Module) -> None:
        moments = [getattr(each, "moments", (step,)) for each in watches if each is not None]
        if not any(step in each for each in moments):
            return
        unstack(stack, members)
        for network, each in zip(networks, watches, strict=True):
            if each is not None:
                each(step, network)

    return watch
