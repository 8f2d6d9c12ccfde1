"""Judges: the panel, what they see on real digits, and the non-images that they learn from."""

import pytest
import torch

from unlearn.errors import BadInput
from unlearn.generators.judges import (
    JUDGES,
    Judge,
    build_judge,
    floors,
    non_images,
    panel,
    read,
    train_judge,
)
from unlearn.splits import Dataset
from unlearn.streams import globally, stream
from unlearn.train import Schedule


def test_the_panel_by_role() -> None:
    """The plain judges take turns in their networks; no two judges share network and seed."""
    members = panel(4)
    assert members["lead"] == Judge("deep", 1, True)
    assert members["val"] == Judge("official", 2, True)
    plain = [members[f"plain-{i}"] for i in range(4)]
    assert [judge.net for judge in plain] == ["official", "deep", "patch", "official"]
    assert [judge.seed for judge in plain] == [10, 11, 12, 13]
    assert not any(judge.reject for judge in plain)
    assert len(members) == len(set(members.values())) == 6


def test_a_panel_without_plain_judges_or_with_an_unknown_network_is_refused() -> None:
    with pytest.raises(BadInput, match=r"judges must be at least 1 .* not 0"):
        panel(0)
    with pytest.raises(BadInput, match="unknown judge 'jury'; known: official, deep, patch"):
        Judge("jury", 0, True)


def test_three_judges_of_different_architecture_read_any_size() -> None:
    assert len(JUDGES) >= 3
    architectures = set()
    for net, judge in JUDGES.items():
        layers = judge((1, 28, 28), 11).modules()
        architectures.add(tuple(type(layer).__name__ for layer in layers))
        colour = build_judge(Judge(net, 0, True), (3, 32, 32), 10)
        assert read(colour, torch.rand(3, 3, 32, 32))[0].shape == (3, 11)
    assert len(architectures) == len(JUDGES)


def test_reading_in_batches_gives_probabilities_and_features(digits: Dataset) -> None:
    judge = build_judge(Judge("patch", 0, False), digits.shape, 10)
    x = digits.test.pixels()[:7]
    probabilities, features = read(judge, x, batch=3)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(7))
    with torch.no_grad():
        torch.testing.assert_close(probabilities, judge(x).softmax(1))
        torch.testing.assert_close(features, judge.features(x))


@pytest.mark.parametrize("fixture", ["attacker", "grader"])
def test_a_reject_aware_judge_knows_digits_and_rejects_non_images(
    fixture: str, request: pytest.FixtureRequest, digits: Dataset
) -> None:
    judge = request.getfixturevalue(fixture)
    x, y = digits.test.pixels(), digits.test.y
    assert (read(judge, x)[0].argmax(1) == y).float().mean() > 0.9
    floor = floors(judge, digits.shape, 10, stream(1, "floor"))
    assert max(floor["noise"]) < 0.05
    assert max(floor["grey"]) < 0.05
    nothing = non_images(x[:200], stream(2, "nothing"))
    assert (read(judge, nothing)[0].argmax(1) == 10).float().mean() > 0.9


def test_floors_are_the_mean_probabilities_of_the_classes(digits: Dataset) -> None:
    judge = build_judge(Judge("patch", 0, True), digits.shape, 10)
    floor = floors(judge, digits.shape, 10, stream(0, "floor"))
    with torch.no_grad():
        grey = judge(torch.full((1, 1, 28, 28), 0.5)).softmax(1)[0, :10]
        noise = judge(torch.rand(500, 1, 28, 28, generator=stream(0, "floor"))).softmax(1)
    assert floor["grey"] == pytest.approx(grey.tolist(), abs=1e-5)
    assert floor["noise"] == pytest.approx(noise[:, :10].mean(0).tolist(), abs=1e-5)


def test_non_images_by_kind(digits: Dataset) -> None:
    """A quarter of each: noise, grey with a little grain, blurred noise, shuffled pixels."""
    x = digits.test.pixels()[:80]
    noise, grey, blurred, shuffled = non_images(x, stream(0, "kinds")).split(20)
    assert noise.mean().item() == pytest.approx(0.5, abs=0.02)
    # The variance of U[0, 1] times a contrast that is the square root of one: 1/12 times 1/2.
    assert noise.var().item() == pytest.approx(1 / 24, rel=0.15)
    assert grey.flatten(1).std(1).max() < 0.04
    assert grey.flatten(1).mean(1).std() > 0.1
    down = (blurred[:, :, 1:] - blurred[:, :, :-1]).abs().mean()
    assert down < 0.5 * (noise[:, :, 1:] - noise[:, :, :-1]).abs().mean()
    assert torch.equal(shuffled.flatten(1).sort(1).values, x[60:].flatten(1).sort(1).values)
    assert not torch.equal(shuffled, x[60:])


def test_a_judge_comes_from_its_generator_alone(digits: Dataset) -> None:
    weights = []
    for global_seed in range(2):
        torch.manual_seed(global_seed)  # must not matter: this one has dropout
        with globally(stream(0, "start")):
            model = build_judge(Judge("official", 0, True), digits.shape, 10)
        plan = Schedule(steps=3, batch=16)
        trained, _ = train_judge(model, digits.train, plan, stream(0, "judge"), reject=True)
        weights.append(trained)
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
