"""From a sweep to its problems and the cells of its grid."""

import pytest

from sweeps.spec.grid import Cells, grid_points
from sweeps.spec.parse import parse
from tests.sweeps import builders as make
from tests.sweeps.builders import grid_spec
from unlearn.errors import BadInput


def test_axes_multiply_and_ids_are_stable() -> None:
    cells, again = (make.cells(**grid_spec(seeds=[0, 1])) for _ in range(2))
    assert len(cells) == 2 * 2 * 2 == len({cell.cell_id for cell in cells})
    assert [cell.cell_id for cell in cells] == [cell.cell_id for cell in again]


def test_forget_each_is_every_class() -> None:
    assert parse(grid_spec(forget="each")).forget == tuple((label,) for label in range(10))


def test_an_axis_that_a_method_lacks_does_not_count() -> None:
    """Retraining has no knob `steps`: it is one cell beside 1,000 of fine-tuning."""
    methods, grid = ["retrain", "fine-tune"], {"steps": list(range(1, 1001))}
    assert len(make.cells(method=methods, grid=grid, forget=[0])) == 1001
    make.sweep(method=methods, grid=grid, seeds=list(range(990)))  # 990,990 cells
    with pytest.raises(BadInput, match="1,001,000 cells"):
        make.sweep(method=methods, grid=grid, seeds=list(range(1000)))


def test_cells_of_a_grid_are_made_when_they_are_read() -> None:
    sweep = make.sweep(**grid_spec(grid={"lam": [10, 100, 200]}))
    problem = make.problems_of(sweep)[0]
    cells = Cells(problem, grid_points(sweep))
    listed = make.cells_of_problem(sweep, problem)
    assert list(cells) == listed == [cells[0], cells[1], cells[-1]]
    assert cells.ids == [cell.cell_id for cell in listed]
    assert list(cells[1:]) == listed[1:]
    assert list(cells.without({cells.ids[1]})) == [listed[0], listed[2]]
    by_id = sorted(listed, key=lambda cell: cell.cell_id)
    assert list(cells.shuffled(sweep.methods)) == by_id


def test_a_value_of_a_grid_out_of_range_is_refused_with_its_point() -> None:
    with pytest.raises(BadInput, match=r"selective-amnesia at .*'lam': -1.*lam must be at least 0"):
        parse(grid_spec(grid={"lam": [1, -1], "steps": [3, 4]}))
    with pytest.raises(BadInput, match=r"selective-amnesia: steps must be a whole number, not 3.5"):
        parse(grid_spec(grid={"lam": [1], "steps": [3, 3.5]}))
