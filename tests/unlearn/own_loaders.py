"""Loaders as a user would write them: scikit-learn's digits, and what does not fit."""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from unlearn.splits import Images


def digits8() -> Any:
    """1,797 digits of 8 x 8 pixels, as floats in [0, 1]; test images are left to be cut off."""
    digits = load_digits()
    return digits.images / 16, digits.target


def halves() -> Any:
    """The same as two classes, 0 to 4 and 5 to 9, with the digits as fine labels."""
    digits = load_digits()
    return digits.images / 16, digits.target // 5, digits.target


def in_two_parts() -> Any:
    """Two classes of 4 x 6 pixels in two colours: 20 to train on, 4 to test on."""
    x, y = np.zeros((24, 2, 4, 6), np.uint8), np.arange(24) % 2
    return (x[:20], y[:20]), (x[20:], y[20:])


def broken() -> Any:
    raise KeyError("no such file")


def text() -> Any:
    return "images"


def one_class() -> Any:
    return np.zeros((30, 4, 4), np.uint8), np.zeros(30, int)


def ready_made() -> Images:
    """What `Images` holds is taken as it is."""
    import torch

    return Images(torch.zeros(20, 1, 2, 2, dtype=torch.uint8), torch.arange(20) % 2)
