"""`amnesia demo`: sweep, report, promotion and a served generation on real digits, in minutes."""

import argparse
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from cluster.ray_session import ray_session
from cluster.running import data_root, print_errors, run_sweeps
from serve.deployments import ServiceSettings
from serve.launch import start
from sweeps.choose.promote import Promotion, promote
from sweeps.report.context import CellModels
from sweeps.report.page import write_report
from sweeps.report.sections.samples import sample_sheets
from sweeps.rows.results import Results
from sweeps.run.run import RunResult
from sweeps.spec.files import read_spec
from unlearn.gallery import Gallery

PROMOTED = {"digits": "demo-generator", "digits-classifier": "demo-classifier"}  # name -> sweep
SCORES = {  # task -> the columns that the demo shows
    "generator": ("forget_probability", "forget_accuracy", "retain_accuracy"),
    "classifier": ("test_forget_accuracy", "test_retain_accuracy"),
}
PREFIXES = {"original": "original_", "amnesiac": "", "oracle": "oracle_"}  # model -> prefix


class Stages:
    """Times the stages of the demo; `seconds` holds them by name, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a stage and time it."""
        print(f"-- {name}", file=sys.stderr, flush=True)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def demo(args: argparse.Namespace) -> int:
    """Carry out `amnesia demo`."""
    return run_demo(Path(args.out), args.port, args.set)


def run_demo(out: Path, port: int, changes: list[str]) -> int:
    """Run every stage and return the exit code. A second run reuses rows and pages.

    out: folder for everything: results, store, gallery, report.html, grids.png, served.png
    port: port of the server; 0 for any free one
    changes: `key=value` changes of the demo's spec
    """
    stages = Stages()
    results = Results(str((out / "results").absolute()))
    gallery = Gallery(str((out / "gallery").absolute()))
    store = str(out / "store")
    sweeps = read_spec("demo", changes)
    with stages.stage("sweep"):
        left, ran = run_sweeps(sweeps, results.root, store, None)
    with stages.stage("promote"):
        promoted = [
            promote(results, name, gallery, data_root(), sweep=sweep)
            for name, sweep in PROMOTED.items()
        ]
    with stages.stage("report"):
        report = write_pages(out, results, promoted[0])
    with stages.stage("serve"):
        served = fetch(gallery, promoted[0], out / "served.png", port)
    print(table(promoted).to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    for made in promoted:
        print(f"\n{made.name}: cell {made.row['cell_id']} {made.why}")
    print(f"\nrows    {results.table}")
    print(f"report  {report}")
    print(f"served  {out / 'served.png'} from {served}")
    print(timing(stages.seconds, ran))
    return 1 if print_errors(left, store) else 0


def write_pages(out: Path, results: Results, made: Promotion) -> Path:
    """Write report.html and grids.png unless both are newer than all rows; return report.html."""
    report = (out / "report.html").absolute()
    picture = out / "grids.png"
    newest_row = results.read()["created_at"].max().timestamp()
    written = report.exists() and picture.exists()
    if not written or picture.stat().st_mtime <= newest_row:
        write_report(results, None, str(report), data_root())
        sample_sheets(CellModels(made.row, data_root())).savefig(picture, dpi=80)
    return report


def fetch(gallery: Gallery, made: Promotion, picture: Path, port: int) -> str:
    """Serve the gallery and fetch a sheet of the forgotten label from each of the three models.

    Writes the amnesiac's sheet to `picture` and the others beside it. Returns the address of the
    amnesiac's sheet.
    """
    label = int(made.row["forget"][0])
    token = os.environ.get("AMNESIA_TOKEN") or None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    settings = ServiceSettings(gallery.root, port=port or free_port(), token=token)
    with ray_session(None, service=True), start(settings) as server:
        address = f"{server.url}/v1/models/{made.name}/generate"
        for variant in PREFIXES:
            sheet = f"{address}?label={label}&n=16&seed=0&variant={variant}"
            answer = httpx.get(sheet, headers=headers, timeout=60)
            answer.raise_for_status()
            path = picture if variant == "amnesiac" else picture.with_name(f"served-{variant}.png")
            path.write_bytes(answer.content)
    return f"{address}?label={label}&n=16&seed=0"


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def table(promoted: list[Promotion]) -> pd.DataFrame:
    """Return one line per promoted model and score, with columns original, amnesiac, oracle."""
    lines: list[dict[str, Any]] = []
    for made in promoted:
        forget = [int(label) for label in made.row["forget"]]
        for score in SCORES[made.row["task"]]:
            values = {variant: made.row[prefix + score] for variant, prefix in PREFIXES.items()}
            lines.append({"model": made.name, "forget": forget, "score": score, **values})
    return pd.DataFrame(lines)


def timing(seconds: dict[str, float], ran: RunResult | None) -> str:
    """Say how long each stage took, and for which share of the sweep its slots did not compute."""
    parts = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    stages = f"stages: {parts}; in all {sum(seconds.values()):.1f} s"
    if ran is None:
        return f"{stages}\nthe sweep was cached: nothing was computed"
    sweep_s = seconds["sweep"]
    share = 1 - ran.computed_s / (ran.slots * sweep_s)
    return (
        f"{stages}\n{ran.computed_s:.1f} of {ran.slots} x {sweep_s:.1f} s of sweep were computing; "
        f"{share:.0%} waiting on Ray (its start, workers importing, slots idle at the end)"
    )
