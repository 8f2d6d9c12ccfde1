"""The contract of every method that takes classifiers, and its effect on real digits."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.unlearn.world import World, accuracy, apply
from unlearn.errors import BadInput, NotFinite
from unlearn.methods import METHODS, make_method
from unlearn.methods.iterative import Iterative
from unlearn.methods.task_vector import TaskVector
from unlearn.models import build
from unlearn.streams import stream
from unlearn.train import snapshot

CLASSIFIER = [name for name, kind in METHODS.items() if "classifier" in kind.tasks]
QUICK: dict[str, dict[str, Any]] = {name: {"steps": 4, "batch": 16} for name in CLASSIFIER}
QUICK |= {name: {} for name in ("task-arithmetic", "sign-consensus", "retrain")}
QUICK |= {"fisher-forgetting": {"samples": 40}, "influence": {"batches": 4, "batch": 8}}
QUICK["unsir"] |= {"noise_steps": 2, "impair_steps": 2}
for made_anew in ("amnesiac", "masked-small-gradients", "convolution-transpose"):
    QUICK[made_anew] |= {"epochs": 0.0}
QUICK |= {"ssd": {"samples": 40}, "scrub": {"steps": 4, "batch": 16, "msteps": 2}}

# Knobs chosen on the validation images of classes 3 and {0, 1}; then the test accuracy on the
# forgotten class at most, and on the retained classes at least. Steps are few: they suffice.
EFFECT: dict[str, tuple[dict[str, Any], float, float]] = {
    "task-arithmetic": ({"alpha": -1.5, "rho": 0.5}, 0.2, 0.8),
    "sign-consensus": ({"alpha": -1.5, "rho": 0.5}, 0.2, 0.8),
    "retrain": ({}, 0.0, 0.95),
    "gradient-ascent": ({"steps": 30}, 0.3, 0.8),
    "neg-grad-plus": ({"steps": 60}, 0.1, 0.9),
    "random-labels": ({"steps": 60}, 0.1, 0.9),
    "two-stage": ({"steps": 100}, 0.3, 0.9),
    "cf-k": ({"steps": 100, "lr": 1e-2}, 0.3, 0.95),
    "salun": ({"steps": 60}, 0.1, 0.9),
    "ssd": ({"alpha": 4.0, "lam": 0.1}, 0.3, 0.9),
    "scrub": ({"steps": 60, "msteps": 30}, 0.2, 0.9),
    "bad-teacher": ({"steps": 60}, 0.4, 0.9),
    "l1-sparse": ({"steps": 100, "lr": 1e-2}, 0.2, 0.95),
    "boundary-shrink": ({}, 0.1, 0.9),
    "boundary-expand": ({"alpha": 1.0, "lr": 1e-3, "steps": 60}, 0.1, 0.9),
    "fisher-forgetting": ({}, 0.1, 0.9),
    "influence": ({}, 0.2, 0.9),
    "eu-k": ({"steps": 100, "lr": 1e-2}, 0.1, 0.95),
    "unsir": ({"steps": 60}, 0.1, 0.9),
    "amnesiac": ({"lr": 1e-3}, 0.3, 0.9),
    "masked-small-gradients": ({"rate": 0.5, "lr": 1e-2}, 0.6, 0.95),
    "convolution-transpose": ({"lr": 1e-2}, 0.6, 0.95),
    "rum": ({"low": "neg-grad-plus", "medium": "neg-grad-plus", "steps": 60}, 0.2, 0.9),
    "fine-tune": ({"steps": 100, "lr": 3e-3}, 0.8, 0.95),
}


@pytest.mark.parametrize("name", CLASSIFIER)
def test_inputs_stay_untouched_and_the_seed_decides(name: str, one: World) -> None:
    needs = METHODS[name].needs
    model_before = snapshot(one.model)
    needs_before = [tensor.clone() for tensor in tensors_of(one.needs(needs))]

    first, again = apply(name, QUICK[name], one), apply(name, QUICK[name], one)

    assert list(first.weights) == list(model_before)
    now = one.model.state_dict()
    for key, tensor in model_before.items():
        assert torch.equal(now[key], tensor)
        assert torch.equal(first.weights[key], again.weights[key])
        assert first.weights[key].data_ptr() != now[key].data_ptr()
    assert not one.model.training
    assert all(p.requires_grad for p in one.model.parameters())
    for tensor, before in zip(tensors_of(one.needs(needs)), needs_before, strict=True):
        assert torch.equal(tensor, before)


def tensors_of(needs: Any) -> list[Tensor]:
    """All tensors in a nest of dicts, lists and task vectors."""
    if isinstance(needs, Tensor):
        return [needs]
    if isinstance(needs, TaskVector):
        return tensors_of([needs.tau, needs.magnitudes])
    parts = needs.values() if isinstance(needs, dict) else needs
    return [tensor for part in parts for tensor in tensors_of(part)]


@pytest.mark.parametrize("name", CLASSIFIER)
@pytest.mark.parametrize("forget", ["one", "several"])
def test_weights_and_curve_are_finite(
    name: str, forget: str, request: pytest.FixtureRequest
) -> None:
    made = apply(name, QUICK[name], request.getfixturevalue(forget))
    assert all(torch.isfinite(tensor).all() for tensor in made.weights.values())
    lengths = {len(values) for values in made.curve.values()}
    assert len(lengths) <= 1
    assert all(torch.isfinite(torch.tensor(values)).all() for values in made.curve.values())


@pytest.mark.parametrize("name", [name for name in CLASSIFIER if "steps" in QUICK[name]])
def test_another_seed_goes_another_way(name: str, one: World) -> None:
    first, other = apply(name, QUICK[name], one), apply(name, QUICK[name], one, seed=1)
    assert any(not torch.equal(first.weights[key], other.weights[key]) for key in first.weights)


@pytest.mark.parametrize("name", CLASSIFIER)
def test_unknown_knobs_are_refused_by_name(name: str) -> None:
    with pytest.raises(BadInput, match="unknown key 'nonsense'"):
        make_method(name, {"nonsense": 1})


OUT_OF_RANGE = [
    ("neg-grad-plus", {"beta": 1.5}),
    ("random-labels", {"alpha": -1.0}),
    ("random-labels", {"labels": "wrong"}),
    ("two-stage", {"reading": "half"}),
    ("two-stage", {"temperature": 0.0}),
    ("sign-consensus", {"agreement": 1.1}),
    ("sign-consensus", {"rho": -0.1}),
    ("cf-k", {"k": 0}),
    ("salun", {"sparsity": 1.0}),
    ("ssd", {"samples": 0}),
    ("ssd", {"lam": -1.0}),
    ("scrub", {"msteps": 300, "steps": 200}),
    ("scrub", {"temperature": -1.0}),
    ("scrub", {"ascent": 0.0}),
    ("bad-teacher", {"temperature": 0.0}),
    ("l1-sparse", {"gamma": -1e-3}),
    ("task-arithmetic", {"rho": 2.0}),
    ("boundary-shrink", {"epsilon": 0.0}),
    ("boundary-shrink", {"alpha": -1.0}),
    ("boundary-expand", {"alpha": -1.0}),
    ("boundary-expand", {"norms": "own"}),
    ("fisher-forgetting", {"alpha": -1.0}),
    ("fisher-forgetting", {"most": 0.0}),
    ("fisher-forgetting", {"form": "third"}),
    ("influence", {"damping": 0.0}),
    ("influence", {"solve": "cg"}),
    ("influence", {"batches": 0}),
    ("eu-k", {"k": 0}),
    ("unsir", {"noise_steps": 0}),
    ("unsir", {"impair_steps": 0}),
    ("unsir", {"penalty": -0.1}),
    ("amnesiac", {"epochs": -1.0}),
    ("masked-small-gradients", {"rate": 1.5}),
    ("masked-small-gradients", {"damping": -0.1}),
    ("convolution-transpose", {"epochs": -1.0}),
    ("rum", {"high": "ssd"}),
    ("task-arithmetic", {"recalibrate": 1}),
    *((name, {"steps": 0}) for name in CLASSIFIER if "steps" in QUICK[name]),
]


@pytest.mark.parametrize(("name", "knobs"), OUT_OF_RANGE)
def test_knobs_out_of_range_are_refused(name: str, knobs: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        make_method(name, knobs)


ITERATIVE = [name for name in CLASSIFIER if issubclass(METHODS[name], Iterative)]


@pytest.mark.parametrize("name", ITERATIVE)
def test_images_are_augmented_where_that_is_asked(name: str, one: World) -> None:
    plain, augmented = (
        apply(name, {**QUICK[name], "augment": how}, one).weights for how in ("none", "crop-flip")
    )
    assert any(not torch.equal(plain[key], augmented[key]) for key in plain)
    with pytest.raises(BadInput, match="unknown augmentation 'blur'"):
        make_method(name, {"augment": "blur"})


@pytest.mark.parametrize("name", ITERATIVE)
def test_dropout_draws_from_the_given_generator(name: str, one: World) -> None:
    model = build("tests.unlearn.models.own_models:dropping", (1, 28, 28), 10)
    knobs = QUICK[name] | ({"norms": "batch"} if name == "gradient-ascent" else {})
    method = make_method(name, knobs)
    made = []
    for global_seed in range(2):
        torch.manual_seed(global_seed)  # must not matter
        made.append(method(model, one.splits, stream(0, name)).weights)
    first, second = made
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["gradient-ascent", "random-labels", "boundary-shrink"])
def test_forgotten_images_enter_the_running_statistics_only_with_norms_batch(
    name: str, one: World
) -> None:
    """With alpha = 0 no retained image is read that could change them."""
    knobs = QUICK[name] | ({"alpha": 0.0} if name == "random-labels" else {})
    means = [key for key in one.model.state_dict() if key.endswith("running_mean")]
    for norms, unchanged in (("running", True), ("batch", False)):
        after = apply(name, {**knobs, "norms": norms}, one).weights
        assert all(
            torch.equal(after[key], one.model.state_dict()[key]) == unchanged for key in means
        )
    with pytest.raises(BadInput, match="unknown norms 'own'; known: running, batch"):
        make_method(name, {"norms": "own"})


@pytest.mark.parametrize("name", CLASSIFIER)
def test_the_default_space_makes_methods(name: str) -> None:
    for knob, choices in METHODS[name].space.items():
        for choice in choices:
            steps = {"steps": 200} if name == "scrub" else {}
            assert getattr(make_method(name, {**steps, knob: choice}), knob) == choice


def test_a_diverged_run_raises_instead_of_returning_a_model(one: World) -> None:
    with pytest.raises(NotFinite):
        apply("neg-grad-plus", {"lr": 1e30, "beta": 0.0, "steps": 12, "batch": 8}, one)


@pytest.mark.parametrize("name", EFFECT)
def test_it_forgets_and_keeps(name: str, one: World) -> None:
    knobs, forget_at_most, retain_at_least = EFFECT[name]
    weights = apply(name, knobs, one).weights
    test = one.splits.test
    assert accuracy(one, snapshot(one.model), test.forget) > 0.9
    assert accuracy(one, weights, test.forget) <= forget_at_most
    assert accuracy(one, weights, test.retain) >= retain_at_least


def test_every_method_has_its_effect_tested() -> None:
    assert set(EFFECT) == set(CLASSIFIER)


@pytest.mark.parametrize(
    ("name", "steps"), [("random-labels", 60), ("salun", 60), ("scrub", 60), ("neg-grad-plus", 100)]
)
def test_several_classes_are_forgotten_together(name: str, steps: int, several: World) -> None:
    weights = apply(name, {"steps": steps}, several).weights
    for label in (0, 1):
        own = several.splits.test.forget.take(several.splits.test.forget.y == label)
        assert accuracy(several, weights, own) <= 0.3
    assert accuracy(several, weights, several.splits.test.retain) >= 0.85
