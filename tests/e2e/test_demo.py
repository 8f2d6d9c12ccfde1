"""`amnesia demo` at small size: every file it promises, and a picture that came over HTTP."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tests.e2e.conftest import Amnesia
from tests.e2e.terminal import Terminal

SMALL = [
    "train.steps=150",
    "train.judge_steps=60",
    "train.fisher_samples=500",
    "demo-generator:unlearn.steps=60",
    "demo-generator:forget=[[1]]",
    "demo-generator:grid.lam=[10, 100]",
    "demo-classifier:search.trials=3",
    "eval.samples=40",
]


def test_demo_makes_everything_and_the_second_time_is_cached(
    amnesia: Amnesia, terminal: Terminal, tmp_path: Path
) -> None:
    changes = [part for change in SMALL for part in ("--set", change)]
    run = amnesia("demo", *changes, cwd=tmp_path)
    output, _ = run.communicate(timeout=900)
    assert run.returncode == 0, output
    for promised in ("results/v1", "store", "gallery/digits/current", "report.html", "served.png"):
        assert (tmp_path / "demo" / promised).exists(), promised
    rows = pd.read_parquet(tmp_path / "demo" / "results" / "v1")
    assert dict(rows["sweep"].value_counts()) == {"demo-generator": 2, "demo-classifier": 3}
    sheets = [
        np.asarray(Image.open(tmp_path / "demo" / name))
        for name in ("served.png", "served-original.png", "served-oracle.png")
    ]
    assert len({sheet.tobytes() for sheet in sheets}) == 3
    assert all(
        word in output for word in ("original", "amnesiac", "oracle", "stages:", "waiting on Ray")
    )
    for noise in ("graceful_shutdown", "(raylet)", "Traceback"):
        assert noise not in output
    again = terminal.run("demo", *changes, cwd=tmp_path, timeout=300)
    assert again.code == 0, again.err
    assert "the sweep was cached" in again.out
