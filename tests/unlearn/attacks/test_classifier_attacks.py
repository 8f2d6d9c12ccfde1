"""Attacks on classifiers: what they must find in planted models, and what fools them."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.unlearn.attacks.quick import attacked, quick, target_of
from tests.unlearn.world import World, mask, wreck
from unlearn.attacks import Target, make_attack
from unlearn.attacks.classifiers.linear_probe import LinearProbe, fit_head
from unlearn.attacks.classifiers.lira import (
    Lira,
    halves,
    likelihood_ratio,
    log_odds,
    members_and_strangers,
    train_shadow,
)
from unlearn.attacks.classifiers.prototype_relearning import (
    PrototypeRelearning,
    Read,
    mixed,
    offset,
)
from unlearn.attacks.classifiers.relearning import Course, Relearning, index, targets
from unlearn.attacks.classifiers.rmia import dominance, ratio_of, with_members
from unlearn.attacks.classifiers.u_lira import TrainedShadows
from unlearn.errors import BadInput
from unlearn.evaluation import ClassifierEvaluator, Scores
from unlearn.models import Weights, build
from unlearn.models.fresh import fresh
from unlearn.splits import Images, Split, Splits
from unlearn.streams import stream
from unlearn.train import Training, fit, snapshot


def test_the_shadows_of_a_network_that_drops_out_without_a_layer_are_repeatable(one: World) -> None:
    model = build("tests.unlearn.models.own_models:DropsOut", (1, 28, 28), 10)
    first, again = (
        Lira(shadows=4, steps=3).prepare(target_of(one.evaluator), model) for _ in range(2)
    )
    assert torch.equal(first.odds, again.odds)


@pytest.fixture(scope="module")
def masked(one: World) -> Any:
    return mask(one.model, 3)


@pytest.fixture(scope="module")
def found(one: World, masked: Any) -> dict[str, Scores]:
    """What attacks find in a masked model."""
    names = ("relearning", "relearning-rehearsed", "linear-probe")
    return {name: attacked(quick(name), one, masked, name=name) for name in names}


# relearning


def test_a_hidden_class_comes_back_sooner_than_an_unknown_one(one: World) -> None:
    hidden = copy.deepcopy(one.model)
    hidden.head.bias.data[3] -= 15
    attack = Relearning(steps=36, every=2, images=100, rehearse=True)
    scores = attacked(attack, one, hidden)
    assert scores["relearn_forget_accuracy"][0] < 0.1
    assert scores["original_relearn_batches_points"] == 0
    assert scores["relearn_batches_points"] < scores["oracle_relearn_batches_points"]
    assert scores["ain_points"] < 0.8
    assert scores["relearn_retain_accuracy"][-1] > 0.9


def test_forgotten_images_alone_cost_the_rest(one: World) -> None:
    alone, both = (
        Relearning(steps=24, every=24, images=100, rehearse=mix) for mix in (False, True)
    )
    last = [
        attack.course(target_of(one.evaluator), one.model).retain[-1] for attack in (alone, both)
    ]
    assert last[0] < 0.8 < 0.9 < last[1]


def test_a_hard_mask_fools_relearning_until_the_head_is_reset(one: World, masked: Any) -> None:
    bare = Relearning(steps=12, every=3, images=200)
    fooled = attacked(bare, one, masked)
    assert fooled["relearn_batches_points"] is None
    assert fooled["ain_points"] is None
    assert set(fooled["relearn_forget_accuracy"]) == {0.0}
    assert fooled["original_relearn_batches_points"] == 0
    fair = replace(bare, reset_head=True)
    target = target_of(one.evaluator)
    assert fair.course(target, masked) == fair.course(target, one.model)  # it finds what it is


def test_a_wreck_is_told_by_its_retain_accuracy(one: World) -> None:
    attack = Relearning(steps=24, every=2, images=100, rehearse=True)
    scores = attacked(attack, one, wreck(one.model))
    batches, oracle = scores["relearn_batches_points"], scores["oracle_relearn_batches_points"]
    assert (
        batches is None or batches >= oracle
    )  # fooled: it looks as well forgotten as by the oracle
    assert scores["relearn_retain_accuracy"][0] < 0.5 < scores["oracle_relearn_retain_accuracy"][0]


def test_both_modes_have_columns_of_their_own(found: dict[str, Scores]) -> None:
    published, rehearsed = found["relearning"], found["relearning-rehearsed"]
    assert not published.keys() & rehearsed.keys()
    assert rehearsed["original_rehearsed_relearn_steps"] == published["original_relearn_steps"]
    assert rehearsed["rehearsed_ain_points"] == index(
        rehearsed["rehearsed_relearn_batches_points"],
        rehearsed["oracle_rehearsed_relearn_batches_points"],
    )


def test_targets_and_the_index_by_hand() -> None:
    course = Course([0.0, 5.0, 10.0], [0.1, 0.8, 0.9], [1.0, 1.0, 1.0])
    assert [course.reached(target) for target in (0.1, 0.5, 0.85, 0.95)] == [0.0, 5.0, 10.0, None]
    assert index(0.0, 9.0) == pytest.approx(0.1)
    assert index(9.0, 9.0) == 1
    assert index(None, 9.0) is None
    assert index(9.0, None) is None


def test_the_two_conventions_differ() -> None:
    assert targets(1.0) == pytest.approx({"points": 0.95, "relative": 0.95})
    assert targets(0.53)["points"] <= 0.48  # which 0.53 - 0.05 is not, in floating point
    assert targets(0.6) == pytest.approx({"points": 0.55, "relative": 0.57})


# linear probe


def test_the_probe_finds_the_mask(found: dict[str, Scores]) -> None:
    probe = found["linear-probe"]
    assert probe["probe_forget_accuracy"] == probe["original_probe_forget_accuracy"] > 0.85
    assert probe["probe_retain_accuracy"] > 0.9
    assert probe["oracle_probe_forget_accuracy"] < probe["original_probe_forget_accuracy"]


def test_a_wreck_has_little_to_probe(one: World, found: dict[str, Scores]) -> None:
    wrecked = LinearProbe(per_class=100).run(target_of(one.evaluator), wreck(one.model))
    assert (
        wrecked["probe_forget_accuracy"] < found["linear-probe"]["oracle_probe_forget_accuracy"]
    )  # fooled: "nothing is left"
    assert wrecked["probe_retain_accuracy"] < found["linear-probe"]["probe_retain_accuracy"] - 0.05


def test_the_probe_finds_nothing_where_there_is_nothing(one: World) -> None:
    blank = copy.deepcopy(one.model)
    blank.hidden.weight.data.zero_()
    found = LinearProbe(per_class=50).run(target_of(one.evaluator), blank)
    assert found["probe_forget_accuracy"] in (0.0, 1.0)  # one answer for everything


def test_the_probes_head_is_at_the_minimum() -> None:
    x = torch.randn(90, 4, generator=stream(0, "x"), dtype=torch.double)
    y = torch.randint(3, (90,), generator=stream(0, "y"))
    head = fit_head(x, y, 3, 0.01).requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(head(x), y) + 0.005 * head.weight.square().sum()
    assert all(g.abs().max() < 1e-4 for g in torch.autograd.grad(loss, list(head.parameters())))


# LiRA


def test_every_image_is_in_for_half_of_the_shadows() -> None:
    inside = halves(50, 8, 0)
    assert inside.sum(0).tolist() == [4] * 50
    assert not torch.equal(inside, halves(50, 8, 1))


def test_matched_shadows_follow_the_originals_training(one: World) -> None:
    target = target_of(one.evaluator)
    assert target.training is not None
    assert Lira(follow=True).plan(target) == target.training
    assert Lira(steps=7).plan(target) == Training(7, 64, 3e-3)
    with pytest.raises(BadInput, match="how its original was trained"):
        Lira(follow=True).plan(replace(target, training=None))


@pytest.mark.parametrize(("auc", "blind"), [(0.51, 1.0), (0.40, 1.0), (0.55, 0.0), (0.9, 0.0)])
def test_a_lira_that_reads_nothing_in_the_original_says_so(auc: float, blind: float) -> None:
    read = {"lira_auc": auc, "lira_tpr_1fpr": 0.01}
    scores = Lira().report("lira-matched", read, {"original": read, "oracle": read})
    assert scores["matched_lira_blind"] == blind


def test_the_likelihood_ratio_by_hand() -> None:
    odds = torch.tensor([[1.0], [3.0], [-1.0], [-3.0]], dtype=torch.double)
    inside = torch.tensor([[True], [True], [False], [False]])
    normal = torch.distributions.Normal
    spread = 2**0.5
    for target in (-2.0, 0.0, 1.5):
        x = torch.tensor([target], dtype=torch.double)
        slow = normal(2.0, spread).log_prob(x) - normal(-2.0, spread).log_prob(x)
        torch.testing.assert_close(likelihood_ratio(x, odds, inside), slow, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def overfitted(one: World) -> tuple[ClassifierEvaluator, Any]:
    """Few images, many steps: a model that remembers them differs from one that never saw them."""

    def few(part: Split) -> Split:
        return Split(part.forget.take(torch.arange(80)), part.retain.take(torch.arange(0, 800, 4)))

    splits = Splits(few(one.splits.train), one.splits.val, few(one.splits.test))
    train = splits.train
    x, y = torch.cat([train.forget.x, train.retain.x]), torch.cat([train.forget.y, train.retain.y])
    start = fresh(one.model, stream(0, "own"))
    weights, _ = fit(start, Images(x, y), Training(steps=80, batch=32, lr=3e-3), stream(0, "own"))
    return ClassifierEvaluator(splits, one.evaluator.forget, 10), one.load(weights)


OWN = {"shadows": 8, "steps": 80, "batch": 32}


@pytest.fixture(scope="module")
def shadows(overfitted: tuple[ClassifierEvaluator, Any]) -> TrainedShadows:
    """Eight shadows of the overfitted model, which do not depend on its weights."""
    evaluator, model = overfitted
    trained: TrainedShadows = made("u-lira").prepare(target_of(evaluator), model)
    return trained


@pytest.fixture
def trained(shadows: TrainedShadows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have attacks take these shadows, which all of them would train alike."""

    def networks(attack: Lira, target: Target, original: Any, inside: Tensor) -> Iterator[Any]:
        assert torch.equal(inside, shadows.inside)
        for weights in shadows.weights:
            network = copy.deepcopy(shadows.network)
            network.load_state_dict(weights)
            yield network.eval()

    monkeypatch.setattr(Lira, "trained", networks)


@pytest.mark.usefixtures("trained")
def test_lira_finds_members_of_an_overfitted_model(
    one: World, overfitted: tuple[ClassifierEvaluator, Any]
) -> None:
    scores = beside_a_mask("lira", one, *overfitted)
    assert scores["lira_auc"] > 0.6
    assert scores["lira_auc"] > scores["oracle_lira_auc"] + 0.05
    assert abs(scores["oracle_lira_auc"] - 0.5) < 0.1
    assert (
        scores["original_lira_auc"] < scores["lira_auc"] - 0.05
    )  # fooled: the mask hides what the model remembers


def made(name: str) -> Any:
    """The attack with eight shadows of 80 steps."""
    return make_attack(name, {**OWN, "follow": False})


def beside_a_mask(name: str, one: World, evaluator: ClassifierEvaluator, model: Any) -> Scores:
    """The attack's scores of the model, whose masked copy stands in the original's place."""
    attack, models = made(name), {"original": mask(model, 3), "oracle": one.oracle}
    scores: Scores = attack(model, attack.references(target_of(evaluator), models)).scores
    return scores


# RMIA


@pytest.mark.usefixtures("trained")
def test_rmia_finds_members_of_an_overfitted_model(
    one: World, overfitted: tuple[ClassifierEvaluator, Any]
) -> None:
    scores = beside_a_mask("rmia", one, *overfitted)
    assert scores["rmia_auc"] > 0.6
    assert abs(scores["oracle_rmia_auc"] - 0.5) < 0.1
    assert scores["original_rmia_auc"] == 0.5  # fooled: every probability is 0
    assert scores["rmia_blind"] == 1


def test_the_pairwise_ratios_by_hand() -> None:
    """Ratios .9 / .6 = 1.5 and .3 / .6 = .5 against .2 and .75; twice .2 is .4, twice .75 1.5."""
    pool = ratio_of(torch.tensor([0.9, 0.3]), torch.tensor([0.6, 0.6]))
    assert pool.tolist() == pytest.approx([1.5, 0.5])
    population = torch.tensor([0.2, 0.75])
    assert dominance(torch.tensor([1.5, 0.5]), population, 2.0).tolist() == [1.0, 0.5]
    assert dominance(torch.tensor([1.5, 0.5]), population, 1.0).tolist() == [1.0, 0.5]
    assert dominance(torch.tensor([1.5, 0.5]), population, 4.0).tolist() == [0.5, 0.0]


def test_the_offline_estimate_is_the_mean_of_outside_and_inside() -> None:
    outside = torch.tensor([0.0, 0.5, 1.0])
    inside = 0.3 * outside + 0.7
    torch.testing.assert_close(with_members(outside, 0.3), (outside + inside) / 2)


def test_the_reference_is_the_mean_over_shadows_in_and_out(one: World) -> None:
    target = target_of(one.evaluator)
    prepared = quick("rmia").prepare(target, one.model)
    pool = members_and_strangers(target.splits)
    inside = halves(len(pool), 4, target.seed)
    plan = target.training
    assert plan is not None
    found: dict[bool, list[float]] = {True: [], False: []}
    for i, half in enumerate(inside):
        args = (one.model, target.splits.train.retain, pool, half, plan, target.seed, i)
        odds = log_odds(train_shadow(*args), pool)
        found[bool(half[7])].append(float(odds[7].sigmoid()))
    mean = (sum(found[True]) / 2 + sum(found[False]) / 2) / 2
    assert float(prepared.pool[7]) == pytest.approx(mean)


# U-LiRA


def test_u_lira_trains_the_shadows_of_lira(one: World) -> None:
    lira, u_lira = (
        make_attack(name, {"shadows": 4, "steps": 3, "follow": False}).prepare(
            target_of(one.evaluator), one.model
        )
        for name in ("lira", "u-lira")
    )
    assert torch.equal(lira.inside, u_lira.inside)
    assert torch.equal(lira.odds, u_lira.odds)


@pytest.mark.usefixtures("trained")
def test_u_lira_without_a_method_is_lira(
    one: World, overfitted: tuple[ClassifierEvaluator, Any]
) -> None:
    evaluator, model = overfitted
    models = {"original": model, "oracle": one.oracle}
    target = target_of(evaluator)
    lira = made("lira")(model, made("lira").references(target, models)).scores
    references = made("u-lira").references(target, models)

    def nothing(network: Any, splits: Splits, generator: torch.Generator) -> Weights:
        return snapshot(network)

    for unlearn in (None, nothing):
        scores = made("u-lira")(model, references, unlearn).scores
        for column, value in lira.items():
            assert scores[column.replace("lira", "u_lira")] == value


@pytest.mark.usefixtures("trained")
def test_a_shift_of_the_answers_hides_members_from_lira_but_not_from_u_lira(
    one: World, overfitted: tuple[ClassifierEvaluator, Any]
) -> None:
    """The shadows' log odds are shifted as the subject's are, so that U-LiRA reads the original."""

    def hide(network: Any, splits: Splits, generator: torch.Generator) -> Weights:
        hidden = copy.deepcopy(network)
        hidden.head.bias.data[3] -= 15
        return snapshot(hidden)

    evaluator, model = overfitted
    subject = one.load(hide(model, evaluator.splits, stream(0)))
    models = {"original": model, "oracle": one.oracle}
    target = target_of(evaluator)
    lira = made("lira")(subject, made("lira").references(target, models)).scores
    references = made("u-lira").references(target, models)
    scores = made("u-lira")(subject, references, hide).scores
    assert lira["lira_auc"] < lira["original_lira_auc"] - 0.05
    assert scores["u_lira_auc"] == pytest.approx(scores["original_u_lira_auc"], abs=1e-3)
    assert scores["u_lira_blind"] == 0


def test_every_shadow_unlearns_the_half_that_it_saw(one: World) -> None:
    target = target_of(one.evaluator)
    attack = quick("u-lira")
    references = attack.references(target, {"original": one.model, "oracle": one.oracle})
    seen: list[Splits] = []

    def note(network: Any, splits: Splits, generator: torch.Generator) -> Weights:
        seen.append(splits)
        return snapshot(fresh(network, generator))

    attack(one.model, references, note)
    pool = members_and_strangers(target.splits)
    inside = halves(len(pool), 4, target.seed)
    for splits, half in zip(seen, inside, strict=True):
        assert torch.equal(splits.train.forget.x, pool.x[half])
        assert splits.train.retain is target.splits.train.retain


# prototypes


def test_rows_are_mixed_with_the_prototype_by_hand() -> None:
    """Row (1, 2) and bias 4 with the prototype (3, 4), of length 5, at a quarter."""
    head = torch.nn.Linear(2, 2)
    head.weight.data = torch.tensor([[9.0, 9.0], [1.0, 2.0]])
    head.bias.data = torch.tensor([9.0, 4.0])
    rows = {1: torch.tensor([3.0, 4.0])}
    cosine = mixed(head, rows, 0.25, "cosine")
    assert cosine.weight.tolist() == [[9, 9], pytest.approx([0.9, 1.7])]
    assert cosine.bias.tolist() == [9, 3]
    l2 = mixed(head, rows, 0.25, "l2")
    assert l2.weight.tolist() == [[9, 9], pytest.approx([2.25, 3.5])]
    assert l2.bias.tolist() == pytest.approx([9, -3.25])
    assert head.bias.tolist() == [9, 4]


def test_the_offset_costs_as_many_kept_images_as_it_may() -> None:
    """Margins of class 0 over class 2, which is forgotten: 1, 2, 3, 4; a quarter is one image."""
    head = torch.nn.Linear(3, 3)
    head.weight.data, head.bias.data = torch.eye(3), torch.zeros(3)
    features = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0, 0], [3.0, 0, 0], [4.0, 0, 0]])
    kept = Read(features, torch.zeros(4).long())
    assert offset(head, [2], kept, 0.0) == pytest.approx(1, abs=1e-4)
    found = offset(head, [2], kept, 0.25)
    assert found == pytest.approx(2, abs=1e-4)
    head.bias.data[2] = found
    assert kept.accuracy(head) == 0.75
    assert offset(head, [2], Read(features, torch.ones(4).long()), 0.25) == 0  # none is right


def test_a_prototype_is_the_mean_feature_of_few_images(one: World) -> None:
    target = target_of(one.evaluator)
    own = target.splits.train.forget
    everything = PrototypeRelearning(per_class=len(own)).prototypes(target, one.model)
    with torch.no_grad():
        expected = one.model.features(own.pixels()).mean(0)
    torch.testing.assert_close(everything[3], expected, rtol=1e-4, atol=1e-4)
    assert not torch.equal(PrototypeRelearning().prototypes(target, one.model)[3], expected)


def test_a_mask_hides_nothing_from_prototypes(one: World, masked: Any) -> None:
    """Its features are the original's. Without the offset, a bias of -10,000 hides them."""
    scores = attacked(PrototypeRelearning(), one, masked)
    assert scores["proto_forget_accuracy"] > scores["oracle_proto_forget_accuracy"] + 0.3
    assert scores["proto_retain_accuracy"] > 0.85
    plain = attacked(PrototypeRelearning(calibrate=False), one, masked)
    assert plain["proto_forget_accuracy"] < 0.05


def test_prototypes_need_a_forgotten_class(one: World) -> None:
    target = target_of(replace(one.evaluator, forget=()))
    with pytest.raises(BadInput, match="none is forgotten whole"):
        PrototypeRelearning().run(target, one.model, None)
