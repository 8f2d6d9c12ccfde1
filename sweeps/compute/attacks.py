"""Attacking what a cell unlearned, when its spec asks for it: `eval: {attacks: [latent-label, relearn-10]}`.

A generator's attacks are the probes of `unlearn.attacks.generators`, climbing judge `val` and graded by judge `lead`,
which they never saw; always also on the original, the oracle and an untrained decoder. A classifier's are
`unlearn.attacks.classifiers`.
"""

from typing import Any

from torch import Tensor

from sweeps.compute.cache import WorkerCache
from sweeps.spec.cells import Cell, Problem
from unlearn.attacks.classifiers import References, attack_columns
from unlearn.attacks.generators import PROBES, Context, Outcome
from unlearn.errors import one_line
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
        found |= {
            f"{name}_{stem(probe)}_{column}": float
            for name in REFERENCES
            for column in ("rate", "steps")
        }
    return found


def attack(cache: WorkerCache, cell: Cell, weights: Weights) -> tuple[Scores, dict[str, Tensor]]:
    """The columns of the attacks that the cell's spec names, and the probes' pictures by name. One that breaks takes
    nothing else with it: it leaves no columns, and `error` says why."""
    problem, broken = cell.problem, []
    scores: Scores = {}
    pictures: dict[str, Tensor] = {}
    if not problem.eval.attacks:
        return {}, {}
    subject, run = (
        cache.build(problem.original, weights),
        {"generator": _probed, "classifier": _attacked}[problem.task],
    )
    for name in problem.eval.attacks:
        try:
            found, drawn = run(cache, problem, subject, name)
        except Exception as error:  # whatever an attack does, what is known of the cell is kept
            broken.append(f"no {name}: {one_line(error)}")
        else:
            scores, pictures = scores | found, pictures | drawn
    return scores | ({"error": "; ".join(broken)} if broken else {}), pictures


def _probed(
    cache: WorkerCache, problem: Problem, subject: Any, name: str
) -> tuple[Scores, dict[str, Tensor]]:
    outcome = PROBES[name](
        subject, cache.keep(make_context, problem), _stream(cache, problem, name)
    )
    others = {of: cache.keep(reference_outcome, problem, of, name) for of in REFERENCES}
    return _record(name, outcome, others), {name: outcome.pictures}


def _attacked(
    cache: WorkerCache, problem: Problem, subject: Any, name: str
) -> tuple[Scores, dict[str, Tensor]]:
    evaluator: Any = cache.evaluator(problem)
    return problem.eval.attack(name)(
        evaluator, subject, cache.keep(classifier_references, problem, name), problem.seed
    ), {}


def classifier_references(cache: WorkerCache, problem: Problem, name: str) -> References:
    """What the attack prepares and finds in the original and the oracle: the same for all cells of a group."""
    evaluator: Any = cache.evaluator(problem)
    original, oracle = cache.model(problem.original), cache.model(problem.oracle)
    return problem.eval.attack(name).references(evaluator, original, oracle, problem.seed)


def _stream(cache: WorkerCache, problem: Problem, probe: str) -> Any:
    return stream(problem.seed, "probe", probe, device=cache.device)


def _record(probe: str, outcome: Outcome, references: dict[str, Outcome]) -> Scores:
    """One probe's columns."""
    oracle, (low, high) = references["oracle"], outcome.interval
    below, above = outcome.above(oracle)
    own = {"rate": outcome.rate, "rate_low": low, "rate_high": high, "steps": _steps(outcome)}
    own |= {"excess": outcome.rate - oracle.rate, "excess_low": below, "excess_high": above}
    record = {f"{stem(probe)}_{column}": value for column, value in own.items()}
    for name, reference in references.items():
        record |= {
            f"{name}_{stem(probe)}_rate": reference.rate,
            f"{name}_{stem(probe)}_steps": _steps(reference),
        }
    return record


def _steps(outcome: Outcome) -> float | None:
    return None if outcome.steps is None else float(outcome.steps)


def reference_outcome(cache: WorkerCache, problem: Problem, of: str, probe: str) -> Outcome:
    """The probe on the original, the oracle or an untrained decoder: the same for all cells of a group."""
    if of == "untrained":
        with seeded(problem.seed, "untrained", problem.model):
            model = cache.build(problem.original)
    else:
        model = cache.model(getattr(problem, of))
    return PROBES[probe](model, cache.keep(make_context, problem), _stream(cache, problem, probe))


def make_context(cache: WorkerCache, problem: Problem) -> Context:
    """What the attacker has: the original, judge `val` to climb, real images."""
    evaluator: Any = cache.evaluator(problem)
    splits = cache.splits(problem.dataset, problem.forget)
    judges = evaluator.judges
    original = cache.model(problem.original)
    return Context(
        original, judges["val"], judges["lead"], splits, problem.forget, effort=problem.eval.effort
    )
