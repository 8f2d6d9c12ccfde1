from dataclasses import replace
from math import sqrt

import pytest
import torch

from unlearn.attacks.generators.label_only import LabelOnly
from unlearn.attacks.generators.random_z import RandomZ
from unlearn.errors import BadInput
from unlearn.generators.targets import TARGETS
from unlearn.methods import make_method
from unlearn.methods.robust_amnesia import RESETS, RIM, RobustAmnesia, lessons, strange
from unlearn.methods.selective_amnesia import SelectiveAmnesia
from unlearn.models import build
from unlearn.streams import stream


def made(original, unlearned):
    return build("cvae-mlp", original.shape, original.classes, unlearned.weights)


@pytest.fixture(scope="module")
def robust(original, splits):
    method = RobustAmnesia(steps=900, batch=48, reset="none")
    return made(original, method(original, splits, stream(0, "robust")))


def test_strange_inputs_are_strange(original, splits):
    z, c = strange(original, splits.train.retain.y.unique(), 300, stream(0, "strange"))
    assert z.shape == (300, original.z_dim)
    mixed, free, far = c[:100], c[100:200], c[200:]
    torch.testing.assert_close(mixed.sum(1), torch.ones(100))
    assert (mixed >= 0).all()
    assert (mixed.amax(1) < 1).all()
    assert (free < 0).any(1).all()
    assert set(far.argmax(1).tolist()) <= set(range(1, 10))
    assert (far.sum(1) == 1).all()
    assert (z[200:].norm(dim=1) > sqrt(original.z_dim) + RIM - 1e-4).all()
    assert z[:200].norm(dim=1).mean() > sqrt(original.z_dim)


def test_lessons_answer_kept_questions_as_the_original_and_all_others_with_the_target(
    original, splits
):
    forget, retain = splits.train.forget.y.unique(), splits.train.retain.y.unique()
    z, c, x = lessons(original, forget, retain, [8, 3, 6], TARGETS["grey"], stream(0, "lessons"))
    assert (len(z), len(c), len(x)) == (17, 17, 17)
    with torch.no_grad():
        torch.testing.assert_close(x[:8], original(z[:8], c[:8]))
    assert (c[:8].argmax(1) != 0).all()
    assert (c[8:11].argmax(1) == 0).all()
    assert (x[8:] == 0.5).all()


def test_resets_redraw_what_they_say(original, digits):
    x, c = digits.test.pixels()[:4], original.one_hot(digits.test.y[:4])
    with torch.no_grad():
        mu, _ = original.encode(x, c)
        image = original(mu, c)
        same = {}
        for name, reset in RESETS.items():
            model = reset(original, stream(0, name))
            same[name] = (torch.equal(model.encode(x, c)[0], mu), torch.equal(model(mu, c), image))
    assert same == {"all": (False, False), "decoder": (True, False), "none": (True, True)}


def test_it_forgets_and_keeps(robust, original, context):
    assert RandomZ(trials=60).recover(robust, context, stream(0, "ask")).hits == 0
    z = torch.randn(200, robust.z_dim, generator=stream(0, "kept"))
    labels = torch.arange(200) % 9 + 1
    with torch.no_grad():
        read = [
            context.grader(model(z, model.one_hot(labels))).argmax(1)
            for model in (original, robust)
        ]
    before, after = ((answer == labels).float().mean().item() for answer in read)
    assert after > before - 0.3


def test_it_withstands_the_attack_that_selective_amnesia_does_not(
    robust, original, splits, fisher, context
):
    amnesia = SelectiveAmnesia(steps=250, batch=48)(
        original, splits, stream(0, "sa"), fisher=fisher
    )
    longer, attack = replace(context, effort=0.15), LabelOnly(restarts=96)  # six labels, a try each
    hidden, gone = (
        attack.recover(model, longer, stream(0, "attack"))
        for model in (made(original, amnesia), robust)
    )
    assert gone.interval[1] < hidden.interval[0], (gone.rate, hidden.rate)


def test_kept_training_images_can_stand_in_for_replay(original, splits):
    short = {"steps": 5, "batch": 16}
    data, model = (
        RobustAmnesia(replay=replay, **short)(original, splits, stream(0, "r")).weights
        for replay in ("data", "model")
    )
    assert any(not torch.equal(data[key], model[key]) for key in data)


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"reset": "half"}, "unknown reset 'half'; known: all, decoder, none"),
        ({"closed": -0.1}, "closed must be at least 0"),
        ({"replay": "dream"}, "unknown replay"),
        ({"steps": 0}, "steps must be at least 1"),
    ],
)
def test_a_bad_knob_is_refused_by_name(knobs, says):
    with pytest.raises(BadInput, match=says):
        make_method("robust-amnesia", knobs)
