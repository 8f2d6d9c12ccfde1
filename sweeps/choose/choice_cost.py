"""Say what a choice cost: seconds beside retraining, and the score lost by choosing on val."""

from dataclasses import dataclass

import pandas as pd

from sweeps.choose.choose import spent
from sweeps.choose.comparable import filled, making_columns
from sweeps.compute.candidates import selection_score

# (forget, retain) as reported: of classifiers, of generators
TESTED = ("test_forget_accuracy", "test_retain_accuracy")
GENERATED = ("forget_probability", "retain_accuracy")


@dataclass(frozen=True)
class SecondsSpent:
    """The cost of a choice in seconds.

    unlearning: the chosen cell's unlearning alone
    in_all: that with the artifacts that it needs and every cell of its method that was tried
    retraining: training the oracle
    """

    unlearning: float
    in_all: float
    retraining: float

    @property
    def saved(self) -> float:
        """The share of the seconds of retraining that was saved; negative where more was spent."""
        return 1 - self.in_all / self.retraining


def regret(rows: pd.DataFrame, chosen: pd.Series) -> float | None:
    """Return the score on test that was lost by choosing on val instead of on test.

    That is the best score of any cell minus the chosen cell's. The score is retain - 1.5 forget, as
    `choose.score` computes it on val. Where candidates were read on val alone, returns the chosen
    row's own `selection_regret`, which compares the candidates of its method. Returns None if the
    row has none, or if other candidates were tried since.
    """
    finished = rows[rows["status"] == "ok"]
    candidates = finished[finished["eval_candidates"] == "val"]
    if len(candidates):
        of_method = int((candidates["method"] == chosen["method"]).sum())
        known = chosen["selection_regret"] if chosen["tuning_candidates"] == of_method else None
        return None if pd.isna(known) else float(known)
    forget, retain = GENERATED if chosen["task"] == "generator" else TESTED
    scores = selection_score(finished[forget], finished[retain])
    own = selection_score(chosen[forget], chosen[retain])
    return float(scores.max() - own)


def saving(rows: pd.DataFrame, chosen: pd.Series) -> SecondsSpent:
    """Add up the seconds behind the chosen row: all cells of its method in the problem's `rows`."""
    tried = rows[rows["method"] == chosen["method"]]
    # A cell with three experts uses the first three of five, so their number makes no new artifact.
    names = [name for name in making_columns(chosen["method"]) if name != "train_experts"]
    made = [filled(tried[name]) for name in names if name in tried]
    needs = float(chosen["needs_s"])
    if made:
        needs = float(tried.groupby(made)["needs_s"].max().sum())
    return SecondsSpent(
        unlearning=float(chosen["unlearn_s"]),
        in_all=needs + spent(tried),
        retraining=float(chosen["oracle_s"]),
    )
