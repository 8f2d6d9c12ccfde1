"""Modules of users that fail as they are imported: one line with file, line and cause."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unlearn.errors import BadInput
from unlearn.models import build, task_of

Write = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes `theirs.py` and returns the name of `make` in it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["amnesia", "plan", "mine.yaml"])

    def write(text: str) -> str:
        (tmp_path / "theirs.py").write_text(text)
        return "theirs:make"

    yield write
    sys.modules.pop("theirs", None)


PARSES = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr')\np.parse_args()\n"
LAZY = "def __getattr__(name):\n    import nowhere_at_all\n"
BROKEN = {
    "divides by zero": (
        "x = 1\ny = x / 0\n",
        r"ZeroDivisionError: division by zero \(theirs.py:2\)",
    ),
    "syntax": ("def make(:\n", r"SyntaxError: .* \(theirs.py:1\)\); mend the module"),
    "parses": (PARSES, r"ends the program, SystemExit: 2 .*unrecognized arguments: plan mine.yaml"),
    "exits": ("raise SystemExit\n", r'put what it runs under `if __name__ == "__main__":`'),
    "lacks a package": (
        "import nowhere_at_all\n",
        r"ModuleNotFoundError: No module named 'nowhere_at_all' \(theirs.py:1\)\); mend the module",
    ),
    "asserts": (
        "assert False, 'Torch not compiled with CUDA enabled'\n",
        r"AssertionError: Torch not compiled with CUDA enabled \(theirs.py:1\)",
    ),
    "is lazy": (LAZY, r"looking up make raises ModuleNotFoundError: .* \(theirs.py:2\)"),
    "has a foreign task": (
        "def make(): ...\nmake.task = 'segment'\n",
        "'segment', not generator or",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_module_that_cannot_be_imported_says_why(
    case: str, module: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    text, reason = BROKEN[case]
    with pytest.raises(BadInput, match=reason) as raised:
        task_of(module(text))
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().err == ""


def test_a_module_that_is_not_there_says_where_to_put_it() -> None:
    with pytest.raises(BadInput, match=r"No module named 'no'\); put its folder on PYTHONPATH"):
        task_of("no.such:thing")


def test_an_interruption_passes(module: Write) -> None:
    with pytest.raises(KeyboardInterrupt):
        task_of(module("raise KeyboardInterrupt\n"))


def test_what_a_module_prints_is_printed(module: Write, capsys: pytest.CaptureFixture[str]) -> None:
    name = module("import sys\nprint('loading', file=sys.stderr)\ndef make(): ...\n")
    assert task_of(name) == "classifier"
    assert capsys.readouterr().err == "loading\n"


def test_a_builders_fault_names_the_users_line_not_torchs(module: Write) -> None:
    name = module("from torch import nn\ndef make():\n    return nn.Linear(-1, 2)\n")
    with pytest.raises(BadInput, match=r"RuntimeError: .* \(theirs.py:3\)\); change them"):
        build(name, (1, 8, 8), 2)
