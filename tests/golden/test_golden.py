"""`cell_id`s and artifact keys never change, so that existing rows and artifacts are found again.

`ids.json` holds the ids and keys of every shipped spec and every document of `odd.yaml`, as they
were when it was written. `python -m tests.golden.test_golden` adds missing entries and changes no
existing one.
"""

import hashlib
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from sweeps.spec.cells import Cell
from sweeps.spec.files import read_documents, shipped
from sweeps.spec.grid import cell_of, grid_cells, problems
from sweeps.spec.parse import parse
from sweeps.spec.sweep import Sweep

HERE = Path(__file__).parent
IDS = HERE / "ids.json"
SPECS = [*shipped(), str(HERE / "odd.yaml")]


def cells_of(sweep: Sweep) -> list[Cell]:
    """Return the cells of the sweep's grid, and those at every corner of every search space."""
    found = []
    for problem in problems(sweep):
        found += grid_cells(sweep, problem)
        for method, search in sweep.search:
            knobs = [knob for knob, _ in search.space]
            for corner in product(*(choices for _, choices in search.space)):
                found.append(cell_of(sweep, problem, method, dict(zip(knobs, corner, strict=True))))
    return found


def fingerprint(sweep: Sweep) -> dict[str, Any]:
    """Return the number of cells, the first cell's id and artifact keys, and a hash of them all."""
    cells = cells_of(sweep)
    ids = [cell.cell_id for cell in cells]
    keys = [{role: recipe.key for role, recipe in sorted(cell.recipes().items())} for cell in cells]
    everything = json.dumps([ids, keys], sort_keys=True)
    whole = hashlib.sha256(everything.encode()).hexdigest()
    return {"cells": len(cells), "first": ids[0], "artifacts": keys[0], "all": whole}


def fingerprints(spec: str) -> dict[str, Any]:
    """Return sweep name -> fingerprint. Files count by content, so paths stay relative."""
    return {document["name"]: fingerprint(parse(document)) for document in read_documents(spec, [])}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: Path(spec).stem)
def test_ids_and_keys_are_what_they_were(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE.parents[1])
    known = json.loads(IDS.read_text())[Path(spec).stem]
    assert fingerprints(spec) == known


if __name__ == "__main__":
    before = json.loads(IDS.read_text()) if IDS.exists() else {}
    now = {Path(spec).stem: fingerprints(spec) for spec in SPECS}
    for stem, known in before.items():
        now[stem] = now.get(stem, {}) | known
    IDS.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
