"""The report's claims: every method beside original and oracle, with intervals, and the methods against each other."""

import html
import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from sweeps.choose.intervals import paired, summary
from unlearn.attacks import ATTACKS, attacks_on
from unlearn.attacks.generators.base import stem
from unlearn.metrics import METRICS

SCORES = {
    "generator": [
        "forget_probability",
        "forget_accuracy",
        "forget_entropy",
        "retain_accuracy",
        "retain_frechet",
    ],
    "classifier": [
        "test_forget_accuracy",
        "test_retain_accuracy",
        "forget_entropy",
        "js_to_oracle",
        "mia_auc",
    ],
}
BESIDE = {  # in a table of its own below
    "generator": ["retain_precision", "retain_recall", "retain_diversity", "retain_elbo", "forget_elbo"],
    "classifier": ["average_gap", "kl_to_oracle", "mia_efficacy", "mia_tpr_1fpr", "lira_auc", "lira_tpr_1fpr", "zrf",
                   "semantic_shift", "over_forgetting", "ece", "cka_forget_to_original", "cka_retain_to_oracle",
                   "probe_forget_accuracy", "relearn_batches_points", "ain_points"],
}  # fmt: skip
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
    compared in pairs. "" where there is but one method's one cell to speak of."""
    parts = []
    for dataset, task, group, columns in by_task(rows):
        table = summary(group, columns)
        if table.empty or (table["cells"].max() < 2 and table["method"].nunique() <= 3):
            continue
        title = f"Methods on {html.escape(dataset)} ({task}s)"
        parts.append(
            f"<h2>{title}</h2><p>{EXPLAINED}</p><div class=scroll>{tinted(table, columns)}</div>"
        )
        beside = _held(group, BESIDE[task])
        if beside:
            parts.append(f"<div class=scroll>{tinted(summary(group, beside), beside)}</div>")
        parts.append(cautions(columns + beside))
        for column in PAIRED[task]:
            found = paired(group, column)
            if len(found):
                parts.append(
                    f"<p>Paired differences in <code>{column}</code>, Holm's correction:</p>{table_of(found)}"
                )
    return "".join(parts)


def markdown(rows: pd.DataFrame, columns: list[str] | None = None) -> str:
    """The first table of `claims` as Markdown, a data set and task after the other; of `columns`, else the report's."""
    parts = []
    for dataset, task, group, wanted in by_task(rows, columns):
        lines = [
            ["model", "method", "cells", "seeds", *(f"`{name}`" for name in wanted)],
            ["---"] * (4 + len(wanted)),
        ]
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


def by_task(
    rows: pd.DataFrame, columns: list[str] | None = None
) -> Iterator[tuple[str, str, pd.DataFrame, list[str]]]:
    """Data set, task, their finished rows, and those of `columns` (else of the report's) that hold anything there."""
    for of, group in rows[rows["status"] == "ok"].groupby(["dataset", "task"]):
        dataset, task = map(str, of)
        wanted = columns or SCORES[task] + rates(group)
        yield dataset, task, group, _held(group, wanted)


def _held(rows: pd.DataFrame, columns: list[str]) -> list[str]:
    """Those of `columns` that hold anything in `rows`."""
    return [name for name in columns if name in rows and rows[name].notna().any()]


def cautions(columns: list[str]) -> str:
    """What fools the metrics and attacks behind `columns` (`blind_spot` of each)."""
    known = {}
    for name, metric in METRICS.items():
        if metric.blind_spot and set(columns) & set(metric.columns):
            known[name] = metric.blind_spot
    for name, attack in ATTACKS.items():
        if attack.blind_spot and set(columns) & set(attack.columns(name)):
            known[name] = attack.blind_spot
    items = "".join(
        f"<li><b>{name}</b>: {html.escape(blind_spot)}</li>" for name, blind_spot in known.items()
    )
    return f"<p>What fools these metrics:</p><ul>{items}</ul>" if items else ""


def rates(rows: pd.DataFrame) -> list[str]:
    """The success rates of the probes that were asked for anywhere in `rows`."""
    asked = {name for names in rows["eval_attacks"] for name in names}
    return [f"{stem(name)}_rate" for name in attacks_on("generator") if name in asked]


def tinted(table: pd.DataFrame, columns: list[str]) -> str:
    """A line a model x method of `summary`'s table; tinted by |method - oracle| / |original - oracle|."""
    head = "".join(
        f"<th>{html.escape(name)}</th>" for name in ("model", "method", "cells", "seeds", *columns)
    )
    lines = [f"<tr>{head}</tr>"]
    for _, of_model in table.groupby("model"):
        ends = {line["method"]: line for line in of_model.to_dict("records")}
        for name, line in ends.items():
            cells = "".join(f"<td{_tint(name, ends, c)}>{interval(line, c)}</td>" for c in columns)
            many = f"<td>{line['cells']}</td><td>{line['seeds']}</td>"
            lines.append(f"<tr><td>{line['model']}</td><td>{name}</td>{many}{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def interval(line: dict[Any, Any], column: str) -> str:
    """`mean [low, high]`, without bounds where there is but one value, "" where there is none; where relearning did not
    always get there, in how many cells."""
    mean, low, high = (line.get(column + end) for end in ("", "_low", "_high"))
    if line.get(f"{column}_unreached", 0) > 0:
        return f"not reached in {line[f'{column}_unreached']:.0f} of {line[f'{column}_tried']:.0f}"
    if pd.isna(mean):
        return ""
    return f"{mean:.3f}" if pd.isna(low) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _tint(name: str, ends: dict[str, dict[Any, Any]], column: str) -> str:
    oracle, original = (ends[end].get(column, math.nan) for end in ("oracle", "original"))
    vain = any(
        ends[line].get(f"{column}_unreached", 0) > 0 for line in ("original", "oracle", name)
    )
    if (
        name in ("original", "oracle")
        or vain
        or not abs(original - oracle) > 0
        or pd.isna(ends[name][column])
    ):
        return ""
    gap = min(1.0, abs(ends[name][column] - oracle) / abs(original - oracle))
    return f' style="background:rgba(194,65,12,{gap / 2:.2f})"'


def table_of(rows: pd.DataFrame) -> str:
    """Rows as they are."""
    return rows.to_html(index=False, float_format=lambda value: f"{value:.4g}")
