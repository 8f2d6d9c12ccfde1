"""Classifiers that judge generated images: three architectures, so that they err differently.

The panel of judges is made of them in `unlearn.generators.judges`. Each takes images
(n, *shape) in [0, 1] and returns logits (n, outputs).
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.models.base import Classifying

SMALLEST_UNPADDED = 16  # pixels; 16 leave a map of 1 x 1


class OfficialJudge(Classifying):
    """The judge of Selective Amnesia's code: conv(10, 5) - conv(20, 5) - dropout - 50.

    Images with a side below 16 pixels, of which these convolutions leave nothing, are padded by 2
    before each of them.

    shape: (channels, height, width) of one image, at least 8 x 8
    outputs: number of logits
    """

    def __init__(self, shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        channels, height, width = shape
        padding = 2 if min(height, width) < SMALLEST_UNPADDED else 0
        positions = _official_side(height, padding) * _official_side(width, padding)
        self.conv1 = nn.Conv2d(channels, 10, 5, padding=padding)
        self.norm1 = nn.BatchNorm2d(10)
        self.conv2 = nn.Conv2d(10, 20, 5, padding=padding)
        self.norm2 = nn.BatchNorm2d(20)
        self.drop = nn.Dropout2d()
        self.hidden = nn.Linear(20 * positions, 50)
        self.head = nn.Linear(50, outputs)

    def features(self, x: Tensor) -> Tensor:
        """Compute the hidden layer, (n, 50)."""
        x = self.norm1(self.conv1(x))
        x = F.relu(F.max_pool2d(x, 2))
        x = self.drop(self.norm2(self.conv2(x)))
        x = F.relu(F.max_pool2d(x, 2))
        return F.relu(self.hidden(x.flatten(1)))


def _official_side(side: int, padding: int) -> int:
    """Side of the last map: twice a 5 x 5 convolution, then pooling by 2."""
    lost = 4 - 2 * padding  # pixels, at each convolution
    first = (side - lost) // 2
    return (first - lost) // 2


class DeepJudge(Classifying):
    """Five 3 x 3 convolutions with batch norm, two of stride 2, then the mean over positions.

    shape: (channels, height, width) of one image
    outputs: number of logits
    """

    def __init__(self, shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        widths = [shape[0], 16, 32, 32, 64, 64]
        strides = [2, 1, 1, 2, 1]
        layers: list[nn.Module] = []
        for (before, after), stride in zip(pairwise(widths), strides, strict=True):
            layers.append(nn.Conv2d(before, after, 3, stride, 1, bias=False))
            layers.append(nn.BatchNorm2d(after))
            layers.append(nn.ReLU())
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(64, outputs)

    def features(self, x: Tensor) -> Tensor:
        """Compute the last map's mean over positions, (n, 64)."""
        output: Tensor = self.body(x).mean((2, 3))
        return output


class PatchJudge(Classifying):
    """A patch network without pooling, with large kernels, after ConvMixer (arXiv:2201.09792).

    A 4 x 4 patch stem, two mixing blocks, and a hidden layer that sees where each patch lies.

    shape: (channels, height, width) of one image
    outputs: number of logits
    width: channels of every patch
    """

    def __init__(self, shape: tuple[int, int, int], outputs: int, width: int = 48) -> None:
        super().__init__()
        channels, height, image_width = shape
        patches = (height // 4) * (image_width // 4)
        blocks = range(2)
        self.stem = _with_norm(nn.Conv2d(channels, width, 4, 4))
        self.mixers = nn.ModuleList(
            _with_norm(nn.Conv2d(width, width, 5, padding=2, groups=width)) for _ in blocks
        )
        self.points = nn.ModuleList(_with_norm(nn.Conv2d(width, width, 1)) for _ in blocks)
        self.hidden = nn.Linear(width * patches, 64)
        self.head = nn.Linear(64, outputs)

    def features(self, x: Tensor) -> Tensor:
        """Compute the hidden layer, (n, 64)."""
        x = self.stem(x)
        for mix, point in zip(self.mixers, self.points, strict=True):
            x = point(x + mix(x))
        return F.gelu(self.hidden(x.flatten(1)))


def _with_norm(conv: nn.Conv2d) -> nn.Sequential:
    """Put a GELU and a batch norm after a convolution."""
    return nn.Sequential(conv, nn.GELU(), nn.BatchNorm2d(conv.out_channels))
