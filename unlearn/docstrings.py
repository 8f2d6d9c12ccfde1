"""Read docstrings: the meanings of names that they tell, line by line."""

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from fnmatch import fnmatchcase

UNSAID = "—"  # a name of which no docstring tells


def first_sentence(text: str | None) -> str:
    """The first line of a docstring, up to the first blank one, as one line."""
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())


def meanings(kind: type) -> dict[str, str]:
    """The meaning of every field of a dataclass that a docstring tells, its own or a base's."""
    names = {f.name for f in fields(kind)}
    found: dict[str, str] = {}
    for owner in kind.__mro__:
        found = {**lines_of(owner.__doc__ or "", names), **found}
    return {name: meaning for name, meaning in found.items() if name in names}


def lines_of(text: str, names: Iterable[str]) -> dict[str, str]:
    """What a docstring says of these names: `name: meaning`, or `name, name: meaning`.

    A meaning begins a line or follows a full stop or semicolon; it ends before the next one and at
    the end of its paragraph. A pattern such as `judge_*` has a meaning as well.
    """
    found: dict[str, str] = {}
    for paragraph, told in _paragraphs(text, names):
        ends = [*(match.start() for match in told[1:]), len(paragraph)]
        for match, end in zip(told, ends, strict=False):
            meaning = " ".join(paragraph[match.end() : end].split())
            for name in _names(match):
                found[name] = meaning.rstrip(".;")
    return found


def prose_of(text: str, names: Iterable[str]) -> str:
    """The paragraphs of a docstring without what `lines_of` takes."""
    parts = []
    for paragraph, told in _paragraphs(text, names):
        kept = paragraph[: told[0].start()] if told else paragraph
        parts.append(" ".join(kept.split()))
    return "\n\n".join(part for part in parts if part)


def _paragraphs(text: str, names: Iterable[str]) -> list[tuple[str, list[re.Match[str]]]]:
    """Every paragraph, and where in it a meaning of one of the names begins."""
    one = rf"`?(?:{'|'.join(re.escape(name) for name in names)}|\w+_\*)`?"
    begin = re.compile(rf"(?:^|(?<=[.;]\s))({one}(?:, {one})*): ", re.MULTILINE)
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return [(paragraph, list(begin.finditer(paragraph))) for paragraph in paragraphs]


def _names(match: re.Match[str]) -> list[str]:
    return [name.strip(" `") for name in match[1].split(",")]


def meaning_of(name: str, told: Mapping[str, str]) -> str:
    """Return a score's meaning: by its name, by its twin without `val_`, or by a pattern."""
    if name in told:
        return told[name]
    twin = name.removeprefix("val_")
    if twin in told:
        return f"`{twin}` on validation data"
    for pattern, meaning in told.items():
        if fnmatchcase(name, pattern):
            return meaning
    return UNSAID


def papers_in(*texts: str | None) -> str:
    """Return the arXiv ids that the texts name, each once: `arXiv:2205.08096, ...`."""
    found = re.findall(r"arXiv:\d{4}\.\d{4,5}", " ".join(text or "" for text in texts))
    return ", ".join(dict.fromkeys(found))
