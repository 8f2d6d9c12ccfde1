"""A user's own network, which amnesia does not ship, for compare.py."""

from torch import nn


def net(num_classes: int) -> nn.Module:
    """A small convolutional network on 28 x 28 grey images; returns logits (n, num_classes)."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 12 * 12, num_classes),
    )
