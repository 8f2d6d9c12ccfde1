"""Classifiers that read generated images: three networks of different shape, so that no blind spot is shared."""

import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.models.base import Classifying


class OfficialJudge(Classifying):
    """The judge of Selective Amnesia's code: conv(10, 5) - conv(20, 5) - dropout - 50."""

    def __init__(self, shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        channels, height, width = shape
        places = (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
        self.conv1, self.norm1 = nn.Conv2d(channels, 10, 5), nn.BatchNorm2d(10)
        self.conv2, self.norm2 = nn.Conv2d(10, 20, 5), nn.BatchNorm2d(20)
        self.drop = nn.Dropout2d()
        self.hidden = nn.Linear(20 * places, 50)
        self.head = nn.Linear(50, outputs)

    def features(self, x: Tensor) -> Tensor:
        """(n, 50)."""
        x = F.relu(F.max_pool2d(self.norm1(self.conv1(x)), 2))
        x = F.relu(F.max_pool2d(self.drop(self.norm2(self.conv2(x))), 2))
        return F.relu(self.hidden(x.flatten(1)))


class DeepJudge(Classifying):
    """Five 3 x 3 convolutions with batch norm, strided, then the mean over places."""

    def __init__(self, shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        widths, strides = [shape[0], 16, 32, 32, 64, 64], [2, 1, 1, 2, 1]
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            layers += [
                nn.Conv2d(before, after, 3, stride, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(64, outputs)

    def features(self, x: Tensor) -> Tensor:
        """(n, 64)."""
        return self.body(x).mean((2, 3))


class PatchJudge(Classifying):
    """A 4 x 4 patch stem, two mixing blocks (after ConvMixer, arXiv:2201.09792), and a layer that sees where each patch
    lies: no pooling anywhere, large kernels."""

    def __init__(self, shape: tuple[int, int, int], outputs: int, width: int = 48) -> None:
        super().__init__()
        channels, height, wide = shape
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 4, 4), nn.GELU(), nn.BatchNorm2d(width)
        )
        self.mixers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 5, padding=2, groups=width),
                nn.GELU(),
                nn.BatchNorm2d(width),
            )
            for _ in range(2)
        )
        self.points = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 1), nn.GELU(), nn.BatchNorm2d(width))
            for _ in range(2)
        )
        self.hidden = nn.Linear(width * (height // 4) * (wide // 4), 64)
        self.head = nn.Linear(64, outputs)

    def features(self, x: Tensor) -> Tensor:
        """(n, 64)."""
        x = self.stem(x)
        for mix, point in zip(self.mixers, self.points, strict=True):
            x = point(x + mix(x))
        return F.gelu(self.hidden(x.flatten(1)))
