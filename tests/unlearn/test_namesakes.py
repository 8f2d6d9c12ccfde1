"""A user's module that has the name of one of ours: one line that names both."""

import re
from pathlib import Path

import pytest

import unlearn
from unlearn.errors import BadInput
from unlearn.models.user_model import find_builder
from unlearn.namesakes import namesakes

OURS = str(Path(str(unlearn.__file__)).parent)


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own `unlearn/`, first on the search path, and a module that imports from it."""
    folder = tmp_path / "unlearn"
    folder.mkdir()
    (folder / "__init__.py").write_text("def net(): ...\n")
    (folder / "nets.py").write_text("def net(): ...\n")
    (tmp_path / "their_nets.py").write_text("from unlearn import net\n")
    (tmp_path / "their_deeper_nets.py").write_text("from unlearn.nets import net\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


@pytest.mark.parametrize("module", ["unlearn.nets", "their_nets", "their_deeper_nets"])
def test_a_builder_behind_a_namesake_is_refused_with_both_places(module: str, theirs: Path) -> None:
    says = f"`unlearn` is {OURS} here, not {theirs}: give yours another name"
    with pytest.raises(BadInput, match=re.escape(says)) as caught:
        find_builder(f"{module}:net")
    assert "\n" not in str(caught.value)


def test_a_module_that_is_nowhere_belongs_on_the_search_path(theirs: Path) -> None:
    with pytest.raises(BadInput, match=r"No module named 'no_such_nets'\); put its folder on"):
        find_builder("no_such_nets:net")


def test_namesakes_are_packages_modules_and_bare_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / "unlearn").mkdir(parents=True)
    (tmp_path / "a" / "unlearn.py").touch()
    assert namesakes("unlearn") == []
    monkeypatch.syspath_prepend(str(tmp_path / "a"))
    monkeypatch.chdir(tmp_path / "b")  # workers search the driver's working folder
    places = [str(tmp_path / "a" / "unlearn.py"), str(tmp_path / "b" / "unlearn")]
    assert namesakes("unlearn") == places
