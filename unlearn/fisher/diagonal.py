"""Exact diagonal of the Fisher information without a loop over samples.

A layer's squared per-sample gradients follow from its inputs and its output gradients alone. For a linear layer they
sum to (g*g)^T (a*a) (arXiv:1912.10985 calls it `SumGradSquared`); a convolution is a linear layer over patches.
"""

from collections import Counter
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from unlearn.errors import BadInput, NotFinite, require
from unlearn.models import Weights

Squares = dict[
    str, Tensor
]  # of one layer: parameter name -> sum over samples of the squared per-sample gradient


def _linear(layer: nn.Linear, a: Tensor, g: Tensor) -> Squares:
    if a.dim() == 2:
        return {"weight": g.square().T @ a.square(), "bias": g.square().sum(0)}
    a, g = a.flatten(1, -2), g.flatten(1, -2)  # (n, tokens, features)
    return {
        "weight": torch.einsum("nto,nti->noi", g, a).square().sum(0),
        "bias": g.sum(1).square().sum(0),
    }


def _conv2d(layer: nn.Conv2d, a: Tensor, g: Tensor) -> Squares:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise BadInput("Fisher: a convolution is covered with numeric zero padding only")
    n, groups = len(a), layer.groups
    patches = F.unfold(
        a, layer.kernel_size, layer.dilation, layer.padding, layer.stride
    )  # (n, c * k * k, places)
    patches, g = (
        patches.view(n, groups, -1, patches.shape[-1]),
        g.reshape(n, groups, -1, patches.shape[-1]),
    )
    per_sample = torch.einsum("ngop,ngip->ngoi", g, patches)
    return {
        "weight": per_sample.square().sum(0).view_as(layer.weight),
        "bias": g.sum(3).square().sum(0).flatten(),
    }


def _conv_transpose2d(layer: nn.ConvTranspose2d, a: Tensor, g: Tensor) -> Squares:
    """A transposed convolution is the convolution with input and output gradient exchanged."""
    if layer.groups != 1 or isinstance(layer.padding, str):
        raise BadInput(
            "Fisher: a transposed convolution is covered with one group and numeric padding only"
        )
    bias = g.flatten(2).sum(2).square().sum(0)
    patches = F.unfold(
        g, layer.kernel_size, layer.dilation, layer.padding, layer.stride
    )  # (n, out * k * k, places)
    per_sample = torch.einsum("nip,nop->nio", a.flatten(2), patches)
    return {"weight": per_sample.square().sum(0).view_as(layer.weight), "bias": bias}


def _scale_and_shift(normed: Tensor, g: Tensor, keep: int) -> Squares:
    """Of y = weight * normed + bias over (n, places, features); `keep` features."""
    scale, shift = (g * normed).view(len(g), -1, keep).sum(1), g.view(len(g), -1, keep).sum(1)
    return {"weight": scale.square().sum(0), "bias": shift.square().sum(0)}


def _batch_norm(layer: nn.BatchNorm2d, a: Tensor, g: Tensor) -> Squares:
    if layer.training or layer.running_mean is None or layer.running_var is None:
        raise BadInput(
            "Fisher: batch norm in training mode mixes the samples; call model.eval() first"
        )
    normed = F.batch_norm(a, layer.running_mean, layer.running_var, eps=layer.eps)
    last = [0, *range(2, a.dim()), 1]
    return _scale_and_shift(
        normed.permute(last).contiguous(), g.permute(last).contiguous(), layer.num_features
    )


def _layer_norm(layer: nn.LayerNorm, a: Tensor, g: Tensor) -> Squares:
    normed = F.layer_norm(a, layer.normalized_shape, eps=layer.eps)
    squares = _scale_and_shift(normed, g.contiguous(), layer.weight.numel())
    return {name: square.view(layer.normalized_shape) for name, square in squares.items()}


LAYERS: dict[type, Callable[..., Squares]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.ConvTranspose2d: _conv_transpose2d,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.LayerNorm: _layer_norm,
}


class _Taps:
    """Catches each layer's input during a forward pass, then its output gradient; adds up the squares.

    Gradients are asked for at the layers' outputs alone, so the backward pass forms no weight gradient: half a pass.
    """

    def __init__(self, model: nn.Module) -> None:
        self.total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        shared = {
            name for name, _ in model.named_parameters(remove_duplicate=False)
        } - self.total.keys()
        if shared:
            raise BadInput(
                f"Fisher: {', '.join(sorted(shared))} is another layer's parameter too; that is not covered"
            )
        self.handles: list[torch.utils.hooks.RemovableHandle] = []
        self.seen: list[tuple[str, nn.Module, Tensor, GradientEdge]] = []
        for prefix, layer in model.named_modules():
            own = [name for name, _ in layer.named_parameters(recurse=False)]
            if own and type(layer) not in LAYERS:
                known = ", ".join(kind.__name__ for kind in LAYERS)
                raise BadInput(
                    f"Fisher: layer {prefix!r} ({type(layer).__name__}) is not covered; covered: {known}"
                )
            if own:
                self.handles.append(layer.register_forward_hook(self._tap(prefix)))

    def _tap(self, prefix: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def forward(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if output.requires_grad:  # else the model is drawing its own samples
                edge = get_gradient_edge(output)  # stays right where a ReLU later works in place
                self.seen.append((prefix, layer, inputs[0].detach(), edge))

        return forward

    def add(self, loss: Tensor) -> None:
        """Backward from the losses per sample (n,) of the pass just made; forgets the pass."""
        seen, self.seen = self.seen, []
        twice = [
            prefix for prefix, times in Counter(prefix for prefix, *_ in seen).items() if times > 1
        ]
        if twice:
            raise BadInput(
                f"Fisher: layer {twice[0]!r} is used more than once a pass; that is not covered"
            )
        gradients = torch.autograd.grad(loss.sum(), [edge for *_, edge in seen], allow_unused=True)
        for (prefix, layer, a, _), gradient in zip(seen, gradients, strict=True):
            if gradient is None:
                continue  # the loss does not depend on this layer
            squares = LAYERS[type(layer)](layer, a, gradient)
            for name, _ in layer.named_parameters(recurse=False):
                self.total[f"{prefix}.{name}".lstrip(".")] += squares[name]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def diagonal_fisher(model: nn.Module, losses: Iterable[Callable[[], Tensor]]) -> Weights:
    """Mean over samples of the squared gradient of each sample's loss, by parameter name.

    `losses` yields functions that run `model` on one batch and return the loss per sample (n,); the model is in eval
    mode and its samples do not mix. Raises `BadInput` for a layer that is not covered or is used more than once a
    pass; what is done with a layer's parameters outside of it is not seen.
    """
    taps, count = _Taps(model), 0
    try:
        for batch_losses in losses:
            loss = batch_losses()
            taps.add(loss)
            count += len(loss)
    finally:
        taps.remove()
    require(count > 0, "Fisher of no samples; give at least one")
    fisher = {name: total / count for name, total in taps.total.items()}
    for name, tensor in fisher.items():
        if not torch.isfinite(tensor).all():
            raise NotFinite(
                f"Fisher of {name!r} is not finite; the model's loss overflows on its own samples"
            )
    return fisher
