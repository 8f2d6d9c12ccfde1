"""Every method and attack on every classifier of the zoo: the network is no reason to fail."""

from typing import Any

import pytest
import torch

from tests.unlearn.zoo import classifiers
from tests.unlearn.zoo.worlds import CLASSES, SHAPE, assert_untouched, marks, network, zoo
from unlearn.attacks import Target, attacks_on, make_attack
from unlearn.errors import BadInput
from unlearn.methods import METHODS, make_method
from unlearn.metrics import score
from unlearn.models import build
from unlearn.models.check import check_network
from unlearn.streams import seeded, stream
from unlearn.train import Training

QUICK = {"steps": 2, "batch": 8, "samples": 16, "msteps": 1, "recalibrate": True}
ATTACK_KNOBS: dict[str, dict[str, Any]] = {
    "relearning": {"steps": 2, "every": 1, "images": 8, "batch": 8},
    "relearning-rehearsed": {"steps": 2, "every": 1, "images": 8, "batch": 8},
    "linear-probe": {"per_class": 4},
    "lira": {"shadows": 4, "steps": 1, "batch": 8},
    "lira-matched": {"shadows": 4},
    "rmia": {"shadows": 4},
    "u-lira": {"shadows": 4},
    "prototype-relearning": {"images": 8},
}
BY_TASK = [name for name, method in METHODS.items() if "classifier" in method.tasks]
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated"),
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True to a scalar"),
]


def built_and_checked(name: str, options: dict[str, Any] | None = None) -> None:
    """What a plan does with a builder of the zoo."""
    with seeded(0, name):
        model = build(f"tests.unlearn.zoo.classifiers:{name}", SHAPE, CLASSES, options=options)
    check_network(model, name, "classifier", SHAPE, CLASSES)


@pytest.mark.parametrize("name", classifiers.WORKING)
def test_a_plan_takes_it(name: str) -> None:
    model = network("classifiers", name)
    before = marks(model)
    check_network(model, name, "classifier", SHAPE, CLASSES)
    assert_untouched(model, before)


@pytest.mark.parametrize("method", BY_TASK)
@pytest.mark.parametrize("name", classifiers.WORKING)
def test_every_method_unlearns_it_and_leaves_the_original(name: str, method: str) -> None:
    world = zoo("classifiers", name)
    knobs = {knob: v for knob, v in QUICK.items() if hasattr(METHODS[method], knob)}
    made = make_method(method, knobs)
    needs = world.needs(METHODS[method].needs)
    if name == "frozen" and method in ("cf-k", "eu-k"):
        with pytest.raises(BadInput, match="k is 2, but the model has 1 layers"):
            made.check(world.model)
        return
    made.check(world.model)
    before = marks(world.model)
    with seeded(0, method):
        unlearned = made(world.model, world.splits, stream(0, method), **needs)
    assert_untouched(world.model, before)
    subject = network("classifiers", name, seed=1)
    subject.load_state_dict(unlearned.weights)
    with torch.no_grad():
        assert torch.isfinite(subject(world.splits.test.retain.pixels())).all()
    frozen = [part for part, p in world.model.named_parameters() if not p.requires_grad]
    assert all(torch.equal(unlearned.weights[part], before["state"][part]) for part in frozen)


@pytest.mark.parametrize("name", classifiers.WORKING)
def test_every_metric_and_attack_reads_it(name: str) -> None:
    world = zoo("classifiers", name)
    evaluator = world.evaluator
    evidence = [evaluator.observe(model) for model in (world.model, world.model, world.oracle)]
    assert score("classifier", evaluator, *evidence)["zrf"] is not None
    models = {"original": world.model, "oracle": world.oracle}
    before = marks(world.model)
    for attack in attacks_on("classifier"):
        made = make_attack(attack, ATTACK_KNOBS[attack])
        target = Target(attack, evaluator, world.splits, 0, training=Training(1, 8, 1e-3))
        references = made.references(target, models)
        made(world.model, references)
    assert_untouched(world.model, before)


@pytest.mark.parametrize("how", classifiers.REFUSED)
def test_a_plan_refuses_what_no_method_can_use(how: str) -> None:
    with pytest.raises(BadInput, match=classifiers.REFUSED[how]) as raised:
        built_and_checked("unfit", {"how": how})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("one_for_all", "returns the same network at every call"),
        ("ready_for_all", "returns the same network at every call"),
        ("Detached", "no gradient reaches its weights"),
        ("SilentClassifier", r"its train\(\) does not return the model"),
        ("_only", "is one network, but every model needs its own"),
        ("CLASSES", "is not callable"),
    ],
)
def test_a_plan_refuses_builders_that_are_none(name: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        built_and_checked(name)
