"""Networks and builders as a user writes them, for tests of `package.module:builder`."""

import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.models.base import Classifying


def plain(num_classes: int, width: int = 8) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 5, stride=3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * width, num_classes),
    )


class Ready(Classifying):
    """Has features and a head already."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(shape[1] * shape[2], 7), nn.Linear(7, classes)

    def features(self, x: Tensor) -> Tensor:
        output: Tensor = self.body(x.flatten(1)).tanh()
        return output


def ready(shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Ready(shape, classes)


def dropping(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, num_classes)
    )


def sharing(num_classes: int) -> nn.Module:
    """One activation and one block of layers, each under several names."""
    act, block = nn.PReLU(), nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16))
    layers = [nn.Linear(784, 16), act, block, act, block, act, nn.Linear(16, num_classes)]
    return nn.Sequential(nn.Flatten(), *layers)


class DropsOut(nn.Module):
    """Drops out by function, without a dropout layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(784, 16), nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(F.dropout(self.body(x.flatten(1)).relu(), 0.5, self.training))
        return logits


def number() -> int:
    return 3


def headless() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 10, 28), nn.Flatten())


def squashed(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes), nn.Softmax(1))
