"""Tables of claims: methods beside original and oracle, with intervals; methods in pairs."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pandas as pd

from sweeps.choose.summary import DERIVED, chosen_cells, paired, summary
from sweeps.report.elements import escape, heading, paragraph, scrollable, table
from unlearn.attacks import ATTACKS, attacks_on
from unlearn.attacks.generators.base import stem
from unlearn.metrics import METRICS

Line = dict[Any, Any]  # one line of `intervals.summary`, by column

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
MORE_SCORES = {  # in a second table, below
    "generator": [
        "retain_precision",
        "retain_recall",
        "retain_diversity",
        "retain_elbo",
        "forget_elbo",
    ],
    "classifier": [
        "average_gap",
        "kl_to_oracle",
        "mia_efficacy",
        "mia_tpr_1fpr",
        "lira_auc",
        "lira_tpr_1fpr",
        "matched_lira_auc",
        "matched_lira_tpr_1fpr",
        "rmia_auc",
        "rmia_tpr_1fpr",
        "u_lira_auc",
        "u_lira_tpr_1fpr",
        "proto_forget_accuracy",
        "zrf",
        "semantic_shift",
        "over_forgetting",
        "ece",
        "cka_forget_to_original",
        "cka_retain_to_oracle",
        "probe_forget_accuracy",
        "relearn_batches_points",
        "ain_points",
        "rehearsed_relearn_batches_points",
        "rehearsed_ain_points",
    ],
}
PAIRED = {
    "generator": ["forget_probability", "retain_accuracy"],
    "classifier": ["test_forget_accuracy", "test_retain_accuracy"],
}
EXPLANATION = (
    "For every method, model, forget set and seed: the cell that val chooses. Mean [95 % interval] "
    "over seeds; a seed's value is the mean over its forget sets. Intervals cover another seed: "
    "the cut of val, test set and panel of judges are the same in all. Colour: distance to the "
    "oracle, as a share of the original's distance."
)
REFERENCES = ("original", "oracle", "second oracle")
IDENTITY = ("model", "method", "cells", "seeds")  # the first columns of every line


def claims(rows: pd.DataFrame) -> str:
    """Return the tables of every data set and task: means per method, then paired methods."""
    return "".join(_claims(*group) for group in by_task(rows))


def _claims(dataset: str, task: str, rows: pd.DataFrame, columns: list[str]) -> str:
    chosen = chosen_cells(rows)
    lines = summary(chosen, columns)
    if lines.empty:
        return ""
    more = with_values(rows, MORE_SCORES[task])
    title = f"Methods on {dataset} ({task}s)"
    parts = [heading(2, title, f"methods-{dataset}-{task}"), paragraph(EXPLANATION)]
    parts.append(_seeds(lines))
    parts.append(scrollable(shaded_table(lines, columns)))
    if more:
        parts.append(scrollable(shaded_table(summary(chosen, more), more)))
    parts += [paragraph(note) for note in bound_notes(chosen)]
    parts.append(blind_spots(columns + more))
    parts += [_pairs(chosen, column) for column in PAIRED[task]]
    return "".join(parts)


def _seeds(lines: pd.DataFrame) -> str:
    """Say where one seed gives no interval; "" where all methods have several."""
    seeds = lines["seeds"]
    if seeds.min() > 1:
        return ""
    what = "One seed" if seeds.max() == 1 else "Some methods have one seed"
    text = f"{what}: no interval, so a difference may be chance."
    return paragraph(text, "warning")


def _pairs(chosen: pd.DataFrame, column: str) -> str:
    """Return the table of paired differences; "" where no two methods share two seeds."""
    found = paired(chosen, column)
    if found.empty:
        return ""
    title = f"Paired differences in <code>{escape(column)}</code>; p_holm: Holm's correction."
    return f"<p>{title}</p>{table(found)}"


def markdown(rows: pd.DataFrame, columns: list[str] | None = None) -> str:
    """Format the first table of `claims` as Markdown, one per data set and task.

    columns: the scores to show; None shows the report's
    """
    parts = []
    for dataset, task, group, wanted in by_task(rows, columns):
        chosen = chosen_cells(group)
        lines = summary(chosen, wanted)
        if lines.empty:
            continue
        title = f"{dataset}, {task}s: mean [95 % interval] over seeds; "
        title += "a seed's value is the mean over its forget sets"
        parts.append(f"{title}\n\n{_markdown_table(lines, wanted)}")
        parts += bound_notes(chosen)
    return "\n\n".join(parts)


def bound_notes(chosen: pd.DataFrame) -> list[str]:
    """Return a sentence per model and method with a chosen cell at an end of a range.

    chosen: of `chosen_cells`; a cell without a recorded `bound` counts as at none
    """
    notes = []
    for (model, method), cells in chosen.groupby(["model", "method"]):
        counts = Counter(entry for bound in cells["bound"] for entry in bound)
        texts = []
        for entry, count in sorted(counts.items()):
            knob, _, end = entry.rpartition(" ")
            texts.append(f"{knob} at the {end} end of its range in {count} of {len(cells)}")
        if texts:
            listed = ", ".join(texts)
            notes.append(
                f"{method} on {model} chose {listed}; a wider range may hold better cells."
            )
    return notes


def _markdown_table(lines: pd.DataFrame, columns: list[str]) -> str:
    head = [*IDENTITY, *(f"`{name}`" for name in columns)]
    cells = [head, ["---"] * len(head)]
    for line in lines.to_dict("records"):
        identity = [str(line[name]) for name in IDENTITY]
        intervals = [interval(line, name) for name in columns]
        cells.append(identity + intervals)
    return "\n".join(f"| {' | '.join(texts)} |" for texts in cells)


def by_task(
    rows: pd.DataFrame, columns: list[str] | None = None
) -> Iterator[tuple[str, str, pd.DataFrame, list[str]]]:
    """Yield (data set, task, finished rows, score columns that hold values) for each group of rows.

    columns: the scores to show; None takes the report's scores and the rates of the attacks run
    """
    finished = rows[rows["status"] == "ok"]
    for names, group in finished.groupby(["dataset", "task"]):
        dataset, task = map(str, names)
        wanted = columns or SCORES[task] + attack_rates(group)
        yield dataset, task, group, with_values(group, wanted)


def with_values(rows: pd.DataFrame, columns: list[str]) -> list[str]:
    """Keep the columns that hold a value in any of the rows, and those that choosing adds."""
    kept = []
    for name in columns:
        if name in DERIVED or (name in rows and rows[name].notna().any()):
            kept.append(name)
    return kept


def blind_spots(columns: list[str]) -> str:
    """List the blind spots of the metrics and attacks that the columns come from, as HTML."""
    shown = set(columns)
    spots = {}
    for name, metric in METRICS.items():
        if shown.intersection(metric.columns):
            spots[name] = metric.blind_spot
    for name, attack in ATTACKS.items():
        if shown.intersection(attack.columns(name)):
            spots[name] = attack.blind_spot
    items = []
    for name, blind_spot in spots.items():
        if blind_spot:
            items.append(f"<li><b>{escape(name)}</b>: {escape(blind_spot)}</li>")
    return f"<p>What fools these metrics:</p><ul>{''.join(items)}</ul>" if items else ""


def attack_rates(rows: pd.DataFrame) -> list[str]:
    """Return the rate columns of the attacks on generators that any of the rows asked for."""
    asked: set[str] = set()
    for names in rows["eval_attacks"]:
        asked.update(names)
    return [f"{stem(name)}_rate" for name in attacks_on("generator") if name in asked]


def shaded_table(lines: pd.DataFrame, columns: list[str]) -> str:
    """Format `summary`'s lines as an HTML table.

    A method's cell is shaded by |method - oracle| / |original - oracle|, at most 1.
    """
    names = [*IDENTITY, *columns]
    titles = "".join(f"<th>{escape(name)}</th>" for name in names)
    parts = [f"<thead><tr>{titles}</tr></thead>"]
    for _, of_model in lines.groupby("model"):
        by_method = {line["method"]: line for line in of_model.to_dict("records")}
        original, oracle = by_method["original"], by_method["oracle"]
        for line in by_method.values():
            parts.append("<tr>")
            for name in IDENTITY:
                parts.append(f"<td>{escape(line[name])}</td>")
            for column in columns:
                style = _shade(line, original, oracle, column)
                parts.append(f"<td{style}>{interval(line, column)}</td>")
            parts.append("</tr>")
    return f"<table class=claims>{''.join(parts)}</table>"


def _interval_of(line: Line, column: str) -> tuple[float, float, float]:
    """Return (mean, low, high) of a column; NaN for those that the line lacks."""
    names = (column, f"{column}_low", f"{column}_high")
    mean, low, high = (line.get(name) for name in names)
    return _number(mean), _number(low), _number(high)


def _number(value: Any) -> float:
    return math.nan if pd.isna(value) else float(value)


def interval(line: Line, column: str) -> str:
    """Format `mean [low, high]`.

    One value has no bounds; no value gives "". Seeds with unequal forget sets have no mean. If
    relearning missed its goal in some cells, there is no mean, and the text says in how many.
    """
    if line.get("unequal", False):
        return "unequal forget sets"
    unreached = line.get(f"{column}_unreached", 0)
    if unreached > 0:
        tried = line[f"{column}_tried"]
        return f"not reached in {unreached:.0f} of {tried:.0f}"
    mean, low, high = _interval_of(line, column)
    if math.isnan(mean):
        return ""
    if math.isnan(low):
        return _three(mean)
    return f"{_three(mean)} [{_three(low)}, {_three(high)}]"


def _three(value: float) -> str:
    """Write a number with three digits after the point; what rounds to 0 has no sign."""
    return f"{round(value, 3) + 0.0:.3f}"


def _shade(line: Line, original: Line, oracle: Line, column: str) -> str:
    """Return the table cell's style attribute; "" for a reference or an unknown distance."""
    if line["method"] in REFERENCES:
        return ""
    if any(of.get(f"{column}_unreached", 0) > 0 for of in (line, original, oracle)):
        return ""
    start, end = original.get(column, math.nan), oracle.get(column, math.nan)
    whole = abs(start - end)
    if pd.isna(line[column]) or not 0 < whole < math.inf:  # nan is not above 0 either
        return ""
    share = min(1.0, abs(line[column] - end) / whole)
    return f' style="background:rgba(194,65,12,{share / 2:.2f})"'
