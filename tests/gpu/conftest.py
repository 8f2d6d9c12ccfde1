"""What needs a CUDA device is skipped where there is none; `make test-gpu` runs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from unlearn.splits import Images, Split, Splits
from unlearn.streams import stream

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """Convolutions by algorithms that give the same bits twice."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = before


def made_up(n: int, shape: tuple[int, int, int]) -> Images:
    """`n` images on the device, a bright square per class at a place of its own, and noise."""
    y = torch.arange(n, device="cuda") % 10
    noise = torch.rand(n, *shape, generator=stream(0, "images", device="cuda"), device="cuda")
    x = 100 * noise
    for label in range(10):
        row, column = 2 + 4 * (label // 2), 2 + 12 * (label % 2)
        x[y == label, :, row : row + 4, column : column + 6] += 155
    return Images(x.to(torch.uint8), y)


@pytest.fixture(scope="session")
def grey() -> Images:
    """2,000 images of MNIST's shape."""
    return made_up(2000, (1, 28, 28))


@pytest.fixture(scope="session")
def colour() -> Images:
    """2,000 images of CIFAR-10's shape."""
    return made_up(2000, (3, 32, 32))


@pytest.fixture(scope="session")
def splits(grey: Images) -> Splits:
    """Class 3 is forgotten; val and test are train again."""
    part = Split(grey.take(grey.y == 3), grey.take(grey.y != 3))
    return Splits(part, part, part)
