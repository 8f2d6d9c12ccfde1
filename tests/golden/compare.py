"""Run tiny cells with two revisions on this machine and compare rows and weights bit by bit.

    python -m tests.golden.compare BASE [--keep FOLDER]

runs `tiny.yaml` with the revision BASE (in a clone of its own) and with this working tree. The last
bits of floating-point results depend on the kind of CPU, so no results are stored: both sides are
computed on this machine.
Exit code 0: nothing differs but seconds, versions, places and times.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Columns that may differ, besides those of seconds and of versions.
MAY_DIFFER = ("created_at", "git_revision", "store")


def run(tree: Path, folder: Path) -> None:
    """Run `tiny.yaml` with the code of `tree`; it fills folder/results and folder/store."""
    paths = os.pathsep.join([str(tree), str(HERE)])
    command = [
        sys.executable,
        "-m",
        "cluster",
        "run",
        str(HERE / "tiny.yaml"),
        "--results",
        "results",
    ]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, check=True)


def rows_of(folder: Path) -> pd.DataFrame:
    """Read the rows, indexed by sweep and cell, without the columns that may differ."""
    rows = pd.read_parquet(folder / "results" / "v1")
    rows["sweep"] = rows["sweep"].astype(str)
    names = [str(name) for name in rows]
    seconds = [name for name in names if name.endswith("_s") or name.startswith("version_")]
    return rows.drop(columns=[*seconds, *MAY_DIFFER]).set_index(["sweep", "cell_id"]).sort_index()


def differing_rows(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Return a line per cell of one side alone, per column that is gone, per value that differs."""
    lines = [
        f"cell {key} is only in one of them"
        for key in before.index.symmetric_difference(after.index)
    ]
    lines += [f"column {name} is gone" for name in before.columns.difference(after.columns)]
    for key in before.index.intersection(after.index):
        for name in before.columns.intersection(after.columns):
            one, other = repr(before.at[key, name]), repr(after.at[key, name])
            if one != other:
                lines.append(f"{key} {name}: {one} != {other}")
    return lines


def differing_weights(before: Path, after: Path) -> list[str]:
    """Return a line per weights file that only one store has, or whose bytes differ."""
    files = {
        side: {path.relative_to(side): path for path in side.rglob("*.safetensors")}
        for side in (before, after)
    }
    lines = [
        f"{name} is only in one of them" for name in files[before].keys() ^ files[after].keys()
    ]
    for name in files[before].keys() & files[after].keys():
        if files[before][name].read_bytes() != files[after][name].read_bytes():
            lines.append(f"{name}: other bytes")
    return lines


def main() -> int:
    """Run both sides and print what differs; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="the revision to compare with")
    parser.add_argument(
        "--keep", help="a folder for both runs; what it holds of BASE already is used again"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.keep or scratch).absolute()
        before, tree = folder / f"before-{args.base}", Path(scratch) / "tree"
        if not before.exists():
            before.mkdir(parents=True)
            subprocess.run(["git", "clone", "--quiet", ROOT, tree], check=True)
            subprocess.run(["git", "-C", tree, "checkout", "--quiet", args.base], check=True)
            run(tree, before)
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            after = Path(fresh)
            run(ROOT, after)
            one, other = rows_of(before), rows_of(after)
            lines = differing_rows(one, other) + differing_weights(
                before / "store", after / "store"
            )
        failed = int((other["status"] != "ok").sum())
    print(
        "\n".join(lines) or f"nothing differs: {len(other)} rows, {failed} of them failed in both"
    )
    return 1 if lines or failed else 0


if __name__ == "__main__":
    sys.exit(main())
