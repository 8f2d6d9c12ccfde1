"""Forgetting in rounds: a method runs once per round, from the weights of the round before."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from unlearn.errors import require
from unlearn.methods.base import Method, Unlearned, join_curves
from unlearn.models import Weights
from unlearn.splits import Dataset, Images, Split, Splits
from unlearn.train import Training

Rounds = Sequence[Sequence[int]]  # the labels that each round forgets


@dataclass(frozen=True)
class Round:
    """The result of one round.

    forget: the labels that the round forgot.
    earlier: the labels that earlier rounds forgot.
    unlearned: the weights and the curve of the round.
    """

    forget: tuple[int, ...]
    earlier: tuple[int, ...]
    unlearned: Unlearned


def forget_in_rounds(
    model: Any,
    dataset: Dataset,
    rounds: Rounds,
    method: Method,
    generator: torch.Generator,
    fisher: Callable[[Any], Weights] | None = None,
    recompute: bool = True,
    again: bool = True,
    training: Training | None = None,
) -> tuple[Unlearned, list[Round]]:
    """Run `method` once per round; return the last weights with the joined curve, and all rounds.

    Each round takes the model that the round before left as its frozen original. `model` stays.

    fisher: returns the Fisher of a model; required where the method needs one.
    recompute: whether `fisher` is called in every round, or once, for the original.
    again: whether a round forgets the classes of earlier rounds once more; else they are neither
        forgotten nor replayed. Replaying them, as seed 001 does, would keep them forgotten only
        by chance.
    training: how the original was trained, for a method whose objective follows it.

    Raises `BadInput` for rounds that `check_rounds` refuses, or a missing `fisher`.
    """
    check_rounds(rounds, dataset.classes)
    require(
        fisher is not None or "fisher" not in method.needs,
        "this method needs a Fisher; pass `fisher`",
    )
    current = copy.deepcopy(model)
    estimate: Weights | None = None
    earlier: tuple[int, ...] = ()
    done: list[Round] = []
    for forget in rounds:
        if fisher is not None and (recompute or estimate is None):
            estimate = fisher(current)
        needs: dict[str, Any] = {"training": training}
        if "fisher" in method.needs:
            needs["fisher"] = estimate
        splits = round_splits(dataset, forget, earlier, again)
        unlearned = method(current, splits, generator, **needs)
        current.load_state_dict(unlearned.weights)
        done.append(Round(tuple(forget), earlier, unlearned))
        earlier = (*earlier, *forget)
    curve = join_curves([each.unlearned.curve for each in done])
    last = done[-1].unlearned.weights
    return Unlearned(last, curve), done


def check_rounds(rounds: Rounds, classes: int) -> None:
    """Raise `BadInput` unless every round forgets known classes, each once, and one is retained."""
    labels = [label for forget in rounds for label in forget]
    require(
        len(rounds) > 0 and all(len(forget) > 0 for forget in rounds),
        f"every round must forget at least one class, not {list(rounds)}; name its labels",
    )
    require(
        len(set(labels)) == len(labels),
        f"rounds {list(rounds)} forget a class twice; name each once",
    )
    for label in labels:
        require(
            0 <= label < classes,
            f"forget class {label} does not exist; allowed: 0 to {classes - 1}",
        )
    require(len(labels) < classes, f"rounds {list(rounds)} forget every class; keep at least one")


def round_splits(
    dataset: Dataset, forget: Sequence[int], earlier: Sequence[int], again: bool
) -> Splits:
    """Split the data set for one round.

    The `earlier` labels join the forget part (`again`), or are left out of both parts.
    """
    if again:
        return dataset.split([*earlier, *forget])
    splits = dataset.split(forget)
    train = _without(splits.train, earlier)
    val = _without(splits.val, earlier)
    test = _without(splits.test, earlier)
    return Splits(train, val, test)


def _without(part: Split, labels: Sequence[int]) -> Split:
    """Return `part` without retained images of `labels`."""
    dropped = _has_label(part.retain, labels)
    return Split(part.forget, part.retain.take(~dropped))


def _has_label(images: Images, labels: Sequence[int]) -> torch.Tensor:
    wanted = torch.tensor(list(labels), device=images.y.device)
    return torch.isin(images.y, wanted)
