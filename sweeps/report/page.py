"""Write one HTML page about a results folder: choices and their scores, pictures and costs."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from sweeps.choose.choose import choose
from sweeps.choose.comparable import differing_settings, varied_knobs
from sweeps.report.claims import SCORES, claims
from sweeps.report.context import Context, resolve
from sweeps.report.elements import folded, heading, paragraph, scrollable, table
from sweeps.report.sections import SECTIONS
from sweeps.rows.results import Results
from unlearn.files import write_whole
from unlearn.models import check_builder

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff}
body{max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;font-size:14px}
td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}
img{max-width:100%}
figure{margin:1.5rem 0}
figcaption{color:#555}
img[src^="data:image/gif"]{width:36rem;image-rendering:pixelated}
h2{margin-top:3rem;border-top:2px solid #222}
.why{background:#f6f3ee;padding:.6rem 1rem}
.scroll{overflow-x:auto;margin:1.5rem 0}
.scroll td{white-space:nowrap}
"""
HEAD = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>amnesia report</title>"
    f"<style>{STYLE}</style>"
)


def write_report(
    results: Results, sweep: str | None, out: str, data_root: str, builders: tuple[str, ...] = ()
) -> str:
    """Write the page and return its path.

    Raises `BadInput` if the store that the rows name lacks a model to draw.

    results: the rows
    sweep: the sweep to show; None shows all
    out: the file to write, a path or URL
    data_root: the folder of the data sets
    builders: the user's own model builders that may be called
    """
    rows = results.read(sweep)
    for model in rows["model"].unique():
        check_builder(model, builders, "report")
    parts = [HEAD, heading(1, "amnesia report"), claims(rows)]
    for name in [sweep] if sweep else results.sweeps():
        parts.append(sweep_part(name, results.read(name), data_root))
    write_whole(out, "".join(parts).encode())
    return str(Path(out))


def sweep_part(name: str, rows: pd.DataFrame, data_root: str) -> str:
    """Return one sweep as HTML: every problem's sections, then the errors, then all rows."""
    failed = (rows["status"] == "failed").sum()
    dataset = rows["dataset"].iloc[0]
    counts = paragraph(f"{len(rows)} cells, {failed} failed; data set {dataset}.")
    problems = [problem_part(context) for context in contexts(rows, data_root)]
    return heading(2, name) + counts + "".join(problems) + _errors(rows) + _all_rows(rows)


def contexts(rows: pd.DataFrame, data_root: str) -> Iterator[Context]:
    """Yield the context of every problem with a finished cell, one at a time.

    A context keeps the models that its sections load, so two at once would double the memory.
    """
    finished = rows[rows["status"] == "ok"]
    if finished.empty:
        return
    best = choose(finished).row["cell_id"]
    setting = differing_settings(rows)
    forget, seed = rows["forget"].map(str), rows["seed"].map(str)
    if "subset" in rows:
        forget += rows["subset"].fillna("")
    problem = forget + rows["model"] + setting + seed
    for _, group in rows.groupby(problem):
        if (group["status"] == "ok").any():
            yield resolve(group, setting[group.index[0]], best, data_root)


def problem_part(context: Context) -> str:
    """Return one problem as HTML; if its chosen cell is not scored in full yet, only say so."""
    row = context.row
    if not context.confirmed:
        return paragraph(
            f"{row['model']}: the choice is not confirmed yet; run the same command again "
            "(with --retry-failed where that failed)."
        )
    return "".join(section(context) for section in SECTIONS[row["task"]])


def _errors(rows: pd.DataFrame) -> str:
    """Return a table of the rows that hold an error, from the cell or an attack; "" without any."""
    errors = rows[rows["error"].notna()]
    if errors.empty:
        return ""
    return heading(3, "Errors") + table(errors[["cell_id", "method", "status", "error"]])


def _all_rows(rows: pd.DataFrame) -> str:
    """Return the main columns of every row, in a block that opens at a click."""
    identity = ["cell_id", "model", "method", "forget", "seed"]
    scores = SCORES[rows["task"].iloc[0]]
    names = [*identity, *varied_knobs(rows), "status", "wall_s", *scores]
    known = [name for name in names if name in rows]
    main = rows[known].dropna(axis=1, how="all")
    return folded("All rows", scrollable(table(main)))
