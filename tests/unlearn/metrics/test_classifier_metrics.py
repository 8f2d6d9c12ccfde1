"""Metrics of classifiers: their contract, and planted models that they rank or say they do not.

Planted, on real digits: `original` (forgot nothing), `oracle` (never saw the class), `masked` (the
original with the class's logit at -10,000: knows everything, says nothing), `wrecked` (noise on all
weights: forgot everything).
"""

import copy
from typing import Any

import pytest
import torch

from tests.unlearn.world import World, mask
from unlearn.attacks import attacks_on
from unlearn.evaluation import ClassifierEvidence, Scores
from unlearn.metrics import METRICS, columns, score
from unlearn.metrics.calibration import ece
from unlearn.metrics.confusion import nearest

PLANTED = ("original", "oracle", "masked", "wrecked")
CLASSIFIER = {name: metric for name, metric in METRICS.items() if metric.task == "classifier"}


def column(scores: dict[str, Scores], name: str) -> list[Any]:
    """The column for original, oracle, masked, wrecked."""
    return [scores[planted][name] for planted in PLANTED]


# the contract


@pytest.mark.parametrize("name", CLASSIFIER)
def test_a_metric_returns_exactly_its_columns(
    name: str, one: World, evidence: dict[str, ClassifierEvidence]
) -> None:
    metric = CLASSIFIER[name]
    others = (evidence["oracle"], evidence["original"])[: 1 + metric.with_original]
    for planted in PLANTED:
        values = metric.compute(one.evaluator, evidence[planted], *others)
        assert values.keys() == metric.columns.keys()
        for key, value in values.items():
            assert isinstance(value, metric.columns[key])
            assert torch.isfinite(torch.tensor(value)).all(), (planted, key)


Observed = list[tuple[ClassifierEvidence, ClassifierEvidence]]  # original and oracle, time by time


@pytest.fixture(scope="module")
def observed_twice(one: World, several: World) -> dict[str, Observed]:
    """The evidence of the original and the oracle of each world, observed twice."""
    seen: dict[str, Observed] = {}
    for name, world in (("one", one), ("several", several)):
        observe = world.evaluator.observe
        seen[name] = [(observe(world.model), observe(world.oracle)) for _ in range(2)]
    return seen


@pytest.mark.parametrize("name", CLASSIFIER)
@pytest.mark.parametrize("forget", ["one", "several"])
def test_the_same_model_has_the_same_bits(
    name: str,
    forget: str,
    request: pytest.FixtureRequest,
    observed_twice: dict[str, Observed],
) -> None:
    world: World = request.getfixturevalue(forget)
    first, again = (
        CLASSIFIER[name].compute(
            world.evaluator, original, *(oracle, original)[: 1 + CLASSIFIER[name].with_original]
        )
        for original, oracle in observed_twice[forget]
    )
    assert first == again
    assert first.keys() == CLASSIFIER[name].columns.keys()
    assert all(torch.isfinite(torch.tensor(value)).all() for value in first.values())


def test_score_has_every_column_for_all_three(scores: dict[str, Scores]) -> None:
    wanted = {key for metric in CLASSIFIER.values() for key in metric.columns}
    of_models = {
        key for metric in CLASSIFIER.values() if metric.of_the_model for key in metric.columns
    }
    beside = {f"{name}_{key}" for name in ("original", "oracle") for key in of_models}
    assert set(scores["masked"]) == wanted | beside
    assert set(scores["masked"]) <= set(columns())
    for key in of_models:
        assert scores["masked"][f"oracle_{key}"] == scores["oracle"][key]
        assert scores["masked"][f"original_{key}"] == scores["original"][key]


def test_no_metric_changes_its_evidence(
    one: World, evidence: dict[str, ClassifierEvidence]
) -> None:
    before = {key: tensor.clone() for key, tensor in evidence["original"].logits.items()}
    score(
        "classifier", one.evaluator, evidence["original"], evidence["original"], evidence["oracle"]
    )
    assert all(
        torch.equal(before[key], tensor) for key, tensor in evidence["original"].logits.items()
    )


def test_evidence_is_unaugmented_and_complete(
    one: World, evidence: dict[str, ClassifierEvidence]
) -> None:
    with torch.no_grad():
        logits = one.model(one.splits.test.retain.pixels())
    torch.testing.assert_close(evidence["original"].logits["test", "retain"], logits)
    assert {part: len(x) for part, x in evidence["original"].features.items()} == {
        "forget": 100,
        "retain": 500,
    }
    again = one.evaluator.observe(one.oracle)
    assert again.random is evidence["oracle"].random  # drawn once per evaluator


# planted models


def test_accuracy_tells_all_but_the_mask(scores: dict[str, Scores]) -> None:
    forget, retain = column(scores, "test_forget_accuracy"), column(scores, "test_retain_accuracy")
    assert forget[0] > 0.9
    assert forget[1] == forget[2] == 0
    assert min(retain[:3]) > 0.95
    assert retain[3] < 0.5
    assert retain[2] == pytest.approx(retain[1], abs=0.01)  # fooled by the mask


def test_whatever_is_fooled_says_so() -> None:
    assert [name for name, metric in CLASSIFIER.items() if not metric.blind_spot] == []
    attacks = attacks_on("classifier")
    assert [name for name, attack in attacks.items() if not attack.blind_spot] == []


def test_entropy_tells_the_original_and_the_wreck_but_not_the_mask(
    scores: dict[str, Scores],
) -> None:
    original, oracle, masked, wrecked = column(scores, "forget_entropy")
    assert abs(masked - oracle) < 0.2 < min(abs(original - oracle), abs(wrecked - oracle))


def test_average_gap_is_0_for_the_oracle_and_fooled_by_a_mask(scores: dict[str, Scores]) -> None:
    original, oracle, masked, wrecked = column(scores, "average_gap")
    assert oracle == 0
    assert min(original, wrecked) > 0.2
    assert masked < 0.01


def test_cka_finds_the_mask(scores: dict[str, Scores]) -> None:
    original, oracle, masked, wrecked = column(scores, "cka_forget_to_original")
    assert original == pytest.approx(1, abs=1e-9)
    assert masked == pytest.approx(1, abs=1e-9)
    assert wrecked < oracle < 0.99
    assert column(scores, "cka_retain_to_oracle")[1] == pytest.approx(1, abs=1e-9)
    assert column(scores, "cka_forget_to_oracle")[2] == column(scores, "cka_forget_to_oracle")[0]


def test_zrf_rises_with_forgetting_but_its_target_is_not_the_oracle(
    scores: dict[str, Scores],
) -> None:
    original, oracle, masked, wrecked = column(scores, "zrf")
    assert original < oracle < masked < 1
    assert max(original, wrecked) < 0.35
    assert (
        column(scores, "zrf_legacy")[0] > 0.6
    )  # the legacy form of the same answers looks forgotten


def test_zrf_is_fooled_by_answering_nothing(
    one: World, evidence: dict[str, ClassifierEvidence]
) -> None:
    mute = copy.deepcopy(one.model)
    mute.head.weight.data.zero_()
    mute.head.bias.data.zero_()
    answers = one.evaluator.observe(mute)
    zrf = METRICS["zrf"].compute(one.evaluator, answers, evidence["oracle"])["zrf"]
    oracle = METRICS["zrf"].compute(one.evaluator, evidence["oracle"], evidence["oracle"])["zrf"]
    assert zrf > 0.9 > oracle
    assert answers.correct("test", "retain").double().mean() < 0.2


def test_divergences_prefer_the_mask_to_the_original(scores: dict[str, Scores]) -> None:
    for name in ("js_to_oracle", "js_distance_to_oracle", "kl_to_oracle", "semantic_shift"):
        original, oracle, masked, wrecked = column(scores, name)
        assert oracle == pytest.approx(0, abs=1e-8)
        assert oracle < masked < original
        assert (
            wrecked > 1.5 * masked
        )  # this wreck is sure of one answer: seen; one that answers as the oracle is not


def test_efficacy_is_read_beside_the_oracles(scores: dict[str, Scores]) -> None:
    original, oracle, masked, wrecked = column(scores, "mia_efficacy")
    assert original < 0.5
    assert oracle == masked == 1  # fooled: by a mask
    assert wrecked > 0.9  # and by a wreck
    assert all(
        0.3 < value < 0.7 for value in column(scores, "mia_auc")
    )  # no model here overfits: nothing to find
    assert all(value < 0.05 for value in column(scores, "mia_tpr_1fpr"))


def test_over_forgetting_tells_who_pays(
    one: World, evidence: dict[str, ClassifierEvidence]
) -> None:
    oracle = evidence["oracle"]
    (neighbour,) = nearest(one.evaluator, oracle)
    assert neighbour in (5, 8, 2)  # what a 3 looks like
    innocent = next(label for label in one.evaluator.kept if label != neighbour)
    gaps = {}
    for victim in (neighbour, innocent):
        hurt = one.evaluator.observe(mask(one.oracle, victim))
        gaps[victim] = METRICS["confusion"].compute(one.evaluator, hurt, oracle)["over_forgetting"]
    assert gaps[neighbour] > 0.8
    assert gaps[innocent] < 0


def test_calibration_tells_the_wreck_and_is_fooled_by_the_mute(scores: dict[str, Scores]) -> None:
    original, oracle, masked, wrecked = column(scores, "ece")
    assert max(original, oracle, masked) < 0.05 < 0.5 < wrecked
    right_once_in_ten = torch.arange(1000) % 10 == 0
    assert ece(torch.full((1000,), 0.1), right_once_in_ten) == pytest.approx(0, abs=1e-7)
