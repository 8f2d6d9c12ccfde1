"""Models so small that the losses of a method can be worked out by hand."""

from math import exp, log
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.models.base import Classifying, Generative
from unlearn.splits import Images, Split, Splits

FORGOTTEN = (0.5, 0.25, 0.25)  # the classifier's probabilities on a forgotten image, of label 0
RETAINED = (0.1, 0.8, 0.1)  # and on a retained one, of label 1


class TwoPixels(Classifying):
    """Classifies images of two pixels: pixel j alone gives the logits log p_j, (3,)."""

    def __init__(self, *probabilities: tuple[float, float, float]) -> None:
        super().__init__()
        self.head = nn.Linear(2, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor(probabilities).log().T)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def two_pixels(
    forgotten: tuple[float, float, float] = FORGOTTEN,
    retained: tuple[float, float, float] = RETAINED,
) -> Any:
    """A classifier with these probabilities on forgotten and on retained images, in eval mode."""
    return TwoPixels(forgotten, retained).eval()


def two_pixel_splits(forgotten: int = 2, retained: int = 2) -> Splits:
    """So many forgotten images, of the first pixel and label 0, and retained ones, of the second
    pixel and label 1."""
    pixels = torch.tensor([[255, 0], [0, 255]], dtype=torch.uint8).view(2, 1, 1, 2)
    forget = Images(pixels[:1].repeat(forgotten, 1, 1, 1), torch.zeros(forgotten).long())
    retain = Images(pixels[1:].repeat(retained, 1, 1, 1), torch.ones(retained).long())
    part = Split(forget, retain)
    return Splits(part, part, part)


class GreyGenerator(Generative):
    """Draws 2 x 2 pixels, all mid-grey at first: q(z | x, c) is N(0, 1), the logits are a bias.

    So the KL is 0, and the cross-entropy of any image is 4 ln 2.
    """

    shape = (1, 2, 2)
    classes = 3
    z_dim = 1

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 2, 2))

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        nothing = torch.zeros(len(x), self.z_dim)
        return nothing, nothing

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        return self.bias.expand(len(z), 1, 2, 2)


def bright_generator() -> GreyGenerator:
    """A generator whose pixel logits are all 2."""
    model = GreyGenerator()
    model.bias.data.fill_(2.0)
    return model


# The cross-entropy of four pixels of logit 2 to each target: 4 (ln(1 + e^2) - 2 u).
BRIGHT_LOSSES = {
    "grey": 4 * (log(1 + exp(2)) - 1),
    "class": 4 * (log(1 + exp(2)) - 2 / (1 + exp(-2))),
}


def grey_splits() -> Splits:
    """Four images each of label 0, which is forgotten, and of the retained labels 1 and 2."""
    forget = Images(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4).long())
    retain = Images(torch.zeros(8, 1, 2, 2, dtype=torch.uint8), torch.tensor([1, 2] * 4))
    part = Split(forget, retain)
    return Splits(part, part, part)
