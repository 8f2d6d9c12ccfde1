"""Write docs/columns.md, every column: `python -m sweeps.rows.reference > docs/columns.md`.

Names and types come from the schema, meanings of scores from the docstrings of metrics and attacks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from importlib import import_module

import pyarrow as pa

from sweeps.rows.schema import CELL, OUTCOME, PROVENANCE, ROWS
from sweeps.spec.reference import UNSAID, first_sentence, lines_of, meanings, prose_of
from sweeps.spec.sweep import Evaluation, Train
from unlearn.attacks import Attack, attacks_on
from unlearn.attacks.base import SECOND_ORACLE
from unlearn.attacks.classifiers.linear_probe import LinearProbe
from unlearn.attacks.generators.base import GeneratorAttack, stem
from unlearn.methods import KNOBS, METHODS
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
those two. Shares lie in [0, 1].
"""
HEAD = ("column", "type", "meaning")
SCORED = ("column", "type", "beside", "meaning")
KNOWN = {
    "cell_id": "hash of all that determines the cell: the same on any machine, at any attempt",
    "dataset": "name of the data set",
    "model": "name of the network, or `package.module:builder`",
    "task": "`generator` or `classifier`",
    "method": "name of the unlearning method",
    "forget": "the forgotten classes",
    "subset": "what is forgotten where it is no whole class, as `random 0.1`; empty else",
    "seed": "the seed of training, unlearning and evaluation",
    "options": "options of the model's builder, as JSON",
    "status": "`ok`, or `failed` where the cell has no scores",
    "error": "why the cell failed, or which of its attacks broke; null where all is well",
    "val_images": "val images read of a candidate (`candidates: val`); null where all were",
    "val_stopped": "the candidate could not win; its `val_*` are of the images read until then",
    "val_bar": "the best val_retain - 1.5 val_forget before it, out of whose reach it stopped",
    "curve_terms": "names of the loss terms of unlearning",
    "curve_step": "the steps at which the loss terms were logged, about 100",
    "curve": "one list of losses per term of `curve_terms`",
    "judge_names": "the reporting judges, in the order of all `judge_*` columns; `lead` first",
    "wall_s": "seconds that the cell took",
    "artifacts_s": "seconds of loading what the cell needs, near 0 in a warm worker",
    "unlearn_s": "seconds of unlearning",
    "evaluate_s": "seconds of scoring",
    "attack_s": "seconds of attacking",
    "needs_s": "seconds of making what the method needs beside the original: Fisher, experts",
    "oracle_s": "seconds of retraining without the forget set",
    "tuning_candidates": "number of candidates that the cell was chosen from (`candidates: val`)",
    "tuning_s": "seconds of unlearning and reading these candidates",
    "selection_regret": "the candidates' best retain - 1.5 forget on test minus the chosen cell's",
    "regret_s": "seconds of reading the candidates on test for `selection_regret`",
    "device": "`cpu` or `cuda`",
    "threads": "CPU threads of torch",
    "step_captured": "whether the method's training steps ran as CUDA graphs; null without a GPU",
    "store": "folder or URL of the artifacts when the cell ran",
    "artifact_original": "key of the original in the store",
    "artifact_oracle": "key of the oracle",
    "artifact_fisher": "key of the Fisher, where the method needs one",
    "artifact_expert": "key of the (first) expert, where the method needs one",
    "artifact_unlearned": "key of the unlearned weights; null where artifacts give them at once",
    "artifact_judges": "keys of the judges, for a generator",
    "version_amnesia": "version of this package",
    "version_torch": "version of torch",
    "version_ray": "version of Ray",
    "git_revision": "revision of the code, where it ran in a checkout",
    "created_at": "when the row was written",
}
RECOVERY = {
    "rate": "share of tries that brought the class back, read by a judge the attacker never saw",
    "rate_low": "lower end of the rate's 95 % Wilson interval",
    "rate_high": "its upper end",
    "excess": "the rate minus the oracle's: what exceeds 0 is memory",
    "excess_low": "lower end of the excess's 95 % interval",
    "excess_high": "its upper end",
    "beyond_low": "lower end of the 95 % interval of the rate minus both oracles' higher rate",
    "steps": "of a relearning attack, steps until half of the tries succeed; null where never",
}
VARIANTS = {  # which of its variants was the strongest
    "lr": "learning rate of the strongest variant",
    "reset": "1 where the strongest variant reset the label's weights, else 0",
    "ball": "1 where the strongest variant kept z in the prior's ball, else 0",
}


@dataclass(frozen=True)
class Scores:
    """The columns of one metric or attack, as one section of the page shows them."""

    title: str
    about: str
    columns: Mapping[str, type]
    told: Mapping[str, str]
    blind_spot: str


def line(cells: Iterable[str]) -> str:
    """Return one line of a Markdown table, with the bars in its cells escaped."""
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def rows_table(schema: Mapping[str, pa.DataType], told: Mapping[str, str]) -> str:
    """Return a table of columns: names, types, meanings."""
    lines = [line(HEAD), line(["---"] * len(HEAD))]
    for name in schema:
        lines.append(line([f"`{name}`", arrow_type(name), told.get(name, UNSAID)]))
    return "\n".join(lines)


def arrow_type(name: str) -> str:
    """Return the column's type as text: `list of double` for Arrow's `list<element: double>`."""
    kind, depth = ROWS.field(name).type, 0
    while pa.types.is_list(kind):
        kind, depth = kind.value_type, depth + 1
    return "list of " * depth + str(kind)


def knobs_table() -> str:
    """Return a table of all knobs and of the methods that have them."""
    lines = [line(("column", "type", "knob of")), line(["---"] * 3)]
    for name in KNOBS:
        owners = []
        for method, kind in METHODS.items():
            if name in {f.name for f in fields(kind)}:
                owners.append(method)
        lines.append(line([f"`{name}`", arrow_type(name), ", ".join(owners)]))
    return "\n".join(lines)


def settings_table(kind: type, prefix: str) -> str:
    """Return a table of the columns that hold a section of the spec."""
    told = {prefix + name: meaning for name, meaning in meanings(kind).items()}
    names = [prefix + f.name for f in fields(kind)]
    schema = {name: ROWS.field(name).type for name in names}
    return rows_table(schema, told)


def of_metric(name: str, metric: Metric) -> Scores:
    """Return a metric as the docstrings of its module and of its `compute` describe it."""
    text = metric.compute.__doc__ or ""
    module = import_module(metric.compute.__module__)
    about = f"{first_sentence(module.__doc__)}\n\n{prose_of(text, metric.columns)}".strip()
    return Scores(name, about, metric.columns, lines_of(text, metric.columns), metric.blind_spot)


def of_attack(name: str, attack: Attack) -> Scores:
    """Return an attack on classifiers as its docstring describes it."""
    own = {**attack.model_columns, **attack.subject_columns}
    text = attack.__doc__ or ""
    about = prose_of(text, [*own, *(f.name for f in fields(attack))])
    told = {attack.column(name, column): line for column, line in lines_of(text, own).items()}
    columns = {attack.column(name, column): kind for column, kind in own.items()}
    return Scores(name, about, columns, told, attack.blind_spot)


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
    return "see above"


def scores_section(scores: Scores) -> str:
    """Return the section of one metric or attack: description, columns, blind spot."""
    lines = [line(SCORED), line(["---"] * len(SCORED))]
    for name in scores.columns:
        beside = "✓" if f"oracle_{name}" in ROWS.names else ""
        lines.append(line([f"`{name}`", arrow_type(name), beside, meaning_of(name, scores.told)]))
    parts = [f"### {scores.title}", scores.about, "\n".join(lines)]
    if scores.blind_spot:
        parts.append(f"What fools it: {scores.blind_spot}")
    return "\n\n".join(part for part in parts if part)


def generator_attacks_section() -> str:
    """Return the section of the attacks on generators, which all have the same columns."""
    lines = [line(("column", "type", "meaning")), line(["---"] * 3)]
    for suffix, meaning in RECOVERY.items():
        lines.append(line([f"`probe_<attack>_{suffix}`", "double", meaning]))
    for of in GeneratorAttack.reference_models:
        for suffix in GeneratorAttack.model_columns:
            column = f"`{of}_probe_<attack>_{suffix}`"
            lines.append(line([column, "double", f"the same, of the {of} model"]))
    lines.append(
        line(("`second_oracle_probe_<attack>_rate`", "double", "the same, of a second oracle"))
    )
    names = [stem(name).removeprefix("probe_") for name in attacks_on("generator")]
    quoted = ", ".join(f"`{name}`" for name in names)
    text = (
        f"`<attack>` is one of {quoted}. `untrained` is a decoder with random weights. "
        "`beyond_low` is null without a second oracle. Attacks with variants name the strongest:"
    )
    return "\n\n".join(["\n".join(lines), text, variants_table()])


def variants_table() -> str:
    """Return the table of the columns that say which variant of an attack was the strongest."""
    lines = [line(HEAD), line(["---"] * len(HEAD))]
    for name, attack in attacks_on("generator").items():
        for suffix in VARIANTS.keys() & attack.subject_columns.keys():
            lines.append(line((f"`{attack.column(name, suffix)}`", "double", VARIANTS[suffix])))
    return "\n".join([*lines[:2], *sorted(lines[2:])])


def second_oracle_section() -> str:
    """Return the section of a second oracle's columns, but for those of generators' attacks."""
    intro = (
        "With `eval: {second_oracle: true}` an oracle of another seed stands beside the first: "
        "what lies between the two is the floor of every distance to the oracle."
    )
    prefix = f"{SECOND_ORACLE}_"
    lines = [line(HEAD), line(["---"] * len(HEAD))]
    for name in ROWS.names:
        if name.startswith(prefix) and not name.startswith(f"{prefix}probe_"):
            lines.append(_of_second_oracle(name))
    for column in LinearProbe.floor_columns:
        lines.append(_of_second_oracle(prefix + column))
    return "\n\n".join([intro, "\n".join(lines)])


def _of_second_oracle(name: str) -> str:
    column = name.removeprefix(f"{SECOND_ORACLE}_")
    return line((f"`{name}`", arrow_type(name), f"`{column}` of the second oracle"))


def document() -> str:
    """Return the whole page."""
    metrics = [of_metric(name, metric) for name, metric in METRICS.items()]
    sections: list[str] = [
        INTRO,
        "## The cell",
        rows_table(CELL, KNOWN),
        "## How it went",
        rows_table(OUTCOME, KNOWN),
        "## Knobs",
        "Null where the method does not have the knob; [spec.md](spec.md) says what each means.",
        knobs_table(),
        "## How the models were trained",
        settings_table(Train, "train_"),
        "## How they were scored",
        settings_table(Evaluation, "eval_"),
    ]
    for task in ("generator", "classifier"):
        sections.append(f"## Scores of a {task}")
        for metric in metrics:
            if METRICS[metric.title].task == task:
                sections.append(scores_section(metric))
    sections += [
        "## Attacks on a generator",
        generator_attacks_section(),
        "## Attacks on a classifier",
    ]
    for name, attack in attacks_on("classifier").items():
        sections.append(scores_section(of_attack(name, attack)))
    sections += ["## A second oracle", second_oracle_section()]
    sections += ["## Curve, seconds, provenance", rows_table(PROVENANCE, KNOWN)]
    return "\n\n".join(section.strip() for section in sections) + "\n"


if __name__ == "__main__":
    print(document(), end="")
