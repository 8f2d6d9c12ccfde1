"""Each attack's success rate at recovering a forgotten class, and some images that it drew."""

from collections.abc import Mapping, Sequence

import pandas as pd
from torch import Tensor

from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import paragraph, picture, table
from unlearn.attacks.generators.base import GeneratorAttack, stem

SHOWN = 8  # images per attack


def section(context: Context) -> str:
    row = context.row
    return attack_table(row) + attack_images(row["eval_attacks"], context.pictures)


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
    return explained + table(rates, digits=".2f", index=True)


def _line(row: pd.Series, name: str) -> dict[str, object]:
    own = stem(name)
    rate, low, high = row[f"{own}_rate"], row[f"{own}_rate_low"], row[f"{own}_rate_high"]
    least, most = row[f"{own}_excess_low"], row[f"{own}_excess_high"]
    line: dict[str, object] = {"unlearned": f"{rate:.2f} [{low:.2f}, {high:.2f}]"}
    for reference in GeneratorAttack.reference_models:
        line[reference] = row[f"{reference}_{own}_rate"]
    line["above the oracle"] = f"[{least:+.2f}, {most:+.2f}]"
    return line


def attack_images(attacks: Sequence[str], pictures: Mapping[str, Tensor]) -> str:
    """Return a figure of the first images that each attack drew; "" without images.

    pictures: attack's name -> images (labels, n, channels, height, width), uint8
    """
    drawn = {}
    for name in attacks:
        if name in pictures:
            images = pictures[name].flatten(0, 1)[:SHOWN]
            drawn[name] = images.float() / 255
    if not drawn:
        return ""
    caption = "Images that each attack drew from the unlearned model."
    return picture(figures.strips(drawn), caption)
