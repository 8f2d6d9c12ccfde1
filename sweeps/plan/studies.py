"""Write searches and grids as Optuna studies, in a file that optuna-dashboard opens.

One study per sweep, model, forget set, seed and method; its trials are the cells' rows.
"""

import os
import uuid
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.choose.choose import choose, finished, objectives
from sweeps.choose.comparable import differing_settings, forget_texts
from sweeps.plan.sources import distribution
from sweeps.rows.results import Results
from sweeps.rows.runs import RunRecord, read_record
from unlearn.errors import BadInput, require
from unlearn.methods import KNOBS

OBJECTIVES = ("val_forget", "val_retain")  # minimised, maximised
ATTRIBUTES = (  # columns that a trial shows beside its parameters and objectives
    *("cell_id", "status", "error", "wall_s", "unlearn_s", "needs_s", "oracle_s", "device"),
    *("val_stopped", "val_images", "eval_candidates", "selection_regret"),
    *("forget_probability", "forget_accuracy", "retain_accuracy", "retain_frechet"),
    *("test_forget_accuracy", "test_retain_accuracy", "mia_auc", "average_gap", "js_to_oracle"),
)
Distributions = dict[str, BaseDistribution]


@dataclass(frozen=True)
class StudyRows:
    """The rows of one study.

    name: sweep, model (with the setting that tells it apart), forgotten classes, seed, method
    attributes: the same, each by itself
    rows: oldest first
    space: distribution of every parameter, by knob
    """

    name: str
    attributes: Mapping[str, Any]
    rows: pd.DataFrame
    space: Distributions


def write_studies(results: Results, sweep: str | None, out: str) -> list[str]:
    """Write the studies of one sweep, or of all, to the file `out`; return their names.

    A file that exists is replaced, in one step. Raises `BadInput` where no sweep varies a knob.
    """
    found = list(studies_of(results, sweep))
    require(
        len(found) > 0,
        f"no sweep in {results.root} varies a knob; a study needs a `search` or a `grid`",
    )
    target = Path(out)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(draft, found)
        os.replace(draft, target)
    except OSError as error:
        raise BadInput(f"cannot write {out}: {error.strerror}; choose a writable place") from error
    finally:
        draft.unlink(missing_ok=True)
    return [study.name for study in found]


def _write(path: Path, studies: list[StudyRows]) -> None:
    """Write a new SQLite file that holds the studies."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        for each in studies:
            study = optuna.create_study(
                study_name=each.name, storage=storage, directions=["minimize", "maximize"]
            )
            _name_objectives(study)
            for key, value in each.attributes.items():
                study.set_user_attr(key, value)
            study.add_trials(trials_of(each))
    finally:
        storage.engine.dispose()


def _name_objectives(study: optuna.Study) -> None:
    with warnings.catch_warnings():  # Optuna calls this "experimental" since version 3.2
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(OBJECTIVES))


def studies_of(results: Results, sweep: str | None) -> Iterator[StudyRows]:
    """Yield the studies of one sweep, or of all. Raises `BadInput` for an unknown sweep."""
    for name in [sweep] if sweep else results.sweeps():
        rows = results.read(name)
        record = read_record(results, name)
        models = rows["model"] + differing_settings(rows)
        named = rows.assign(_model=models, _forget=forget_texts(rows))
        spaces = {
            str(method): space_of(str(method), own, record)
            for method, own in rows.groupby("method")
        }
        for keys, own in named.groupby(["_model", "_forget", "seed", "method"]):
            model, labels, seed, searcher = map(str, keys)
            if not spaces[searcher]:
                continue
            title = f"{name}: {model}, forget {labels}, seed {seed}, {searcher}"
            attributes = {"sweep": name, "model": model, "forget": labels, "seed": int(seed)}
            attributes |= {"method": searcher, "dataset": str(own["dataset"].iloc[0])}
            yield StudyRows(title, attributes, own, spaces[searcher])


def space_of(method: str, rows: pd.DataFrame, record: RunRecord | None) -> Distributions:
    """Return the distributions of the knobs that the rows of one method vary.

    A searched knob has the range that the last run recorded, widened to hold every row; any other
    has the range of the values that were tried.
    """
    searched = dict(record.space.get(method, {})) if record else {}
    space: Distributions = {}
    for knob, kind in KNOBS.items():
        tried = rows[knob].dropna() if knob in rows else pd.Series(dtype=object)
        values = [kind(value) for value in tried.unique()]
        if len(values) < 2 and not (values and knob in searched):
            continue
        if kind in (int, float):
            ends = [kind(end) for end in searched.get(knob, [])]
            space[knob] = distribution(knob, (min(values + ends), max(values + ends)))
        else:
            names = dict.fromkeys([*searched.get(knob, []), *sorted(values)])
            space[knob] = CategoricalDistribution(list(names))
    return space


def trials_of(study: StudyRows) -> list[FrozenTrial]:
    """Return the trial of every row; the one that val chooses has the user attribute `chosen`.

    A failed cell is a failed trial. One that stopped early is pruned: its scores cover a part of
    val, and stand as user attributes alone.
    """
    values = objectives(study.rows)
    chosen = _chosen(study.rows)
    trials = []
    for row, forget, retain in zip(
        study.rows.to_dict("records"), values["val_forget"], values["val_retain"], strict=True
    ):
        params = {knob: KNOBS[knob](row[knob]) for knob in study.space if not pd.isna(row[knob])}
        scored = row["status"] == "ok" and not (pd.isna(forget) or pd.isna(retain))
        state = TrialState.COMPLETE if scored else TrialState.FAIL
        if scored and row.get("val_stopped") is True:
            state = TrialState.PRUNED
        attributes = {name: _plain(row[name]) for name in ATTRIBUTES if name in row}
        attributes = {name: value for name, value in attributes.items() if value is not None}
        attributes["chosen"] = row["cell_id"] == chosen
        if state == TrialState.PRUNED:
            attributes |= {"val_forget_read": float(forget), "val_retain_read": float(retain)}
        trials.append(
            create_trial(
                state=state,
                values=[float(forget), float(retain)] if state == TrialState.COMPLETE else None,
                params=params,
                distributions={knob: study.space[knob] for knob in params},
                user_attrs=attributes,
            )
        )
    return trials


def _chosen(rows: pd.DataFrame) -> str | None:
    """Return the `cell_id` that val chooses; None where no cell has finished."""
    good = finished(rows)
    return None if good.empty else str(choose(rows).row["cell_id"])


def _plain(value: Any) -> Any:
    """Return a value of pandas as JSON has it; None for what is missing."""
    if value is None or pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
