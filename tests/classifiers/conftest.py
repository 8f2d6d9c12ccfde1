"""Real digits, a network trained on them, its oracle and its experts: made once for the whole folder."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.classifiers.world import World, mask, network, world, wreck
from unlearn.data import Dataset, Images
from unlearn.evaluation import ClassifierEvidence, Scores
from unlearn.metrics import score
from unlearn.streams import stream
from unlearn.train import Training, fit

PLANTED = ("original", "oracle", "masked", "wrecked")
PLAN = Training(steps=300, batch=64, lr=3e-3)


@pytest.fixture(scope="session")
def trained(digits: Dataset) -> Callable[[Images], Any]:
    def train(images: Images) -> Any:
        return network(fit(network(), images, PLAN, stream(0, "tests"))[0])

    return train


@pytest.fixture(scope="session")
def original(digits: Dataset, trained: Callable[[Images], Any]) -> Any:
    return trained(digits.train)


@pytest.fixture(scope="session")
def one(digits: Dataset, original: Any, trained: Callable[[Images], Any]) -> World:
    return world(digits, original, (3,), trained)


@pytest.fixture(scope="session")
def several(digits: Dataset, original: Any, trained: Callable[[Images], Any]) -> World:
    return world(digits, original, (0, 1), trained)


@pytest.fixture(scope="session")
def planted(one: World) -> dict[str, Any]:
    return {"original": one.model, "oracle": one.oracle, "masked": mask(one.model, 3), "wrecked": wreck(one.model)}


@pytest.fixture(scope="session")
def evidence(one: World, planted: dict[str, Any]) -> dict[str, ClassifierEvidence]:
    return {name: one.setting.observe(model) for name, model in planted.items()}


@pytest.fixture(scope="session")
def scores(one: World, evidence: dict[str, ClassifierEvidence]) -> dict[str, Scores]:
    original, oracle = evidence["original"], evidence["oracle"]
    return {name: score("classifier", one.setting, evidence[name], original, oracle) for name in PLANTED}
