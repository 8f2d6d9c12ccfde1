"""The head of the page: when, by which code, on which data, and the commands that make it again."""

from datetime import UTC, datetime
from pathlib import Path

from sweeps.report.head import head, spec_of, split_sizes, sweep_head
from tests.sweeps import builders as make

SPEC = {"grid": {"steps": [5, 10]}, "seeds": [0, 1]}


def write(folder: Path) -> None:
    for i, cell in enumerate(make.cells(**SPEC)):
        row = make.row(cell, wall_s=100.0, git_revision="abc1", store="/s")
        row["created_at"] = datetime(2026, 1, 2, 3, 4 + i, tzinfo=UTC)
        make.results(folder).write("s", row)


def test_it_says_when_by_which_code_and_how_to_make_it_again(tmp_path: Path) -> None:
    write(tmp_path)
    results = make.results(tmp_path)
    page = head(results, ["s"], results.read(), "out.html")
    assert "2026-01-02 03:04 to 2026-01-02 03:07 UTC" in page
    assert "revision abc1" in page
    assert "4 finished, 0 failed; 7 min of computing" in page
    assert f"amnesia run s.yaml --results {results.root} --store /s\n" in page
    assert f"amnesia report {results.root} --sweep s -o out.html" in page


def test_a_sweep_names_its_data_seeds_and_knobs(tmp_path: Path) -> None:
    write(tmp_path)
    page = sweep_head(make.results(tmp_path).read(), "unused")
    assert "mnist5k: 3,500 train, 500 val, 1,000 test images" in page
    assert "<dt>Seeds</dt><dd>2 (0, 1)</dd>" in page
    assert "<dt>Varied: steps</dt><dd>5, 10</dd>" in page
    assert "<dt>Attacks</dt><dd>none</dd>" in page
    assert "<th>train_steps</th>" in page


def test_many_values_of_a_knob_are_summed_up(tmp_path: Path) -> None:
    for cell in make.cells(grid={"steps": list(range(1, 20))}):
        make.write(make.results(tmp_path), cell)
    page = sweep_head(make.results(tmp_path).read(), "unused")
    assert "19 values from 1 to 19" in page


def test_data_that_are_not_here_are_not_counted() -> None:
    assert "not on this machine" in split_sizes("no-such-data", "unused")


def test_a_shipped_spec_is_named_by_any_of_its_sweeps() -> None:
    assert spec_of("demo-classifier") == "demo"
    assert spec_of("mine") == "mine.yaml"
