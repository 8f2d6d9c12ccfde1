"""Small generators of every kind that people bring: 1 x 8 x 8 images in three classes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from unlearn.models.base import Generative

CLASSES, HIDDEN, Z = 3, 8, 2


class Small(Generative):
    """One hidden layer each way. Others change a part of it.

    code: image and label -> mean and log variance; draw: latent and label -> pixels
    """

    def __init__(self) -> None:
        super().__init__()
        self.shape, self.classes, self.z_dim = (1, 8, 8), CLASSES, Z
        self.hidden, self.code = nn.Linear(64 + CLASSES, HIDDEN), nn.Linear(HIDDEN, 2 * Z)
        self.spread, self.draw = nn.Linear(Z + CLASSES, HIDDEN), nn.Linear(HIDDEN, 64)

    def labelled(self, x: Tensor, c: Tensor) -> Tensor:
        """Join images or latents with their labels."""
        return torch.cat([x.flatten(1), c], 1)

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        code: Tensor = self.code(self.hidden(self.labelled(x, c)).relu())
        return code[:, :Z], code[:, Z:]

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        pixels = self.draw(self.act(self.spread(self.labelled(z, c))))
        images: Tensor = pixels.unflatten(1, (1, 8, 8))
        return images

    def act(self, h: Tensor) -> Tensor:
        return h.relu()


class Embedding(Small):
    """Labels are words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(CLASSES, CLASSES)

    def labelled(self, x: Tensor, c: Tensor) -> Tensor:
        words: Tensor = c @ self.words.weight + self.words(c.argmax(1))
        return torch.cat([x.flatten(1), words], 1)


class Prelu(Small):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.PReLU()

    def act(self, h: Tensor) -> Tensor:
        slopes: Tensor = self.slope(h)
        return slopes


class Grouped(Small):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, HIDDEN)

    def act(self, h: Tensor) -> Tensor:
        normed: Tensor = self.norm(h)
        return normed.relu()


class Bare(Small):
    """A parameter that no layer holds, in the encoder and in the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(64)), nn.Parameter(torch.zeros(1, 8, 8))

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return super().encode(x.flatten(1) * self.gain, c)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        return super().decode(z, c) + self.shift


class Tied(Small):
    """The decoder draws by the encoder's weight, which no formula sees."""

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        h = self.act(self.spread(self.labelled(z, c)))
        pixels = F.linear(h, self.hidden.weight[:, :64].T) + self.draw(h)
        images: Tensor = pixels.unflatten(1, (1, 8, 8))
        return images


class Masked(Small):
    """A buffer of -inf."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([0.0] * (HIDDEN - 1) + [-torch.inf]))

    def act(self, h: Tensor) -> Tensor:
        return (h + self.mask).softmax(1)


class Dropping(Small):
    def act(self, h: Tensor) -> Tensor:
        return F.dropout(h.relu(), 0.1, self.training)


def changed(change: Any) -> Any:
    """Make a builder of a `Small` whose drawing layer is changed."""

    def build() -> Small:
        model = Small()
        model.draw = change(model.draw)
        return model

    build.task = "generator"  # type: ignore[attr-defined]
    return build


def _frozen(layer: nn.Linear) -> nn.Linear:
    return layer.requires_grad_(False)


def _pruned(layer: nn.Linear) -> nn.Linear:
    prune.l1_unstructured(layer, "weight", amount=0.3)
    return layer


def undeclared() -> Small:
    """Its builder does not say that it makes a generator."""
    return Small()


weight_normed = changed(weight_norm)
spectrally_normed = changed(spectral_norm)
spectrally_normed_anew = changed(parametrizations.spectral_norm)
pruned = changed(_pruned)
frozen = changed(_frozen)

WORKING = {
    "plain": "Small",
    "embedding": "Embedding",
    "prelu": "Prelu",
    "group norm": "Grouped",
    "bare": "Bare",
    "tied": "Tied",
    "infinite mask": "Masked",
    "dropout": "Dropping",
    "weight norm": "weight_normed",
    "spectral norm": "spectrally_normed",
    "spectral norm, new": "spectrally_normed_anew",
    "pruned": "pruned",
    "frozen": "frozen",
}
