"""Small classifiers of every kind that people bring: 1 x 8 x 8 images in three classes.

`WORKING` names those that every method must handle, `REFUSED` those that a plan must refuse, with
the reason. Each is a builder, as a spec names it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from unlearn.models.base import Classifying

CLASSES = 3
WIDTH = 6
TRAINED = torch.randn(WIDTH, 64, generator=torch.Generator().manual_seed(3))


def perceptron(*between: nn.Module, first: nn.Module | None = None) -> nn.Sequential:
    """Flatten, a linear layer, what is between, and the head."""
    layers = [nn.Flatten(), first or nn.Linear(64, WIDTH), *between, nn.Linear(WIDTH, CLASSES)]
    return nn.Sequential(*layers)


def convnet(norm: nn.Module, act: nn.Module | None = None) -> nn.Sequential:
    """A convolution, a norm over its four channels, an activation, and the head."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2),
        norm,
        act or nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    )


def plain() -> nn.Module:
    return perceptron(nn.ReLU())


def weight_normed() -> nn.Module:
    """Old style; torch calls it deprecated, and published networks are full of it."""
    return perceptron(nn.ReLU(), first=weight_norm(nn.Linear(64, WIDTH)))


def weight_normed_anew() -> nn.Module:
    return perceptron(nn.ReLU(), first=parametrizations.weight_norm(nn.Linear(64, WIDTH)))


def spectrally_normed() -> nn.Module:
    return perceptron(nn.ReLU(), first=spectral_norm(nn.Linear(64, WIDTH)))


def spectrally_normed_anew() -> nn.Module:
    return perceptron(nn.ReLU(), first=parametrizations.spectral_norm(nn.Linear(64, WIDTH)))


def orthogonal() -> nn.Module:
    return perceptron(nn.ReLU(), first=parametrizations.orthogonal(nn.Linear(64, WIDTH)))


def normed_head() -> nn.Module:
    """The head itself is re-parametrised."""
    head = weight_norm(nn.Linear(WIDTH, CLASSES))
    return nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), nn.ReLU(), head)


def pruned() -> nn.Module:
    layer = nn.Linear(64, WIDTH)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    return perceptron(nn.ReLU(), first=layer)


class Tied(nn.Module):
    """Two layers share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one, self.two = (nn.Linear(n, WIDTH) for n in (64, WIDTH, WIDTH))
        self.two.weight = self.one.weight
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1)).relu()
        logits: Tensor = self.head(self.two(self.one(x).relu()).relu())
        return logits


def shared() -> nn.Module:
    """One layer is called twice."""
    block = nn.Linear(WIDTH, WIDTH)
    return perceptron(nn.ReLU(), block, nn.ReLU(), block)


def frozen() -> nn.Module:
    """Everything but the head stays as it is."""
    network = perceptron(nn.ReLU(), nn.BatchNorm1d(WIDTH))
    for layer in list(network)[:-1]:
        layer.requires_grad_(False)
    return network


class OwnNorm(nn.BatchNorm2d):
    """A batch norm of one's own."""


def own_norm() -> nn.Module:
    return convnet(OwnNorm(4))


def sync_norm() -> nn.Module:
    return convnet(nn.SyncBatchNorm(4))


def instance_norm() -> nn.Module:
    return convnet(nn.InstanceNorm2d(4, affine=True, track_running_stats=True))


def group_norm() -> nn.Module:
    return convnet(nn.GroupNorm(2, 4))


def in_place() -> nn.Module:
    return convnet(nn.BatchNorm2d(4), nn.ReLU(inplace=True))


def prelu() -> nn.Module:
    return perceptron(nn.PReLU(WIDTH))


class Embedded(nn.Module):
    """Pixels are words of an embedding, places have another one."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(4, WIDTH), nn.Embedding(64, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        words = (x.flatten(1) * 3.99).long()
        tokens = self.words(words) + self.places.weight
        logits: Tensor = self.head(tokens.tanh().mean(1))
        return logits


class Attentive(nn.Module):
    """Attention over rows with a causal mask of -inf, a buffer, and a bare class token."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, CLASSES)
        self.register_buffer("mask", torch.full((9, 9), -torch.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.cat([x.squeeze(1), self.token.expand(len(x), -1, -1)], 1)
        seen, _ = self.attention(rows, rows, rows, attn_mask=self.mask, need_weights=False)
        logits: Tensor = self.head(self.norm(seen[:, -1]))
        return logits


class Fourier(nn.Module):
    """A complex filter, which is a buffer."""

    filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", torch.polar(torch.ones(8, 5), torch.linspace(0, 1, 5)))
        self.body, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.fft.irfft2(torch.fft.rfft2(x) * self.filter)
        logits: Tensor = self.head(self.body(x.flatten(1)).relu())
        return logits


class Double(nn.Module):
    """Computes in float64 and says so to nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(64, WIDTH).double(), nn.Linear(WIDTH, CLASSES).double()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x.double().flatten(1)).relu())
        return logits


class DropsOut(nn.Module):
    """Drops out by function."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(F.dropout(self.body(x.flatten(1)).relu(), 0.2, self.training))
        return logits


class Recurrent(nn.Module):
    """Reads an image row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.GRU(8, WIDTH, batch_first=True), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.body(x.squeeze(1))
        logits: Tensor = self.head(states[:, -1])
        return logits


class Own(nn.Module):
    """A layer of one's own, without `reset_parameters`."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(64, WIDTH) / 8)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x @ self.matrix)


def own_layer() -> nn.Module:
    return perceptron(nn.ReLU(), first=Own())


class Remembers(nn.Module):
    """Keeps its activations, for people to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.body(x.flatten(1)).relu()
        self.seen = [self.last]
        logits: Tensor = self.head(self.last)
        return logits


class HeadFirst(nn.Module):
    """Registers its head before its body."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(WIDTH, CLASSES), nn.Linear(64, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x.flatten(1)).relu())
        return logits


class Reads(nn.Module):
    """Reads a value of its input in Python, which torch.func cannot map."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.body = nn.GroupNorm(1, 1), nn.Linear(64, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x) if float(x.sum()) > 0 else x
        logits: Tensor = self.head(self.body(x.flatten(1)).relu())
        return logits


class Silent(nn.Module):
    """Overrides `train` and returns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(nn.Dropout(0.1))

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits


def starts_trained() -> nn.Module:
    """Its builder loads trained weights itself."""
    network = perceptron(nn.ReLU())
    network.get_parameter("1.weight").data.copy_(TRAINED)
    return network


def half_trained() -> nn.Module:
    """Its builder loads two trained layers and freezes the first."""
    network = perceptron(nn.Linear(WIDTH, WIDTH))
    network.get_parameter("1.weight").data.copy_(TRAINED)
    network.get_parameter("2.weight").data.copy_(TRAINED[:, :WIDTH])
    network.get_submodule("1").requires_grad_(False)
    return network


def steered() -> nn.Module:
    """A trainable constant, as a spatial transformer begins with: no sign of training."""
    network = perceptron(nn.Linear(WIDTH, WIDTH, bias=False))
    nn.init.eye_(network.get_parameter("2.weight"))
    return network


class SilentClassifier(Classifying):
    """A `Classifying` of one's own whose `train` returns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, CLASSES)

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(x.flatten(1)).relu()
        return features


class Ready(SilentClassifier):
    """A `Classifying` as it should be."""

    def train(self, mode: bool = True) -> "Ready":  # type: ignore[override]
        super().train(mode)
        return self


WORKING = {
    "plain": plain,
    "weight norm": weight_normed,
    "weight norm, new": weight_normed_anew,
    "spectral norm": spectrally_normed,
    "spectral norm, new": spectrally_normed_anew,
    "orthogonal": orthogonal,
    "normed head": normed_head,
    "pruned": pruned,
    "tied": Tied,
    "shared": shared,
    "frozen": frozen,
    "own norm": own_norm,
    "sync norm": sync_norm,
    "instance norm": instance_norm,
    "group norm": group_norm,
    "in place": in_place,
    "prelu": prelu,
    "embedding": Embedded,
    "infinite mask": Attentive,
    "complex": Fourier,
    "float64 inside": Double,
    "dropout by function": DropsOut,
    "recurrent": Recurrent,
    "own layer": own_layer,
    "remembers": Remembers,
    "head first": HeadFirst,
    "reads": Reads,
    "silent train": Silent,
    "ready": Ready,
    "starts trained": starts_trained,
    "half trained": half_trained,
    "steered": steered,
}


class Answers(nn.Module):
    """Wraps its logits: `how` says in what."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.body = how, nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), nn.ReLU())
        self.head = nn.Linear(WIDTH, CLASSES)
        self.noise = torch.randn(WIDTH)

    def forward(self, x: Tensor) -> Any:
        features = self.body(x)
        if self.how == "unregistered":
            features = features + self.noise
        if self.how == "always drops":
            features = F.dropout(features, 0.5)
        if self.how == "raises":
            raise KeyError("no such layer")
        logits = self.head(features)
        if self.how == "tuple in training" and not self.training:
            return logits
        if self.how == "NaN":
            return logits * torch.nan
        if self.how == "squashed":
            return logits.softmax(1)
        in_a = {"tuple": (logits, features), "dict": {"logits": logits}}
        return in_a.get(self.how.removesuffix(" in training"), logits)


def unfit(how: str) -> nn.Module:
    if how == "KeyError":
        raise KeyError("width")
    if how == "AssertionError":
        raise AssertionError("Torch not compiled with CUDA enabled")
    network = Answers(how)
    if how == "float64":
        network.double()
    if how == "NaN weights":
        network.head.weight.data[0] = torch.nan
    if how == "all frozen":
        network.requires_grad_(False)
    return network


_only = Answers("one for all")


def one_for_all() -> nn.Module:
    return _only


_ready = Ready()


def ready_for_all() -> Classifying:
    return _ready


class Detached(Ready):
    """Turns its logits into numbers, as a network for inference does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


REFUSED = {
    "tuple": "answers with a tuple of 2, not with a tensor",
    "dict": "answers with a dict of 1, not with a tensor",
    "tuple in training": "answers with a tuple of 2, not with a tensor",
    "always drops": "answers differently each time in eval mode",
    "unregistered": "register every tensor that it computes with",
    "NaN": "answers with NaN or infinity",
    "NaN weights": r"its weight 'head.weight' is not finite",
    "float64": r"its weights are torch.float64, images torch.float32: .*\.float\(\)",
    "all frozen": "no parameter that training moves",
    "squashed": "is not its last step",
    "raises": r"raises KeyError: 'no such layer' \(classifiers.py:\d+\)",
    "KeyError": r"KeyError: 'width' \(classifiers.py:\d+\)",
    "AssertionError": r"AssertionError: Torch not compiled with CUDA .* \(classifiers.py:\d+\)",
}
