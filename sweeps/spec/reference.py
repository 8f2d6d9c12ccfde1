"""Write docs/spec.md, all keys of a spec file: `python -m sweeps.spec.reference > docs/spec.md`."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from sweeps.spec.files import shipped
from sweeps.spec.keys import Key, as_yaml, keys_of
from sweeps.spec.parse import PRESETS, TRAIN
from sweeps.spec.search import Search
from sweeps.spec.sections import Evaluation, Resources, Train
from unlearn.attacks import Attack, attacks_on
from unlearn.data import DATASETS
from unlearn.docstrings import UNSAID, first_sentence, lines_of
from unlearn.methods import METHODS, Method
from unlearn.models import MODELS, task_of

INTRO = """# Every key of a spec file

This page is generated: `python -m sweeps.spec.reference > docs/spec.md`. Do not edit it by hand.

A spec is a YAML file, or the name of a shipped one: {shipped}.
Several documents in one file, separated by `---`, run together.
An unknown key, a wrong type or a value out of range is refused before anything is computed.
`--set train.steps=300` changes a key from the command line, `--set NAME:train.steps=300` in the
document called NAME only.
Refused with a hint, because YAML reads them otherwise than they look: `1e-3` (text; write
`1.0e-3`), `0100` (64), `1:30` (90). Text that looks like a number stands in quotes: `'1e-3'`.
A key that stands twice is refused, and a file of more than 100,000 keys and values, and a sweep of
more than 1,000,000 cells. Of two `--set` of one key the last holds.
"""
COLUMNS = ("key", "type", "default", "range", "meaning")
TOP = (
    Key(
        "name",
        "text",
        "required",
        "at most 100 letters, digits, `-`, `_`, `.`; at least one letter; not like `0x1F`",
        "the sweep's name; its rows lie in `<results>/v1/sweep=<name>/`",
    ),
    Key(
        "dataset",
        "text",
        "`mnist5k`",
        "[data sets](#data-sets), a folder, an `.npz`, `package.module:loader`",
        "the data set; for your own see [extending.md](extending.md#a-data-set)",
    ),
    Key(
        "models",
        "list of text",
        "required",
        "[models](#models), any timm name, `package.module:builder`",
        "the networks; each makes cells of its own",
    ),
    Key(
        "method",
        "text or list of text",
        "required",
        "[methods](#methods)",
        "the unlearning methods; each must fit the task of every model",
    ),
    Key(
        "forget",
        "`each` or list",
        "required",
        "classes of the data set, but not all of them; or `random: SHARE`, `indices: FILE`, "
        "`subclass: FINE LABELS`",
        "the forget sets: `each` forgets every class in turn, `[0, 1]` one after the other, "
        "`[[0, 1]]` both at once; `[{random: 0.1}]` a tenth of a classifier's training images, "
        "drawn anew by every seed; `[{indices: FILE}]` those that a `.npy` file names; "
        "`[{subclass: [3, 5]}]` fine labels within classes, of a data set that has them",
    ),
    Key(
        "seeds",
        "list of whole numbers",
        "`[0]`",
        "",
        "each trains, unlearns and evaluates anew",
    ),
    Key(
        "grid",
        "knob: list of values",
        "none",
        "knobs of the methods",
        "every combination is a cell; a knob that a method lacks does not multiply its cells",
    ),
    Key(
        "search",
        "section",
        "none",
        "",
        "an Optuna study for every model x forget set x seed x method, at every point of `grid`",
    ),
    Key(
        "train",
        "section",
        "see below",
        "",
        "how originals, oracles, experts, the Fisher and judges are made",
    ),
    Key(
        "unlearn",
        "knob: value",
        "none",
        "knobs of the methods",
        "knobs of the methods that are the same in every cell",
    ),
    Key("eval", "section", "see below", "", "how the models are scored and attacked"),
    Key("resources", "section", "see below", "", "what each trial takes of the cluster"),
    Key(
        "options",
        "option: value",
        "none",
        "options of the model's builder",
        "given to the builder; `pretrained: PATH` names a file from which every training starts",
    ),
    Key(
        "weights",
        "path",
        "none",
        "`.safetensors`, or a file of `torch.save`",
        "a trained network to unlearn: it is the original, whatever the seed",
    ),
)


def table(keys: Iterable[Key]) -> str:
    """Keys as a Markdown table."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for key in keys:
        lines.append(_line([f"`{key.name}`", key.type, key.default, key.range, key.meaning]))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def train_keys() -> list[Key]:
    """`train`, with the defaults that a spec gets for a generator or a classifier."""
    known = "; ".join(f"{name}: for {', '.join(nets)}" for name, nets in PRESETS.items())
    meaning = "settings of a network's training that the other keys may change"
    found = [Key("preset", "text", "none", known, meaning)]
    for key in keys_of(Train):
        by_task = {task: given[key.name] for task, given in TRAIN.items() if key.name in given}
        default = _train_default(by_task) or key.default
        found.append(Key(key.name, key.type, default, key.range, key.meaning))
    return found


def _train_default(by_task: Mapping[str, Any]) -> str:
    """The default of a key of `train` that TRAIN sets: one value, or one per task; else ""."""
    values = set(by_task.values())
    if len(by_task) == len(TRAIN) and len(values) == 1:
        return f"`{as_yaml(values.pop())}`"
    return ", ".join(f"`{as_yaml(value)}` ({task}s)" for task, value in by_task.items())


def search_keys() -> list[Key]:
    """`search`; its `space` may be left out where every method has one of its own."""
    given = {"trials": 1, "space": (("alpha", (0.0, 1.0)),)}
    found = []
    for key in keys_of(Search, given=given):
        default = "each method's own" if key.name == "space" else key.default
        kind = "knob: [low, high], or names" if key.name == "space" else key.type
        found.append(Key(key.name, kind, default, key.range, key.meaning))
    return found


def eval_keys() -> list[Key]:
    """`eval`; its `attack_knobs` are a mapping there and JSON in the record."""
    found = []
    for key in keys_of(Evaluation):
        if key.name == "attack_knobs":
            key = replace(key, type="attack: {knob: value}")
        found.append(key)
    return found


def method_section(name: str, kind: type[Method]) -> str:
    """One method: what it is, what it needs, its knobs."""
    parts = [f"### `{name}`", first_sentence(inspect.getmodule(kind).__doc__)]
    parts.append(f"For {' and '.join(f'{task}s' for task in kind.tasks)}." + _needs(kind))
    knobs = keys_of(kind)
    parts.append(table(knobs) if knobs else "No knobs.")
    if kind.space:
        axes = [f"`{knob}` {_axis(choices)}" for knob, choices in kind.space.items()]
        parts.append(f"Searched by default in: {', '.join(axes)}.")
    if kind.epoch_space:
        axes = [f"`{knob}` {_axis(choices)}" for knob, choices in kind.epoch_space.items()]
        parts.append(f"With `units: epochs` in: {', '.join(axes)}.")
    return "\n\n".join(parts)


def _needs(kind: type[Method]) -> str:
    return f" Needs: {', '.join(kind.needs)}." if kind.needs else ""


def _axis(choices: list[Any]) -> str:
    return f"[{', '.join(as_yaml(choice) for choice in choices)}]"


def attack_section(name: str, attack: Attack) -> str:
    """One attack: what it does, its knobs as it is registered."""
    kind = type(attack)
    knobs = []
    for key in keys_of(kind):
        knobs.append(replace(key, default=f"`{as_yaml(getattr(attack, key.name))}`"))
    about = first_sentence(str(inspect.getmodule(kind).__doc__))
    return "\n\n".join([f"### `{name}`", about, table(knobs)])


def models_table() -> str:
    """The models, and a line for every option of their builders."""
    lines = ["| model | task | option | default | meaning |", "|---|---|---|---|---|"]
    for name, builder in MODELS.items():
        options = builder_options(builder)
        told = lines_of(_builder_doc(builder), options)
        for option, default in options.items():
            cells = [f"`{name}`", task_of(name), f"`{option}`", f"`{as_yaml(default)}`"]
            lines.append(_line([*cells, told.get(option, UNSAID)]))
    return "\n".join(lines)


def builder_options(builder: Callable[..., Any]) -> dict[str, Any]:
    """What a spec's `options` may hold for a builder, with the defaults."""
    parameters = inspect.signature(builder).parameters.values()
    own = [parameter for parameter in parameters if parameter.name not in ("shape", "classes")]
    found = {}
    for parameter in own:
        default = parameter.default
        found[parameter.name] = list(default) if isinstance(default, tuple) else default
    return found


def _builder_doc(builder: Callable[..., Any]) -> str:
    plain = builder.func if isinstance(builder, partial) else builder
    return plain.__doc__ or ""


def datasets_table() -> str:
    """The data sets and their shapes."""
    lines = [
        "| data set | channels x height x width | classes | fine labels | val images per class |"
    ]
    lines.append("|---|---|---|---|---|")
    for name, source in DATASETS.items():
        shape = " x ".join(map(str, source.shape))
        counts = [source.classes, source.fine or "", source.val_per_class]
        lines.append(_line([f"`{name}`", shape, *map(str, counts)]))
    return "\n".join(lines)


def document() -> str:
    """The whole page."""
    sections = [
        INTRO.format(shipped=", ".join(f"`{name}`" for name in shipped())),
        "## Top level",
        table(TOP),
        "## `train`",
        "How originals and oracles are made, and from them experts, the Fisher and the judges.",
        table(train_keys()),
        "## `eval`",
        table(eval_keys()),
        "## `search`",
        table(search_keys()),
        "A positive range that spans a factor of ten or more is searched by its logarithm.",
        "## `resources`",
        table(keys_of(Resources)),
        "`cells_per_trial: auto` is the same as 0; `gpu: auto` is `gpu: 0.25, gpu_auto: true`.",
        "## Data sets",
        datasets_table(),
        "## Models",
        models_table(),
        "`mean` and `std` of null are CIFAR-10's for images of three channels, else 0.5. "
        "Any name of timm is a classifier (`vit_tiny_patch16_224`, or `timm:resnet18` where this "
        "table has the same name); `options: {pretrained: true}` downloads its weights. For your "
        "own `package.module:builder` see [extending.md](extending.md).",
        "## Methods",
        *(method_section(name, kind) for name, kind in METHODS.items()),
    ]
    for task in ("generator", "classifier"):
        sections.append(f"## Attacks on a {task}")
        sections += [attack_section(name, attack) for name, attack in attacks_on(task).items()]
    return "\n\n".join(section.strip() for section in sections) + "\n"


if __name__ == "__main__":
    print(document(), end="")
