"""What each training option does; and that a watcher changes nothing."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from unlearn.errors import BadInput
from unlearn.models import build
from unlearn.objectives import classifier_loss
from unlearn.splits import Dataset
from unlearn.streams import seeded, stream
from unlearn.train import Schedule, Training, Watch, descend, fit

PLAN = Training(steps=12, batch=16, lr=1e-3)


def network(name: str = "cnn"):  # type: ignore[no-untyped-def]
    with seeded(0, "train"):
        return build(name, (1, 28, 28), 10)


def trained(digits: Dataset, plan: Training) -> dict[str, torch.Tensor]:
    return fit(network(), digits.train, plan, stream(0, "train"))[0]


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


def test_smoothed_cross_entropy_is_its_definition() -> None:
    x, y = torch.rand(4, 1, 28, 28, generator=stream(0, "x")), torch.tensor([0, 3, 9, 3])
    model = network().eval()
    logs = model(x).log_softmax(1)
    wanted = -(0.9 * logs[torch.arange(4), y] + 0.1 * logs.mean(1))
    torch.testing.assert_close(classifier_loss(model, x, y, stream(0, "g"), 0.1), wanted)
    torch.testing.assert_close(
        classifier_loss(model, x, y, stream(0, "g")), F.cross_entropy(model(x), y, reduction="none")
    )


def test_an_average_is_the_average_of_every_step(digits: Dataset) -> None:
    """By hand: after step t the mean is d * mean + (1 - d) * w, d at most (1 + t) / (10 + t)."""
    seen: list[torch.Tensor] = []
    pupil = network().train()
    batches, generator = digits.train.batches(16, g := stream(0, "train")), g

    def terms() -> dict[str, torch.Tensor]:
        x, y = next(batches)
        return {"loss": classifier_loss(pupil, x, y, generator).mean()}

    descend(
        pupil,
        terms,
        PLAN,
        watch=lambda step, model: seen.append(next(iter(model.parameters())).detach().clone()),
    )
    mean = seen[0]
    for t, weights in enumerate(seen[1:], start=1):
        decay = min(0.8, (1 + t) / (10 + t))
        mean = decay * mean + (1 - decay) * weights
    averaged = trained(digits, replace(PLAN, ema=0.8))
    torch.testing.assert_close(next(iter(averaged.values())), mean, atol=1e-6, rtol=1e-5)


def test_a_short_training_with_a_long_average_still_arrives(digits: Dataset) -> None:
    """.998 alone would leave .998^60 = 89 % of where it started."""
    plan = replace(PLAN, steps=60)
    plain, averaged = (trained(digits, replace(plan, ema=ema)) for ema in (0.0, 0.998))
    start = dict(network().named_parameters())
    way = sum(float((plain[name] - w).detach().square().sum()) for name, w in start.items())
    went = sum(
        float(((averaged[name] - w) * (plain[name] - w)).detach().sum())
        for name, w in start.items()
    )
    assert went / way > 0.8


def two_steps(**knobs: Any) -> tuple[float, float]:
    """w of the loss w^2 / 2 after one step and after two, from 1."""
    seen: list[float] = []
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    watch = lambda step, model: seen.append(model.weight.item())  # noqa: E731
    descend(
        model,
        lambda: {"loss": model.weight.square().sum() / 2},
        Schedule(2, 1, 0.1, **knobs),
        watch=watch,
    )
    return seen[1], seen[2]


def test_sgd_has_momentum() -> None:
    one, two = two_steps(schedule="constant", optimizer="sgd")
    assert one == pytest.approx(0.9)  # 1 - .1 * 1
    assert two == pytest.approx(0.9 - 0.1 * (0.9 + 0.9 * 1))


def test_cosine_halves_its_rate_half_way() -> None:
    one, two = two_steps(schedule="cosine", optimizer="sgd")
    assert one == pytest.approx(0.9)
    assert two == pytest.approx(0.9 - 0.05 * (0.9 + 0.9 * 1))


def test_options_change_the_weights_a_little_or_not_at_all(digits: Dataset) -> None:
    plain = trained(digits, PLAN)
    assert 0 < apart(plain, trained(digits, replace(PLAN, precision="bf16"))) < 0.02
    other = trained(digits, replace(PLAN, channels_last=True))
    assert apart(plain, other) < 0.02  # Adam makes much of a rounding where a gradient is near 0
    assert all(tensor.is_contiguous() for tensor in other.values())


def test_a_steady_training_answers_by_the_models_own_statistics(digits: Dataset) -> None:
    ones = digits.split([1]).train.forget
    model = network()
    model.load_state_dict(fit(model, digits.train, replace(PLAN, steps=100), stream(0, "train"))[0])
    (steady, easy), (moved, hard) = (
        fit(model, ones, PLAN, stream(0, "expert"), steady) for steady in (True, False)
    )
    for name, tensor in model.state_dict().items():
        assert torch.equal(steady[name], tensor) == ("running" in name or "batches" in name)
        assert not torch.equal(moved[name], tensor)
    assert (
        easy["loss"][0] < hard["loss"][0]
    )  # ones among themselves are strangers to a network that knows them


def five_steps(watch: Watch | None) -> torch.Tensor:
    model = torch.nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(0.0)
    descend(
        model,
        lambda: {"loss": model(torch.ones(2, 3)).square().mean()},
        Schedule(5, 2, 0.1),
        watch=watch,
    )
    return model.weight.detach()


def test_a_watcher_sees_every_step_and_changes_nothing() -> None:
    runs, seen = [], []
    for watch in (None, lambda step, model: seen.append(step)):
        runs.append(five_steps(watch))
    assert torch.equal(*runs)
    assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ema": 1.0},
        {"label_smoothing": 1.0},
        {"precision": "fp8"},
        {"optimizer": "lion"},
        {"schedule": "up"},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        Training(**wrong)  # type: ignore[arg-type]
