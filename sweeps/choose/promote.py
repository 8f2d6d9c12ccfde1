"""Put the chosen cell's model into the gallery, with its original, its oracle and its audit."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from sweeps.choose.audit import documents
from sweeps.choose.choose import choose
from sweeps.choose.comparable import differing_settings
from sweeps.compute.restore import cache_for, cell_from, weights_of
from sweeps.rows.columns import PROVENANCE
from sweeps.rows.plain import plain
from sweeps.rows.results import Results
from sweeps.spec.cells import subset_of
from sweeps.spec.recipes import architecture
from unlearn.attacks import attack_columns
from unlearn.errors import BadInput, require
from unlearn.forget_sets import without_place
from unlearn.gallery import Gallery
from unlearn.metrics import columns as metric_columns
from unlearn.models import check_builder
from unlearn.own_data import check_loader
from unlearn.splits import Dataset


@dataclass(frozen=True)
class Promotion:
    """A promoted model: name and version in the gallery, its row, and the reason for the choice."""

    name: str
    version: str
    row: pd.Series
    why: str


def promote(
    results: Results,
    name: str,
    gallery: Gallery,
    data_root: str,
    cell: str | None = None,
    sweep: str | None = None,
    builders: tuple[str, ...] = (),
) -> Promotion:
    """Publish a cell's model, its original, its oracle, its row and its audit in the gallery.

    results: the rows
    name: of the model in the gallery
    data_root: folder of the data sets
    cell: the start of a `cell_id`; None for the best cell by val
    sweep: the sweep to choose from; None for the default of `rows_of_sweep`
    builders: names of the user's own builders (`package.module:name`) that may be called

    Raises `BadInput` where the choice is not clear or the cell has no full scores.
    """
    rows = rows_of_sweep(results, name, sweep)
    if cell is None:
        mixed = sorted({setting.removeprefix(", ") for setting in differing_settings(rows)})
        held = rows["sweep"].iloc[0]
        require(
            len(mixed) == 1,
            f"sweep {held} holds cells of {len(mixed)} settings, "
            f"whose scores do not compare: {'; '.join(mixed)}; "
            "name a cell with --cell, or run each into a results folder of its own",
        )
        chosen = choose(rows)
        row, why = chosen.row, chosen.why
    else:
        row, why = _named(rows, cell), "named by --cell"
    require(
        row["eval_candidates"] != "val",
        f"cell {row['cell_id']} was read on val alone; run its sweep to the end, "
        "which scores the chosen cells in full (with --retry-failed where that failed)",
    )
    check_builder(row["model"], builders, "promote")
    check_loader(row["dataset"], builders, "promote")
    point = cell_from(row)
    cache = cache_for(row, data_root)
    problem = point.problem
    variants = {
        "amnesiac": weights_of(cache, point, row),
        "original": cache.weights(problem.original),
        "oracle": cache.weights(problem.oracle),
    }
    card = _card(row, cache.dataset(problem.dataset), asdict(point.method), why)
    version = gallery.publish(name, variants, card, documents(row, point))
    return Promotion(name, version, row, why)


def rows_of_sweep(results: Results, name: str, sweep: str | None) -> pd.DataFrame:
    """Return the rows to choose from: those of `sweep`, else of the sweep called `name`, else all.

    Raises `BadInput` where it would return all and there are several sweeps.
    """
    known = results.sweeps()
    chosen = sweep or (name if name in known else None)
    if chosen is None and len(known) > 1:
        raise BadInput(
            f"{results.root} holds several sweeps; say which with --sweep: {', '.join(known)}"
        )
    return results.read(chosen)


def _named(rows: pd.DataFrame, cell: str) -> pd.Series:
    """Return the only row whose `cell_id` starts with `cell`. Raises `BadInput`."""
    found = rows[rows["cell_id"].str.startswith(cell)]
    require(
        len(found) == 1,
        f"--cell {cell!r} fits {len(found)} rows; give a cell_id as `amnesia show` prints it",
    )
    row = found.iloc[0]
    require(
        row["status"] == "ok",
        f"cell {cell} failed ({row['error']}); it has no model to promote",
    )
    return row


def _card(row: pd.Series, data: Dataset, knobs: dict[str, Any], why: str) -> dict[str, Any]:
    """Return the card of a promoted model: what it is, its scores, where it comes from.

    Where it forgets no whole class, `forget` is [] and `subset` says what: `random 0.1`.
    """
    subset = without_place(subset_of(row))
    options = tuple(json.loads(row["options"]).items())
    provenance = [name for name in PROVENANCE if not name.startswith("curve")]
    return {
        "task": row["task"],
        "model": row["model"],
        "options": architecture(options),
        "dataset": row["dataset"],
        "shape": list(data.shape),
        "classes": data.classes,
        "forget": [int(label) for label in row["forget"]],
        **({"subset": subset} if subset else {}),
        "method": row["method"],
        "knobs": knobs,
        "seed": int(row["seed"]),
        "scores": _known(row, [*metric_columns(), *attack_columns()]),
        "provenance": _known(row, [*provenance, "cell_id", "sweep"]),
        "why": why,
    }


def _known(row: pd.Series, columns: list[str]) -> dict[str, Any]:
    """Return the columns that hold a value, as JSON; times as text."""
    known = {}
    for name in columns:
        value = plain(row[name])
        if value is not None:
            known[name] = value.isoformat() if isinstance(value, pd.Timestamp) else value
    return known
