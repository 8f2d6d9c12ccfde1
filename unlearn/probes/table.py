"""Every probe on every model, the oracle beside: what comes back, and how much of it is more than the oracle's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from unlearn.errors import known
from unlearn.models.base import Generative
from unlearn.probes import PROBES
from unlearn.probes.base import Context, Outcome
from unlearn.probes.intervals import Interval
from unlearn.streams import stream


@dataclass(frozen=True)
class Attack:
    """One probe on one model. `excess`: rate minus the oracle's, with its 95 % interval; None without an oracle."""

    probe: str
    model: str
    outcome: Outcome
    excess: float | None
    excess_interval: Interval | None

    @property
    def recovered(self) -> bool | None:
        """Whether the class is back: significantly above the oracle, which never saw it."""
        return None if self.excess_interval is None else self.excess_interval[0] > 0

    def record(self) -> dict[str, float | int | str | bool | None]:
        """Flat columns: probe, model, rate, low, high, hits, trials, steps, reached, excess, excess_low, excess_high,
        recovered."""
        low, high = self.outcome.interval
        bounds = self.excess_interval or (None, None)
        return {
            "probe": self.probe,
            "model": self.model,
            "rate": self.outcome.rate,
            "low": low,
            "high": high,
            "hits": self.outcome.hits,
            "trials": self.outcome.trials,
            "steps": self.outcome.steps,
            "reached": self.outcome.reached,
            "excess": self.excess,
            "excess_low": bounds[0],
            "excess_high": bounds[1],
            "recovered": self.recovered,
        }


def attack_table(
    models: Mapping[str, Generative], probes: Iterable[str], context: Context, seed: int, reference: str = "oracle"
) -> list[Attack]:
    """Run `probes` by name on `models` by name (say original, amnesiac, oracle, untrained), each probe with the same
    random numbers for every model. Excess is against `models[reference]` where there is one."""
    attacks: list[Attack] = []
    for name in probes:
        probe = known("probe", name, PROBES)
        outcomes = {
            of: probe(model, context, stream(seed, "probe", name, device=next(model.parameters()).device))
            for of, model in models.items()
        }
        attacks += [_beside(name, of, outcome, outcomes.get(reference)) for of, outcome in outcomes.items()]
    return attacks


def _beside(probe: str, model: str, outcome: Outcome, oracle: Outcome | None) -> Attack:
    if oracle is None:
        return Attack(probe, model, outcome, None, None)
    return Attack(probe, model, outcome, outcome.rate - oracle.rate, outcome.above(oracle))
