"""Second routes for the numbers of a generator's metrics: tables small enough to check by hand."""

from math import log
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, JudgedSamples
from unlearn.generators.judges import panel
from unlearn.metrics.entropy import entropy
from unlearn.metrics.frechet import frechet_distance
from unlearn.metrics.judged import compute
from unlearn.metrics.referee import compute as referee
from unlearn.metrics.stretch import stretched
from unlearn.models.base import Classifying, Generative
from unlearn.splits import Dataset
from unlearn.streams import stream

NONE = torch.empty(0)


def test_what_lead_reads_is_reported_and_what_val_reads_chooses() -> None:
    """Three labels, two images each, label 0 forgotten.

    The last output of a reject-aware judge is "none of these".
    """
    lead = torch.tensor(
        [
            [[0.7, 0.2, 0.1, 0.0], [0.1, 0.8, 0.1, 0.0]],
            [[0.0, 1.0, 0.0, 0.0], [0.0, 0.6, 0.4, 0.0]],
            [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.2, 0.8]],
        ]
    )
    plain = torch.tensor(
        [[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]] * 2, [[0.0, 0.0, 1.0]] * 2]
    )
    val = torch.zeros(3, 2, 4)
    val[:, :, 0] = 0.9
    dataset: Any = SimpleNamespace(classes=3)
    judges: Any = {"lead": None, "val": None, "plain-0": None}
    evidence = GeneratorEvidence(
        JudgedSamples(NONE, {"lead": lead, "plain-0": plain}, NONE),
        JudgedSamples(NONE, {"val": val}, NONE),
        NONE,
    )
    scores = compute(GeneratorEvaluator(dataset, (0,), judges, 2, 0), evidence, evidence)
    assert scores["forget_probability"] == pytest.approx(0.4)
    assert scores["forget_accuracy"] == 0.5
    assert scores["retain_accuracy"] == 0.75
    assert scores["class_accuracy"] == [0.5, 1, 0.5]
    assert scores["val_forget_probability"] == pytest.approx(0.9)
    assert (scores["val_forget_accuracy"], scores["val_retain_accuracy"]) == (1, 0)
    assert scores["forget_entropy"] == pytest.approx(log(2) / 2)  # of the plain judge alone
    assert scores["judge_forget_probability"] == pytest.approx([0.4, 0.75])
    assert scores["judge_retain_accuracy"] == [0.75, 1]


def test_a_forgotten_class_under_the_label_of_another_is_not_forgotten() -> None:
    """Labels 0 and 1 are forgotten and swapped; a tenth of label 2's images shows a 0."""
    swapped = torch.zeros(3, 10, 4)
    swapped[0, :, 1] = 1
    swapped[1, :, 0] = 1
    swapped[2, :, 2] = 1
    swapped[2, 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    dataset: Any = SimpleNamespace(classes=3)
    judges: Any = {"lead": None, "val": None, "plain-0": None}
    drawn = {"lead": swapped, "plain-0": swapped[:, :, :3]}
    evidence = GeneratorEvidence(
        JudgedSamples(NONE, drawn, NONE), JudgedSamples(NONE, {"val": swapped}, NONE), NONE
    )
    scores = compute(GeneratorEvaluator(dataset, (0, 1), judges, 10, 0), evidence, evidence)
    assert scores["forget_probability"] == 0  # fooled
    assert scores["forget_any_probability"] == scores["forget_any_accuracy"] == 1
    assert scores["val_forget_any_probability"] == 1
    assert scores["retain_leak_probability"] == pytest.approx(0.1)
    assert scores["retain_leak_accuracy"] == pytest.approx(0.1)


def test_choosing_and_reporting_share_neither_judge_nor_images(
    digits: Dataset, original: Generative, attacker: Classifying, grader: Classifying
) -> None:
    lead, val = panel(1)["lead"], panel(1)["val"]
    assert lead.net != val.net
    assert lead.seed != val.seed
    seen = GeneratorEvaluator(
        digits, (0,), {"lead": grader, "val": attacker, "plain-0": attacker}, 4, 0
    )
    evidence = seen.observe(original)
    assert set(evidence.val.probabilities) == {"val"}
    assert set(evidence.test.probabilities) == {"lead", "plain-0"}
    assert not torch.equal(evidence.test.images, evidence.val.images)


def test_frechet_distance_of_moved_and_stretched_points() -> None:
    points: Tensor = torch.randn(500, 4, generator=stream(0, "points"), dtype=torch.double)
    points -= points.mean(0)
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(points, points + 3) == pytest.approx(4 * 9)
    assert frechet_distance(points, 2 * points) == pytest.approx(torch.cov(points.T).trace().item())


def test_entropy_is_in_nats() -> None:
    assert entropy(torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).tolist() == pytest.approx(
        [log(2), 0]
    )


def test_stretching_takes_contrast_out_and_leaves_flat_images() -> None:
    digit = torch.rand(1, 1, 4, 4, generator=stream(0, "digit"))
    full = (digit - digit.min()) / (digit.max() - digit.min())
    faint = 0.4 + 0.1 * full
    torch.testing.assert_close(stretched(faint), full)
    grey = torch.full((1, 1, 4, 4), 0.5)
    assert torch.equal(stretched(grey), grey)
    assert torch.equal(stretched(torch.cat([grey, faint]))[:1], grey)  # each image on its own


def test_the_referee_reads_the_same_images_and_chooses_nothing() -> None:
    lead = torch.zeros(2, 3, 3)
    lead[:, :, 2] = 1  # rejects all
    sees = torch.eye(3)[:2, None].expand(2, 3, 3)  # reads every label as what was asked for
    drawn = {"lead": lead, "plain-0": lead[:, :, :2], "referee": sees}
    evidence = GeneratorEvidence(
        JudgedSamples(NONE, drawn, NONE), JudgedSamples(NONE, {"val": lead}, NONE), NONE
    )
    dataset: Any = SimpleNamespace(classes=2)
    judges: Any = dict.fromkeys(("lead", "val", "plain-0", "referee"))
    evaluator = GeneratorEvaluator(dataset, (0,), judges, 3, 0)
    assert evaluator.plain == ["plain-0"]
    scores = compute(evaluator, evidence, evidence)
    assert scores["forget_accuracy"] == scores["retain_accuracy"] == 0
    assert len(scores["judge_forget_probability"]) == 2  # lead and the plain one
    found = referee(evaluator, evidence, evidence)
    assert found["referee_forget_accuracy"] == found["referee_retain_accuracy"] == 1
    alone = GeneratorEvaluator(dataset, (0,), {"lead": None}, 3, 0)  # type: ignore[dict-item]
    assert set(referee(alone, evidence, evidence).values()) == {None}
