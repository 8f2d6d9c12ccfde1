"""Exact diagonal of the Fisher information without a loop over samples.

The squared per-sample gradients of a layer follow from its inputs and its output gradients alone.
For a linear layer with inputs a and output gradients g they sum to (g * g)^T (a * a)
(arXiv:1912.10985 calls it `SumGradSquared`); a convolution is a linear layer over patches.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from unlearn.errors import BadInput, NotFinite, require
from unlearn.models import Weights

# One layer's parameter name -> sum over samples of the squared per-sample gradient.
SquareSums = dict[str, Tensor]


def _linear(layer: nn.Linear, a: Tensor, g: Tensor) -> SquareSums:
    """Inputs a and output gradients g of (n, features) or (n, ..., features)."""
    if a.dim() == 2:
        return {"weight": g.square().T @ a.square(), "bias": g.square().sum(0)}
    a = a.flatten(1, -2)  # (n, tokens, inputs)
    g = g.flatten(1, -2)  # (n, tokens, outputs)
    per_sample = torch.einsum("nto,nti->noi", g, a)
    return {"weight": per_sample.square().sum(0), "bias": g.sum(1).square().sum(0)}


def _conv2d(layer: nn.Conv2d, a: Tensor, g: Tensor) -> SquareSums:
    """Inputs and output gradients (n, channels, height, width)."""
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise BadInput("Fisher: a convolution is covered with numeric zero padding only")
    n, groups = len(a), layer.groups
    # (n, channels * kernel height * kernel width, positions)
    patches = F.unfold(a, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    positions = patches.shape[-1]
    patches = patches.view(n, groups, -1, positions)
    g = g.reshape(n, groups, -1, positions)
    per_sample = torch.einsum("ngop,ngip->ngoi", g, patches)
    return {
        "weight": per_sample.square().sum(0).view_as(layer.weight),
        "bias": g.sum(3).square().sum(0).flatten(),
    }


def _conv_transpose2d(layer: nn.ConvTranspose2d, a: Tensor, g: Tensor) -> SquareSums:
    """A transposed convolution is the convolution with input and output gradient exchanged."""
    if layer.groups != 1 or isinstance(layer.padding, str):
        raise BadInput(
            "Fisher: a transposed convolution is covered with one group and numeric padding only"
        )
    bias = g.flatten(2).sum(2).square().sum(0)
    # (n, output channels * kernel height * kernel width, positions)
    patches = F.unfold(g, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    per_sample = torch.einsum("nip,nop->nio", a.flatten(2), patches)
    return {"weight": per_sample.square().sum(0).view_as(layer.weight), "bias": bias}


def _scale_and_shift(normed: Tensor, g: Tensor, features: int) -> SquareSums:
    """For y = weight * normed + bias, features last: (n, ..., features)."""
    scale = (g * normed).view(len(g), -1, features).sum(1)
    shift = g.view(len(g), -1, features).sum(1)
    return {"weight": scale.square().sum(0), "bias": shift.square().sum(0)}


def _batch_norm(layer: nn.BatchNorm2d, a: Tensor, g: Tensor) -> SquareSums:
    """Inputs and output gradients (n, channels, ...), normed by the running statistics."""
    if layer.training or layer.running_mean is None or layer.running_var is None:
        raise BadInput(
            "Fisher: batch norm in training mode mixes the samples; call model.eval() first"
        )
    normed = F.batch_norm(a, layer.running_mean, layer.running_var, eps=layer.eps)
    channels_last = [0, *range(2, a.dim()), 1]
    normed = normed.permute(channels_last).contiguous()
    g = g.permute(channels_last).contiguous()
    return _scale_and_shift(normed, g, layer.num_features)


def _layer_norm(layer: nn.LayerNorm, a: Tensor, g: Tensor) -> SquareSums:
    """Inputs and output gradients (n, ..., *normalized_shape)."""
    normed = F.layer_norm(a, layer.normalized_shape, eps=layer.eps)
    squares = _scale_and_shift(normed, g.contiguous(), layer.weight.numel())
    return {name: square.view(layer.normalized_shape) for name, square in squares.items()}


# Each takes (layer, inputs, output gradients), samples first.
LAYERS: dict[type, Callable[..., SquareSums]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.ConvTranspose2d: _conv_transpose2d,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.LayerNorm: _layer_norm,
}


@dataclass(frozen=True)
class _LayerCall:
    """One call of a layer in a forward pass.

    prefix: the layer's name in the model
    layer: the layer
    inputs: what it was called with, detached
    output: where in autograd's graph its output is
    """

    prefix: str
    layer: nn.Module
    inputs: Tensor
    output: GradientEdge


class _Recorder:
    """Records every layer's input in a forward pass, then adds up its squared gradients.

    Gradients are taken at the layers' outputs alone, so the backward pass computes no gradient of a
    weight, which is half its work.
    """

    def __init__(self, model: nn.Module) -> None:
        self.total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        _refuse_shared_parameters(model)
        self.calls: list[_LayerCall] = []
        self.handles: list[torch.utils.hooks.RemovableHandle] = []
        for prefix, layer in model.named_modules():
            if not _own_parameters(layer):
                continue
            if type(layer) not in LAYERS:
                known = ", ".join(kind.__name__ for kind in LAYERS)
                raise BadInput(
                    f"Fisher: layer {prefix!r} ({type(layer).__name__}) is not covered; "
                    f"covered: {known}"
                )
            _refuse_other_parameters(prefix, layer)
            self.handles.append(layer.register_forward_hook(self._hook(prefix)))

    def _hook(self, prefix: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if output.requires_grad:  # not so while the model draws its own samples
                edge = get_gradient_edge(output)  # stays right where a ReLU then works in place
                self.calls.append(_LayerCall(prefix, layer, inputs[0].detach(), edge))

        return record

    def add(self, loss: Tensor) -> None:
        """Add the squared gradients of the losses per sample (n,) of the pass just made."""
        calls, self.calls = self.calls, []
        _refuse_repeated(calls)
        outputs = [call.output for call in calls]
        gradients = torch.autograd.grad(loss.sum(), outputs, allow_unused=True)
        for call, gradient in zip(calls, gradients, strict=True):
            if gradient is None:
                continue  # the loss does not depend on this layer
            square_sums = LAYERS[type(call.layer)](call.layer, call.inputs, gradient)
            for name, p in call.layer.named_parameters(recurse=False):
                full_name = f"{call.prefix}.{name}".lstrip(".")  # the model itself has no prefix
                if p.requires_grad:
                    self.total[full_name] += square_sums[name]

    def remove(self) -> None:
        """Remove all hooks from the model."""
        for handle in self.handles:
            handle.remove()


def _own_parameters(layer: nn.Module) -> list[str]:
    """Names of the layer's parameters, without those of its children."""
    return [name for name, _ in layer.named_parameters(recurse=False)]


def _refuse_other_parameters(prefix: str, layer: nn.Module) -> None:
    """Raise `BadInput` for a layer that computes its weight from other parameters at every call."""
    others = sorted(set(_own_parameters(layer)) - {"weight", "bias"})
    if others:
        raise BadInput(
            f"Fisher: layer {prefix!r} has the parameters {', '.join(others)}; that is not covered"
        )


def _refuse_shared_parameters(model: nn.Module) -> None:
    """Raise `BadInput` where two names stand for one parameter."""
    all_names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    first_names = {name for name, _ in model.named_parameters()}
    shared = sorted(all_names - first_names)
    if shared:
        raise BadInput(
            f"Fisher: {', '.join(shared)} is another layer's parameter too; that is not covered"
        )


def _refuse_repeated(calls: list[_LayerCall]) -> None:
    """Raise `BadInput` where a layer was called more than once in a pass."""
    times = Counter(call.prefix for call in calls)
    for prefix, count in times.items():
        if count > 1:
            raise BadInput(
                f"Fisher: layer {prefix!r} is used more than once a pass; that is not covered"
            )


def refuse_non_finite(fisher: Weights) -> None:
    """Raise `NotFinite` that names the first parameter with an infinite or NaN entry."""
    for name, tensor in fisher.items():
        if not torch.isfinite(tensor).all():
            raise NotFinite(
                f"Fisher of {name!r} is not finite: the model's loss overflows on its samples; "
                "train it with a lower lr"
            )


def diagonal_fisher(model: nn.Module, losses: Iterable[Callable[[], Tensor]]) -> Weights:
    """Average the squared gradient of each sample's loss over samples, by parameter name.

    It is 0 for frozen parameters.

    model: in eval mode; its samples do not mix
    losses: functions that each run `model` on one batch and return the loss per sample (n,)

    Raises `BadInput` for a layer that is not covered or is used more than once a pass, and
    `NotFinite` for an infinite or NaN result. A use of a layer's parameters outside of the layer is
    not noticed, and its share of the gradient is then missing.
    """
    recorder = _Recorder(model)
    count = 0
    try:
        for batch_losses in losses:
            loss = batch_losses()
            recorder.add(loss)
            count += len(loss)
    finally:
        recorder.remove()
    require(count > 0, "Fisher of no samples; give at least one")
    fisher = {name: total / count for name, total in recorder.total.items()}
    refuse_non_finite(fisher)
    return fisher
