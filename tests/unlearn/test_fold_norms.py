"""Folding batch norms: the answers stay the same, and nothing is folded that would change them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unlearn.fold_norms import FoldedNetwork
from unlearn.models import build
from unlearn.streams import globally, stream

NETWORKS = {"cnn": 2, "resnet18": 20, "vgg11_bn": 8, "mobilenet_v2": 52}  # batch norms in each
# double, so that rounding stays small through 52 layers
X = torch.rand(4, 3, 32, 32, generator=stream(0, "x"), dtype=torch.double)


def change(model: nn.Module) -> None:
    """Change weights and statistics in place, as `CandidateWriter.write` does."""
    with torch.no_grad():
        for p in model.parameters():
            p.data.add_(0.05 * torch.randn(p.shape))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]


def assert_agree(folded: FoldedNetwork, x: Tensor = X) -> None:
    with torch.no_grad():
        torch.testing.assert_close(folded.refresh()(x), folded.source(x), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_norm_is_folded_and_the_answers_follow_the_weights(name: str) -> None:
    with globally(stream(0, name)):
        options = {"head": "small"} if name == "vgg11_bn" else {}
        source: Any = build(name, (3, 32, 32), 10, options=options).double().eval()
        folded = FoldedNetwork(source, X)
        assert len(folded.pairs) == NETWORKS[name]
        assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.model.modules())
        for _ in range(2):
            change(source)
            before = {key: tensor.clone() for key, tensor in source.state_dict().items()}
            assert_agree(folded)
            assert all(
                torch.equal(before[key], tensor) for key, tensor in source.state_dict().items()
            )
    assert folded.model.head.weight is source.head.weight  # type: ignore[union-attr]
    assert not folded.model.training


class Odd(nn.Module):
    """A convolution and a batch norm; `how` decides whether the two can be folded."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv = how, nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3, track_running_stats=how != "no running statistics")
        if how == "hooked":
            self.conv.register_forward_hook(lambda module, args, out: 2 * out)
        if how == "parametrized":
            nn.utils.parametrizations.weight_norm(self.conv)

    def forward(self, x: Tensor) -> Any:
        if self.how == "output read twice":
            y = self.conv(x)
            return self.norm(y) + y
        if self.how == "called twice":
            return self.norm(self.conv(self.conv(x)))
        if self.how == "weight read":
            return self.norm(self.conv(x)) * self.conv.weight.mean()
        if self.how == "norm first":
            return self.conv(self.norm(x))
        if self.how == "untraceable" and x.mean() > 0:
            return self.norm(self.conv(x))
        return self.norm(self.conv(x)) if self.how != "untraceable" else x


@pytest.mark.parametrize(
    ("how", "pairs"),
    [
        ("plain", 1),
        ("output read twice", 0),
        ("called twice", 0),
        ("weight read", 0),
        ("norm first", 0),
        ("untraceable", 0),
        ("hooked", 0),
        ("parametrized", 0),
        ("no running statistics", 0),
    ],
)
def test_only_a_plain_pair_is_folded(how: str, pairs: int) -> None:
    with globally(stream(0, how)):
        for model in (Odd(how), nn.Sequential(Odd(how), Odd("untraceable"), nn.Conv2d(3, 2, 1))):
            folded = FoldedNetwork(model.double().eval(), X)
            change(model)
            assert len(folded.pairs) == pairs
            assert_agree(folded)


class Reaching(nn.Module):
    """Cannot be traced, and calls its child's convolution past the child's own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.child = Odd("plain")

    def forward(self, x: Tensor) -> Tensor:
        return self.child.conv(x) if x.mean() > 0 else x


def test_nothing_is_folded_where_a_parent_reaches_into_its_child() -> None:
    with globally(stream(0, "reaching")):
        model = Reaching().double().eval()
        change(model)
        folded = FoldedNetwork(model, X)
    assert folded.pairs == []
    assert folded.refresh() is model


def test_a_folded_network_keeps_nothing_of_former_weights() -> None:
    """timm's LeViT caches biases in eval mode; only its stem's norms follow convolutions."""
    import timm

    with globally(stream(0, "levit")):
        source = timm.create_model("levit_128s", pretrained=False, num_classes=10).double().eval()
        x = torch.rand(2, 3, 224, 224, dtype=torch.double)
        folded = FoldedNetwork(source, x)
        assert len(folded.pairs) == 4
        for _ in range(2):
            change(source.train().eval())
            assert_agree(folded, x)
