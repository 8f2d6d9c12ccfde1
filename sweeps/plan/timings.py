"""Seconds that work took before: from rows, artifact cards and the calibration file of a store.

All three give `Rates`: seconds per unit of work, by the kind of work. Nothing is timed here.
"""

import json
import statistics
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import pandas as pd

from sweeps.spec.cells import Cell
from sweeps.spec.recipes import Recipe
from unlearn.artifacts import Store
from unlearn.cards import Card
from unlearn.errors import BadInput
from unlearn.files import exists, join, read_whole, write_whole

CALIBRATION = "calibration.json"  # in the store, beside the artifacts
CARDS = 40  # the most cards that are read per kind of artifact
READERS = 16  # cards read at a time
BY_EPOCHS = " by epochs"  # ends the name of work whose unit is an epoch
KEPT = 20  # measurements that the calibration file keeps per kind of work
GROUP = ["dataset", "model", "method", "eval_candidates"]
NEWEST = 100  # rows that are read per group; the newest stand last
COLUMNS = (  # of a row, that `rates_of_rows` reads
    "dataset",
    "model",
    "task",
    "method",
    "batch",
    "steps",
    "epochs",
    "device",
    "status",
    "eval_candidates",
    "eval_samples",
    "eval_attacks",
    "eval_effort",
    "wall_s",
    "unlearn_s",
    "attack_s",
    "oracle_s",
    "train_steps",
    "train_batch",
)


@dataclass(frozen=True)
class Kind:
    """What was done; work of one kind takes the same seconds per unit.

    work: `train`, `fisher`, `judge`, `unlearn METHOD`, `score CANDIDATES` or `attack NAMES`;
        `unlearn METHOD by epochs` or `expert by epochs` where the unit is an epoch
    dataset, model: by name
    batch: images per step, or images per label that a generator draws; 0 where there is neither
    device: `cpu` or `cuda`
    """

    work: str
    dataset: str
    model: str
    batch: int
    device: str


@dataclass
class Rates:
    """Seconds per unit of work, by kind. A unit is a step, an image of a Fisher, else a cell."""

    seconds: dict[Kind, list[float]] = field(default_factory=dict)

    def note(self, kind: Kind, seconds: float, units: float = 1.0) -> None:
        """Add one measurement; nothing where no unit was done."""
        if units > 0:
            self.seconds.setdefault(kind, []).append(seconds / units)

    def extend(self, other: "Rates") -> None:
        """Add all measurements of another."""
        for kind, seconds in other.seconds.items():
            self.seconds.setdefault(kind, []).extend(seconds)

    def of(self, kind: Kind) -> float | None:
        """Return the median seconds per unit; None where this kind of work was never measured."""
        known = self.seconds.get(kind)
        return statistics.median(known) if known else None

    def similar(self, kind: Kind) -> float | None:
        """Return the rate of the same work at the nearest other batch, scaled to this one."""
        found = []
        for other in self.seconds:
            same = (other.work, other.dataset, other.model, other.device)
            if same == (kind.work, kind.dataset, kind.model, kind.device) and other.batch:
                found.append(other)
        if not found or not kind.batch:
            return None
        nearest = min(found, key=lambda other: abs(other.batch - kind.batch))
        rate = self.of(nearest)
        if rate is None or kind.work.endswith(BY_EPOCHS):  # an epoch reads as much at any batch
            return rate
        return rate * kind.batch / nearest.batch


def unlearning(cell: Cell, device: str) -> tuple[Kind, float]:
    """Return the kind and the units of a cell's unlearning: its epochs or steps, else the cell."""
    batch, steps = getattr(cell.method, "batch", 0), getattr(cell.method, "steps", 0)
    epochs = getattr(cell.method, "epochs", 0.0)
    problem = cell.problem
    work = _unlearning(cell.method_name, epochs)
    return Kind(work, problem.dataset, problem.model, batch, device), epochs or steps or 1


def _unlearning(method: str, epochs: float) -> str:
    """Name the work: how many steps an epoch has depends on the forget set, so it stands apart."""
    return f"unlearn {method}{BY_EPOCHS if epochs else ''}"


def scoring(cell: Cell, device: str) -> Kind:
    """Return the kind of scoring a cell, with the loading of what it needs."""
    problem = cell.problem
    samples = problem.eval.samples if problem.task == "generator" else 0
    work = f"score {problem.eval.candidates}"
    return Kind(work, problem.dataset, problem.model, samples, device)


def attacking(cell: Cell, device: str) -> tuple[Kind, float] | None:
    """Return the kind and the units of attacking a cell; None where it is not attacked."""
    problem = cell.problem
    if not problem.eval.attacks or problem.eval.candidates == "val":
        return None
    kind = Kind(_attacks(problem.eval.attacks), problem.dataset, problem.model, 0, device)
    return kind, problem.eval.effort


def making(recipe: Recipe, device: str) -> tuple[Kind, float]:
    """Return the kind and the units of making an artifact; none where a file holds the weights."""
    knobs = dict(recipe.knobs)
    if recipe.kind == "original" and "weights" in dict(recipe.options):
        return Kind("train", recipe.dataset, recipe.model, knobs["batch"], device), 0
    return _making(recipe.kind, recipe.dataset, recipe.model, knobs, device)


def _making(
    kind: str, dataset: str, model: str, knobs: Mapping[str, Any], device: str
) -> tuple[Kind, float]:
    if kind == "judge":
        return Kind("judge", dataset, model, 0, device), knobs["steps"]
    if kind == "fisher":
        return Kind("fisher", dataset, model, 0, device), knobs["fisher_samples"]
    if knobs.get("expert_epochs"):
        work = f"expert{BY_EPOCHS}"
        return Kind(work, dataset, model, knobs["batch"], device), knobs["expert_epochs"]
    steps = knobs.get("expert_steps", knobs.get("steps", 0))
    return Kind("train", dataset, model, knobs["batch"], device), steps


def _attacks(names: Iterable[str]) -> str:
    return f"attack {','.join(names)}"


def rates_of_rows(rows: pd.DataFrame) -> Rates:
    """Return the rates that finished rows show; `rows` holds `COLUMNS`."""
    rates = Rates()
    known = rows[(rows["status"] == "ok") & rows["wall_s"].notna() & rows["device"].notna()]
    newest = known.groupby(GROUP).tail(NEWEST)
    for row in newest[list(COLUMNS)].itertuples(index=False):
        _note_row(rates, row)
    return rates


def _note_row(rates: Rates, row: Any) -> None:
    """Add one row: its oracle, unlearning, attacks, and as scoring what is left of its seconds."""

    def kind(work: str, batch: float = 0) -> Kind:
        return Kind(work, row.dataset, row.model, _whole(batch), row.device)

    unlearn_s, attack_s = _known(row.unlearn_s), _known(row.attack_s)
    epochs = _known(row.epochs)
    units = epochs or _whole(row.steps) or 1
    rates.note(kind(_unlearning(row.method, epochs), row.batch), unlearn_s, units)
    if not pd.isna(row.oracle_s):
        rates.note(kind("train", row.train_batch), row.oracle_s, row.train_steps)
    attacks = list(row.eval_attacks)
    if attacks:
        rates.note(kind(_attacks(attacks)), attack_s, row.eval_effort)
    samples = row.eval_samples if row.task == "generator" else 0
    rest = row.wall_s - unlearn_s - attack_s
    rates.note(kind(f"score {row.eval_candidates}", samples), rest)


def _known(value: float) -> float:
    return 0.0 if pd.isna(value) else float(value)


def _whole(value: float) -> int:
    return 0 if pd.isna(value) else int(value)


def rates_of_cards(store: Store, wanted: Mapping[str, Iterable[str]]) -> Rates:
    """Return the rates that cards of the store show.

    wanted: kind of artifact -> keys whose cards are read first; others of the kind follow, up to
        `CARDS` in all
    """
    places: list[tuple[str, str]] = []
    for kind, first in wanted.items():
        there = store.keys(kind)
        keys = [*(key for key in first if key in there), *sorted(there.difference(first))]
        places += [(kind, key) for key in keys[:CARDS]]
    rates = Rates()
    with ThreadPoolExecutor(READERS) as pool:
        for card in pool.map(lambda place: _card(store, *place), places):
            _note_card(rates, card)
    return rates


def _card(store: Store, kind: str, key: str) -> Card:
    """Return a card; {} for an artifact that is not complete, or whose card is damaged."""
    try:
        return store.card(kind, key)
    except BadInput:
        return {}


def _note_card(rates: Rates, card: Card) -> None:
    try:
        knobs = dict(card["knobs"])
        kind, units = _making(card["kind"], card["dataset"], card["model"], knobs, card["device"])
        rates.note(kind, float(card["seconds"]), units)
    except (KeyError, TypeError, ValueError):
        pass  # a card of another version, or a user's own: it tells nothing


def read_calibration(store: Store) -> Rates:
    """Return the rates that earlier runs left in the store; none from a missing or damaged file."""
    place = join(store.root, CALIBRATION)
    rates = Rates()
    if not exists(place):
        return rates
    names = [f.name for f in fields(Kind)]
    try:
        for entry in json.loads(read_whole(place)):
            kind = Kind(**{name: entry[name] for name in names})
            rates.seconds[kind] = [float(value) for value in entry["seconds"]]
    except (KeyError, TypeError, ValueError, FileNotFoundError):
        return Rates()
    return rates


def add_to_calibration(store: Store, fresh: Rates) -> None:
    """Add measurements to the store's calibration file; the newest `KEPT` of a kind stay.

    Of two runs that end at the same time the later one wins: the file is a help, not a record.
    """
    if not fresh.seconds:
        return
    known = read_calibration(store).seconds
    for kind, seconds in fresh.seconds.items():
        before = [value for value in known.get(kind, []) if value not in seconds]
        known[kind] = [*before, *seconds][-KEPT:]
    entries = [{**asdict(kind), "seconds": seconds} for kind, seconds in known.items()]
    text = json.dumps(entries, indent=1)
    write_whole(join(store.root, CALIBRATION), text.encode())
