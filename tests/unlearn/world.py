"""A classifier's forget set, with the models and the evaluator that tests of methods share."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unlearn.evaluation import ClassifierEvaluator
from unlearn.methods import METHODS, make_method
from unlearn.methods.task_vector import TaskVector
from unlearn.models import Weights, build
from unlearn.splits import Dataset, Images, Splits
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit


@dataclass(frozen=True, repr=False)
class World:
    """A forget set, with everything that methods and metrics need for it.

    model: the original
    oracle: trained without the forget set
    experts: two fine-tunings of the original on the forget set
    """

    splits: Splits
    evaluator: ClassifierEvaluator
    model: Any
    oracle: Any
    experts: list[Weights]

    def load(self, weights: Weights) -> Any:
        return network(weights)

    @cached_property
    def few(self) -> Tensor:
        """Eight images, pixels in [0, 1], to compare two networks on."""
        return self.splits.val.retain.take(torch.arange(8)).pixels()

    @cached_property
    def vector(self) -> TaskVector:
        return TaskVector(self.model, self.experts[0])

    def needs(self, names: tuple[str, ...]) -> dict[str, Any]:
        made = {
            "expert": self.vector,
            "experts": self.experts,
            "oracle": self.oracle.state_dict(),
        }
        return {name: made[name] for name in names}


def network(weights: Weights | None = None) -> Any:
    """Build the network of all worlds: half as wide as it comes, at half the cost of a step."""
    with seeded(0, "tests"):
        return build("cnn", (1, 28, 28), 10, weights, options={"width": 8})


def world(
    digits: Dataset, original: Any, forget: tuple[int, ...], trained: Callable[[Images], Any]
) -> World:
    splits = digits.split(forget)
    expert = Training(steps=40, batch=64, lr=3e-4, schedule="constant")
    experts = [fit(original, splits.train.forget, expert, stream(i, "expert"))[0] for i in range(2)]
    evaluator = ClassifierEvaluator(splits, forget, digits.classes)
    return World(splits, evaluator, original, trained(splits.train.retain), experts)


def apply(name: str, knobs: dict[str, Any], world: World, seed: int = 0) -> Any:
    method = make_method(name, knobs)
    return method(world.model, world.splits, stream(seed, name), **world.needs(METHODS[name].needs))


def accuracy(world: World, weights: dict[str, Tensor], images: Images) -> float:
    with torch.no_grad():
        right = world.load(weights)(images.pixels()).argmax(1) == images.y
    return float(right.double().mean())


def mask(model: Any, label: int) -> Any:
    masked = copy.deepcopy(model)
    masked.head.weight.data[label], masked.head.bias.data[label] = 0, -1e4
    return masked


def wreck(model: Any) -> Any:
    wrecked, noise = copy.deepcopy(model), stream(0, "wreck")
    for p in wrecked.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=noise)
    return wrecked
