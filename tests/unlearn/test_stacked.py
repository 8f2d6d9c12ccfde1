"""Generators trained as one program: each gives what it gives alone, up to rounding."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from unlearn.errors import BadInput, NotFinite
from unlearn.models import Weights, build
from unlearn.splits import Images
from unlearn.stacked import can_stack, fit_together
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit

SHAPE = (1, 28, 28)
PLAN = Training(30, 16, 3e-3)


def pixels(seed: int, n: int) -> Images:
    x = torch.randint(256, (n, *SHAPE), generator=stream(seed, "pixels")).to(torch.uint8)
    return Images(x, torch.arange(n) % 10)


def network(seed: int, name: str = "cvae-mlp") -> Any:
    with seeded(seed, "stacked"):
        return build(name, SHAPE, 10)


def apart(one: Weights, other: Weights, start: Weights) -> float:
    """Distance of two sets of weights, as a share of the way from where training started."""
    between = sum(float((one[name] - other[name]).square().sum()) for name in start)
    way = sum(float((other[name] - start[name]).square().sum()) for name in start)
    return float((between / way) ** 0.5)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"kl_weight": 1.5, "label_critic": 50.0, "z_dropout": 0.1, "ema": 0.9},
        {"optimizer": "sgd", "lr": 1e-5, "weight_decay": 0.1, "schedule": "cosine"},
    ],
)
def test_each_member_gives_what_it_gives_alone(knobs: dict[str, Any]) -> None:
    """Also where members share images, and where an epoch (6 or 5 steps) ends."""
    plan, both = replace(PLAN, **knobs), pixels(0, 100)
    models, images = [network(seed) for seed in range(3)], [both, both, pixels(1, 90)]
    found = fit_together(models, images, plan, [stream(seed, "fit") for seed in range(3)])
    for seed, (model, some, made) in enumerate(zip(models, images, found, strict=True)):
        weights, curve = fit(model, some, plan, stream(seed, "fit"))
        assert not isinstance(made, NotFinite)
        assert apart(made[0], weights, model.state_dict()) < 1e-3
        assert made[1]["step"] == curve["step"]
        assert made[1]["loss"] == pytest.approx(curve["loss"], rel=1e-4)


def test_members_leave_their_generators_where_they_leave_them_alone() -> None:
    together, alone = stream(0, "fit"), stream(0, "fit")
    fit_together([network(0)], [pixels(0, 100)], PLAN, [together])
    fit(network(0), pixels(0, 100), PLAN, alone)
    assert torch.equal(together.get_state(), alone.get_state())


def test_a_member_that_fails_fails_alone() -> None:
    models = [network(0), network(1)]
    with torch.no_grad():
        next(models[0].parameters()).fill_(float("nan"))
    images = pixels(0, 100)
    broken, sound = fit_together(
        models, [images, images], PLAN, [stream(0, "fit"), stream(1, "fit")]
    )
    assert isinstance(broken, NotFinite)
    assert not isinstance(sound, NotFinite)
    weights, _ = fit(models[1], images, PLAN, stream(1, "fit"))
    assert apart(sound[0], weights, models[1].state_dict()) < 1e-3


def test_what_cannot_be_stacked_is_refused() -> None:
    assert can_stack(network(0), PLAN)
    assert not can_stack(network(0), replace(PLAN, augment="affine"))
    assert not can_stack(network(0, "cnn"), PLAN)
    with pytest.raises(BadInput, match="cannot be stacked"):
        fit_together([network(0, "cnn")], [pixels(0, 100)], PLAN, [stream(0, "fit")])
    with pytest.raises(BadInput, match="at least 16 images"):
        fit_together([network(0)], [pixels(0, 10)], PLAN, [stream(0, "fit")])
