"""Write docs/columns.md, every column: `python -m sweeps.rows.reference > docs/columns.md`.

The tables come from the dictionary of columns, the texts from docstrings of metrics and attacks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from importlib import import_module

from sweeps.rows.columns import CELL, COLUMNS, OUTCOME, PROVENANCE, settings
from sweeps.rows.schema import type_name
from sweeps.spec.sections import Evaluation, Train
from unlearn.attacks import Attack, attacks_on
from unlearn.attacks.base import SECOND_ORACLE
from unlearn.attacks.generators.base import GeneratorAttack, stem
from unlearn.columns import DIRECTIONS, Column
from unlearn.docstrings import first_sentence, prose_of
from unlearn.methods import knob_entries
from unlearn.metrics import METRICS
from unlearn.metrics.base import Metric

INTRO = """# Every column of a row

This page is generated: `python -m sweeps.rows.reference > docs/columns.md`. Do not edit it by hand.

`pandas.read_parquet("<results>/v1")` gives one row per cell with all of these columns, and `sweep`,
the name of the sweep, from the folder's name. A column that a cell does not have is null: a
classifier has no `forget_probability`, `selective-amnesia` no `rho`. Pandas takes the columns of a
folder from the first file that it meets: where rows of an older version of amnesia lie there,
`amnesia compact <results>` gives all rows all columns.

`val_*` scores choose and nothing else; all others report. A score with a tick under *beside* stands
three times in a row: bare for the unlearned model, as `original_<column>` and `oracle_<column>` for
those two. Shares lie in [0, 1]. *better* says which direction is: `oracle` means the nearer to the
oracle's value the better. `amnesia columns NAME` prints the same in a terminal, and the fields of
the Parquet files carry it as metadata.

A score may be infinite: a model that excludes a forgotten image gives it a likelihood of 0, so that
`forget_elbo` is `-inf`. Parquet holds it as a float, tables and pages print `inf` and `-inf`, and
JSON (`amnesia show --format json`, the cards of the gallery) holds the text `"Infinity"` or
`"-Infinity"`, which `float` in Python and `Number` in JavaScript read. NaN is the same as null.
"""
HEAD = ("column", "type", "unit", "better", "meaning")
SCORED = ("column", "type", "unit", "better", "beside", "meaning")


@dataclass(frozen=True)
class Scores:
    """One metric or attack, as one section of the page shows it."""

    title: str
    about: str
    entries: list[Column]
    blind_spot: str


def line(cells: Iterable[str]) -> str:
    """Return one line of a Markdown table, with the bars in its cells escaped."""
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def rows_table(entries: Iterable[Column]) -> str:
    """Return a table of columns."""
    lines = [line(HEAD), line(["---"] * len(HEAD))]
    lines += [line([*_facts(entry), entry.meaning]) for entry in entries]
    return "\n".join(lines)


def _facts(entry: Column) -> list[str]:
    """Return name, type, unit and direction of a column."""
    scale = entry.scale
    return [f"`{entry.name}`", type_name(entry.name), scale.unit, scale.direction]


def knobs_table() -> str:
    """Return a table of all knobs: what they mean, and which methods have them."""
    head = ("column", "type", "meaning", "knob of")
    lines = [line(head), line(["---"] * len(head))]
    for name, entry in knob_entries().items():
        owners = entry.source.removeprefix("knob of ")
        lines.append(line([f"`{name}`", type_name(name), entry.meaning, owners]))
    return "\n".join(lines)


def of_metric(name: str, metric: Metric) -> Scores:
    """Return a metric as the docstrings of its module and of its `compute` describe it."""
    text = metric.compute.__doc__ or ""
    module = import_module(metric.compute.__module__)
    about = f"{first_sentence(module.__doc__)}\n\n{prose_of(text, metric.columns)}".strip()
    return Scores(name, about, metric.entries(name), metric.blind_spot)


def of_attack(name: str, attack: Attack) -> Scores:
    """Return an attack on classifiers as its docstring describes it."""
    columns = [attack.column(name, c) for c in (*attack.model_columns, *attack.subject_columns)]
    told = [*attack.model_columns, *attack.subject_columns, *(f.name for f in fields(attack))]
    about = prose_of(attack.__doc__ or "", told)
    own = [entry for entry in attack.entries(name) if entry.name in columns]
    return Scores(name, about, own, attack.blind_spot)


def scores_section(scores: Scores) -> str:
    """Return the section of one metric or attack: description, columns, blind spot."""
    lines = [line(SCORED), line(["---"] * len(SCORED))]
    for entry in scores.entries:
        beside = "✓" if f"oracle_{entry.name}" in COLUMNS else ""
        lines.append(line([*_facts(entry), beside, entry.meaning]))
    parts = [f"### {scores.title}", scores.about, "\n".join(lines)]
    if scores.blind_spot:
        parts.append(f"What fools it: {scores.blind_spot}")
    return "\n\n".join(part for part in parts if part)


def generator_attacks_section() -> str:
    """Return the section of the attacks on generators, which all have the same columns."""
    names = list(attacks_on("generator"))
    lines = [line(HEAD), line(["---"] * len(HEAD))]
    for entry in attacks_on("generator")[names[0]].entries(names[0]):
        facts = [fact.replace(stem(names[0]), "probe_<attack>") for fact in _facts(entry)]
        meaning = entry.meaning.replace(stem(names[0]), "probe_<attack>")
        lines.append(line([*facts, meaning]))
    quoted = ", ".join(f"`{stem(name).removeprefix('probe_')}`" for name in names)
    text = (
        f"`<attack>` is one of {quoted}. `untrained` is a decoder with random weights. "
        "Attacks with variants name the strongest:"
    )
    return "\n\n".join(["\n".join(lines), text, rows_table(variant_entries())])


def variant_entries() -> list[Column]:
    """Return the columns that say which variant of an attack was the strongest."""
    found = []
    for name, attack in attacks_on("generator").items():
        own = attack.subject_columns.keys() - GeneratorAttack.subject_columns.keys()
        columns = {attack.column(name, column) for column in own}
        found += [entry for entry in attack.entries(name) if entry.name in columns]
    return found


def second_oracle_section() -> str:
    """Return the section of a second oracle's columns, but for those of generators' attacks."""
    intro = (
        "With `eval: {second_oracle: true}` an oracle of another seed stands beside the first: "
        "what lies between the two is the floor of every distance to the oracle."
    )
    columns: list[str] = []
    for metric in METRICS.values():
        columns += metric.floor
    for name, attack in attacks_on("classifier").items():
        columns += [attack.column(name, column) for column in attack.floor_columns]
    names = dict.fromkeys(f"{SECOND_ORACLE}_{column}" for column in columns)
    return "\n\n".join([intro, rows_table(COLUMNS[name] for name in names)])


def describe(entry: Column) -> str:
    """Return everything that the dictionary says of a column, for a terminal."""
    lines = [entry.name, f"  type: {type_name(entry.name)}"]
    if entry.scale.unit:
        lines.append(f"  unit: {entry.scale.unit}")
    if entry.scale.direction:
        lines.append(f"  direction: {entry.scale.direction} ({DIRECTIONS[entry.scale.direction]})")
    return "\n".join([*lines, f"  meaning: {entry.meaning}", f"  source: {entry.source}"])


def document() -> str:
    """Return the whole page."""
    sections: list[str] = [
        INTRO,
        "## The cell",
        rows_table(CELL.values()),
        "## How it went",
        rows_table(OUTCOME.values()),
        "## Knobs",
        "Null where the method does not have the knob; [spec.md](spec.md) has their ranges.",
        knobs_table(),
        "## How the models were trained",
        rows_table(settings(Train, "train_", "train").values()),
        "## How they were scored",
        rows_table(settings(Evaluation, "eval_", "eval").values()),
    ]
    for task in ("generator", "classifier"):
        sections.append(f"## Scores of a {task}")
        for name, metric in METRICS.items():
            if metric.task == task:
                sections.append(scores_section(of_metric(name, metric)))
    sections += [
        "## Attacks on a generator",
        generator_attacks_section(),
        "## Attacks on a classifier",
    ]
    for name, attack in attacks_on("classifier").items():
        sections.append(scores_section(of_attack(name, attack)))
    sections += ["## A second oracle", second_oracle_section()]
    sections += ["## Curve, seconds, provenance", rows_table(PROVENANCE.values())]
    return "\n\n".join(section.strip() for section in sections) + "\n"


if __name__ == "__main__":
    print(document(), end="")
