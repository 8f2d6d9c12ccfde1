"""Folding in the background: pandas follows the run and is complete at its end."""

import time
from pathlib import Path

import pandas as pd
import pytest

from sweeps.rows.fold import Folder
from sweeps.run.folding import Folding
from tests.sweeps import builders as make
from unlearn.errors import BadInput, CannotWrite, OutOfReach

CELLS = make.cells(grid={"steps": [5, 6, 7]})
IDS = [cell.cell_id for cell in CELLS]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.run.folding.EVERY_S", 0.02)


def seen(folder: Path) -> set[str]:
    """The cells that pandas sees."""
    try:
        return set(pd.read_parquet(folder / "results" / "v1", columns=["cell_id"])["cell_id"])
    except (FileNotFoundError, ValueError):  # no file yet
        return set()


def test_pandas_sees_rows_during_the_run(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    with Folding(results, ["s"]) as folding:
        for count, cell in enumerate(CELLS, start=1):
            make.write(results, cell)
            folding.wrote([cell.cell_id])
            deadline = time.monotonic() + 60
            while len(seen(tmp_path)) < count and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(seen(tmp_path)) == count
        assert not folding.pending


def test_the_end_waits_for_rows_that_the_file_system_does_not_show_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS may list a new file late."""
    results = make.results(tmp_path)
    folded = Folder.fold

    def fold_late(self: Folder, repair: bool = False) -> frozenset[str] | None:
        monkeypatch.setattr(Folder, "fold", folded)
        for cell in CELLS:
            make.write(results, cell)
        return frozenset()

    with Folding(results, ["s"]) as folding:
        folding.wrote(IDS)
        monkeypatch.setattr(Folder, "fold", fold_late)
    assert seen(tmp_path) == set(IDS)


def test_rows_that_never_show_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.run.folding.PATIENCE_S", 0.1)
    with (
        pytest.raises(BadInput, match=r"rows wait in the journal .* run `amnesia compact` later"),
        Folding(make.results(tmp_path), ["s"]) as folding,
    ):
        folding.wrote(IDS)


def test_after_an_interruption_what_was_written_is_folded(tmp_path: Path) -> None:
    results = make.results(tmp_path)

    def interrupted() -> None:
        with Folding(results, ["s"]) as folding:
            folding.ended.set()  # no fold in the background
            make.write(results, CELLS[0])
            folding.wrote(IDS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen(tmp_path) == {IDS[0]}


def test_a_foreign_file_is_a_warning_while_rows_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = make.results(tmp_path)
    folder = Path(results.folder("s"))
    folder.mkdir(parents=True)
    (folder / "foreign.parquet").write_bytes(b"not parquet")
    make.write(results, CELLS[0])
    with pytest.raises(BadInput, match="move it away"), Folding(results, ["s"]):
        time.sleep(0.1)
    assert "warning: rows wait in the journal" in capsys.readouterr().err
    (folder / "foreign.parquet").unlink()
    with Folding(results, ["s"]):
        pass
    assert seen(tmp_path) == {IDS[0]}


def test_a_place_out_of_reach_for_a_moment_does_not_halt_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = make.results(tmp_path)
    make.write(results, CELLS[0])

    def gone(*_: object) -> None:
        raise OutOfReach("cannot reach s3://x")

    monkeypatch.setattr("sweeps.run.folding.EVERY_S", 0.01)
    with Folding(results, ["s"]) as folding:
        with monkeypatch.context() as patched:
            patched.setattr("sweeps.rows.fold.write_whole", gone)
            time.sleep(0.3)
        assert folding.thread.is_alive()
        assert folding.halt == ""
    assert "warning: rows wait in the journal: cannot reach s3://x" in capsys.readouterr().err
    assert seen(tmp_path) == {IDS[0]}


def test_a_full_disk_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = make.results(tmp_path)
    make.write(results, CELLS[0])

    def full(*_: object) -> None:
        raise CannotWrite("cannot write /x: No space left on device")

    monkeypatch.setattr("sweeps.rows.fold.write_whole", full)
    folding = Folding(results, ["s"])
    folding.__enter__()
    folding.thread.join(60)
    assert folding.halt == "cannot write /x: No space left on device"
    with pytest.raises(CannotWrite, match="No space left"):
        folding.__exit__(None, None, None)
    monkeypatch.undo()
    assert results.find("s", IDS[0]) is not None
