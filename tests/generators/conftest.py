"""Real digits, one small original and its oracle, two judges of different architecture: trained once a session."""

import pytest

from unlearn.attacks.generators import Context
from unlearn.data import Dataset, Images, Splits
from unlearn.fisher.generators import generator_fisher
from unlearn.generators.judges import Judge, build_judge, train_judge
from unlearn.models import Weights, build
from unlearn.models.base import Classifying, Generative
from unlearn.models.fresh import fresh
from unlearn.streams import seeded, stream
from unlearn.train import Schedule, Training, fit

FORGET = (0,)


@pytest.fixture(scope="session")
def splits(digits: Dataset) -> Splits:
    return digits.split(FORGET)


def trained(digits: Dataset, images: Images, purpose: str) -> Generative:
    with seeded(0, purpose):
        model = build("cvae-mlp", digits.shape, digits.classes)
    weights, _ = fit(model, images, Training(700, 64, 3e-3, kl_weight=1.5, label_critic=50.0), stream(0, purpose))
    model.load_state_dict(weights)
    return model.eval()


@pytest.fixture(scope="session")
def original(digits: Dataset) -> Generative:
    return trained(digits, digits.train, "original")


@pytest.fixture(scope="session")
def oracle(digits: Dataset, splits: Splits) -> Generative:
    return trained(digits, splits.train.retain, "oracle")


@pytest.fixture(scope="session")
def untrained(original: Generative) -> Generative:
    return fresh(original, stream(0, "untrained"))


def judged(digits: Dataset, net: str) -> Classifying:
    with seeded(0, net):
        judge = build_judge(Judge(net, 0, True), digits.shape, digits.classes)
    train_judge(judge, digits.train, Schedule(350, 64, 4e-3), stream(0, net), True)
    return judge


@pytest.fixture(scope="session")
def attacker(digits: Dataset) -> Classifying:
    return judged(digits, "official")


@pytest.fixture(scope="session")
def grader(digits: Dataset) -> Classifying:
    return judged(digits, "patch")


@pytest.fixture(scope="session")
def fisher(original: Generative) -> Weights:
    return generator_fisher(original, 1000, stream(0, "fisher"))


@pytest.fixture(scope="session")
def context(original: Generative, attacker: Classifying, grader: Classifying, splits: Splits) -> Context:
    return Context(original, attacker, grader, splits, FORGET, trials=60, restarts=12, effort=0.04)
