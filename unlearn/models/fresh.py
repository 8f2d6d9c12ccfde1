"""A model's architecture at random weights.

It serves as the incompetent teacher, as the reference of the ZRF metric and as the start of a
shadow model. Nothing in it may come from the trained model, whatever the network is made of.
"""

import copy
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm

from unlearn.errors import BadInput, require
from unlearn.models import is_user_builder, rebuild
from unlearn.models.base import Architecture
from unlearn.models.user_code import cause_of
from unlearn.streams import globally, seeded

M = TypeVar("M", bound=nn.Module)
STD = 0.02
POWER_ITERATIONS = 15  # as torch takes when it makes a spectral norm


def fresh(model: M, generator: torch.Generator) -> M:
    """Return the network of `model` in eval mode at weights drawn anew.

    The builder that made the network makes it again, so that it starts as its authors meant it to.
    Where there is none (`model` does not come from `unlearn.models.build`), or where that builder
    loads trained weights itself, every layer is drawn anew in place by `reset_parameters`, and each
    parameter which that leaves (a transformer's class token, the parts of a `weight_norm`) from
    N(0, 0.02^2). What the builder freezes stays as the builder makes it.

    generator: draws all weights

    Raises `BadInput` where something of the trained model would stay: a buffer that no
    `reset_parameters` sets, a matrix that equals the trained one.
    """
    with globally(generator), torch.no_grad():
        made = _built_anew(model)
        if made is None:
            made = _reset(model)
        _converge_spectral_norms(made)
    made.eval()
    _refuse_trained(made, model)
    return made


def drawn(model: M, generator: torch.Generator) -> M:
    """Return a network as its builder drew it, or `fresh` where that builder loads weights."""
    architecture = getattr(model, "architecture", None)
    if architecture is None or draws_every_matrix(architecture):
        return model
    return fresh(model, generator)


def _built_anew(model: M) -> M | None:
    """Call the builder again. Returns None without one, or where it cannot make a fresh network."""
    architecture = getattr(model, "architecture", None)
    if architecture is None or not draws_every_matrix(architecture):
        return None
    made: M = rebuild(architecture)
    if _shapes(made) != _shapes(model):
        return None
    like = next(model.parameters())
    if next(made.parameters()).dtype != like.dtype:
        made = made.to(like.dtype)
    return made.to(like.device)


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


@lru_cache(32)
def draws_every_matrix(architecture: Architecture) -> bool:
    """Tell whether a builder draws all matrices: two seeds give two networks.

    One that loads trained weights does not. Builders of ours and of timm draw them.
    """
    if not is_user_builder(architecture.name):
        return True
    networks = []
    for seed in (0, 1):
        with seeded(seed, "fresh"):
            networks.append(rebuild(architecture))
    return not list(_equal_matrices(*networks))


def _equal_matrices(one: nn.Module, other: nn.Module) -> Iterator[str]:
    """Yield the names of trainable matrices that are equal in both, unless they are plain.

    A matrix of at most two values, such as zeros or an identity, says nothing of any training.
    """
    others = dict(other.named_parameters())
    for name, p in one.named_parameters():
        is_matrix = p.requires_grad and p.dim() > 1 and name in others
        if is_matrix and torch.equal(p, others[name].to(p)) and len(p.unique()) > 2:
            yield name


def _refuse_trained(made: nn.Module, model: nn.Module) -> None:
    """Raise `BadInput` where a matrix of `made` is the model's own."""
    same = next(_equal_matrices(made, model), None)
    require(
        same is None,
        f"a network at random weights cannot be made: {same!r} equals the trained one; "
        "let its builder draw it, and name trained weights as `weights: FILE` in the spec",
    )


def _reset(model: M) -> M:
    """Return a copy of `model` whose parameters are all drawn anew.

    Every tensor is poisoned first: what still is afterwards was not drawn. Buffers come from the
    model's builder where it has one.
    """
    architecture = getattr(model, "architecture", None)
    source = model if architecture is None else rebuild(architecture)
    if _shapes(source) != _shapes(model):
        source = model
    made = copy.deepcopy(source).to(next(model.parameters()).device)
    frozen = {} if source is model else _frozen(made)
    made.requires_grad_(True)
    buffers = {name: b.clone() for name, b in _kept_buffers(made)}
    for p in made.parameters():
        _poison(p)
    for _, buffer in _kept_buffers(made):
        _poison(buffer)
    for name, layer in made.named_modules():
        _reset_layer(name, layer)
        for p in layer.parameters(recurse=False):
            if _is_poisoned(p):
                nn.init.normal_(p, std=STD)
    _draw_buffers(made, buffers)
    left = [name for name, b in _kept_buffers(made) if not _is_set(buffers[name], b)]
    named = ", ".join(left[:3])
    require(
        not left or source is not model,
        f"a network at random weights cannot be made: no reset_parameters sets {named}; "
        "give that layer one, or build the network by unlearn.models.build",
    )
    for name in left:
        made.get_buffer(name).copy_(buffers[name])
    for name, tensor in frozen.items():
        made.get_parameter(name).copy_(tensor).requires_grad_(False)
    return made


def _frozen(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters that training leaves alone, by name."""
    return {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}


def _reset_layer(name: str, layer: nn.Module) -> None:
    """Call the layer's `reset_parameters`; of a layer that computes its weights it does nothing."""
    reset = getattr(layer, "reset_parameters", None)
    if not callable(reset) or parametrize.is_parametrized(layer):
        return
    try:
        reset()
    except Exception as error:  # a user's layer may raise anything
        raise BadInput(
            f"a network at random weights cannot be made: reset_parameters of {name!r} raises "
            f"{cause_of(error)}; mend it"
        ) from error


def _kept_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the buffers that the state dict holds; the others are constants of the architecture."""
    kept = model.state_dict().keys()
    for name, buffer in model.named_buffers():
        if name in kept:
            yield name, buffer


def _poison(tensor: Tensor) -> None:
    """Fill a tensor with what no computation makes anything of: NaN, or the opposite bits."""
    if tensor.is_floating_point() or tensor.is_complex():
        tensor.fill_(torch.nan)
    else:
        tensor.copy_(tensor.bitwise_not())


def _is_poisoned(tensor: Tensor) -> bool:
    """Tell whether a tensor holds NaN."""
    return bool(tensor.isnan().any())


def _is_set(before: Tensor, now: Tensor) -> bool:
    """Tell whether a buffer, which was `before` and then poisoned, has been given other values."""
    if now.is_floating_point() or now.is_complex():
        return not _is_poisoned(now)
    return now.numel() == 0 or not torch.equal(now, before.bitwise_not())


def _draw_buffers(model: nn.Module, buffers: dict[str, Tensor]) -> None:
    """Draw the buffers that belong to weights: pruning masks, vectors of spectral norms.

    A mask keeps its number of zeros; which weights are cut off is drawn.
    """
    for prefix, layer in model.named_modules():
        for hook in layer._forward_pre_hooks.values():
            if isinstance(hook, BasePruningMethod):
                mask = layer.get_buffer(f"{hook._tensor_name}_mask")
                old = buffers[f"{prefix}.{hook._tensor_name}_mask".lstrip(".")].flatten()
                order = torch.randperm(len(old)).to(old.device)
                mask.copy_(old.sort().values[order].view_as(mask))
            if isinstance(hook, SpectralNorm):
                for end in ("u", "v"):
                    layer.get_buffer(f"{hook.name}_{end}").normal_()
        if _is_spectral(layer):
            for buffer in layer.buffers(recurse=False):
                buffer.normal_()


def _is_spectral(module: nn.Module) -> bool:
    """Tell whether a module is a parametrization by `torch.nn.utils.parametrizations`."""
    return type(module).__name__ == "_SpectralNorm"  # torch exports no name for it


def _converge_spectral_norms(model: nn.Module) -> None:
    """Iterate the vectors of spectral norms: at random ones, weights are much too large."""
    for layer in model.modules():
        for hook in layer._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                for _ in range(POWER_ITERATIONS):
                    hook.compute_weight(layer, do_power_iteration=True)
        for name, parts in _parametrizations(layer):
            spectral = [part for part in parts if _is_spectral(part)]
            for part in spectral:
                part.train()
            for _ in range(POWER_ITERATIONS if spectral else 0):
                getattr(layer, name)
            for part in spectral:
                part.eval()


def _parametrizations(layer: Any) -> Iterator[tuple[str, nn.ModuleList]]:
    """Yield the names of a layer's computed tensors, with what computes them."""
    if parametrize.is_parametrized(layer):
        yield from layer.parametrizations.items()
