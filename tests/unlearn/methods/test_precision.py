"""`precision` and `channels_last`: every step of every method that has these knobs heeds them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unlearn.errors import BadInput
from unlearn.methods import METHODS, make_method
from unlearn.methods.base import Unlearned
from unlearn.methods.iterative import Iterative
from unlearn.models import build
from unlearn.objectives import negative_elbo
from unlearn.splits import Images, Split, Splits
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit

KINDS = {name: kind for name, kind in METHODS.items() if issubclass(kind, Iterative)}
GENERATIVE = [name for name, kind in KINDS.items() if "generator" in kind.tasks]
SHAPE = (3, 16, 16)
BF16: dict[str, Any] = {"precision": "bf16"}
LAST: dict[str, Any] = {"channels_last": True}
# What these methods measure once, before their steps, stays float32.
MEASURING = {"salun", "masked-small-gradients", "rum", "boundary-expand"}


def knobs_of(name: str, steps: int, **more: Any) -> dict[str, Any]:
    """Knobs of so many steps by SGD, which makes nothing of a rounding, as Adam does."""
    knobs: dict[str, Any] = {"steps": steps, "batch": 8, "lr": 1e-4, "epochs": 0.0}
    knobs |= {"optimizer": "sgd"}
    own: dict[str, dict[str, Any]] = {
        "scrub": {"msteps": steps - 1},
        "unsir": {"noise_steps": steps, "impair_steps": steps},
        "boundary-shrink": {"alpha": 1.0},
        "boundary-expand": {"alpha": 1.0},
        "rum": {"low": "scrub", "medium": "bad-teacher"},
    }
    return knobs | own.get(name, {}) | more


def images(labels: list[int], each: int, purpose: str, shape: tuple[int, ...] = SHAPE) -> Images:
    """Noise, brighter from label to label."""
    y = torch.tensor(labels).repeat(each)
    noise = torch.rand(len(y), *shape, generator=stream(0, purpose))
    return Images((150 * noise + 50 * y.view(-1, 1, 1, 1)).to(torch.uint8), y)


@pytest.fixture(scope="module")
def splits() -> Splits:
    """Twenty-four forgotten images of class 0 and as many retained ones of classes 1 and 2."""
    part = Split(images([0], 24, "forget"), images([1, 2], 12, "retain"))
    return Splits(part, part, part)


@pytest.fixture(scope="module")
def model(splits: Splits) -> Any:
    """A convolutional network that has learnt the three classes."""
    with seeded(0, "precision"):
        network = build("cnn", SHAPE, 3, options={"width": 8})
    train = splits.train
    both = Images(
        torch.cat([train.forget.x, train.retain.x]), torch.cat([train.forget.y, train.retain.y])
    )
    network.load_state_dict(fit(network, both, Training(60, 16, 3e-3), stream(0, "original"))[0])
    return network.eval()


@pytest.fixture(scope="module")
def plain(model: Any, splits: Splits) -> dict[str, Unlearned]:
    return {name: unlearned(name, model, splits) for name in KINDS}


def unlearned(name: str, model: Any, splits: Splits, steps: int = 4, **knobs: Any) -> Unlearned:
    return make_method(name, knobs_of(name, steps, **knobs))(model, splits, stream(1, name))


def apart(one: Unlearned, other: Unlearned, model: Any) -> float:
    """Distance of the weights, as a share of the way from the original."""
    start = dict(model.named_parameters())
    between = sum(float((one.weights[k] - other.weights[k]).square().sum()) for k in start)
    way = sum(float((other.weights[k] - p).detach().square().sum()) for k, p in start.items())
    return float((between / way) ** 0.5)


@pytest.mark.parametrize("name", KINDS)
def test_bf16_changes_the_weights_a_little(
    name: str, model: Any, splits: Splits, plain: dict[str, Unlearned]
) -> None:
    made = unlearned(name, model, splits, **BF16)
    most = 0.2 if name == "unsir" else 0.05  # Adam draws its noise, and rescales gradients
    assert 0 < apart(made, plain[name], model) < most
    assert all(tensor.dtype != torch.bfloat16 for tensor in made.weights.values())
    for term, values in plain[name].curve.items():
        assert made.curve[term][0] == pytest.approx(values[0], rel=0.02, abs=0.02)
        assert all(map(isfinite, made.curve[term]))


@pytest.mark.parametrize("name", KINDS)
def test_channels_last_changes_the_weights_by_rounding_alone(
    name: str, model: Any, splits: Splits, plain: dict[str, Unlearned]
) -> None:
    made = unlearned(name, model, splits, **LAST)
    assert apart(made, plain[name], model) < 1e-4
    assert all(tensor.is_contiguous() for tensor in made.weights.values())
    assert all(p.is_contiguous() for p in model.parameters())


@contextmanager
def convolutions(monkeypatch: pytest.MonkeyPatch) -> Iterator["Counter[tuple[bool, bool]]"]:
    """Count the passes of convolutions, by whether the result is bf16, and whether images and
    kernel are channels-last."""
    seen: Counter[tuple[bool, bool]] = Counter()
    forward = nn.Conv2d.forward

    def counted(layer: nn.Conv2d, x: Tensor) -> Tensor:
        result = forward(layer, x)
        last = [t.is_contiguous(memory_format=torch.channels_last) for t in (x, layer.weight)]
        seen[result.dtype == torch.bfloat16, all(last)] += 1
        return result

    with monkeypatch.context() as patch:
        patch.setattr(nn.Conv2d, "forward", counted)
        yield seen


@pytest.mark.parametrize("name", KINDS)
def test_all_passes_of_all_networks_in_a_step_heed_the_knobs(
    name: str, model: Any, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Student, teachers, and what the steps ask the original: nothing else grows with steps."""
    others = []
    for steps in (3, 6):
        with convolutions(monkeypatch) as seen:
            unlearned(name, model, splits, steps, **BF16, **LAST)
        assert seen.pop((True, True)) >= 2 * steps
        others.append(seen.total())
    assert others[0] == others[1]
    assert others[0] == 0 or name in MEASURING
    with convolutions(monkeypatch) as seen:
        unlearned(name, model, splits, 3)
    assert set(seen) <= {(False, False)}, "the default heeds neither"


@pytest.mark.parametrize("name", GENERATIVE)
@pytest.mark.parametrize("network", ["cvae-mlp", "cvae-conv"])
def test_a_generator_heeds_them_and_draws_the_same_numbers(name: str, network: str) -> None:
    shape = (1, 28, 28)
    part = Split(images([0], 24, "forget", shape), images([1, 2], 12, "retain", shape))
    with seeded(0, "precision"):
        model: Any = build(network, shape, 3).eval()
    found, states = [], []
    for knobs in ({}, BF16, LAST):
        generator = stream(0, name)
        method = make_method(name, knobs_of(name, 3, **knobs))
        found.append(method(model, Splits(part, part, part), generator))
        states.append(generator.get_state())
    fp32, bf16, last = found
    assert 0 < apart(bf16, fp32, model) < 0.05
    assert apart(last, fp32, model) < 1e-4
    assert all(torch.equal(state, states[0]) for state in states)


def test_the_elbo_of_a_bf16_network_is_summed_in_float32() -> None:
    """A sum of 784 pixels in bf16 would be rounded to 1 in 256."""
    x = images([0, 1, 2], 4, "elbo", (1, 28, 28))
    with seeded(0, "precision"):
        model: Any = build("cvae-mlp", (1, 28, 28), 3).eval()
    wanted = negative_elbo(model, x.pixels(), model.one_hot(x.y), stream(0, "z"))
    with torch.autocast("cpu", torch.bfloat16):
        found = negative_elbo(model, x.pixels(), model.one_hot(x.y), stream(0, "z"))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=0)


def test_other_values_and_other_methods_are_refused() -> None:
    with pytest.raises(BadInput, match="precision"):
        make_method("salun", {"precision": "fp8"})
    for name in set(METHODS) - set(KINDS):
        for knob in (BF16, LAST):
            with pytest.raises(BadInput, match=f"unknown key '{next(iter(knob))}'"):
                make_method(name, knob)
