"""Reading many weights through one network: batch norms folded into the convolutions before them."""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


class Folded:
    """`source`, a network in eval mode, in a form for reading alone: a batch norm that takes what one convolution
    gives, as nothing else does, is made part of that. Answers agree up to rounding.

    The other tensors are shared; `refresh` takes over what has been written into those that are not. A forward that
    torch.fx cannot trace is left as it is, and its children are tried; where that changes the answers to the images `x`
    (a parent may reach into its children), nothing is folded.
    """

    def __init__(self, source: nn.Module, x: Tensor) -> None:
        self.source = source
        self.pairs = list(_pairs(copy.deepcopy(source)))  # a forward that is traced may leave marks
        shared = {id(tensor): tensor for tensor in (*source.parameters(), *source.buffers())}
        self.model = copy.deepcopy(source, dict(shared))
        for conv, norm in self.pairs:
            folded: Any = self.model.get_submodule(conv)
            weight = source.get_parameter(f"{conv}.weight")
            folded.weight = nn.Parameter(torch.empty_like(weight), requires_grad=False)
            folded.bias = nn.Parameter(weight.new_empty(len(weight)), requires_grad=False)
            self.model.set_submodule(norm, nn.Identity())
        if not self._agrees(x):
            self.pairs, self.model = [], source

    @torch.no_grad()
    def _agrees(self, x: Tensor) -> bool:
        wanted, got = self.source(x), self.refresh()(x)
        return bool((got - wanted).abs().max() <= 1e-3 * wanted.abs().max())

    @torch.no_grad()
    def refresh(self) -> nn.Module:
        """The folded network at the weights and statistics that `source` has now; one network all along."""
        for name, behind in self.pairs:
            conv: Any = self.source.get_submodule(name)
            norm: Any = self.source.get_submodule(behind)
            folded: Any = self.model.get_submodule(name)
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
        return (
            self.model.train().eval()
        )  # what it may keep of its weights in eval mode is of others


def _pairs(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The names of every convolution and batch norm that belong together."""
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # whatever a forward does that cannot be traced
        for name, child in model.named_children():
            yield from _pairs(child, f"{prefix}{name}.")
        return
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}

    def called(node: Any, kind: type) -> Any:
        """The module, where the node calls one of that very kind, which is called once, not hooked, not looked into."""
        if (
            not isinstance(node, fx.Node)
            or node.op != "call_module"
            or calls[node.target] > 1
            or node.target in read
        ):
            return None
        module = model.get_submodule(str(node.target))
        return (
            module
            if type(module) is kind and not module._forward_hooks | module._forward_pre_hooks
            else None
        )

    for node in graph.nodes:
        before: Any = node.args[0] if node.args else None
        norm, conv = called(node, nn.BatchNorm2d), called(before, nn.Conv2d)
        if norm and conv and norm.running_mean is not None and len(before.users) == 1:
            yield f"{prefix}{before.target}", f"{prefix}{node.target}"
