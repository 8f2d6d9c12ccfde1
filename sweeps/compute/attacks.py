"""Attacking what a cell unlearned, when its spec asks for it: `eval: {attacks: [latent-label, relearn-10]}`.

A generator's attacks are the probes of `unlearn.attacks.generators`, climbing judge `val` and graded by judge `lead`,
which they never saw; always also on the original, the oracle and an untrained decoder. A classifier's are
`unlearn.attacks.classifiers`.
"""

from typing import Any

from torch import Tensor

from sweeps.compute.cache import Workbench
from sweeps.spec.cells import Cell, Group
from unlearn.attacks.classifiers import References, attack_columns
from unlearn.attacks.generators import PROBES, Context, Outcome
from unlearn.errors import told
from unlearn.evaluation import Scores
from unlearn.models import Weights
from unlearn.streams import seeded, stream

REFERENCES = ("original", "oracle", "untrained")


def stem(probe: str) -> str:
    """The column stem of a probe: `latent-label` -> `probe_latent_label`."""
    return f"probe_{probe.replace('-', '_')}"


def columns() -> dict[str, type]:
    """Of every probe its success rate with a 95 % interval and its excess over the oracle's, the same rate on every
    reference, and the steps that relearning took; and every column of a classifier's attacks."""
    found = dict(attack_columns())
    for probe in PROBES:
        own = ["rate", "rate_low", "rate_high", "excess", "excess_low", "excess_high", "steps"]
        found |= {f"{stem(probe)}_{column}": float for column in own}
        found |= {f"{name}_{stem(probe)}_{column}": float for name in REFERENCES for column in ("rate", "steps")}
    return found


def attack(bench: Workbench, cell: Cell, weights: Weights) -> tuple[Scores, dict[str, Tensor]]:
    """The columns of the attacks that the cell's spec names, and the probes' pictures by name. One that breaks takes
    nothing else with it: it leaves no columns, and `error` says why."""
    group, broken = cell.group, []
    scores: Scores = {}
    pictures: dict[str, Tensor] = {}
    if not group.eval.attacks:
        return {}, {}
    subject, run = bench.build(group.original, weights), {"generator": _probed, "classifier": _attacked}[group.task]
    for name in group.eval.attacks:
        try:
            found, drawn = run(bench, group, subject, name)
        except Exception as error:  # whatever an attack does, what is known of the cell is kept
            broken.append(f"no {name}: {told(error)}")
        else:
            scores, pictures = scores | found, pictures | drawn
    return scores | ({"error": "; ".join(broken)} if broken else {}), pictures


def _probed(bench: Workbench, group: Group, subject: Any, name: str) -> tuple[Scores, dict[str, Tensor]]:
    outcome = PROBES[name](subject, bench.keep(make_context, group), _stream(bench, group, name))
    others = {of: bench.keep(reference_outcome, group, of, name) for of in REFERENCES}
    return _record(name, outcome, others), {name: outcome.pictures}


def _attacked(bench: Workbench, group: Group, subject: Any, name: str) -> tuple[Scores, dict[str, Tensor]]:
    setting: Any = bench.setting(group)
    return group.eval.attack(name)(setting, subject, bench.keep(classifier_references, group, name), group.seed), {}


def classifier_references(bench: Workbench, group: Group, name: str) -> References:
    """What the attack prepares and finds in the original and the oracle: the same for all cells of a group."""
    setting: Any = bench.setting(group)
    original, oracle = bench.model(group.original), bench.model(group.oracle)
    return group.eval.attack(name).references(setting, original, oracle, group.seed)


def _stream(bench: Workbench, group: Group, probe: str) -> Any:
    return stream(group.seed, "probe", probe, device=bench.device)


def _record(probe: str, outcome: Outcome, references: dict[str, Outcome]) -> Scores:
    """One probe's columns."""
    oracle, (low, high) = references["oracle"], outcome.interval
    below, above = outcome.above(oracle)
    own = {"rate": outcome.rate, "rate_low": low, "rate_high": high, "steps": _steps(outcome)}
    own |= {"excess": outcome.rate - oracle.rate, "excess_low": below, "excess_high": above}
    record = {f"{stem(probe)}_{column}": value for column, value in own.items()}
    for name, reference in references.items():
        record |= {f"{name}_{stem(probe)}_rate": reference.rate, f"{name}_{stem(probe)}_steps": _steps(reference)}
    return record


def _steps(outcome: Outcome) -> float | None:
    return None if outcome.steps is None else float(outcome.steps)


def reference_outcome(bench: Workbench, group: Group, of: str, probe: str) -> Outcome:
    """The probe on the original, the oracle or an untrained decoder: the same for all cells of a group."""
    if of == "untrained":
        with seeded(group.seed, "untrained", group.model):
            model = bench.build(group.original)
    else:
        model = bench.model(getattr(group, of))
    return PROBES[probe](model, bench.keep(make_context, group), _stream(bench, group, probe))


def make_context(bench: Workbench, group: Group) -> Context:
    """What the attacker has: the original, judge `val` to climb, real images."""
    setting: Any = bench.setting(group)
    splits = bench.splits(group.dataset, group.forget)
    judges = setting.judges
    original = bench.model(group.original)
    return Context(original, judges["val"], judges["lead"], splits, group.forget, effort=group.eval.effort)
