"""Builders of the objects that hand cells to Ray Tune: places, packs, trials, searchers."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeps.compute.candidates import Tuning, val_scores
from sweeps.plan.sources import Source
from sweeps.run.budget import Allowance
from sweeps.run.places import Places, places_for
from sweeps.run.searcher import PackSearcher
from sweeps.run.trial import CellReport, Pack, PackTrial, report_of
from sweeps.spec.cells import Cell
from sweeps.spec.sections import Resources

PLACES = Places("results", "store", "data", None)


def places(folder: Path) -> Places:
    """The places of a sweep that runs in `folder`."""
    return places_for(str(folder / "store"), str(folder / "results"), "data")


def pack(
    cells: Iterable[Cell],
    retry: bool = False,
    sweep: str = "s",
    best: Mapping[str, float] | None = None,
    tuning: Mapping[str, Tuning] | None = None,
) -> Pack:
    """These cells for one trial on one CPU; `best` by method, `tuning` by cell_id."""
    scores, behind = tuple((best or {}).items()), tuple((tuning or {}).items())
    return Pack(sweep, tuple(cells), 1, 0, retry, scores, behind)


def config(pack: Pack, places: Places = PLACES) -> dict[str, Any]:
    """The config that the searcher hands to a trial."""
    return {"pack": pack, "places": places}


def trial(pack: Pack, places: Places) -> PackTrial:
    """A trial that holds the pack, set up outside of Ray."""
    made: PackTrial = object.__new__(PackTrial)
    made.setup(config(pack, places))
    return made


def searcher(
    sources: Iterable[Source],
    slots: int | Callable[[Resources], int] = 1,
    places: Places = PLACES,
    retry: bool = False,
    allowance: Allowance | None = None,
) -> PackSearcher:
    """A searcher over the sources, with `slots` slots for every kind of resources."""
    count = slots if callable(slots) else lambda needs: slots
    return PackSearcher(list(sources), places, count, retry, allowance)


def ask(searcher: PackSearcher, trial_id: str) -> Any:
    """The pack that the searcher suggests; None where it waits, `Searcher.FINISHED` at its end."""
    asked = searcher.suggest(trial_id)
    return asked["pack"] if isinstance(asked, dict) else asked


def result(
    pack: Pack,
    scores: Callable[[Cell], Mapping[str, Any]] = lambda cell: {},
    wall_s: float = 9.0,
    status: str = "ok",
) -> dict[str, Any]:
    """The result that a trial reports once it has computed the pack."""
    reports = []
    for each in pack.cells:
        val = val_scores({"status": status, **scores(each)})
        failed = status == "failed"
        reports.append(CellReport(each.cell_id, failed, wall_s, val))
    return {"reports": reports, "halt": "", "crowded": False}


def report(row: Any) -> CellReport:
    """What a trial reports of a row that it finds."""
    return report_of(row, wall_s=0.0)
