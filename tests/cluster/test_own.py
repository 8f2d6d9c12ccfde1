"""Our packages are found whatever else bears their names, on the driver and in Ray's workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray import cloudpickle

from cluster.own import PACKAGES, importer

ROOT = Path(__file__).parents[2]


def impostors(folder: Path, *names: str) -> Path:
    """A user's folder whose modules have our names; importing one of them ends the process."""
    for name in names:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    return folder


def python(folder: Path, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[str]":
    """Run Python in the user's folder, which comes first on the search path."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )
    out, err = run.stdout.decode(), run.stderr.decode()
    return subprocess.CompletedProcess(run.args, run.returncode, out, err)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("amnesia", PACKAGES),
        ("cluster", tuple(name for name in PACKAGES if name != "cluster")),
    ],
)
def test_the_command_finds_its_own_packages(
    module: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    run = python(impostors(tmp_path, *names), "-m", module, "--help")
    assert run.returncode == 0, run.stderr
    assert "Sweeps for machine unlearning" in run.stdout


def test_what_ray_runs_in_its_workers_needs_no_import_of_ours(tmp_path: Path) -> None:
    """Afterwards all is ours, and the user's own modules are found as before."""
    folder = impostors(tmp_path, *PACKAGES)
    (folder / "nets.py").touch()
    hook = cloudpickle.dumps(importer([str(ROOT)]))
    code = """
import pickle, sys
hook = pickle.loads(sys.stdin.buffer.read())
before = list(sys.path)
hook()
import cluster.main, nets, sweeps.rows, unlearn.errors
assert sys.path == before
print(cluster.__file__)
"""
    run = python(folder, "-c", code, stdin=hook)
    assert run.stdout.strip() == str(ROOT / "cluster" / "__init__.py"), run.stderr


def test_the_packages_that_ray_ships_come_from_its_search_path(tmp_path: Path) -> None:
    """Without folders: those of $PYTHONPATH, before the working folder that Ray puts first."""
    hook = cloudpickle.dumps(importer([]))
    code = f"""
import os, pickle, sys
sys.path.insert(0, {str(impostors(tmp_path, *PACKAGES))!r})
os.environ["PYTHONPATH"] = {str(ROOT)!r}
pickle.loads(sys.stdin.buffer.read())()
import unlearn.errors
"""
    run = python(tmp_path, "-c", code, stdin=hook)
    assert run.returncode == 0, run.stderr
