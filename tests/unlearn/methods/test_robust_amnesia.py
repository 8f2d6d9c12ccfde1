"""Robust Amnesia: its loss terms by hand, its batches, and what it withstands on real digits."""

from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.unlearn.methods.tiny import (
    BRIGHT_LOSSES,
    GreyGenerator,
    bright_generator,
    grey_splits,
)
from unlearn.attacks.generators.base import Context
from unlearn.attacks.generators.label_only import LabelOnly
from unlearn.attacks.generators.random_z import RandomZ
from unlearn.errors import BadInput
from unlearn.generators.ood import Sizes
from unlearn.generators.targets import TARGETS
from unlearn.methods import make_method
from unlearn.methods.base import Unlearned
from unlearn.methods.robust_amnesia import (
    RESETS,
    RobustAmnesia,
    decoder_batch,
    reset_decoder,
)
from unlearn.methods.selective_amnesia import SelectiveAmnesia
from unlearn.models import Weights, build
from unlearn.models.base import Generative
from unlearn.splits import Dataset, Splits
from unlearn.streams import stream

PER_IMAGE = 4 * log(2)  # cross-entropy of four pixels at 1/2, whatever the target


def built(original: Generative, unlearned: Unlearned) -> Any:
    return build("cvae-mlp", original.shape, original.classes, unlearned.weights)


@pytest.fixture(scope="module")
def robust(original: Generative, splits: Splits) -> Any:
    method = RobustAmnesia(steps=500, batch=48, reset="none")
    return built(original, method(original, splits, stream(0, "robust")))


@pytest.mark.parametrize("replay", ["data", "model"])
def test_each_loss_term_has_its_own_weight(replay: str) -> None:
    knobs = {"gamma": 3.0, "distil": 0.25, "closed": 5.0, "replay": replay}
    method = RobustAmnesia(reset="none", steps=1, batch=6, **knobs)  # type: ignore[arg-type]
    curve = method(GreyGenerator(), grey_splits(), stream(0, "terms")).curve
    first = {name: values[0] for name, values in curve.items() if name != "step"}
    assert list(first) == ["replay", "distil", "forget", "closed"]
    assert first == pytest.approx(
        {
            "replay": 3 * PER_IMAGE,
            "distil": 0.25 * PER_IMAGE,
            "forget": PER_IMAGE,
            "closed": 5 * PER_IMAGE,
        }
    )


@pytest.mark.parametrize("target", BRIGHT_LOSSES)
def test_the_loss_of_the_chosen_target_by_hand(target: str) -> None:
    method = RobustAmnesia(reset="none", steps=1, batch=6, closed=1.0, target=target)
    curve = method(bright_generator(), grey_splits(), stream(0, "terms")).curve
    assert curve["forget"][0] == pytest.approx(BRIGHT_LOSSES[target], rel=1e-5)
    assert curve["closed"][0] == pytest.approx(BRIGHT_LOSSES[target], rel=1e-5)


class LabelReader(GreyGenerator):
    """Draws label 0 black and label 1 white: the logit of every pixel is 9 (c_1 - c_0)."""

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        logits = 9 * (c[:, 1] - c[:, 0])
        return self.bias + logits.view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_every_term_takes_the_inputs_that_it_is_named_after() -> None:
    """The student draws label 0 black and label 1 white, the target is grey: a forgotten image
    costs softplus(9) - 4.5 per pixel, a retained one almost nothing."""
    splits = grey_splits()
    white = replace(splits.train.retain, x=torch.full((8, 1, 2, 2), 255, dtype=torch.uint8))
    ones = replace(white, y=torch.ones(8).long())
    train = replace(splits.train, retain=ones)
    method = RobustAmnesia(gamma=1.0, reset="none", steps=1, batch=6)
    curve = method(LabelReader(), replace(splits, train=train), stream(0, "terms")).curve
    saturated = log(1 + torch.tensor(9.0).exp().item())
    assert curve["forget"][0] == pytest.approx(4 * (saturated - 4.5), rel=1e-5)
    assert curve["replay"][0] == pytest.approx(4 * (saturated - 9), rel=1e-2)
    p = torch.tensor(9.0).sigmoid().item()
    entropy = -p * log(p) - (1 - p) * log(1 - p)
    assert curve["distil"][0] == pytest.approx(4 * entropy, rel=1e-2)


def test_a_decoder_batch_has_a_quarter_of_forgotten_labels() -> None:
    """With batch = 6 that is 2, rounded up: 14 inputs in one pass."""
    seen: list[Tensor] = []

    class Recorder(GreyGenerator):
        def decode(self, z: Tensor, c: Tensor) -> Tensor:
            seen.append(c)
            return super().decode(z, c)

    method = RobustAmnesia(reset="none", steps=1, batch=6)
    losses = method.loss_terms(GreyGenerator(), Recorder(), grey_splits(), stream(0, "terms"))
    losses()
    merged = seen[-1]
    assert len(merged) == 6 + 2 + 6
    assert merged[6:8].tolist() == [[1, 0, 0], [1, 0, 0]]


def test_retained_labels_get_the_originals_images_and_all_others_the_target(
    original: Generative, splits: Splits
) -> None:
    forget, retain = splits.train.forget.y.unique(), splits.train.retain.y.unique()
    generator = stream(0, "lessons")
    z, c, x = decoder_batch(original, forget, retain, Sizes(8, 3, 6), TARGETS["grey"], generator)
    assert (len(z), len(c), len(x)) == (17, 17, 17)
    with torch.no_grad():
        torch.testing.assert_close(x[:8], original(z[:8], c[:8]))
    assert (c[:8].argmax(1) != 0).all()
    assert (c[8:11].argmax(1) == 0).all()
    assert (x[8:] == 0.5).all()


def test_resets_draw_anew_what_they_say(original: Generative, digits: Dataset) -> None:
    x, c = digits.test.pixels()[:4], original.one_hot(digits.test.y[:4])
    same = {}
    with torch.no_grad():
        mu, _ = original.encode(x, c)
        image = original(mu, c)
        for name, reset in RESETS.items():
            model = reset(original, stream(0, name))
            same[name] = (torch.equal(model.encode(x, c)[0], mu), torch.equal(model(mu, c), image))
    assert same == {"all": (False, False), "decoder": (True, False), "none": (True, True)}


class Coder(GreyGenerator):
    """An encoder and a decoder of one layer each, and a norm with statistics behind the encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.norm = nn.Linear(4, 1), nn.BatchNorm1d(1)
        self.decoder = nn.Linear(1, 4)

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.norm(self.encoder(x.flatten(1)))
        return mean, torch.zeros_like(mean)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        output: Tensor = self.decoder(z).view(-1, 1, 2, 2)
        return output


def test_a_new_decoder_leaves_the_encoder_and_its_statistics() -> None:
    model: Any = Coder().eval()
    model.norm.running_mean += 3
    reset: Any = reset_decoder(model, stream(0, "reset"))
    for name in ("encoder.weight", "encoder.bias", "norm.running_mean"):
        assert torch.equal(reset.state_dict()[name], model.state_dict()[name]), name
    assert not torch.equal(reset.decoder.weight, model.decoder.weight)


def test_it_forgets_and_keeps(robust: Any, original: Generative, context: Context) -> None:
    assert RandomZ(trials=60).recover(robust, context, stream(0, "ask")).hits == 0
    z = torch.randn(200, robust.z_dim, generator=stream(0, "kept"))
    labels = torch.arange(200) % 9 + 1
    rates = []
    with torch.no_grad():
        for model in (original, robust):
            images = model(z, model.one_hot(labels))
            right = context.grader(images).argmax(1) == labels
            rates.append(right.float().mean().item())
    before, after = rates
    assert after > before - 0.3


def test_it_withstands_the_attack_that_selective_amnesia_does_not(
    robust: Any, original: Generative, splits: Splits, fisher: Weights, context: Context
) -> None:
    method = SelectiveAmnesia(steps=250, batch=48)
    amnesiac = built(original, method(original, splits, stream(0, "sa"), fisher=fisher))
    longer = replace(context, effort=0.15)
    attack = LabelOnly(restarts=96)  # six labels, each one try
    hidden = attack.recover(amnesiac, longer, stream(0, "attack"))
    gone = attack.recover(robust, longer, stream(0, "attack"))
    assert gone.interval[1] < hidden.interval[0], (gone.rate, hidden.rate)


def test_retained_training_images_or_the_originals_are_replayed(
    original: Generative, splits: Splits
) -> None:
    data, model = (
        RobustAmnesia(replay=replay, steps=5, batch=16)(original, splits, stream(0, "r")).weights
        for replay in ("data", "model")
    )
    assert any(not torch.equal(data[key], model[key]) for key in data)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"reset": "half"}, "unknown reset 'half'; known: all, decoder, none"),
        ({"gamma": -0.1}, "gamma must be at least 0"),
        ({"distil": -0.1}, "distil must be at least 0"),
        ({"closed": -0.1}, "closed must be at least 0"),
        ({"replay": "dream"}, "unknown replay"),
        ({"steps": 0}, "steps must be at least 1"),
    ],
)
def test_a_bad_knob_is_refused_by_name(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_method("robust-amnesia", knobs)
