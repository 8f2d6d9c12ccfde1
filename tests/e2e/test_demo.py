"""`amnesia demo` at small size: every file it promises, and a picture that came over HTTP."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cluster import demo, ray_session
from cluster.main import entry
from tests.e2e.conftest import Amnesia, no_ray

SMALL = [
    "train.steps=80",
    "train.judge_steps=30",
    "train.fisher_samples=500",
    "demo-generator:unlearn.steps=30",
    "demo-generator:forget=[[1]]",
    "demo-generator:grid.lam=[10, 100]",
    "demo-classifier:search.trials=3",
    "eval.samples=40",
    "demo-generator:eval.judges=1",
]


def test_demo_makes_everything_and_the_second_time_is_cached(
    amnesia: Amnesia,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
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

    monkeypatch.setattr(demo, "fetch", lambda *_: "no server: the second picture is the first")
    monkeypatch.setattr(ray_session, "ray_session", no_ray)
    monkeypatch.chdir(tmp_path)
    assert entry(["demo", *changes]) == 0
    assert "the sweep was cached" in capsys.readouterr().out
