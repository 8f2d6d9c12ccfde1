"""Files and folders at a local path or a URL."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from unlearn.errors import BadInput, OutOfReach
from unlearn.files import (
    exists,
    folders,
    join,
    locate,
    names_in,
    read_whole,
    remove_all,
    write_whole,
)


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def test_names_are_joined_with_one_slash() -> None:
    assert join("/store", "a", "b") == "/store/a/b" == join(Path("/store/"), "a", "b")
    assert join("s3://bucket/", "a") == "s3://bucket/a"


def test_a_file_comes_back_as_it_was_written(root: str) -> None:
    path = join(root, "new", "file")
    assert not exists(path)
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert exists(path)
    assert read_whole(path) == b"two"
    with pytest.raises(FileNotFoundError):
        read_whole(join(root, "new", "other"))


def test_folders_are_sorted_and_neither_hidden_nor_files(root: str) -> None:
    for name in ("b", "a", ".hidden"):
        write_whole(join(root, name, "file"), b"")
    write_whole(join(root, "file"), b"")
    assert folders(root) == ["a", "b"]
    assert folders(join(root, "nowhere")) == []


def test_the_temporary_file_lies_in_the_folder_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    replace = os.replace

    def look(draft: Path, path: str) -> None:
        seen.append([str(draft.parent), draft.name[:3]])
        replace(draft, path)

    monkeypatch.setattr(os, "replace", look)
    write_whole(tmp_path / "x", b"1")
    write_whole(tmp_path / "x", b"2", temporary=tmp_path / "drafts")
    assert seen == [[str(tmp_path), ".x."], [str(tmp_path / "drafts"), ".x."]]
    assert (tmp_path / "x").read_bytes() == b"2"
    assert list((tmp_path / "drafts").iterdir()) == []


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot reach 'no-such://place'"):
        locate("no-such://place")


def test_a_folder_in_the_place_of_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "card.json").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "card.json", tmp_path / "file" / "card.json"):
        with pytest.raises(BadInput, match=f"cannot read {path}: .*; check the path"):
            read_whole(path)


class NoAnswer(Exception):
    """As botocore raises it: no `OSError`."""


class Gone(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A service that does not answer."""

    protocol = "gone"

    def refuse(self, *_: object, **__: object) -> None:
        raise NoAnswer("could not connect to the endpoint")

    pipe_file = cat_file = ls = exists = isdir = rm_file = refuse


CALLS: dict[str, Callable[[str], Any]] = {
    "write": lambda url: write_whole(url, b"1"),
    "read": read_whole,
    "names": names_in,
    "exists": exists,
    "folders": folders,
    "remove": lambda url: remove_all([url]),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_service_that_does_not_answer_is_one_line(call: str) -> None:
    fsspec.register_implementation("gone", Gone, clobber=True)
    with pytest.raises(OutOfReach) as raised:
        CALLS[call]("gone://bucket/file")
    assert isinstance(raised.value, OSError)
    assert str(raised.value) == (
        "cannot reach gone://bucket/file: NoAnswer: could not connect to the endpoint; check the "
        "URL, credentials, and that the service runs"
    )
