"""`amnesia demo`: sweep, Parquet, report, promotion, a served generation; on real digits, in minutes."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pandas as pd

from cluster.commands import data_root, name_errors, run_sweeps
from cluster.ray_session import ray_session
from serve.deployments import Settings
from serve.launch import start
from sweeps.choose.promote import Promotion, promote
from sweeps.report.context import CellModels
from sweeps.report.page import write_report
from sweeps.report.sections.samples import sample_sheets
from sweeps.rows.results import Results
from sweeps.run.run import Ran
from sweeps.spec.parse import read_spec
from unlearn.artifacts import Gallery

PROMOTED = {"digits": "demo-generator", "digits-classifier": "demo-classifier"}


class Stages:
    """Seconds by stage, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"-- {name}", file=sys.stderr, flush=True)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def run_demo(out: Path, port: int, changes: list[str]) -> int:
    """Everything under `out`: results, store, gallery, report.html, grids.png, served.png. Again, it is seconds."""
    stages = Stages()
    results, gallery = (
        Results(str((out / "results").absolute())),
        Gallery(str((out / "gallery").absolute())),
    )
    sweeps, store = read_spec("demo", changes), str(out / "store")
    with stages.stage("sweep"):
        ran = run_sweeps(sweeps, results.root, store, None)
    with stages.stage("promote"):
        promoted = [
            promote(results, name, gallery, data_root(), sweep=sweep)
            for name, sweep in PROMOTED.items()
        ]
    with stages.stage("report"):
        report, picture = (out / "report.html").absolute(), out / "grids.png"
        newest = results.read()["created_at"].max().timestamp()
        if not (report.exists() and picture.exists() and picture.stat().st_mtime > newest):
            write_report(results, None, str(report), data_root())
            models = CellModels(promoted[0].row, data_root())
            sample_sheets(models).savefig(picture, dpi=80)
    with stages.stage("serve"):
        served = fetch(gallery, promoted[0], out / "served.png", port)
    print(table(promoted).to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    for made in promoted:
        print(f"\n{made.name}: cell {made.row['cell_id']} {made.why}")
    print(
        f"\nrows    {results.table}\nreport  {report}\nserved  {out / 'served.png'} from {served}"
    )
    print(timing(stages.seconds, ran))
    return 1 if name_errors(sweeps, results.root, store) else 0


def fetch(gallery: Gallery, made: Promotion, picture: Path, port: int) -> str:
    """Start the server, fetch the forgotten label over HTTP from each of the three models, stop it."""
    label, token = int(made.row["forget"][0]), os.environ.get("AMNESIA_TOKEN") or None
    with (
        ray_session(None),
        start(Settings(gallery.root, port=port or free_port(), token=token)) as server,
    ):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        address = f"{server.url}/v1/models/{made.name}/generate"
        for variant in ("original", "amnesiac", "oracle"):
            query = {"label": label, "n": 16, "seed": 0, "variant": variant}
            answer = httpx.get(
                address, params=query, headers=headers, timeout=60
            ).raise_for_status()
            path = picture if variant == "amnesiac" else picture.with_name(f"served-{variant}.png")
            path.write_bytes(answer.content)
        return f"{address}?label={label}&n=16&seed=0"


def free_port() -> int:
    """A port on the loopback that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


SCORES = {
    "generator": ("forget_probability", "forget_accuracy", "retain_accuracy"),
    "classifier": ("test_forget_accuracy", "test_retain_accuracy"),
}
KINDS = {"original": "original_", "amnesiac": "", "oracle": "oracle_"}


def table(promoted: list[Promotion]) -> pd.DataFrame:
    """One line a promoted model and score: original | amnesiac | oracle."""
    lines = []
    for made in promoted:
        for column in SCORES[made.row["task"]]:
            values = {kind: made.row[prefix + column] for kind, prefix in KINDS.items()}
            lines.append(
                {
                    "model": made.name,
                    "forget": list(map(int, made.row["forget"])),
                    "score": column,
                    **values,
                }
            )
    return pd.DataFrame(lines)


def timing(seconds: dict[str, float], ran: Ran | None) -> str:
    """Seconds per stage, and the share of the sweep's core seconds that went to Ray instead of computing."""
    parts = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    lines = f"stages: {parts}; in all {sum(seconds.values()):.1f} s"
    if ran is None:
        return lines + "\nthe sweep was cached: nothing was computed"
    share = 1 - ran.computed_s / (ran.slots * seconds["sweep"])
    return lines + (
        f"\nof {ran.slots} x {seconds['sweep']:.1f} s of sweep, {ran.computed_s:.1f} s were spent computing: "
        f"{share:.0%} waiting on Ray (its start, workers importing, slots idle at the end)"
    )
