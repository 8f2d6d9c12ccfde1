"""Second routes for the numbers of the metrics: closed forms, slow loops, algebra."""

from dataclasses import replace
from math import log, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.unlearn.world import World
from unlearn.errors import BadInput
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.accuracy import compute as accuracy
from unlearn.metrics.average_gap import compute as average_gap
from unlearn.metrics.average_gap import pillars
from unlearn.metrics.calibration import ece
from unlearn.metrics.confusion import confusion, over_forgetting
from unlearn.metrics.divergence import js, kl
from unlearn.metrics.efficacy import called_members, log_odds, rate_at
from unlearn.metrics.membership import auc
from unlearn.metrics.membership import compute as membership
from unlearn.metrics.similarity import cka
from unlearn.metrics.zrf import legacy, right
from unlearn.streams import stream


def distributions(n: int, classes: int, seed: int) -> Tensor:
    return (
        3 * torch.randn(n, classes, generator=stream(seed, "p"), dtype=torch.double)
    ).log_softmax(1)


def test_zrf_of_equals_is_1_and_of_strangers_0() -> None:
    log_p = distributions(5, 10, 0)
    assert right(log_p, log_p) == pytest.approx(1)
    apart = torch.tensor([[0.0, -1e3], [-1e3, 0.0]], dtype=torch.double)
    assert right(apart, apart.flip(1)) == pytest.approx(0, abs=1e-9)


def test_zrf_by_hand_and_as_public_code_has_it() -> None:
    p, q = distributions(7, 10, 0).exp(), distributions(7, 10, 1).exp()
    m = (p + q) / 2
    by_hand = 0.5 * (p * (p / m).log() + q * (q / m).log()).sum(1)
    assert right(p.log(), q.log()) == pytest.approx(1 - by_hand.mean().item() / log(2))
    div = torch.nn.functional.kl_div
    sums = [div((x + 1e-8).log(), m, reduction="sum") for x in (p, q)]
    public = 1 - 0.5 * (sums[0] + sums[1]) / p.numel()  # kl_div's reduction "mean", spelled out
    assert legacy(p.log(), q.log()) == pytest.approx(public.item(), abs=1e-6)


def test_the_references_figures_for_an_unforgotten_model() -> None:
    sure = torch.full((1, 10), 5e-6, dtype=torch.double).index_fill(1, torch.tensor([0]), 1 - 45e-6)
    uniform = torch.full((1, 10), 0.1, dtype=torch.double)
    assert right(sure.log(), uniform.log()) == pytest.approx(0.24, abs=0.01)
    assert legacy(sure.log(), uniform.log()) == pytest.approx(0.78, abs=0.01)


def test_divergences_keep_their_bounds() -> None:
    log_p, log_q = distributions(50, 10, 0), distributions(50, 10, 1)
    assert (js(log_p, log_q) <= log(2)).all()
    assert (js(log_p, log_q) > 0).all()
    torch.testing.assert_close(js(log_p, log_q), js(log_q, log_p))
    assert (kl(log_p, log_p).abs() < 1e-12).all()
    assert sqrt(log(2)) == pytest.approx(0.8326, abs=1e-4)


def test_auc_by_counting_pairs() -> None:
    a, b = (torch.randint(6, (n,), generator=stream(n, "auc")).double() for n in (17, 23))
    pairs = a[:, None] - b[None]
    slow = ((pairs > 0).double() + 0.5 * (pairs == 0).double()).mean().item()
    assert auc(a, b) == pytest.approx(slow)


def test_true_positives_at_a_false_positive_rate_by_trying_every_threshold() -> None:
    a, b = (
        torch.randn(300, generator=stream(0, "a")) + 1,
        torch.randn(200, generator=stream(0, "b")),
    )
    for allowed in (0.0, 0.01, 0.1):
        thresholds = [t for t in torch.cat([a, b]) if (b > t).double().mean() <= allowed]
        assert rate_at(a, b, allowed) == pytest.approx(
            max((a > t).double().mean().item() for t in thresholds)
        )
    ties = torch.ones(100)
    assert rate_at(ties, ties, 0.01) == 0


def test_ece_by_a_slow_loop() -> None:
    confidence = torch.rand(400, generator=stream(0, "c"), dtype=torch.double)
    correct = torch.rand(400, generator=stream(1, "c"), dtype=torch.double) < confidence**2
    slow = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            gap = (correct[inside].double().mean() - confidence[inside].mean()).abs()
            slow += gap.item() * inside.double().mean().item()
    assert ece(confidence, correct) == pytest.approx(slow)
    assert ece(torch.ones(9), torch.ones(9)) == 0
    assert ece(torch.ones(8), torch.zeros(8)) == 1


def test_cka_is_blind_to_rotation_and_scale_and_not_to_noise() -> None:
    a = torch.randn(60, 7, generator=stream(0, "cka"), dtype=torch.double)
    rotation, _ = torch.linalg.qr(torch.randn(7, 7, generator=stream(1, "cka"), dtype=torch.double))
    assert cka(a, 3 * a @ rotation + 5) == pytest.approx(1)
    other = torch.randn(60, 5, generator=stream(2, "cka"), dtype=torch.double)
    assert cka(a, other) == pytest.approx(cka(other, a))
    assert cka(a, other) < 0.3
    assert cka(a, torch.ones(60, 3)) == 0


def test_both_roads_to_cka_agree() -> None:
    wide, narrow = (
        torch.randn(12, 30, generator=stream(0, "w")),
        torch.randn(12, 4, generator=stream(1, "w")),
    )
    a, b = (x.double() - x.double().mean(0) for x in (wide, narrow))
    direct = (a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())
    assert cka(wide, narrow) == pytest.approx(direct.item())


def test_the_attack_by_confidence_tells_sure_from_unsure() -> None:
    members = 1 - 0.1 * torch.rand(3000, generator=stream(0, "m"), dtype=torch.double)
    others = 0.8 * torch.rand(400, generator=stream(0, "o"), dtype=torch.double)
    asked = torch.tensor([0.99, 0.95, 0.5, 0.1], dtype=torch.double)
    assert called_members(members, others, asked).tolist() == [True, True, False, False]
    alike = called_members(torch.ones(5), torch.ones(5), torch.tensor([1.0, 0.0]))
    assert alike.dtype == torch.bool  # nothing to learn, and still an answer
    with pytest.raises(BadInput, match="members and non-members"):
        called_members(torch.ones(0), torch.ones(5), asked)


def test_log_odds_are_those_of_the_probability(evidence: dict[str, ClassifierEvidence]) -> None:
    some = evidence["original"]
    p = some.logits["test", "forget"].double().softmax(1)[:, 3]
    torch.testing.assert_close(
        log_odds(some, "test", "forget"), (p / (1 - p)).log(), rtol=1e-4, atol=1e-4
    )


def test_confusion_rows_are_accuracies(
    one: World, scores: dict[str, Scores], evidence: Any
) -> None:
    matrix = confusion(one.evaluator, evidence["original"], "test")
    torch.testing.assert_close(matrix.sum(1), torch.ones(10, dtype=torch.double))
    torch.testing.assert_close(
        matrix.diagonal().tolist(), scores["original"]["test_class_accuracy"]
    )
    answers = evidence["oracle"].logits["test", "forget"].argmax(1)
    slow = [(answers == label).double().mean().item() for label in range(10)]
    assert scores["oracle"]["forget_answers"] == pytest.approx(slow)


def test_over_forgetting_by_hand(one: World) -> None:
    evaluator = ClassifierEvaluator(one.splits, (0, 1), 4)
    matrix = torch.diag(torch.tensor([0.0, 0.0, 0.5, 0.9], dtype=torch.double))
    assert over_forgetting(evaluator, matrix, [2, 2]) == pytest.approx(0.4)
    assert over_forgetting(evaluator, matrix, [2, 3]) == pytest.approx(0.0)
    assert over_forgetting(replace(evaluator, forget=(0, 1, 2)), matrix, [3, 3, 3]) is None


def test_the_pillars_of_the_average_gap(
    one: World, evidence: Any, scores: dict[str, Scores]
) -> None:
    own, wanted = (pillars(one.evaluator, evidence[name]) for name in ("original", "oracle"))
    assert own[0] == pytest.approx(1 - scores["original"]["train_forget_accuracy"])
    slow = sum(abs(a - b) for a, b in zip(own, wanted, strict=True)) / 4
    assert scores["original"]["average_gap"] == pytest.approx(slow)


def test_members_that_are_answered_with_more_certainty_are_above_one_half() -> None:
    sure, unsure = torch.tensor([[9.0, 0.0, 0.0]] * 4), torch.zeros(4, 3)
    for train, test, expected in ((sure, unsure, 1.0), (unsure, sure, 0.0), (sure, sure, 0.5)):
        logits = {("train", "forget"): train, ("test", "forget"): test}
        evidence = ClassifierEvidence(logits, {})
        evaluator: Any = None
        assert membership(evaluator, evidence, evidence)["mia_auc"] == expected


def test_a_forgotten_class_taken_for_another_is_not_forgotten() -> None:
    """Classes 0 and 1 are forgotten and swapped; one of four images of class 2 is taken for a 0."""
    answers = {"forget": [1, 1, 0, 0], "retain": [2, 2, 2, 0]}
    labels = {"forget": [0, 0, 1, 1], "retain": [2, 2, 2, 2]}
    parts = [(split, part) for split in ("train", "val", "test") for part in answers]
    evidence = ClassifierEvidence(
        {(s, part): torch.eye(3)[answers[part]] for s, part in parts},
        {(s, part): torch.tensor(labels[part]) for s, part in parts},
    )
    evaluator: Any = ClassifierEvaluator(None, (0, 1), 3)  # type: ignore[arg-type]
    scores = accuracy(evaluator, evidence, evidence)
    assert scores["test_forget_accuracy"] == 0  # fooled
    assert scores["test_forget_any_accuracy"] == scores["val_forget_any_accuracy"] == 1
    assert scores["test_retain_leak_accuracy"] == 0.25


def test_the_tug_of_war_by_hand() -> None:
    """Gaps of .2 on train-forget, .1 on train-retain and 0 on test-retain: .8 x .9 x 1."""

    def of(accuracies: dict[tuple[str, str], float]) -> ClassifierEvidence:
        labels = torch.zeros(10, dtype=torch.long)
        logits = {}
        for part in [(s, p) for s in ("train", "val", "test") for p in ("forget", "retain")]:
            right = round(10 * accuracies.get(part, 1.0))
            answers = torch.cat([labels[:right], labels[right:] + 1])
            logits[part] = 2 * torch.eye(3)[answers]
        return ClassifierEvidence(logits, dict.fromkeys(logits, labels))

    own = of({("train", "forget"): 0.7, ("train", "retain"): 0.9})
    oracle = of({("train", "forget"): 0.5})
    evaluator: Any = ClassifierEvaluator(None, (), 3)  # type: ignore[arg-type]
    assert average_gap(evaluator, own, oracle)["tow"] == pytest.approx(0.8 * 0.9)
    assert average_gap(evaluator, oracle, oracle)["tow"] == 1
