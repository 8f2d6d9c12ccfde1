"""The columns of a row, always all of them and in the same order."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import pyarrow as pa

from sweeps.spec.cells import SCHEMA, Cell
from sweeps.spec.sweep import Evaluation, Train
from unlearn.attacks import attack_columns
from unlearn.errors import require
from unlearn.methods import KNOBS
from unlearn.metrics import columns as metric_columns

FLOATS = pa.list_(pa.float64())
TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_(), list: FLOATS}
TYPES[tuple[str, ...]] = pa.list_(pa.string())
Row = dict[str, Any]

CELL = {
    "cell_id": pa.string(),
    "dataset": pa.string(),
    "model": pa.string(),
    "task": pa.string(),
    "method": pa.string(),
    "forget": pa.list_(pa.int64()),
    "subset": pa.string(),  # what is forgotten where it is no whole class; "" else
    "seed": pa.int64(),
    "options": pa.string(),  # of the model's builder, as JSON
}
OUTCOME = {
    "status": pa.string(),
    "error": pa.string(),
    "val_images": pa.int64(),  # val images that a candidate was read on; null: all
    "val_stopped": pa.bool_(),  # it could no longer win; its `val_*` cover only these images
    "val_bar": pa.float64(),  # the best selection score before it, which it could not reach
}
PROVENANCE = {
    "curve_terms": pa.list_(pa.string()),
    "curve_step": FLOATS,
    "curve": pa.list_(FLOATS),  # one list per term
    "judge_names": pa.list_(pa.string()),
    "wall_s": pa.float64(),
    "artifacts_s": pa.float64(),  # loading what the cell needs, near 0 in a warm worker
    "unlearn_s": pa.float64(),
    "evaluate_s": pa.float64(),
    "attack_s": pa.float64(),
    "needs_s": pa.float64(),  # making what the method needs beside the original: Fisher, experts
    "oracle_s": pa.float64(),  # retraining without the forget set
    "tuning_candidates": pa.int64(),  # how many candidates a chosen cell was chosen from
    "tuning_s": pa.float64(),  # unlearning and reading the candidates
    "selection_regret": pa.float64(),  # best selection score on test minus the chosen cell's
    "regret_s": pa.float64(),  # reading the candidates on test for `selection_regret`
    "device": pa.string(),
    "threads": pa.int64(),
    "step_captured": pa.bool_(),  # whether the training steps ran as CUDA graphs; null on a CPU
    "store": pa.string(),
    "artifact_original": pa.string(),
    "artifact_oracle": pa.string(),
    "artifact_fisher": pa.string(),
    "artifact_expert": pa.string(),
    "artifact_unlearned": pa.string(),
    "artifact_judges": pa.list_(pa.string()),
    "version_amnesia": pa.string(),
    "version_torch": pa.string(),
    "version_ray": pa.string(),
    "git_revision": pa.string(),
    "created_at": pa.timestamp("us", tz="UTC"),
}


def _of_fields(kind: type, prefix: str) -> dict[str, pa.DataType]:
    """Return the columns that hold a record's fields."""
    return {prefix + f.name: TYPES[f.type] for f in fields(kind)}  # type: ignore[index]


def _schema() -> pa.Schema:
    """Return the columns of all methods, metrics and attacks; those a cell lacks are null."""
    knobs = {name: TYPES[kind] for name, kind in KNOBS.items()}
    settings = _of_fields(Train, "train_") | _of_fields(Evaluation, "eval_")
    scored = {**metric_columns(), **attack_columns()}
    scores = {name: TYPES[kind] for name, kind in scored.items()}
    columns = {**CELL, **OUTCOME, **knobs, **settings, **scores, **PROVENANCE}
    return pa.schema(list(columns.items()))


ROWS = _schema()


def row_of(cell: Cell, columns: Mapping[str, Any]) -> Row:
    """Return the full row of a cell.

    columns: status, error, scores and provenance

    Raises `BadInput` for a column that is not in the schema.
    """
    problem = cell.problem
    row: Row = {
        "cell_id": cell.cell_id,
        "dataset": problem.dataset,
        "model": problem.model,
        "task": problem.task,
        "method": cell.method_name,
        "forget": list(problem.forget),
        "subset": problem.subset,
        "seed": problem.seed,
        "options": json.dumps(dict(problem.options), sort_keys=True),
    }
    row |= asdict(cell.method)
    for name, value in asdict(problem.train).items():
        row[f"train_{name}"] = value
    for name, value in asdict(problem.eval).items():
        row[f"eval_{name}"] = value
    row |= columns
    for name in row:
        require(
            name in ROWS.names,
            f"column {name!r} is not in schema {SCHEMA}; declare it before writing it",
        )
    return row
