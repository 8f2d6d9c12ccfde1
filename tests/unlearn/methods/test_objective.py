"""Methods whose losses follow the original's objective, and the optimiser's weight decay."""

from math import log

import pytest
import torch
from torch import Tensor

from tests.unlearn.methods.tiny import (
    GreyGenerator,
    grey_splits,
    two_pixel_splits,
    two_pixels,
)
from unlearn.errors import BadInput
from unlearn.fisher.generators import generator_fisher
from unlearn.methods import make_method
from unlearn.models import build
from unlearn.streams import seeded, stream
from unlearn.train import Training


class OffCentre(GreyGenerator):
    """A grey generator whose posterior is N(1, 1): KL 1/2 nat for every image."""

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones(len(x), self.z_dim), torch.zeros(len(x), self.z_dim)


RECONSTRUCTION = 4 * log(2)


@pytest.mark.parametrize(("objective", "kl"), [("plain", 0.5), ("original", 1.5)])
def test_selective_amnesia_weighs_the_kl_as_the_original_did(objective: str, kl: float) -> None:
    model = OffCentre()
    method = make_method("selective-amnesia", {"steps": 1, "batch": 2, "objective": objective})
    fisher = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    training = Training(kl_weight=3.0)
    made = method(model, grey_splits(), stream(0, "x"), fisher=fisher, training=training)
    assert made.curve["forget"][0] == pytest.approx(RECONSTRUCTION + kl, abs=1e-5)
    assert made.curve["replay"][0] == pytest.approx(RECONSTRUCTION + kl, abs=1e-5)


@pytest.mark.parametrize(("objective", "kl"), [("plain", 0.5), ("original", 1.5)])
def test_robust_amnesia_weighs_the_kl_as_the_original_did(objective: str, kl: float) -> None:
    knobs = {"steps": 1, "batch": 2, "gamma": 1.0, "reset": "none", "objective": objective}
    method = make_method("robust-amnesia", knobs)
    training = Training(kl_weight=3.0)
    made = method(OffCentre(), grey_splits(), stream(0, "x"), training=training)
    assert made.curve["replay"][0] == pytest.approx(RECONSTRUCTION + kl, abs=1e-5)


def test_fine_tuning_smooths_labels_as_the_original_did() -> None:
    """Retained images get (.1, .8, .1), label 1; smoothing .3 aims at (.1, .8, .1) itself."""
    training = Training(label_smoothing=0.3, weight_decay=0.1)
    knobs = {"steps": 1, "batch": 2}
    losses = {}
    for objective in ("plain", "original"):
        method = make_method("fine-tune", {**knobs, "objective": objective})
        made = method(two_pixels(), two_pixel_splits(), stream(0, "x"), training=training)
        losses[objective] = made.curve["loss"][0]
    assert losses["plain"] == pytest.approx(-log(0.8))
    assert losses["original"] == pytest.approx(-0.8 * log(0.8) - 0.2 * log(0.1))


@pytest.mark.parametrize("name", ["fine-tune", "robust-amnesia", "selective-amnesia"])
def test_an_unknown_objective_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="unknown objective 'x'; known: plain, original"):
        make_method(name, {"objective": "x"})


def test_an_objective_that_is_not_told_is_asked_for() -> None:
    method = make_method("fine-tune", {"steps": 1, "objective": "original"})
    with pytest.raises(BadInput, match="pass how the original was trained"):
        method(two_pixels(), two_pixel_splits(), stream(0, "x"))


def test_sgd_decays_weights() -> None:
    """No gradient reaches the second pixel's weights: they shrink by lr times weight decay."""
    model, knobs = two_pixels(), {"steps": 1, "lr": 0.1, "optimizer": "sgd", "weight_decay": 0.5}
    method = make_method("gradient-ascent", {**knobs, "schedule": "constant"})
    after = method(model, two_pixel_splits(), stream(0, "step")).weights["head.weight"]
    torch.testing.assert_close(after[:, 1], model.head.weight[:, 1] * (1 - 0.1 * 0.5))


def test_the_fisher_follows_the_kl_weight() -> None:
    """At weight 0 the posterior's variance moves reconstructions alone; at 5 the KL dominates."""
    with seeded(0, "fisher"):
        model = build("cvae-mlp", (1, 8, 8), 3).eval()
    plain, again, heavy = (
        generator_fisher(model, 20, stream(0, "f"), kl_weight=weight) for weight in (1.0, 1.0, 5.0)
    )
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    assert heavy["mu.bias"].sum() != plain["mu.bias"].sum()
    assert torch.equal(heavy["pixels.bias"], plain["pixels.bias"])  # the decoder has no KL
