"""Forgetting in rounds: one class after another, each round from the weights of the round before."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from unlearn.data import Dataset, Images, Part, Splits
from unlearn.errors import require
from unlearn.methods.base import Method, Unlearned
from unlearn.models import Weights
from unlearn.train import Curve


@dataclass(frozen=True)
class Round:
    """One round: what it forgot, what was forgotten before it, and the weights and curve it ended with."""

    forget: tuple[int, ...]
    earlier: tuple[int, ...]
    unlearned: Unlearned


def forget_in_turn(
    model: Any,
    dataset: Dataset,
    rounds: Sequence[Sequence[int]],
    method: Method,
    generator: torch.Generator,
    fisher: Callable[[Any], Weights] | None = None,
    recompute: bool = True,
    again: bool = True,
) -> tuple[Unlearned, list[Round]]:
    """Run `method` once a round; return the last weights with the joined curve, and every round.

    Each round anchors and replays from the model the round before left. `fisher(model)` is asked for every round's own
    start (`recompute`), or once for the original. `again`: classes of earlier rounds are forgotten once more in every
    later one; else they are neither forgotten nor replayed. A replayed amnesiac class would be kept amnesiac by
    chance, as seed 001 does it. Raises `BadInput` for a repeated class or when nothing is kept.
    """
    check_rounds(rounds, dataset.classes)
    require(
        fisher is not None or "fisher" not in method.needs,
        "this method needs a Fisher; pass `fisher`",
    )
    current, kept, done = copy.deepcopy(model), None, []
    for number, forget in enumerate(rounds):
        earlier = tuple(label for labels in rounds[:number] for label in labels)
        if fisher is not None and (recompute or kept is None):
            kept = fisher(current)
        needs = {"fisher": kept} if "fisher" in method.needs else {}
        unlearned = method(
            current, round_splits(dataset, forget, earlier, again), generator, **needs
        )
        current.load_state_dict(unlearned.weights)
        done.append(Round(tuple(forget), earlier, unlearned))
    return Unlearned(
        done[-1].unlearned.weights, joined([each.unlearned.curve for each in done])
    ), done


def check_rounds(rounds: Sequence[Sequence[int]], classes: int) -> None:
    """Refuse no rounds, an empty round, a class that does not exist or comes twice, and keeping nothing."""
    labels = [label for forget in rounds for label in forget]
    require(
        len(rounds) > 0 and all(len(forget) > 0 for forget in rounds),
        "every round must forget at least one class",
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
    """The data set as this round sees it: earlier classes join the forget part (`again`), or are left out."""
    if again:
        return dataset.split([*earlier, *forget])
    parts = dataset.split(forget)
    return Splits(
        *(
            Part(part.forget, _without(part.retain, earlier))
            for part in (parts.train, parts.val, parts.test)
        )
    )


def _without(images: Images, labels: Sequence[int]) -> Images:
    return images.take(~torch.isin(images.y, torch.tensor(list(labels), device=images.y.device)))


def joined(curves: Sequence[Curve]) -> Curve:
    """One curve of all rounds: steps run on, terms are appended by name."""
    whole: Curve = {}
    for curve in curves:
        before = whole["step"][-1] if whole.get("step") else 0.0
        for name, values in curve.items():
            shifted = [value + before for value in values] if name == "step" else values
            whole[name] = whole.get(name, []) + shifted
    return whole
