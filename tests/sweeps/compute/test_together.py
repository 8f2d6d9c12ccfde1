"""Cells that are unlearned as one program get the rows that they get alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from sweeps.compute import artifacts, together
from sweeps.compute.cache import WorkerCache
from sweeps.compute.cell import Made, compute
from sweeps.compute.together import stack_key, unlearn_together
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from unlearn.errors import NotFinite

SPEC: dict[str, Any] = {
    "models": "cvae-mlp",
    "method": "selective-amnesia",
    "forget": [[0], [1]],
    "grid": {"lam": [10.0, 1000.0]},
    "unlearn": {"steps": 15, "batch": 8},
    "train": {"steps": 30, "batch": 16, "judge_steps": 3, "fisher_samples": 50},
    "eval": {"samples": 10, "judges": 1},
}


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return make.cells(**SPEC)


@pytest.fixture(scope="module")
def cache(cells: list[Cell], tmp_path_factory: pytest.TempPathFactory) -> WorkerCache:
    """A worker's cache on a store that holds what the cells need."""
    store = make.store(tmp_path_factory.mktemp("together"))
    recipes = {recipe.key: recipe for cell in cells for recipe in cell.recipes().values()}
    waiting = sorted(recipes.values(), key=lambda recipe: len(recipe.needs))
    for recipe in waiting:
        artifacts.make(store, "data", recipe, 0, 1)
    return WorkerCache(store, "data", "cpu")


def test_rows_are_those_of_the_cells_alone(cache: WorkerCache, cells: list[Cell]) -> None:
    made = unlearn_together(cache, cells)
    assert list(made) == [cell.cell_id for cell in cells]
    for cell in cells:
        own = made[cell.cell_id]
        assert isinstance(own, Made)
        stacked, alone = compute(cache, cell, own).columns, compute(cache, cell).columns
        assert stacked.keys() == alone.keys()
        assert (stacked["stacked"], alone["stacked"]) == (4, 1)
        for name in ("forget_probability", "retain_accuracy", "retain_elbo", "forget_elbo"):
            assert stacked[name] == pytest.approx(alone[name], rel=0.02, abs=0.02)
        assert stacked["curve_step"] == alone["curve_step"]
        for ours, theirs in zip(stacked["curve"], alone["curve"], strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3)
        film = cache.store.load("pictures", cell.cell_id)["film"]
        assert film.shape[1] == 10


def test_where_the_stack_does_not_fit_its_halves_run(
    cache: WorkerCache, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, sizes = together._unlearned, []

    def small(cache: WorkerCache, some: list[Cell]) -> Any:
        sizes.append(len(some))
        if len(some) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(cache, some)

    monkeypatch.setattr(together, "_unlearned", small)
    made = unlearn_together(cache, cells)
    assert sizes == [4, 2, 2]
    assert list(made) == [cell.cell_id for cell in cells]


def test_a_member_that_fails_fails_alone(cache: WorkerCache, cells: list[Cell]) -> None:
    hot = make.cells(**{**SPEC, "grid": {"lam": [1e300]}})[0]  # infinite in float32
    made = unlearn_together(cache, [hot, cells[1]])
    assert isinstance(made[hot.cell_id], NotFinite)
    assert isinstance(made[cells[1].cell_id], Made)


def test_what_cells_must_share() -> None:
    def keys(**changes: Any) -> set[Any]:
        return {stack_key(cell) for cell in make.cells(**{**SPEC, **changes})}

    assert len(keys()) == 1
    assert len(keys(seeds=[0, 1])) == 1
    assert len(keys(models=["cvae-mlp", "cvae-conv"])) == 2
    assert keys(unlearn={"replay": "pool"}) == {None}
    assert {stack_key(cell) for cell in make.cells(method="fine-tune")} == {None}


def test_one_cell_is_no_stack(cache: WorkerCache, cells: list[Cell], tmp_path: Path) -> None:
    assert unlearn_together(cache, cells[:1]) == {}
