"""A worker's process: its threads, and its memory."""

import os
import platform
import subprocess
import sys
from typing import Any

import pytest
import torch

from sweeps.compute.cache import WorkerCache
from tests.sweeps import builders as make

FAULTS = """
import resource, sys, torch
from sweeps.compute.cache import configure_worker
if sys.argv[1] == "settled":
    configure_worker(3.9)
for round in range(20):
    if round == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    batch = [torch.ones(2**21) for _ in range(4)]  # 8 MiB each
    del batch
print(torch.get_num_threads(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep what is freed"
)
def test_a_settled_process_keeps_its_memory_and_its_threads() -> None:
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "131072",
    }  # as glibc begins, and here stays when left alone
    (_, left), (threads, settled) = (
        map(
            int,
            subprocess.check_output(
                [sys.executable, "-c", FAULTS, how], env=environment, text=True
            ).split(),
        )
        for how in ("left", "settled")
    )
    assert threads == 3
    assert 10 * settled < left  # all pages of ten batches (81,920 of 4 KiB), or next to none


@pytest.mark.parametrize(
    ("method", "names"),
    [("fine-tune", []), ("sign-consensus", ["experts"]), ("retrain", ["oracle"])],
)
def test_a_method_is_handed_what_it_asks_for_and_nothing_else_is_loaded(
    method: str, names: list[str]
) -> None:
    """A worker that reads candidates on val loads no oracle, which is as large as the network."""
    loaded: list[str] = []

    class Loads:
        def load(self, kind: str, key: str) -> dict[str, torch.Tensor]:
            loaded.append(key)
            return {"w": torch.zeros(1)}

    store: Any = Loads()
    cell = make.cell(method=method)
    problem = cell.problem
    needs = WorkerCache(store, "data", "cpu").needs(cell)
    assert needs.pop("training", problem.train) is problem.train
    wanted = {"experts": [recipe.key for recipe in problem.experts], "oracle": [problem.oracle.key]}
    assert list(needs) == names
    assert loaded == [key for name in names for key in wanted[name]]
