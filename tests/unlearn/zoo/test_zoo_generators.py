"""Every method and attack on every generator of the zoo, on images of 8 x 8."""

from functools import cache
from typing import Any

import pytest
import torch

from tests.unlearn.attacks.quick import quick
from tests.unlearn.zoo import generators
from tests.unlearn.zoo.worlds import (
    CLASSES,
    DATASET,
    FORGET,
    SHAPE,
    assert_untouched,
    marks,
    network,
    zoo,
)
from unlearn.attacks import Target, attacks_on
from unlearn.evaluation import GeneratorEvaluator
from unlearn.generators.judges import build_judge, panel
from unlearn.methods import METHODS, make_method
from unlearn.metrics import score
from unlearn.models.check import check_network
from unlearn.models.fresh import fresh
from unlearn.streams import seeded, stream

QUICK = {"steps": 2, "batch": 6, "pool": 8, "fisher_of": 8, "reset": "decoder"}
FEW = {"trials": 6, "restarts": 2, "steps": 1, "every": 1, "batch": 6, "per_class": 1, "start": 4}
BY_TASK = [name for name, method in METHODS.items() if "generator" in method.tasks]
pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")


@pytest.mark.parametrize("name", generators.WORKING)
def test_a_plan_takes_it(name: str) -> None:
    model = network("generators", name)
    before = marks(model)
    check_network(model, name, "generator", SHAPE, CLASSES)
    assert_untouched(model, before)


@pytest.mark.parametrize("method", BY_TASK)
@pytest.mark.parametrize("name", generators.WORKING)
def test_every_method_unlearns_it_and_leaves_the_original(name: str, method: str) -> None:
    world = zoo("generators", name)
    knobs = {knob: v for knob, v in QUICK.items() if hasattr(METHODS[method], knob)}
    made = make_method(method, knobs)
    needs = world.needs(METHODS[method].needs)
    before = marks(world.model)
    with seeded(0, method):
        unlearned = made(world.model, world.splits, stream(0, method), **needs)
    assert_untouched(world.model, before)
    subject = network("generators", name, seed=1)
    subject.load_state_dict(unlearned.weights)
    with torch.no_grad():
        drawn = subject(torch.zeros(3, subject.z_dim), torch.eye(3))
    assert torch.isfinite(drawn).all()


@cache
def evaluator() -> GeneratorEvaluator:
    """Untrained judges: what they say does not matter here."""
    judges = {}
    for seat, judge in panel(1).items():
        with seeded(judge.seed, seat):
            judges[seat] = build_judge(judge, SHAPE, CLASSES)
    return GeneratorEvaluator(DATASET, FORGET, judges, 12, 0)


@pytest.mark.parametrize("name", generators.WORKING)
def test_every_metric_and_attack_reads_it(name: str) -> None:
    world, judged = zoo("generators", name), evaluator()
    models: dict[str, Any] = {"original": world.model, "oracle": world.oracle}
    evidence = [judged.observe(model) for model in (world.model, world.model, world.oracle)]
    assert score("generator", judged, *evidence)
    models["untrained"] = fresh(world.model, stream(0, "untrained"))
    before = marks(world.model)
    for attack in attacks_on("generator"):
        made = quick(attack)
        few = {knob: n for knob, n in FEW.items() if hasattr(made, knob)}
        made = quick(attack, **few)
        target = Target(attack, judged, world.splits, 0, effort=0.001)
        made(world.model, made.references(target, models))
    assert_untouched(world.model, before)
