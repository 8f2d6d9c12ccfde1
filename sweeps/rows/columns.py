"""The dictionary of columns: one entry per column of a row, in the order of the schema.

From it come the schema, the metadata of the Parquet fields, `amnesia columns`, docs/columns.md and
the report's tooltips. Knobs, scores and attacks have their entries where they are defined.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from datetime import datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from sweeps.spec.sections import Evaluation, Train
from unlearn.attacks import attack_entries
from unlearn.columns import NO_SCALE, Column, Scale
from unlearn.docstrings import UNSAID, meanings
from unlearn.errors import BadInput, require
from unlearn.methods import knob_entries
from unlearn.metrics import entries as metric_entries


def _entry(name: str, kind: Any, meaning: str, scale: Scale = NO_SCALE) -> Column:
    return Column(name, kind, meaning, scale)


def _named(source: str, *entries: Column) -> dict[str, Column]:
    return {entry.name: replace(entry, source=source) for entry in entries}


CELL = _named(
    "the cell",
    _entry(
        "cell_id",
        str,
        "hash of all that determines the cell: the same on any machine, at any attempt",
    ),
    _entry("dataset", str, "name of the data set"),
    _entry("model", str, "name of the network, or `package.module:builder`"),
    _entry("task", str, "`generator` or `classifier`"),
    _entry("method", str, "name of the unlearning method"),
    _entry("forget", list[int], "the forgotten classes"),
    _entry(
        "subset", str, "what is forgotten where it is no whole class, as `random 0.1`; empty else"
    ),
    _entry("seed", int, "the seed of training, unlearning and evaluation"),
    _entry("options", str, "options of the model's builder, as JSON"),
)
OUTCOME = _named(
    "the run",
    _entry("status", str, "`ok`, or `failed` where the cell has no scores"),
    _entry(
        "error", str, "why the cell failed, or which of its attacks broke; null where all is well"
    ),
    _entry(
        "val_images",
        int,
        "val images read of a candidate (`candidates: val`); null where all were",
        Scale("images"),
    ),
    _entry(
        "val_stopped",
        bool,
        "the candidate could not win; its `val_*` are of the images read until then",
    ),
    _entry(
        "val_bar",
        float,
        "the best val_retain - 1.5 val_forget before it, out of whose reach it stopped",
        Scale("share"),
    ),
    _entry(
        "bound",
        tuple[str, ...],
        "of a cell chosen among candidates: the knobs, each with `low` or `high`, whose value lies "
        "within 1 % of an end of the searched range, where a wider one may hold better cells; null "
        "for all other cells",
    ),
)
PROVENANCE = _named(
    "the run",
    _entry("curve_terms", tuple[str, ...], "names of the loss terms of unlearning"),
    _entry(
        "curve_step",
        list,
        "the steps at which the loss terms were logged, about 100",
        Scale("steps"),
    ),
    _entry("curve", list[list[float]], "one list of losses per term of `curve_terms`"),
    _entry(
        "judge_names",
        tuple[str, ...],
        "the reporting judges, in the order of all `judge_*` columns; `lead` first",
    ),
    _entry("wall_s", float, "seconds that the cell took", Scale("s", "lower")),
    _entry(
        "artifacts_s",
        float,
        "seconds of loading what the cell needs, near 0 in a warm worker",
        Scale("s", "lower"),
    ),
    _entry(
        "unlearn_s",
        float,
        "seconds of unlearning; of cells that were unlearned as one program, an equal share",
        Scale("s", "lower"),
    ),
    _entry("evaluate_s", float, "seconds of scoring", Scale("s", "lower")),
    _entry("attack_s", float, "seconds of attacking", Scale("s", "lower")),
    _entry(
        "needs_s",
        float,
        "seconds of making what the method needs beside the original: Fisher, experts",
        Scale("s", "lower"),
    ),
    _entry("oracle_s", float, "seconds of retraining without the forget set", Scale("s", "lower")),
    _entry(
        "tuning_candidates",
        int,
        "number of candidates that the cell was chosen from (`candidates: val`)",
    ),
    _entry(
        "tuning_s", float, "seconds of unlearning and reading these candidates", Scale("s", "lower")
    ),
    _entry(
        "selection_regret",
        float,
        "the candidates' best retain - 1.5 forget on test minus the chosen cell's",
        Scale("share", "lower"),
    ),
    _entry(
        "regret_s",
        float,
        "seconds of reading the candidates on test for `selection_regret`",
        Scale("s", "lower"),
    ),
    _entry("device", str, "`cpu` or `cuda`"),
    _entry("device_name", str, "name of the GPU, as CUDA gives it; `cpu` without one"),
    _entry(
        "gpu_memory_gib",
        float,
        "most GPU memory that the worker's tensors held while the cell ran; null without a GPU",
        Scale("GiB", "lower"),
    ),
    _entry(
        "gpu_busy",
        float,
        "share of the time in which the GPU computed, for this or another process, while the cell "
        "was unlearned; null without a GPU, without the package nvidia-ml-py, and where unlearning "
        "took less than 0.1 s",
        Scale("share"),
    ),
    _entry("gpu_share", float, "GPUs, or the share of one, that the trial was given"),
    _entry(
        "stacked",
        int,
        "number of cells that were unlearned as one program, this one included; 1 for one alone",
    ),
    _entry("threads", int, "CPU threads of torch"),
    _entry(
        "step_captured",
        bool,
        "whether the method's training steps ran as CUDA graphs; null without a GPU",
    ),
    _entry("store", str, "folder or URL of the artifacts when the cell ran"),
    _entry("artifact_original", str, "key of the original in the store"),
    _entry("artifact_oracle", str, "key of the oracle"),
    _entry("artifact_fisher", str, "key of the Fisher, where the method needs one"),
    _entry("artifact_expert", str, "key of the (first) expert, where the method needs one"),
    _entry(
        "artifact_unlearned",
        str,
        "key of the unlearned weights; null where artifacts give them at once",
    ),
    _entry("artifact_judges", tuple[str, ...], "keys of the judges, for a generator"),
    _entry("version_amnesia", str, "version of this package"),
    _entry("version_torch", str, "version of torch"),
    _entry("version_ray", str, "version of Ray"),
    _entry("git_revision", str, "revision of the code, where it ran in a checkout"),
    _entry("created_at", datetime, "when the row was written"),
)


def settings(kind: type, prefix: str, section: str) -> dict[str, Column]:
    """Return the entries of the columns that hold a section of the spec."""
    told = meanings(kind)
    found = {}
    for f in fields(kind):
        name, meaning = prefix + f.name, told.get(f.name, UNSAID)
        found[name] = Column(name, f.type, meaning, source=f"spec: {section}.{f.name}")
    return found


def joined(*groups: Mapping[str, Column]) -> dict[str, Column]:
    """Return the entries of all groups. Raises `BadInput` for a name that two groups define."""
    found: dict[str, Column] = {}
    for group in groups:
        for name, entry in group.items():
            require(
                name not in found,
                f"column {name!r} is defined twice, as {entry.source} and before; rename one: a "
                "knob, a metric's or an attack's column is a column of every row",
            )
            found[name] = entry
    return found


def _columns() -> dict[str, Column]:
    sections = (settings(Train, "train_", "train"), settings(Evaluation, "eval_", "eval"))
    scores = (metric_entries(), attack_entries())
    return joined(CELL, OUTCOME, knob_entries(), *sections, *scores, PROVENANCE)


COLUMNS: dict[str, Column] = _columns()


def lookup_columns(names: Iterable[str]) -> list[Column]:
    """Return the entries of the named columns, in order; a name may be a pattern (`val_*`).

    Raises `BadInput` for one that fits no column; the message names those that are like it.
    """
    found: dict[str, Column] = {}
    for name in names:
        fitting = [column for column in COLUMNS if fnmatchcase(column, name)]
        if not fitting:
            close = ", ".join(get_close_matches(name, COLUMNS)) or "see `amnesia columns`"
            raise BadInput(f"no column {name!r}; like it: {close}")
        found |= {column: COLUMNS[column] for column in fitting}
    return list(found.values())
