"""Write the audit of a promoted cell: what each attack got out of the three models, and pictures.

The record is plain JSON, made from the cell's row alone. The gallery keeps it beside the weights.
"""

import inspect
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from sweeps.compute.attacks import PICTURED
from sweeps.rows.plain import plain
from sweeps.spec.cells import Cell
from unlearn.artifacts import Store
from unlearn.attacks import Attack
from unlearn.attacks.generators.intervals import Z95, wilson
from unlearn.forget_sets import without_place

FORMAT = "amnesia-audit/1"
GAP, GAP_GREY, SCALE = 1, 48, 3  # of a sheet: pixels between images, their grey, enlargement


@dataclass(frozen=True)
class Audit:
    """The audit of one cell.

    record: what `audit.json` holds
    pictures: PNG files by name, `<attack>.<model>.png`
    """

    record: dict[str, Any]
    pictures: dict[str, bytes]


def audit(row: pd.Series, cell: Cell) -> Audit:
    """Make the audit of a finished row.

    row: the cell's row
    cell: the cell of the row
    """
    drawn = stored_sheets(row)
    attacks = []
    for name in cell.problem.eval.attacks:
        of_attack = {}
        for model in _keys(name):
            if (name, model) in drawn:
                of_attack[model] = _file(name, model)
        attacks.append(_of_attack(row, cell, name, of_attack))
    record = {
        "format": FORMAT,
        "cell_id": row["cell_id"],
        "dataset": row["dataset"],
        "network": row["model"],
        "task": row["task"],
        "forget": list(cell.problem.forget),
        **({"subset": without_place(cell.problem.subset)} if cell.problem.subset else {}),
        "method": cell.method_name,
        "knobs": asdict(cell.method),
        "seed": cell.problem.seed,
        "effort": cell.problem.eval.effort,
        "judge": _judge(row, cell),
        "attacks": attacks,
        "error": plain(row["error"]),
    }
    return Audit(record, {_file(*key): data for key, data in drawn.items()})


def _of_attack(
    row: pd.Series, cell: Cell, name: str, pictures: Mapping[str, str]
) -> dict[str, Any]:
    """Return what one attack found in every model, and how the amnesiac compares to the oracle.

    pictures: model -> file name of its picture
    """
    attack = cell.problem.eval.attack(name)
    models = {"amnesiac": _found(row, attack, name, "")}
    for model in attack.reference_models:
        models[model] = _found(row, attack, name, f"{model}_")
    comparison = {}
    for column in attack.subject_columns:
        if column not in ("rate_low", "rate_high"):
            comparison[column] = plain(row[attack.column(name, column)])
    if "rate" in attack.model_columns:
        _add_intervals(row, attack, name, models)
    failed = all(value is None for value in models["amnesiac"].values())
    return {
        "name": name,
        "about": _first_sentence(type(attack).__doc__ or ""),
        "blind_spot": attack.blind_spot,
        "knobs": asdict(attack),
        "models": {} if failed else models,
        "comparison": {} if failed else comparison,
        "recovered": None if failed else _recovered(comparison),
        "pictures": dict(pictures),
    }


def _first_sentence(docstring: str) -> str:
    """Return a docstring's first paragraph as one line."""
    paragraph, _, _ = inspect.cleandoc(docstring).partition("\n\n")
    return " ".join(paragraph.split())


def _found(row: pd.Series, attack: Attack, name: str, prefix: str) -> dict[str, Any]:
    """Return the attack's columns of one model, by their names without prefixes."""
    found = {}
    for column in attack.model_columns:
        found[column] = plain(row[prefix + attack.column(name, column)])
    return found


def _add_intervals(
    row: pd.Series, attack: Attack, name: str, models: dict[str, dict[str, Any]]
) -> None:
    """Add `tries`, `low` and `high`, the 95 % Wilson interval, to every model's rate.

    A row holds the amnesiac's interval alone; the other models were attacked as often.
    """
    rate = models["amnesiac"]["rate"]
    low, high = (plain(row[attack.column(name, f"rate_{end}")]) for end in ("low", "high"))
    if rate is None or low is None or high is None:
        return
    tries = tries_behind(rate, low, high)
    if not math.isfinite(tries):
        return
    for found in models.values():
        if found["rate"] is not None:
            ends = wilson(min(found["rate"] * tries, tries), tries)
            found |= {"low": ends[0], "high": ends[1], "tries": tries}


def tries_behind(rate: float, low: float, high: float) -> float:
    """Return the number of independent tries whose 95 % Wilson interval of `rate` is [low, high].

    An end p of the interval solves (rate - p)^2 = z^2 p (1 - p) / tries. The end that is further
    from the rate gives the smaller rounding error. Infinite where the interval has no width.
    """
    if low == high:
        return math.inf
    end = high if high - rate >= rate - low else low
    tries = Z95**2 * end * (1 - end) / (rate - end) ** 2
    return round(tries, 6)


def _recovered(comparison: Mapping[str, Any]) -> bool | None:
    """Tell whether the rate is above the oracle's, by its 95 % interval; None without a rate.

    Where there is a second oracle, the rate must be above both oracles'.
    """
    beyond = comparison.get("beyond_low")
    least = comparison.get("excess_low") if beyond is None else beyond
    return None if least is None else bool(least > 0)


def _judge(row: pd.Series, cell: Cell) -> dict[str, Any] | None:
    """Name the judge that graded the attacks, which no attacker saw; None for a classifier."""
    judges = cell.problem.judges
    if "lead" not in judges:
        return None
    lead = judges["lead"]
    accuracies = plain(row["judge_test_accuracy"]) or [None]
    return {
        "seat": "lead",
        "network": lead.model,
        "seed": lead.seed,
        "key": lead.key,
        "test_accuracy": accuracies[0],
    }


def stored_sheets(row: pd.Series) -> dict[tuple[str, str], bytes]:
    """Return (attack, model) -> PNG of the images that the cell's attacks drew.

    Rows of older versions of amnesia kept the unlearned model's images alone.
    """
    store = Store(row["store"])
    if not store.has("pictures", row["cell_id"]):
        return {}
    images = store.load("pictures", row["cell_id"])
    found = {}
    for name in row["eval_attacks"]:
        for model, key in _keys(name).items():
            if key in images:
                found[str(name), model] = png(images[key])
    return found


def _keys(attack: str) -> dict[str, str]:
    """Return model -> key of the attack's images in the store."""
    return {"amnesiac": attack} | {model: f"{model}:{attack}" for model in PICTURED}


def _file(attack: str, model: str) -> str:
    return f"{attack}.{model}.png"


def png(images: Tensor) -> bytes:
    """Encode images (rows, columns, channels, height, width), uint8, as one PNG sheet."""
    rows, columns, channels, height, width = images.shape
    down, across = height + GAP, width + GAP
    sheet = np.full((rows * down, columns * across, channels), GAP_GREY, np.uint8)
    for i in range(rows):
        for j in range(columns):
            pixels = images[i, j].permute(1, 2, 0).numpy()
            sheet[i * down : i * down + height, j * across : j * across + width] = pixels
    trimmed = sheet[:-GAP, :-GAP].repeat(SCALE, 0).repeat(SCALE, 1)
    sink = io.BytesIO()
    Image.fromarray(trimmed.squeeze()).save(sink, "PNG", optimize=True)
    return sink.getvalue()


def documents(row: pd.Series, cell: Cell) -> dict[str, bytes]:
    """Return what the gallery keeps beside the weights, by file name.

    These are `row.json` with every column that holds a value, `audit.json`, and the pictures.
    """
    known = {}
    for name in row.index:
        value = plain(row[name])
        if value is not None:
            known[name] = value.isoformat() if isinstance(value, pd.Timestamp) else value
    made = audit(row, cell)
    texts = {"row.json": _text(known), "audit.json": _text(made.record)}
    return texts | made.pictures


def _text(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode()
