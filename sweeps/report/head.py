"""The head of the page, as of a paper: when, by which code, on which data, and the commands."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from sweeps.choose.comparable import forget_texts, varied_knobs
from sweeps.report.elements import Html, escape, facts, folded, table
from sweeps.rows.results import Results
from sweeps.spec.files import read_documents, shipped
from unlearn.data import load
from unlearn.errors import BadInput

LISTED = 8  # values of a knob that are named one by one
SETTINGS = ("train_", "eval_")  # columns of how models were trained and scored
CHOICES = ("eval_attacks", "eval_candidates")  # shown in their own words elsewhere


def head(results: Results, sweeps: list[str], rows: pd.DataFrame, out: str) -> str:
    """Return the facts about the whole page as HTML.

    sweeps: the sweeps that the page shows
    rows: their rows
    out: the file of the page, for the command that writes it again
    """
    failed = int((rows["status"] == "failed").sum())
    finished = len(rows) - failed
    return facts(
        {
            "Date": _span(rows),
            "Code": _code(rows),
            "Cells": f"{finished:,} finished, {failed:,} failed; {_hours(rows)} of computing",
            "Rows": results.table,
            "Made again by": Html(f"<pre>{escape(_commands(results, sweeps, rows, out))}</pre>"),
        }
    )


def sweep_head(rows: pd.DataFrame, data_root: str) -> str:
    """Return the facts about one sweep as HTML: data, models, methods, seeds, knobs, settings.

    data_root: folder of the data sets, to count their images
    """
    seeds = sorted(map(int, rows["seed"].unique()))
    dataset = str(rows["dataset"].iloc[0])
    found: dict[str, object] = {
        "Data": f"{dataset}: {split_sizes(dataset, data_root)}",
        "Networks": _listed(rows["model"]),
        "Methods": _listed(rows["method"]),
        "Forget sets": "; ".join(sorted(set(forget_texts(rows)))),
        "Seeds": f"{len(seeds)} ({', '.join(map(str, seeds))})",
        "Attacks": _listed(rows["eval_attacks"].explode()) or "none",
    }
    for name in varied_knobs(rows):
        found[f"Varied: {name}"] = _values(rows[name])
    return facts(found) + _settings(rows)


@lru_cache(16)
def split_sizes(dataset: str, data_root: str) -> str:
    """Say how many images train, val and test have; or that the data are not here."""
    try:
        data = load(dataset, Path(data_root))
    except BadInput:
        return "not on this machine, so its images are not counted"
    sizes = {"train": data.train, "val": data.val, "test": data.test}
    return ", ".join(f"{len(images):,} {name}" for name, images in sizes.items()) + " images"


def _span(rows: pd.DataFrame) -> str:
    """Say when the rows were written, to the minute."""
    first, last = rows["created_at"].min(), rows["created_at"].max()
    start, end = f"{first:%Y-%m-%d %H:%M}", f"{last:%Y-%m-%d %H:%M}"
    return f"{start} UTC" if start == end else f"{start} to {end} UTC"


def _code(rows: pd.DataFrame) -> str:
    """Name the revisions of the code and the versions that computed the rows."""
    revisions = _listed(rows["git_revision"])
    parts = [f"revision {revisions}" if revisions else "revision unknown (not a checkout)"]
    for package in ("amnesia", "torch", "ray"):
        versions = _listed(rows[f"version_{package}"])
        if versions:
            parts.append(f"{package} {versions}")
    devices = _listed(rows["device"])
    return ", ".join(parts) + (f"; on {devices}" if devices else "")


def _hours(rows: pd.DataFrame) -> str:
    """Write the seconds of all cells in a readable unit."""
    seconds = float(rows["wall_s"].sum())
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _commands(results: Results, sweeps: list[str], rows: pd.DataFrame, out: str) -> str:
    """Return the commands that compute the rows and write the page again, one a line."""
    lines = {}  # spec -> command: several sweeps may stand in one spec
    for sweep in sweeps:
        stores = rows["store"][rows["sweep"] == sweep].dropna()
        store = f" --store {stores.iloc[-1]}" if len(stores) else ""
        spec = spec_of(sweep)
        lines[spec] = f"amnesia run {spec} --results {results.root}{store}"
    only = f" --sweep {sweeps[0]}" if len(sweeps) == 1 else ""
    return "\n".join([*lines.values(), f"amnesia report {results.root}{only} -o {out}"])


@lru_cache(64)
def spec_of(sweep: str) -> str:
    """Return the name of the shipped spec that holds the sweep, else a stand-in for its file."""
    for name in shipped():
        documents = read_documents(name, [])
        if sweep in [document.get("name", name) for document in documents]:
            return name
    return f"{sweep}.yaml"


def _settings(rows: pd.DataFrame) -> str:
    """Return how all models were trained and scored, in a block that opens at a click."""
    lines = {}
    for name in rows.columns:
        if name.startswith(SETTINGS) and name not in CHOICES:
            values = rows[name].dropna().map(_text).unique()
            if len(values):
                lines[name] = ", ".join(values)
    settings = pd.DataFrame({"value": lines})
    return folded("Settings of training and scoring", table(settings, index=True))


def _values(column: pd.Series) -> str:
    """Write the values of a knob: all of them, or how many between which."""
    values = sorted(column.dropna().unique())
    if len(values) <= LISTED:
        return ", ".join(_text(value) for value in values)
    return f"{len(values)} values from {_text(values[0])} to {_text(values[-1])}"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(column: pd.Series) -> str:
    """Write the values of a column, each once, sorted."""
    return ", ".join(sorted(set(column.dropna().astype(str))))
