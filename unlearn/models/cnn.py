"""A small convolutional classifier for digits and anything of their size."""

import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.models.base import Classifying


class CNN(Classifying):
    """Two convolutions with batch norm, one hidden layer. Input (n, *shape) in [0, 1], output logits (n, classes)."""

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int = 16) -> None:
        super().__init__()
        channels, height, wide = shape
        self.conv1, self.norm1 = nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = (
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
        )
        self.hidden = nn.Linear(2 * width * (height // 4) * (wide // 4), 64)
        self.head = nn.Linear(64, classes)

    def features(self, x: Tensor) -> Tensor:
        """The last layer before the head, (n, 64)."""
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        return F.relu(self.hidden(x.flatten(1)))
