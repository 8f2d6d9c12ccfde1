"""The report's claims: every method beside original and oracle, with intervals, and the methods against each other."""

import html
from collections.abc import Iterator
from typing import Any

import pandas as pd

from sweeps.attacks import stem
from sweeps.statistics import paired, summary
from unlearn.probes import PROBES

SCORES = {
    "generator": ["forget_probability", "forget_accuracy", "forget_entropy", "retain_accuracy", "retain_frechet"],
    "classifier": ["test_forget_accuracy", "test_retain_accuracy", "forget_entropy", "js_to_oracle", "mia_auc"],
}
PAIRED = {
    "generator": ["forget_probability", "retain_accuracy"],
    "classifier": ["test_forget_accuracy", "test_retain_accuracy"],
}
EXPLAINED = (
    "Of every method x model x forget set x seed the cell that val chooses; mean [95 % interval] over seeds, each the "
    "mean over its forget sets. Colour: distance to the oracle, as a share of the original's."
)


def claims(rows: pd.DataFrame) -> str:
    """Per data set and task: every method's mean with its 95 % interval beside original and oracle; then the methods
    compared in pairs. "" where there is but one triple to speak of."""
    parts = []
    for dataset, task, group, columns in by_task(rows):
        table = summary(group, columns)
        if table.empty or table["cells"].max() < 2:
            continue
        title = f"Methods on {html.escape(dataset)} ({task}s)"
        parts.append(f"<h2>{title}</h2><p>{EXPLAINED}</p><div class=scroll>{tinted(table, columns)}</div>")
        for column in PAIRED[task]:
            found = paired(group, column)
            if len(found):
                parts.append(f"<p>Paired differences in <code>{column}</code>, Holm's correction:</p>{table_of(found)}")
    return "".join(parts)


def markdown(rows: pd.DataFrame, columns: list[str] | None = None) -> str:
    """The first table of `claims` as Markdown, a data set and task after the other; of `columns`, else the report's."""
    parts = []
    for dataset, task, group, wanted in by_task(rows, columns):
        lines = [["model", "method", "cells", "seeds", *(f"`{name}`" for name in wanted)], ["---"] * (4 + len(wanted))]
        table = summary(group, wanted)
        if table.empty:
            continue
        for line in table.to_dict("records"):
            head = [line["model"], line["method"], line["cells"], line["seeds"]]
            lines.append([*head, *(interval(line, name) for name in wanted)])
        text = "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)
        parts.append(
            f"{dataset}, {task}s: mean [95 % interval] over seeds, each the mean over its forget sets\n\n{text}"
        )
    return "\n\n".join(parts)


def by_task(rows: pd.DataFrame, columns: list[str] | None = None) -> Iterator[tuple[str, str, pd.DataFrame, list[str]]]:
    """Data set, task, their finished rows, and those of `columns` (else of the report's) that hold anything there."""
    for of, group in rows[rows["status"] == "ok"].groupby(["dataset", "task"]):
        dataset, task = map(str, of)
        wanted = columns or SCORES[task] + rates(group)
        yield dataset, task, group, [name for name in wanted if group[name].notna().any()]


def rates(rows: pd.DataFrame) -> list[str]:
    """The success rates of the probes that were asked for anywhere in `rows`."""
    asked = {name for names in rows["eval_attacks"] for name in names}
    return [f"{stem(name)}_rate" for name in PROBES if name in asked]


def tinted(table: pd.DataFrame, columns: list[str]) -> str:
    """A line a model x method of `summary`'s table; tinted by |method - oracle| / |original - oracle|."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("model", "method", "cells", "seeds", *columns))
    lines = [f"<tr>{head}</tr>"]
    for _, of_model in table.groupby("model"):
        ends = {line["method"]: line for line in of_model.to_dict("records")}
        for name, line in ends.items():
            cells = "".join(f"<td{_tint(name, ends, c)}>{interval(line, c)}</td>" for c in columns)
            many = f"<td>{line['cells']}</td><td>{line['seeds']}</td>"
            lines.append(f"<tr><td>{line['model']}</td><td>{name}</td>{many}{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def interval(line: dict[Any, Any], column: str) -> str:
    """`mean [low, high]`, without bounds where there is but one value, "" where there is none."""
    mean, low, high = (line[column + end] for end in ("", "_low", "_high"))
    if pd.isna(mean):
        return ""
    return f"{mean:.3f}" if pd.isna(low) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _tint(name: str, ends: dict[str, dict[Any, Any]], column: str) -> str:
    oracle, original = ends["oracle"][column], ends["original"][column]
    if name in ("original", "oracle") or not abs(original - oracle) > 0:
        return ""
    gap = min(1.0, abs(ends[name][column] - oracle) / abs(original - oracle))
    return f' style="background:rgba(194,65,12,{gap / 2:.2f})"'


def table_of(rows: pd.DataFrame) -> str:
    """Rows as they are."""
    return rows.to_html(index=False, float_format=lambda value: f"{value:.4g}")
