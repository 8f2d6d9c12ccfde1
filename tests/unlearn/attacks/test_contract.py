"""The contract of every registered attack, on generators and on classifiers."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.unlearn.attacks.quick import quick, target_of
from tests.unlearn.world import World, mask
from unlearn.attacks import (
    ATTACKS,
    Attack,
    Findings,
    References,
    Target,
    attack_columns,
    attacks_on,
    make_attack,
)
from unlearn.errors import BadInput
from unlearn.evaluation import GeneratorEvaluator
from unlearn.metrics import columns as metric_columns
from unlearn.models.base import Classifying, Generative
from unlearn.splits import Dataset, Splits

WRONG: dict[Any, Any] = {int: -1, float: -1.0, str: "no such value"}  # for a knob of that type


@dataclass(frozen=True)
class Case:
    """An attack, the problem it works on, a subject, and what it found there."""

    name: str
    attack: Attack
    target: Target
    models: Mapping[str, Any]
    subject: Any
    references: References
    findings: Findings

    @property
    def networks(self) -> list[nn.Module]:
        """Everything that must stay untouched."""
        judges = getattr(self.target.evaluator, "judges", {})
        return [self.subject, *self.models.values(), *judges.values()]


def case_of(name: str, target: Target, models: Mapping[str, Any], subject: Any) -> Case:
    attack = quick(name)
    references = attack.references(target, models)
    findings = attack(subject, references)
    return Case(name, attack, target, models, subject, references, findings)


def state_of(network: nn.Module) -> tuple[dict[str, Tensor], bool, list[bool]]:
    """Copy weights, buffers and gradients; note the mode, and what takes gradients."""
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, p in network.named_parameters():
        if p.grad is not None:
            tensors[f"gradient of {name}"] = p.grad.clone()
    return tensors, network.training, [p.requires_grad for p in network.parameters()]


def global_states() -> tuple[Any, ...]:
    """Read every global random generator, as values that compare."""
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()


def same(one: Findings, other: Findings) -> bool:
    if one.scores != other.scores:
        return False
    if one.pictures is None or other.pictures is None:
        return one.pictures is other.pictures
    return torch.equal(one.pictures, other.pictures)


class Contract:
    """What every attack keeps; a subclass says on which cases."""

    def test_it_returns_exactly_the_columns_that_it_declares(self, case: Case) -> None:
        declared = case.attack.columns(case.name)
        assert case.findings.scores.keys() == declared.keys()
        for column, value in case.findings.scores.items():
            assert value is None or isinstance(value, declared[column]), column
            assert value is None or torch.isfinite(torch.tensor(value)).all(), column

    def test_it_repeats_itself_and_touches_nothing(self, case: Case) -> None:
        before = [state_of(network) for network in case.networks]
        noise = global_states()
        again = case.attack(case.subject, case.attack.references(case.target, case.models))
        assert same(again, case.findings)
        assert global_states() == noise
        for network, (tensors, training, gradients) in zip(case.networks, before, strict=True):
            now, now_training, now_gradients = state_of(network)
            assert now.keys() == tensors.keys()
            assert all(torch.equal(now[key], tensor) for key, tensor in tensors.items())
            assert (now_training, now_gradients) == (training, gradients)

    def test_subjects_share_references_and_do_not_change_them(self, case: Case) -> None:
        original = case.attack(case.models["original"], case.references).scores
        for column in case.attack.model_columns:
            own = case.attack.column(case.name, column)
            assert original[own] == original[f"original_{own}"]
        assert same(case.attack(case.subject, case.references), case.findings)

    def test_it_refuses_knobs_out_of_range_by_name(self, case: Case) -> None:
        for knob in fields(case.attack):
            wrong = WRONG.get(knob.type)
            if wrong is not None:  # a bool has no range
                with pytest.raises(BadInput, match=knob.name):
                    replace(case.attack, **{knob.name: wrong})

    def test_it_refuses_knobs_of_a_wrong_type_and_unknown_ones_by_name(self, case: Case) -> None:
        for knob in fields(case.attack):
            with pytest.raises(BadInput, match=f"{case.name}: {knob.name} must be a"):
                make_attack(case.name, {knob.name: ["a list"]})
        with pytest.raises(BadInput, match=f"unknown key 'x' in the knobs of {case.name}"):
            make_attack(case.name, {"x": 1})

    def test_its_knobs_reach_it_and_the_others_stay_as_registered(self, case: Case) -> None:
        assert make_attack(case.name, {}) == ATTACKS[case.name]
        first = fields(case.attack)[0].name
        more = getattr(ATTACKS[case.name], first) + 1
        assert make_attack(case.name, {first: more}) == replace(ATTACKS[case.name], **{first: more})


@pytest.fixture(scope="module", params=attacks_on("generator"))
def generator_case(
    request: pytest.FixtureRequest,
    digits: Dataset,
    splits: Splits,
    original: Generative,
    oracle: Generative,
    untrained: Generative,
    attacker: Classifying,
    grader: Classifying,
) -> Case:
    judges = {"lead": grader, "val": attacker}
    evaluator = GeneratorEvaluator(digits, (0,), judges, 10, 0)
    target = Target(request.param, evaluator, splits, 0, effort=0.01)
    models = {"original": original, "oracle": oracle, "untrained": untrained}
    return case_of(request.param, target, models, oracle)


@pytest.fixture(scope="module", params=attacks_on("classifier"))
def classifier_case(request: pytest.FixtureRequest, one: World) -> Case:
    target = target_of(one.evaluator, request.param)
    models = {"original": one.model, "oracle": one.oracle}
    return case_of(request.param, target, models, mask(one.model, 3))


class TestOnGenerators(Contract):
    @pytest.fixture
    def case(self, generator_case: Case) -> Case:
        return generator_case

    def test_its_pictures_are_bytes(self, case: Case, original: Generative) -> None:
        pictures = case.findings.pictures
        assert pictures is not None
        assert pictures.dtype == torch.uint8
        assert pictures.dim() == 5
        assert pictures.shape[2:] == original.shape


class TestOnClassifiers(Contract):
    @pytest.fixture
    def case(self, classifier_case: Case) -> Case:
        return classifier_case

    def test_it_works_for_several_classes(self, case: Case, several: World) -> None:
        target = target_of(several.evaluator, case.name)
        models = {"original": several.model, "oracle": several.oracle}
        found = case.attack(several.model, case.attack.references(target, models)).scores
        assert found.keys() == case.findings.scores.keys()
        for column in case.attack.model_columns:  # the original is the subject
            own = case.attack.column(case.name, column)
            assert found[own] == found[f"original_{own}"]


JUST_WRONG = [
    ("relearning", {"steps": 0}),
    ("relearning", {"lr": 0.0}),
    ("relearning", {"every": 0}),
    ("linear-probe", {"per_class": 0}),
    ("linear-probe", {"ridge": 0.0}),
    ("lira", {"shadows": 3}),
    ("rmia", {"gamma": 0.0}),
    ("rmia", {"offline_a": 1.1}),
    ("u-lira", {"shadows": 3}),
    ("prototype-relearning", {"per_class": 0}),
    ("prototype-relearning", {"drop": 1.1}),
    ("membership-elbo", {"images": 1}),
    ("membership-elbo", {"false_positives": 1.0}),
    ("noisy-label", {"sharpness": 1.1}),
    ("triangular-walk", {"frames": 1}),
    ("label-only", {"shared": 0}),
    ("prototype", {"prototypes": 513}),
    ("ink", {"ink_target": 1.1}),
    ("relearn-1", {"recovered": 0.0}),
    ("relearn-kept", {"recovered": 1.1}),
]


@pytest.mark.parametrize(("name", "knobs"), JUST_WRONG)
def test_the_nearest_wrong_value_is_refused_by_name(name: str, knobs: dict[str, Any]) -> None:
    (knob,) = knobs
    with pytest.raises(BadInput, match=knob):
        make_attack(name, knobs)


def test_a_column_belongs_to_one_attack_and_to_no_metric() -> None:
    declared = [attack.columns(name) for name, attack in ATTACKS.items()]
    assert len(attack_columns()) == sum(map(len, declared))
    assert not attack_columns().keys() & metric_columns().keys()


def test_an_unknown_attack_lists_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"unknown attack 'x'; known: relearning, linear-probe, .*"):
        make_attack("x", {})
