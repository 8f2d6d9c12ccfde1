"""Fold batch norms into the convolutions before them, for a network that only answers.

Used where one network reads the same images at many weights: a batch norm in eval mode is a scale
and a shift per channel, which the convolution before it can apply itself.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

TOLERANCE = 1e-3  # of the largest logit: how far the folded network's logits may be off


class FoldedNetwork:
    """A copy of a network in eval mode without the batch norms that could be folded.

    A batch norm is folded where its input is the output of one convolution that nothing else reads.
    Logits agree with the source's up to rounding. The copy shares all tensors with the source but
    those of the folded convolutions, which `refresh` computes.

    A module whose forward torch.fx cannot trace is left as it is, and its children are tried. Such
    a module may reach into its children past their own forward; where folding therefore changes the
    logits of `x`, nothing is folded.

    source: the network, in eval mode
    x: images (n, channels, height, width) to compare the two networks on
    """

    def __init__(self, source: nn.Module, x: Tensor) -> None:
        self.source = source
        self.pairs = list(_foldable_pairs(copy.deepcopy(source)))  # tracing may leave marks
        self.model = _copy_sharing_tensors(source)
        for conv, norm in self.pairs:
            folded: Any = self.model.get_submodule(conv)
            weight = source.get_parameter(f"{conv}.weight")
            bias = weight.new_empty(len(weight))
            folded.weight = nn.Parameter(torch.empty_like(weight), requires_grad=False)
            folded.bias = nn.Parameter(bias, requires_grad=False)
            self.model.set_submodule(norm, nn.Identity())
        if not self._agrees(x):
            self.pairs, self.model = [], source

    @torch.no_grad()
    def _agrees(self, x: Tensor) -> bool:
        expected, logits = self.source(x), self.refresh()(x)
        difference = (logits - expected).abs().max()
        return bool(difference <= TOLERANCE * expected.abs().max())

    def refresh(self) -> nn.Module:
        """Return the folded network at the source's present weights and statistics.

        It is the same object at every call; the next call changes its weights.
        """
        self.fold()
        # A module may cache something of its weights in eval mode (timm's LeViT does); going
        # through training mode drops it.
        return self.model.train().eval()

    @torch.no_grad()
    def fold(self) -> None:
        """Compute the folded convolutions' weights, in place; call `refresh` instead to use them.

        Launches the same kernels on the same tensors at every call.
        """
        for conv_name, norm_name in self.pairs:
            conv: Any = self.source.get_submodule(conv_name)
            norm: Any = self.source.get_submodule(norm_name)
            folded: Any = self.model.get_submodule(conv_name)
            weight, bias = fuse_conv_bn_weights(
                conv.weight,
                conv.bias,
                norm.running_mean,
                norm.running_var,
                norm.eps,
                norm.weight,
                norm.bias,
            )
            folded.weight.copy_(weight)
            folded.bias.copy_(bias)


def _copy_sharing_tensors(source: nn.Module) -> nn.Module:
    """Copy the modules of a network but not its parameters and buffers."""
    tensors = (*source.parameters(), *source.buffers())
    already_copied = {id(tensor): tensor for tensor in tensors}
    return copy.deepcopy(source, already_copied)


def _foldable_pairs(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the names of each convolution and the batch norm that can be folded into it."""
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # a forward that cannot be traced may raise anything
        for name, child in model.named_children():
            yield from _foldable_pairs(child, f"{prefix}{name}.")
        return
    calls = _Calls(model, graph)
    for node in graph.nodes:
        before: Any = node.args[0] if node.args else None
        norm, conv = calls.only(node, nn.BatchNorm2d), calls.only(before, nn.Conv2d)
        if norm and conv and norm.running_mean is not None and len(before.users) == 1:
            yield f"{prefix}{before.target}", f"{prefix}{node.target}"


class _Calls:
    """The module calls in a traced graph."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        self.model = model
        self.counts = Counter(node.target for node in graph.nodes if node.op == "call_module")
        self.read_from = set()  # modules whose own tensors the forward reads
        for node in graph.nodes:
            if node.op == "get_attr":
                module, _, _tensor = str(node.target).rpartition(".")
                self.read_from.add(module)

    def only(self, node: Any, kind: type[nn.Module]) -> Any:
        """Return the module that `node` calls, or None where folding it would be wrong.

        The module must be of exactly this kind, without hooks, called once, and none of its tensors
        may be read elsewhere.
        """
        if not isinstance(node, fx.Node) or node.op != "call_module":
            return None
        if self.counts[node.target] > 1 or node.target in self.read_from:
            return None
        module = self.model.get_submodule(str(node.target))
        hooks = module._forward_hooks | module._forward_pre_hooks
        return module if type(module) is kind and not hooks else None
