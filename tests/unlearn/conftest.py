"""Models trained on real digits once per session.

A small generator, its oracle and two judges; a small classifier, its oracle and its experts.
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.unlearn.world import World, mask, network, world, wreck
from unlearn.attacks.generators.base import Context
from unlearn.evaluation import ClassifierEvidence, Scores
from unlearn.fisher.generators import generator_fisher
from unlearn.generators.judges import Judge, build_judge, train_judge
from unlearn.metrics import score
from unlearn.models import Weights, build
from unlearn.models.base import Classifying, Generative
from unlearn.models.fresh import fresh
from unlearn.splits import Dataset, Images, Splits
from unlearn.streams import seeded, stream
from unlearn.train import Schedule, Training, fit

FORGET = (0,)
PLANTED = ("original", "oracle", "masked", "wrecked")
PLAN = Training(steps=300, batch=64, lr=3e-3)


@pytest.fixture(scope="session")
def splits(digits: Dataset) -> Splits:
    return digits.split(FORGET)


def train_generator(digits: Dataset, images: Images, purpose: str) -> Generative:
    with seeded(0, purpose):
        model = build("cvae-mlp", digits.shape, digits.classes)
    plan = Training(700, 64, 3e-3, kl_weight=1.5, label_critic=50.0)
    weights, _ = fit(model, images, plan, stream(0, purpose))
    model.load_state_dict(weights)
    trained: Generative = model.eval()
    return trained


@pytest.fixture(scope="session")
def original(digits: Dataset) -> Generative:
    return train_generator(digits, digits.train, "original")


@pytest.fixture(scope="session")
def oracle(digits: Dataset, splits: Splits) -> Generative:
    return train_generator(digits, splits.train.retain, "oracle")


@pytest.fixture(scope="session")
def untrained(original: Generative) -> Generative:
    return fresh(original, stream(0, "untrained"))


def train_judge_network(digits: Dataset, net: str, steps: int) -> Classifying:
    with seeded(0, net):
        judge = build_judge(Judge(net, 0, True), digits.shape, digits.classes)
    train_judge(judge, digits.train, Schedule(steps, 64, 4e-3), stream(0, net), True)
    return judge


@pytest.fixture(scope="session")
def attacker(digits: Dataset) -> Classifying:
    return train_judge_network(digits, "official", 200)


@pytest.fixture(scope="session")
def grader(digits: Dataset) -> Classifying:
    return train_judge_network(digits, "patch", 300)


@pytest.fixture(scope="session")
def fisher(original: Generative) -> Weights:
    return generator_fisher(original, 1000, stream(0, "fisher"))


@pytest.fixture(scope="session")
def context(
    original: Generative, attacker: Classifying, grader: Classifying, splits: Splits
) -> Context:
    return Context(original, attacker, grader, splits, FORGET, effort=0.04)


@pytest.fixture(scope="session")
def train_classifier(digits: Dataset) -> Callable[[Images], Any]:
    def train(images: Images) -> Any:
        weights, _ = fit(network(), images, PLAN, stream(0, "tests"))
        return network(weights)

    return train


@pytest.fixture(scope="session")
def classifier(digits: Dataset, train_classifier: Callable[[Images], Any]) -> Any:
    return train_classifier(digits.train)


@pytest.fixture(scope="session")
def one(digits: Dataset, classifier: Any, train_classifier: Callable[[Images], Any]) -> World:
    return world(digits, classifier, (3,), train_classifier)


@pytest.fixture(scope="session")
def several(digits: Dataset, classifier: Any, train_classifier: Callable[[Images], Any]) -> World:
    return world(digits, classifier, (0, 1), train_classifier)


@pytest.fixture(scope="session")
def planted(one: World) -> dict[str, Any]:
    return {
        "original": one.model,
        "oracle": one.oracle,
        "masked": mask(one.model, 3),
        "wrecked": wreck(one.model),
    }


@pytest.fixture(scope="session")
def evidence(one: World, planted: dict[str, Any]) -> dict[str, ClassifierEvidence]:
    return {name: one.evaluator.observe(model) for name, model in planted.items()}


@pytest.fixture(scope="session")
def scores(one: World, evidence: dict[str, ClassifierEvidence]) -> dict[str, Scores]:
    original, oracle = evidence["original"], evidence["oracle"]
    return {
        name: score("classifier", one.evaluator, evidence[name], original, oracle)
        for name in PLANTED
    }
