"""The audit: what each attack got out of the three models; or that no attack was run."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from sweeps.choose.audit import tries_behind
from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import Html, heading, paragraph, picture, table
from unlearn.attacks import ATTACKS, Attack
from unlearn.attacks.generators.base import GeneratorAttack, stem
from unlearn.attacks.generators.intervals import wilson

SHOWN = 8  # images per attack and model
NONE = (
    "No attack was run: whether the forgotten classes can be brought back is not known. "
    "<code>eval: {attacks: [...]}</code> in the spec asks for attacks."
)
PREFIXES = {"original": "original_", "unlearned": "", "oracle": "oracle_"}


def section(context: Context) -> str:
    row = context.row
    if len(row["eval_attacks"]) == 0:
        return heading(4, "Audit") + paragraph(Html(NONE), "warning")
    if row["task"] == "classifier":
        return heading(4, "Audit") + findings_table(row)
    images = attack_images(row["eval_attacks"], context.pictures)
    return heading(4, "Audit") + attack_table(row) + images


def attack_table(row: pd.Series) -> str:
    """Return a table of each attack's success rate, beside its rate on the reference models.

    These are original, oracle and an untrained decoder. Leaves out attacks that raised an error;
    returns "" where none is left.
    """
    lines = {}
    for name in row["eval_attacks"]:
        if pd.notna(row[f"{stem(name)}_rate"]):
            lines[name] = _line(row, name)
    if not lines:
        return ""
    explained = paragraph(
        "Attacks: the share of tries that brought a forgotten class back (95 % interval), graded "
        "by a judge that the attacker never saw. An attack recovered something where its rate is "
        "above the oracle's."
    )
    rates = pd.DataFrame.from_dict(lines, orient="index")
    return explained + table(rates, index=True)


def _line(row: pd.Series, name: str) -> dict[str, object]:
    own = stem(name)
    rate, low, high = row[f"{own}_rate"], row[f"{own}_rate_low"], row[f"{own}_rate_high"]
    least, most = row[f"{own}_excess_low"], row[f"{own}_excess_high"]
    line: dict[str, object] = {"unlearned": f"{rate:.2f} [{low:.2f}, {high:.2f}]"}
    tries = tries_behind(rate, low, high)
    for reference in GeneratorAttack.reference_models:
        line[reference] = _with_interval(row[f"{reference}_{own}_rate"], tries)
    line["above the oracle"] = f"[{least:+.2f}, {most:+.2f}]"
    line["recovered"] = "yes" if least > 0 else "no"
    return line


def _with_interval(rate: float, tries: float) -> str:
    """Write a rate with its 95 % Wilson interval."""
    if pd.isna(rate):
        return ""
    if not math.isfinite(tries):
        return f"{rate:.2f}"
    low, high = wilson(min(rate * tries, tries), tries)
    return f"{rate:.2f} [{low:.2f}, {high:.2f}]"


def findings_table(row: pd.Series) -> str:
    """Return a table of what the attacks on a classifier measured in each of the three models."""
    lines = {}
    for name in row["eval_attacks"]:
        for column, values in _findings(row, name, ATTACKS[name]):
            lines[f"{name}: {column}"] = values
    explained = paragraph(
        "What attacks still read in the models. The oracle never saw the forgotten classes: an "
        "unlearned model that gives more away than the oracle has kept something."
    )
    return explained + table(pd.DataFrame.from_dict(lines, orient="index"), index=True)


def _findings(row: pd.Series, name: str, attack: Attack) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (column, model -> value as text) of one attack, without its curves."""
    for column, kind in {**attack.model_columns, **attack.subject_columns}.items():
        if kind is list:
            continue
        values = {}
        for model, prefix in PREFIXES.items():
            values[model] = _value(row, prefix + attack.column(name, column))
        yield column, values


def _value(row: pd.Series, column: str) -> str:
    """Write a value; a column that a model does not have is empty, a null was not reached."""
    if column not in row:
        return ""
    value: Any = row[column]
    return "not reached" if pd.isna(value) else f"{value:.3g}"


def attack_images(attacks: Sequence[str], pictures: Mapping[str, Tensor]) -> str:
    """Return a figure of the first images that each attack drew from each model; "" without any.

    pictures: attack's name, or `<model>:<attack>` for a reference model -> images
        (labels, n, channels, height, width), uint8
    """
    drawn = {}
    for name in attacks:
        for model in PREFIXES:
            key = name if model == "unlearned" else f"{model}:{name}"
            if key in pictures:
                images = pictures[key].flatten(0, 1)[:SHOWN]
                drawn[f"{name}\n{model}"] = images.float() / 255
    if not drawn:
        return ""
    caption = "Images that each attack drew; out of the original, the unlearned model, the oracle."
    return picture(figures.strips(drawn), caption)
