"""Measure ratios side by side, as a worker would: interleaved in one process, median of five.

    python -m tests.benchmarks [NAME ...] [--scale 1.0] [--threads N] [--data DIR]
                               [--out bench.json]

Prints a table and writes bench.json. `--scale` shortens everything for a try; only scale 1 is a
result. The data folder must hold all of MNIST, in torchvision's layout.
"""

import argparse
from pathlib import Path

import torch

from cluster.running import data_root
from sweeps.compute.cache import configure_worker
from tests.benchmarks import classifiers, generators, gpu, rows
from tests.benchmarks.clock import write

BENCHES = {**generators.BENCHES, **classifiers.BENCHES, **gpu.BENCHES, **rows.BENCHES}


def shown(value: float | bool | str) -> str:
    """A value of a result for the table."""
    return value if isinstance(value, str) else f"{value:.4g}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--data", type=Path, default=Path(data_root()))
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHES)}")
    cache = generators.Bench(given.data, given.scale)
    configure_worker(given.threads)
    for name in given.names or BENCHES:
        result = BENCHES[name](cache)
        print(
            f"{name:24s}",
            " ".join(f"{key} {shown(value)}" for key, value in result.items()),
            flush=True,
        )
        write(given.out, name, {**result, "scale": given.scale, "threads": given.threads})


main()
