"""Measure how long `amnesia serve` takes to start, and the memory that each of its processes holds.

    python -m tests.benchmarks.footprint [--starts 3] [-- SERVE-OPTIONS ...]

Starts the service, asks each of its two small models once, and prints a table of its processes:
proportional set size (PSS: a page that several processes share counts once) and CPU seconds until
then. With several starts, the seconds until `amnesia serve` said that it serves are the median.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.benchmarks.serve import DIGITS, READER, make_gallery
from tests.serve.ports import free_port

NAMES = {  # part of a command line -> what the process is
    "tests.benchmarks": "this measurement",
    "ray::ServeReplica": "HTTP replica",
    "ray::ServeController": "Ray Serve's controller",
    "ray::HAProxyManager": "Ray's keeper of HAProxy",
    "ray::Proxy": "Ray's proxy",
    "ray::IDLE": "idle workers of Ray",
    "haproxy_guard": "guard of HAProxy",
    "haproxy": "HAProxy",
    "gcs_server": "Ray: GCS",
    "raylet/raylet": "Ray: raylet",
    "ray::DashboardAgent": "Ray: agent (metrics)",
    "ray::RuntimeEnvAgent": "Ray: agent (environments)",
    "cluster serve": "amnesia serve",
    "keep_serving": "amnesia serve",
}


@dataclass
class Held:
    """What the processes of one name hold.

    count: how many there are.
    megabytes: their PSS together.
    cpu_s: the CPU seconds that they took so far.
    """

    count: int = 0
    megabytes: float = 0.0
    cpu_s: float = 0.0


def name_of(process: psutil.Process) -> str:
    """Name a process by its command line."""
    command = " ".join(process.cmdline())
    for part, name in NAMES.items():
        if part in command:
            return name
    return command[:40]


def measure(root: int) -> dict[str, Held]:
    """Return by name what a process and all below it hold."""
    parent = psutil.Process(root)
    held: dict[str, Held] = defaultdict(Held)
    for member in [parent, *parent.children(recursive=True)]:
        entry = held[name_of(member)]
        times = member.cpu_times()
        entry.count += 1
        entry.megabytes += member.memory_full_info().pss / 2**20
        entry.cpu_s += times.user + times.system
    return dict(held)


@contextmanager
def serving(gallery: str, options: list[str]) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """Start `amnesia serve`; yield it, its address, and the seconds until it served."""
    port = free_port()
    command = [sys.executable, "-m", "cluster", "serve", "--gallery", gallery, f"--port={port}"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        ready_s = time.perf_counter() - began
        if not line.startswith("serving"):
            raise SystemExit(f"the service did not start: {line}")
        yield process, f"http://127.0.0.1:{port}", ready_s
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def ask(url: str) -> None:
    """Have the service load both of its models."""
    with httpx.Client(base_url=url, timeout=60) as client:
        client.get(f"{DIGITS}?label=3&n=16").raise_for_status()
        blank = [[[0.0] * 28] * 28]
        client.post(READER, json={"images": [blank]}).raise_for_status()


def table(held: dict[str, Held]) -> str:
    """Write what the processes hold, the largest first, as a Markdown table."""
    lines = ["| process | number | PSS, MB | CPU, s |", "|---|---|---|---|"]
    for name, entry in sorted(held.items(), key=lambda item: -item[1].megabytes):
        lines.append(f"| {name} | {entry.count} | {entry.megabytes:.0f} | {entry.cpu_s:.1f} |")
    total = sum(entry.megabytes for entry in held.values())
    count = sum(entry.count for entry in held.values())
    cpu = sum(entry.cpu_s for entry in held.values())
    lines.append(f"| together | {count} | {total:.0f} | {cpu:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("options", nargs="*", help="options of `amnesia serve`, after --")
    given = parser.parse_args()
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        gallery = make_gallery(Path(folder) / "gallery")
        for _ in range(given.starts):
            with serving(gallery.root, given.options) as (process, url, ready_s):
                seconds.append(ready_s)
                ask(url)
                time.sleep(5)  # idle workers of Ray end
                held = measure(process.pid)
    each = ", ".join(f"{second:.1f}" for second in seconds)
    print(f"ready in {statistics.median(seconds):.1f} s (median of {each})\n\n{table(held)}")


if __name__ == "__main__":
    main()
