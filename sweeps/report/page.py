"""Write one HTML page about a results folder: choices and their scores, pictures and costs."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from sweeps.choose.choose import choose
from sweeps.choose.comparable import differing_settings, forget_texts, forgotten, varied_knobs
from sweeps.report.claims import SCORES, claims
from sweeps.report.context import Context, resolve
from sweeps.report.elements import (
    contents,
    folded,
    heading,
    paragraph,
    table,
    table_of_cells,
    with_tooltips,
)
from sweeps.report.head import head, sweep_head
from sweeps.report.sections import SECTIONS
from sweeps.report.show import VAL
from sweeps.report.style import HEAD
from sweeps.rows.columns import COLUMNS
from sweeps.rows.results import Results
from unlearn.files import write_whole
from unlearn.models import check_builder
from unlearn.own_data import check_loader


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
    for dataset in rows["dataset"].unique():
        check_loader(dataset, builders, "report")
    names = [sweep] if sweep else results.sweeps()
    start = [HEAD, heading(1, "amnesia report"), head(results, names, rows, out)]
    body = [claims(rows)]
    for name in names:
        body.append(sweep_part(name, results.read(name), data_root))
    text = "".join(body)
    meanings = {name: entry.meaning for name, entry in COLUMNS.items()}
    page = "".join([*start, contents(entries_of(text)), text])
    write_whole(out, with_tooltips(page, meanings).encode())
    return str(Path(out))


def entries_of(body: str) -> Iterator[tuple[int, str, str]]:
    """Yield (level, anchor, text) of every heading of the page that has an anchor.

    The body is HTML of ours, in which all text is escaped, so no other text looks like a heading.
    """
    for level, anchor, text in re.findall(r'<h([23]) id="([^"]*)">([^<]*)</h', body):
        yield int(level) - 2, html.unescape(anchor), html.unescape(text)


def sweep_part(name: str, rows: pd.DataFrame, data_root: str) -> str:
    """Return one sweep as HTML: every problem's sections, then the errors, then all rows."""
    failed = (rows["status"] == "failed").sum()
    dataset = rows["dataset"].iloc[0]
    counts = paragraph(f"{len(rows)} cells, {failed} failed; data set {dataset}.")
    problems = [problem_part(context) for context in contexts(rows, data_root)]
    start = heading(2, f"Sweep {name}", f"sweep-{name}") + counts + sweep_head(rows, data_root)
    return start + "".join(problems) + _errors(rows) + _all_rows(rows)


def contexts(rows: pd.DataFrame, data_root: str) -> Iterator[Context]:
    """Yield the context of every problem with a finished cell, one at a time.

    A context keeps the models that its sections load, so two at once would double the memory.
    """
    finished = rows[rows["status"] == "ok"]
    if finished.empty:
        return
    best = choose(finished).row["cell_id"]
    setting = differing_settings(rows)
    problem = forget_texts(rows) + rows["model"] + setting + rows["seed"].map(str)
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
    identity = ["cell_id", "model", "method", *forgotten(rows), "seed"]
    scores = SCORES[rows["task"].iloc[0]]
    if rows["eval_candidates"].eq("val").any():
        scores = [*VAL, *scores]  # candidates have no others
    names = [*identity, *varied_knobs(rows), "status", "wall_s", *scores]
    known = [name for name in names if name in rows]
    main = rows[known].dropna(axis=1, how="all")
    return folded("All rows", table_of_cells(main))
