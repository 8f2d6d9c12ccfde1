"""Methods for several generators as one program: each run gives what it gives alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from unlearn.errors import BadInput, NotFinite
from unlearn.methods import METHODS, make_method
from unlearn.methods.base import Run, Unlearned
from unlearn.models import Weights, build
from unlearn.splits import Images, Split, Splits
from unlearn.stack import FrozenStack, stacked_tensors
from unlearn.streams import seeded, stream
from unlearn.train import Training

SHAPE = (1, 12, 12)


def network(seed: int, name: str = "cvae-mlp") -> Any:
    with seeded(seed, "stacked"):
        return build(name, SHAPE, 10).eval()


def forgetting(*labels: int) -> Splits:
    x = torch.randint(256, (100, *SHAPE), generator=stream(0, "pixels")).to(torch.uint8)
    images = Images(x, torch.arange(100) % 10)
    mask = torch.isin(images.y, torch.tensor(labels))
    part = Split(images.take(mask), images.take(~mask))
    return Splits(part, part, part)


def fisher_of(model: Any, seed: int) -> Weights:
    return {
        name: torch.rand(p.shape, generator=stream(seed, "fisher", name))
        for name, p in model.named_parameters()
    }


class Seen:
    """A watch that notes what a network draws at some steps."""

    moments = (0, 2, 20)

    def __init__(self) -> None:
        self.found: dict[int, Tensor] = {}

    def __call__(self, step: int, model: Any) -> None:
        if step in self.moments:
            z = torch.ones(1, model.z_dim)
            self.found[step] = model(z, model.one_hot(torch.tensor([3]))).detach()


def robust(**knobs: Any) -> list[Run]:
    """Three runs of `robust-amnesia`: two originals, three forget sets."""
    models = [network(0), network(1)]
    found = []
    for seed, (which, labels) in enumerate([(0, (1,)), (0, (2, 7)), (1, (0,))]):
        method = make_method("robust-amnesia", {"steps": 20, "batch": 8, "lr": 1e-3, **knobs})
        needs = {"watch": Seen(), "training": Training(kl_weight=2.0, z_dropout=0.2)}
        made = Run(method, models[which], forgetting(*labels), stream(seed, "unlearn"), needs)
        found.append(made)
    return found


def runs(name: str = "cvae-mlp", **knobs: Any) -> list[Run]:
    """Four runs: two originals, forget sets of one and of two classes, three weights."""
    models = [network(0, name), network(1, name)]
    fishers = [fisher_of(model, seed) for seed, model in enumerate(models)]
    found = []
    wanted = [(0, (1,), 0.0), (0, (2, 7), 100.0), (1, (1,), 500.0), (1, (0,), 5000.0)]
    for seed, (which, labels, lam) in enumerate(wanted):
        method = make_method("selective-amnesia", {"steps": 20, "batch": 8, "lam": lam, **knobs})
        needs = {"fisher": fishers[which], "watch": Seen(), "training": Training(kl_weight=2.0)}
        made = Run(method, models[which], forgetting(*labels), stream(seed, "unlearn"), needs)
        found.append(made)
    return found


def alone(run: Run) -> Unlearned:
    return run.method(run.model, run.splits, run.generator, **run.needs)


def apart(one: Weights, other: Weights, start: Weights) -> float:
    """Distance of two sets of weights, as a share of the way from where unlearning started."""
    between = sum(float((one[name] - other[name]).square().sum()) for name in start)
    way = sum(float((other[name] - start[name]).square().sum()) for name in start)
    return float((between / way) ** 0.5)


@pytest.mark.parametrize(
    ("make", "knobs"),
    [
        (runs, {}),
        (runs, {"target": "grey", "reduction": "sum", "half": True, "lr": 1e-4}),
        (runs, {"objective": "original", "gamma": 0.5, "schedule": "constant"}),
        (robust, {}),
        (robust, {"replay": "model", "target": "noise", "reset": "decoder"}),
        (robust, {"objective": "original", "reset": "none"}),
    ],
)
def test_each_run_gives_what_it_gives_alone(make: Any, knobs: dict[str, Any]) -> None:
    """Over the end of an epoch, too: with `data`, robust amnesia reads ten or eleven batches."""
    together, singles = make(**knobs), make(**knobs)
    found = type(together[0].method).together(together)
    for made, own, single in zip(found, together, singles, strict=True):
        wanted = alone(single)
        assert isinstance(made, Unlearned)
        assert apart(made.weights, wanted.weights, single.model.state_dict()) < 0.02
        assert made.curve.keys() == wanted.curve.keys()
        for term, values in wanted.curve.items():
            assert made.curve[term] == pytest.approx(values, rel=1e-3, abs=1e-3)
        assert torch.equal(own.generator.get_state(), single.generator.get_state())
        seen, expected = own.needs["watch"].found, single.needs["watch"].found
        assert seen.keys() == expected.keys()
        for step, image in expected.items():
            torch.testing.assert_close(seen[step], image, rtol=0, atol=1e-3)


def test_a_network_of_convolutions_is_stacked_too() -> None:
    together, singles = runs("cvae-conv"), runs("cvae-conv")
    found = METHODS["selective-amnesia"].together(together)
    for made, single in zip(found, singles, strict=True):
        wanted = alone(single)
        assert isinstance(made, Unlearned)
        assert apart(made.weights, wanted.weights, single.model.state_dict()) < 0.02


def test_the_originals_stay_as_they_are() -> None:
    given = runs()
    before = [{k: v.clone() for k, v in run.model.state_dict().items()} for run in given]
    METHODS["selective-amnesia"].together(given)
    for run, weights in zip(given, before, strict=True):
        for name, tensor in run.model.state_dict().items():
            assert torch.equal(tensor, weights[name])


def test_a_run_that_fails_fails_alone() -> None:
    given = runs()
    next(iter(given[2].needs["fisher"].values())).fill_(float("nan"))  # both of the second original
    found = METHODS["selective-amnesia"].together(given)
    assert [isinstance(made, NotFinite) for made in found] == [False, False, True, True]
    sound = found[0]
    assert isinstance(sound, Unlearned)
    assert apart(sound.weights, alone(runs()[0]).weights, given[0].model.state_dict()) < 0.02


def test_runs_may_differ_in_the_penalty_alone() -> None:
    def key(**knobs: Any) -> Any:
        return make_method("selective-amnesia", knobs).stack_key()

    assert key() is not None
    assert key(lam=7.0) == key(lam=8.0, half=True, lam_batch=64)
    assert key(steps=7) != key(steps=8)
    assert key(target="grey") != key(target="noise")


@pytest.mark.parametrize("knobs", [{"replay": "pool"}, {"target": "class"}, {"w_ink": 0.1}])
def test_a_step_that_draws_otherwise_is_not_stacked(knobs: dict[str, Any]) -> None:
    assert make_method("selective-amnesia", knobs).stack_key() is None


def test_a_method_without_a_stacked_form_says_so() -> None:
    assert make_method("sequential-amnesia", {}).stack_key() is None
    assert make_method("fine-tune", {}).stack_key() is None
    with pytest.raises(TypeError, match="one by one"):
        METHODS["fine-tune"].together([])


def test_networks_that_are_one_are_called_as_one() -> None:
    one, other = network(0), network(1)
    z = torch.randn(2, 5, one.z_dim, generator=stream(0, "z"))
    c = one.one_hot(torch.arange(10).view(2, 5))
    for members in ([one, one], [one, other]):
        drawn = FrozenStack(members)(z, c)
        for member, own, place in zip(members, drawn, range(2), strict=True):
            torch.testing.assert_close(own, member(z[place], c[place]), rtol=0, atol=1e-5)


def test_tensors_that_all_share_are_kept_once() -> None:
    shared, own = torch.ones(3), [torch.zeros(2), torch.ones(2)]
    found = stacked_tensors([{"a": shared, "b": own[0]}, {"a": shared, "b": own[1]}])
    assert found["a"].shape == (1, 3)
    assert torch.equal(found["b"], torch.stack(own))


def test_a_knob_is_still_checked() -> None:
    with pytest.raises(BadInput, match="lam must be at least 0"):
        make_method("selective-amnesia", {"lam": -1.0})
