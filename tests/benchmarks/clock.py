"""Timing that a busy machine cannot tilt, and the file the ratios go to."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

REPEATS = 5
Result = dict[str, float | bool | str]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(*works: Callable[[], object]) -> list[float]:
    """Median seconds of each of `works`, run in turn five times: a slow minute hits all alike."""
    times = [[seconds(work) for work in works] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def write(path: Path, name: str, result: Result) -> None:
    """Put one result into the JSON file beside those that are there."""
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, name: result}, indent=1, sort_keys=True) + "\n")
