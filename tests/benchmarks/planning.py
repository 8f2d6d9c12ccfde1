"""Measure planning: its seconds, and its estimates beside the seconds that runs then take.

    python -m tests.benchmarks.planning plan        # seconds of `amnesia plan`, folders fresh
    python -m tests.benchmarks.planning estimates [NAME ...] [--gpu 0.25] [--set KEY=VALUE]
    python -m tests.benchmarks.planning estimates attacked --folder DIR --seeds 0    # then 1

`plan` plans 108,000 cells, and the shipped ta-cifar10. `estimates` runs five small sweeps twice, on
digits that are installed: with seed 0, where nothing was measured before, then with seed 1, where
rows are. Two commands may share these, by a folder that both name. All print one line per
measurement; the machine should be idle.
"""

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from sweeps.plan.cost import Cost, estimate
from sweeps.plan.plan import make_plan
from sweeps.rows.results import Results
from sweeps.spec.files import read_spec
from unlearn.artifacts import Store

MANY: dict[str, Any] = {  # 3 networks x 10 classes x 3 seeds x 40 alphas x 30 rhos
    "name": "many",
    "dataset": "cifar10",
    "models": ["resnet18", "vgg11_bn", "mobilenet_v2"],
    "method": "task-arithmetic",
    "forget": "each",
    "seeds": [0, 1, 2],
    "grid": {
        "alpha": [-0.25 * step for step in range(1, 41)],
        "rho": [round(step / 30.5, 4) for step in range(30)],
    },
}
BASES = ("nothing measured", "rows of seed 0")  # what an estimate has, by the seed of its sweep
SHORT = {"dataset": "mnist5k", "forget": [0, 1], "train": {"steps": 300, "expert_steps": 30}}
GENERATOR = {**SHORT, "models": "cvae-mlp", "eval": {"samples": 200}}
SWEEPS: dict[str, dict[str, Any]] = {
    "grid": {
        **SHORT,
        "models": "cnn",
        "method": "task-arithmetic",
        "grid": {"alpha": [-1.0, -2.0, -3.0], "rho": [0.0, 0.5, 0.9]},
    },
    "candidates": {
        **SHORT,
        "models": "cnn",
        "method": "task-arithmetic",
        "search": {"trials": 40},
        "eval": {"candidates": "val"},
    },
    "methods": {
        **SHORT,
        "models": "cnn",
        "method": ["fine-tune", "neg-grad-plus", "scrub", "ssd"],
        "unlearn": {"steps": 60},
        "eval": {"attacks": ["linear-probe"]},
    },
    "generator": {
        **GENERATOR,
        "method": "selective-amnesia",
        "grid": {"lam": [10, 100]},
        "unlearn": {"steps": 200},
    },
    "attacked": {
        **GENERATOR,
        "method": "gradient-ascent",
        "unlearn": {"steps": 60},
        "eval": {"samples": 200, "attacks": ["random-z", "latent-label"]},
    },
}


def amnesia(*arguments: str) -> float:
    """Run one command in a process of its own; return its seconds, the start of Python included."""
    command = [sys.executable, "-m", "cluster", *arguments]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def computing_seconds() -> float:
    """Return the CPU seconds of all processes that this one has run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def plan_seconds(folder: Path) -> None:
    """Print what `amnesia plan` takes where store and results are new."""
    many = folder / "many.yaml"
    many.write_text(yaml.safe_dump(MANY))
    places = ["--store", str(folder / "store"), "--results", str(folder / "results")]
    for name, spec in (("108,000 cells", str(many)), ("ta-cifar10", "ta-cifar10")):
        before = computing_seconds()
        seconds = amnesia("plan", spec, *places)
        computing = computing_seconds() - before
        print(f"plan of {name}: {seconds:.1f} s, {computing:.1f} of computing", flush=True)


def compare(name: str, folder: Path, seeds: list[int], gpu: float, changes: list[str]) -> None:
    """Run one sweep with one seed after the other; print estimated and measured seconds."""
    for seed in seeds:
        basis = BASES[seed]
        document = {"name": name, **SWEEPS[name], "seeds": [seed], "resources": {"gpu": gpu}}
        spec = folder / f"{name}-{seed}.yaml"
        spec.write_text(yaml.safe_dump(document))
        store, results = str(folder / name / "store"), str(folder / name / "results")
        cost = estimated(spec, store, results, changes)
        places = ["--store", store, "--results", results]
        changing = [part for change in changes for part in ("--set", change)]
        measured = amnesia("run", str(spec), *places, *changing)
        low, high = cost.wall_s
        middle = math.sqrt(low * high)
        print(
            f"{name:12s} {basis:16s} estimated {low:5.0f} to {high:5.0f} s, middle {middle:5.0f}; "
            f"measured {measured:5.0f} s; ratio {middle / measured:.2f}; "
            f"from {', '.join(cost.sources)}",
            flush=True,
        )


def estimated(spec: Path, store: str, results: str, changes: list[str]) -> Cost:
    """Return the estimate as `amnesia plan` makes it."""
    places = Store(store), Results(results)
    return estimate(make_plan(read_spec(str(spec), changes), *places), *places)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["plan", "estimates"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SWEEPS))
    parser.add_argument("--gpu", type=float, default=0.0, help="share of a GPU per trial")
    parser.add_argument(
        "--seeds", type=int, nargs="+", choices=[0, 1], default=[0, 1], help="default: 0 1"
    )
    parser.add_argument("--folder", type=Path, help="of stores and rows; kept (default: a new one)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="changes every sweep"
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(SWEEPS):
        parser.error(f"no sweep {', '.join(sorted(unknown))}; there are: {', '.join(SWEEPS)}")
    with tempfile.TemporaryDirectory() as scratch:
        if given.what == "plan":
            plan_seconds(Path(scratch))
            return
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in given.names or SWEEPS:
            compare(name, folder, given.seeds, given.gpu, given.set)


if __name__ == "__main__":
    main()
