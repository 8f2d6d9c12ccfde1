"""Measure the service against FastAPI and uvicorn alone, both with the same models.

    python -m tests.benchmarks.serve [--seconds 8] [--repeats 3] [--clients 1 8 64]
                                     [--out bench-serve.json] [-- SERVE-OPTIONS ...]

Both servers run at the same time; each measurement drives one, then the other, in turn, so that a
slow minute hits both alike. Prints the medians of good answers per second, of p50 and p99, and
their ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import torch

from serve.images import sheet
from tests.benchmarks.load import Load, drive, get, post
from tests.serve.ports import free_port
from unlearn.gallery import VARIANTS, Gallery
from unlearn.models import build

SHAPE = (1, 28, 28)
DIGITS, READER = "/v1/models/digits/generate", "/v1/models/reader/classify"
MAKE = {"digits": ("generator", "cvae-mlp"), "reader": ("classifier", "cnn")}  # name -> task, model


@dataclass(frozen=True)
class Server:
    """A server under test.

    port: where it listens.
    process: its root; the others are below it.
    ready_s: seconds from its start to its first good answer.
    """

    port: int
    process: subprocess.Popen[str]
    ready_s: float

    def memory(self) -> int:
        """Return MB that its processes hold; a shared page counts once (PSS)."""
        root = psutil.Process(self.process.pid)
        family = [root, *root.children(recursive=True)]
        return round(sum(member.memory_full_info().pss for member in family) / 2**20)


def make_gallery(root: Path) -> Gallery:
    """Publish an untrained generator and classifier: their answers cost what trained ones do."""
    gallery = Gallery(str(root))
    for name, (task, model) in MAKE.items():
        torch.manual_seed(0)
        weights = build(model, SHAPE, 10).state_dict()
        card = {"task": task, "model": model, "shape": list(SHAPE), "classes": 10, "forget": [1]}
        gallery.publish(name, dict.fromkeys(VARIANTS, weights), card)
    return gallery


@contextmanager
def started(command: list[str], port: int, log: Path, **variables: str) -> Iterator[Server]:
    """Start a server, wait for its first sheet, and stop it at the end."""
    began = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        _await_sheet(process, port, log)
        yield Server(port, process, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(60)


def _await_sheet(process: subprocess.Popen[str], port: int, log: Path) -> None:
    while process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}{DIGITS}?label=1").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"the server ended: {log.read_text()[-2000:]}")


def workloads(ours: Server, plain: Server) -> dict[str, dict[int, list[bytes]]]:
    """Return, by name, the requests that each server (by its port) is sent."""
    image = sheet(np.zeros((1, *SHAPE), np.uint8) + np.uint8(7), scale=1)
    form = _form(image)
    same = {
        "generate n=1": [get(f"{DIGITS}?label={i % 10}&n=1&seed={i}") for i in range(5000)],
        "generate n=16": [get(f"{DIGITS}?label={i % 10}&n=16&seed={i}") for i in range(5000)],
        "classify": [post(READER, form, "multipart/form-data; boundary=b")],
    }
    loads = {name: {ours.port: each, plain.port: each} for name, each in same.items()}
    cached = f"{DIGITS}?label=3&n=16&seed=0"
    loads["ETag hit"] = {port: [_conditional(port, cached)] for port in (ours.port, plain.port)}
    return loads


def _conditional(port: int, path: str) -> bytes:
    tag = httpx.get(f"http://127.0.0.1:{port}{path}").headers["etag"]
    return get(path, If_None_Match=tag)


def _form(image: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return head + image + b"\r\n--b--\r\n"


def same_bytes(ours: Server, plain: Server) -> bool:
    """Tell whether both servers answer with the same PNG files."""
    for seed in range(8):
        path = f"{DIGITS}?label={seed}&n={1 + 5 * seed}&seed={seed}"
        one, other = (httpx.get(f"http://127.0.0.1:{at.port}{path}") for at in (ours, plain))
        if one.content != other.content:
            return False
    return True


def compare(runs: dict[str, list[Load]]) -> dict[str, float]:
    """Return the medians of both servers' runs, and their ratios."""
    rate = {name: statistics.median(run.good for run in each) for name, each in runs.items()}
    p50 = {name: _percentile(each, 50) for name, each in runs.items()}
    p99 = {name: _percentile(each, 99) for name, each in runs.items()}
    answers = sum(sum(run.statuses.values()) for run in runs["ours"])
    good = sum(len(run.latencies) for run in runs["ours"])
    return {
        "ours_per_s": rate["ours"],
        "plain_per_s": rate["plain"],
        "rate_ratio": rate["ours"] / rate["plain"],
        "ours_p50_ms": p50["ours"],
        "plain_p50_ms": p50["plain"],
        "ours_p99_ms": p99["ours"],
        "plain_p99_ms": p99["plain"],
        "p99_ratio": p99["ours"] / p99["plain"],
        "refused": 1 - good / answers,
    }


def _percentile(runs: list[Load], percent: int) -> float:
    return statistics.median(run.percentile(percent) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--only", nargs="+", default=None, metavar="WORKLOAD")
    parser.add_argument("--out", type=Path, default=Path("bench-serve.json"))
    parser.add_argument("options", nargs="*", help="options of `amnesia serve`, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        gallery = make_gallery(Path(folder) / "gallery")
        ports = free_port(), free_port()
        serve = ["cluster", "serve", "--gallery", gallery.root, "--port", str(ports[0])]
        fast = ["uvicorn", "--factory", "tests.benchmarks.plain:app", "--no-access-log"]
        log = Path(folder) / "ours.log"
        ours = stack.enter_context(started([*serve, *given.options], ports[0], log))
        alone = [*fast, "--port", str(ports[1])]
        log = Path(folder) / "plain.log"
        plain = stack.enter_context(started(alone, ports[1], log, GALLERY=gallery.root))
        result: dict[str, object] = {
            "same_bytes": same_bytes(ours, plain),
            "ready_s": ours.ready_s,
            "plain_ready_s": plain.ready_s,
        }
        print(f"same bytes {result['same_bytes']}; ready in {ours.ready_s:.1f} s", flush=True)
        for name, requests in workloads(ours, plain).items():
            if given.only and name not in given.only:
                continue
            for clients in given.clients:
                runs: dict[str, list[Load]] = {"ours": [], "plain": []}
                for port in (ours.port, plain.port):
                    drive(port, requests[port], clients, 1)  # warm up
                for _ in range(given.repeats):
                    for who, port in (("ours", ours.port), ("plain", plain.port)):
                        runs[who].append(drive(port, requests[port], clients, given.seconds))
                line = compare(runs)
                result[f"{name}, {clients} clients"] = line
                print(
                    f"{name:14s} {clients:3d} clients: {line['ours_per_s']:7.0f} /s of "
                    f"{line['plain_per_s']:7.0f} ({line['rate_ratio']:.2f}), p50 "
                    f"{line['ours_p50_ms']:.1f} of {line['plain_p50_ms']:.1f} ms, p99 "
                    f"{line['ours_p99_ms']:.1f} of {line['plain_p99_ms']:.1f} ms "
                    f"({line['p99_ratio']:.1f}x), refused {line['refused']:.0%}",
                    flush=True,
                )
        result["memory_mb"] = ours.memory()
        print(f"memory {result['memory_mb']} MB")
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
