"""A small convolutional classifier for digits and anything of their size."""

import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.models.base import Classifying

HIDDEN = 64


class CNN(Classifying):
    """Two convolutions with batch norm, one hidden layer of 64.

    Input (n, *shape) in [0, 1], output logits (n, classes).

    shape: (channels, height, width) of one image
    classes: number of classes
    width: channels of the first convolution; the second has twice as many
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int = 16) -> None:
        super().__init__()
        channels, height, image_width = shape
        positions = (height // 4) * (image_width // 4)  # each pooling halves both sides
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.hidden = nn.Linear(2 * width * positions, HIDDEN)
        self.head = nn.Linear(HIDDEN, classes)

    def features(self, x: Tensor) -> Tensor:
        """Compute the hidden layer, (n, 64)."""
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.max_pool2d(x, 2)
        return F.relu(self.hidden(x.flatten(1)))
