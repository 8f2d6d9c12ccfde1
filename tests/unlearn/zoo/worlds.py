"""What methods and attacks need on a network of the zoo: images, experts, an oracle."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn

from tests.unlearn.zoo import classifiers, generators
from unlearn.evaluation import ClassifierEvaluator
from unlearn.fisher.generators import generator_fisher
from unlearn.methods.task_vector import TaskVector
from unlearn.models import Weights, build
from unlearn.splits import Dataset, Images, Splits
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit

SHAPE, CLASSES = (1, 8, 8), 3
PLAN = Training(steps=2, batch=8, lr=1e-2, schedule="constant")
FORGET = (0,)


def images(n: int, purpose: str) -> Images:
    """Random pixels, brighter where the label is higher, with the labels 0, 1, 2 in turn."""
    y = torch.arange(n) % CLASSES
    noise = torch.randint(100, (n, *SHAPE), generator=stream(0, purpose))
    return Images((noise + 70 * y.view(-1, 1, 1, 1)).to(torch.uint8), y)


DATASET = Dataset("zoo", images(48, "train"), images(12, "val"), images(24, "test"), CLASSES)


def builder(kind: str, name: str) -> str:
    """The name of a network's builder, as a spec has it."""
    if kind == "generators":
        return f"tests.unlearn.zoo.generators:{generators.WORKING[name]}"
    return f"tests.unlearn.zoo.classifiers:{classifiers.WORKING[name].__name__}"


def network(kind: str, name: str, seed: int = 0) -> Any:
    """Build a network of the zoo."""
    with seeded(seed, "zoo", name), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.nn.utils.weight_norm` is deprecated")
        return build(builder(kind, name), SHAPE, CLASSES)


@dataclass(frozen=True)
class Zoo:
    """A trained network of the zoo, with everything that methods and attacks need."""

    kind: str
    name: str

    @cached_property
    def splits(self) -> Splits:
        return DATASET.split(FORGET)

    def trained(self, images: Images, start: Any = None) -> Any:
        """A network after two steps on `images`."""
        model = network(self.kind, self.name)
        weights, _ = fit(start or model, images, PLAN, stream(0, "fit"))
        model.load_state_dict(weights)
        return model

    @cached_property
    def model(self) -> Any:
        return self.trained(DATASET.train)

    @cached_property
    def oracle(self) -> Any:
        return self.trained(self.splits.train.retain)

    @cached_property
    def expert(self) -> Weights:
        state: Weights = self.trained(self.splits.train.forget, self.model).state_dict()
        return state

    def needs(self, names: tuple[str, ...]) -> dict[str, Any]:
        """What a method needs, by name."""
        made: dict[str, Callable[[], Any]] = {
            "expert": lambda: TaskVector(self.model, self.expert),
            "experts": lambda: [self.expert, self.oracle.state_dict()],
            "oracle": lambda: self.oracle.state_dict(),
            "fisher": lambda: generator_fisher(self.model, 12, stream(0, "fisher"), batch=8),
        }
        return {name: made[name]() for name in names}

    @property
    def evaluator(self) -> ClassifierEvaluator:
        return ClassifierEvaluator(self.splits, FORGET, CLASSES)


@cache
def zoo(kind: str, name: str) -> Zoo:
    """The one world of a network, whose parts are made once."""
    return Zoo(kind, name)


def marks(model: nn.Module) -> dict[str, Any]:
    """What a borrower must leave as it was: values, modes, gradients, what is trainable, hooks."""
    return {
        "state": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "modes": [part.training for part in model.modules()],
        "trainable": [p.requires_grad for p in model.parameters()],
        "gradients": [p.grad is None for p in model.parameters()],
    }


def assert_untouched(model: nn.Module, before: dict[str, Any]) -> None:
    """Check that a model is as `marks` saw it, and can still be copied."""
    now = marks(model)
    old = before["state"]
    assert all(same(old[name], tensor) for name, tensor in now.pop("state").items())
    assert now == {key: value for key, value in before.items() if key != "state"}
    copy.deepcopy(model)


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal, NaN included."""
    return torch.equal(one, other) or torch.allclose(one, other, 0, 0, equal_nan=True)
