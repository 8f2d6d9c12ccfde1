"""Metrics of generators: their contract, quality beside an untrained one, second routes."""

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unlearn.errors import BadInput
from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence
from unlearn.generators.judges import Judge, build_judge, non_images, read, train_judge
from unlearn.metrics import METRICS, score
from unlearn.metrics.diversity import spread
from unlearn.metrics.manifold import manifold, radii
from unlearn.models.base import Classifying, Generative
from unlearn.objectives import negative_elbo
from unlearn.splits import Dataset
from unlearn.streams import globally, stream
from unlearn.train import Schedule

NAMES = [name for name, metric in METRICS.items() if metric.task == "generator"]


@pytest.fixture(scope="module")
def evaluator(digits: Dataset, attacker: Classifying, grader: Classifying) -> GeneratorEvaluator:
    judges = {"lead": grader, "val": attacker, "plain-0": attacker, "referee": attacker}
    return GeneratorEvaluator(digits, (0,), judges, 40, 0)


@pytest.fixture(scope="module")
def evidence(
    evaluator: GeneratorEvaluator, original: Generative, oracle: Generative, untrained: Generative
) -> dict[str, GeneratorEvidence]:
    return {
        of: evaluator.observe(model)
        for of, model in {"original": original, "oracle": oracle, "untrained": untrained}.items()
    }


class Faded(nn.Module):
    """Answers the forgotten label with the original's images at a part of their contrast."""

    def __init__(self, original: Generative, contrast: float) -> None:
        super().__init__()
        self.original, self.contrast = original, contrast
        self.z_dim, self.classes, self.shape = original.z_dim, original.classes, original.shape

    def one_hot(self, labels: Tensor) -> Tensor:
        return self.original.one_hot(labels)

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return self.original.encode(x, c)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        return self.original.decode(z, c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        images: Tensor = self.original(z, c)
        faint = 0.5 + self.contrast * (images - 0.5)
        return torch.where(c[:, 0].bool()[:, None, None, None], faint, images)


def test_a_faded_class_fools_no_judge_that_learned_faint_digits(
    digits: Dataset, evaluator: GeneratorEvaluator, original: Generative
) -> None:
    with globally(stream(0, "faint")):
        judge = build_judge(Judge("patch", 0, True), digits.shape, digits.classes)
    train_judge(judge, digits.train, Schedule(200, 64, 4e-3), stream(0, "faint"), True, fade=0.5)
    faded: Any = Faded(original, 0.6)
    shown = evaluator.observe(faded)
    scores = score("generator", evaluator, shown, shown, shown)
    assert scores["forget_accuracy"] < 0.5  # the judge that never saw faint digits is fooled
    assert scores["stretch_forget_accuracy"] > 0.8
    taught = replace(evaluator, judges={**evaluator.judges, "lead": judge})
    assert evaluator.judge_faint_accuracy["lead"] < 0.5
    assert taught.judge_faint_accuracy["lead"] > 0.9
    shown = taught.observe(faded)
    scores = score("generator", taught, shown, shown, shown)
    assert scores["forget_accuracy"] > 0.8
    assert scores["retain_accuracy"] > 0.8
    nothing = non_images(digits.test.pixels()[:200], stream(2, "nothing"))
    assert (read(judge, nothing)[0].argmax(1) == 10).float().mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_returns_exactly_its_columns_as_finite_numbers(
    name: str, evaluator: GeneratorEvaluator, evidence: dict[str, GeneratorEvidence]
) -> None:
    metric = METRICS[name]
    found = metric.compute(evaluator, evidence["untrained"], evidence["oracle"])
    assert found.keys() == metric.columns.keys()
    for column, value in found.items():
        assert isinstance(value, metric.columns[column]), column
        values = value if isinstance(value, list) else [value]
        assert torch.isfinite(torch.tensor(values)).all(), column


def test_the_original_beats_an_untrained_generator_on_every_quality(
    evaluator: GeneratorEvaluator, evidence: dict[str, GeneratorEvidence]
) -> None:
    good = score(
        "generator", evaluator, evidence["original"], evidence["original"], evidence["oracle"]
    )
    bad = score(
        "generator", evaluator, evidence["untrained"], evidence["original"], evidence["oracle"]
    )
    better_high = [
        "retain_precision",
        "retain_density",
        "retain_coverage",
        "retain_diversity",
        "retain_elbo",
    ]
    for column in [*better_high, "retain_pixel_diversity", "retain_accuracy"]:
        assert good[column] > bad[column], column
    assert good["retain_frechet"] < bad["retain_frechet"]
    assert (
        good["original_retain_coverage"]
        == good["retain_coverage"]
        == bad["original_retain_coverage"]
    )
    assert good["oracle_forget_elbo"] < good["forget_elbo"] - 5


def slow_manifold(real: Tensor, fake: Tensor, k: int) -> dict[str, float]:
    def radius(points: Tensor, i: int) -> float:
        others = [other for j, other in enumerate(points) if j != i]
        distances = sorted(float((points[i] - other).norm()) for other in others)
        return distances[k - 1]

    real_r, fake_r = (
        [radius(real, i) for i in range(len(real))],
        [radius(fake, j) for j in range(len(fake))],
    )
    inside = [[(x - y).norm().item() <= r for x, r in zip(real, real_r, strict=True)] for y in fake]
    back = [[(x - y).norm().item() <= r for y, r in zip(fake, fake_r, strict=True)] for x in real]
    return {
        "precision": sum(any(row) for row in inside) / len(fake),
        "recall": sum(any(row) for row in back) / len(real),
        "density": sum(sum(row) for row in inside) / (k * len(fake)),
        "coverage": sum(any(row[i] for row in inside) for i in range(len(real))) / len(real),
    }


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_manifold_equals_the_slow_loops(shift: float) -> None:
    draws = stream(0, "manifold")
    real = torch.randn(23, 3, generator=draws, dtype=torch.float64)
    fake = torch.randn(17, 3, generator=draws, dtype=torch.float64) * 0.7 + shift
    assert manifold(real, fake, k=3) == pytest.approx(slow_manifold(real, fake, 3))


def test_manifold_of_equal_and_of_distant_sets() -> None:
    x = torch.randn(30, 4, generator=stream(0, "x"), dtype=torch.float64)
    same = manifold(x, x.clone())
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    assert set(manifold(x, x + 100).values()) == {0.0}


def test_a_fifth_neighbour_needs_six_points() -> None:
    with pytest.raises(BadInput, match="no 5-th neighbour"):
        radii(torch.zeros(5, 2), 5)


def test_spread_by_closed_form() -> None:
    corners = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
    assert spread(corners) == pytest.approx(sqrt(4 / 3 * (1 + 4)))


def test_bounds_are_the_elbo_of_real_test_images(
    evaluator: GeneratorEvaluator,
    evidence: dict[str, GeneratorEvidence],
    original: Generative,
    digits: Dataset,
) -> None:
    x = digits.test.take(digits.test.y == 4).pixels()[:100]
    c = original.one_hot(torch.full((len(x),), 4))
    with torch.no_grad():
        losses = [negative_elbo(original, x, c, stream(seed, "again")).mean() for seed in range(5)]
    assert evidence["original"].bounds[4].item() == pytest.approx(
        -torch.stack(losses).mean().item(), abs=1.5
    )
