"""Networks that others publish with their trained weights, from `amnesia plan` to rows.

The two wheels are downloaded, checked against their hashes, and unpacked into a folder of the test;
nothing is installed. Without a package index the test is skipped.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.terminal import ROOT, Terminal

HERE = ROOT / "tests" / "elsewhere"


@pytest.fixture(scope="module")
def unpacked(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder from which the terminal imports, with both packages in it."""
    wheels = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    where = ["--dest", str(wheels), "--requirement", str(HERE / "packages.txt")]
    done = subprocess.run([*pip, *where], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.skip(f"no package index here: {done.stderr.strip().splitlines()[-1]}")
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(modules)
    return modules


@pytest.mark.cluster
def test_networks_of_other_packages_are_unlearned(
    terminal: Terminal, unpacked: Path, tmp_path: Path
) -> None:
    text = (HERE / "packages.yaml").read_text().replace("{folder}", str(unpacked))
    (tmp_path / "spec.yaml").write_text(text)

    planned = terminal.run("plan", "spec.yaml", cwd=tmp_path)
    ran = terminal.run("run", "spec.yaml", cwd=tmp_path)

    assert planned.code == 0, planned.err
    assert ran.code == 0, ran.err
    rows = pd.read_parquet(tmp_path / "results" / "v1")
    assert list(rows["status"]) == ["ok"] * 4
    assert (rows["original_test_retain_accuracy"] > 0.9).all()  # trained weights, not drawn ones
    assert rows["zrf"].notna().all()
