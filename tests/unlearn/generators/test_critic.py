import pytest
import torch

from unlearn.errors import BadInput
from unlearn.generators.critic import LabelCritic
from unlearn.models import build
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit


def test_the_critic_descends_and_what_comes_before_it_climbs():
    critic = LabelCritic(3, 4, weight=5.0)
    z = torch.randn(6, 3, generator=stream(0, "z"), requires_grad=True)
    c = torch.eye(4)[torch.arange(6) % 4]
    loss = critic(z, c).sum()
    plain = torch.nn.functional.cross_entropy(critic.classifier(z), c, reduction="sum")
    assert loss.item() == pytest.approx(plain.item())
    (turned,), (straight,) = torch.autograd.grad(loss, z), torch.autograd.grad(plain, z)
    torch.testing.assert_close(turned, -5 * straight)
    weights = list(critic.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(critic(z, c).sum(), weights),
        torch.autograd.grad(
            torch.nn.functional.cross_entropy(critic.classifier(z), c, reduction="sum"), weights
        ),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def readable(model, digits):
    """How well the label can be read off the latents by the nearest class mean, on test digits."""
    x, y = digits.test.pixels(), digits.test.y
    with torch.no_grad():
        z = model.encode(x, model.one_hot(y))[0]
    means = torch.stack([z[y == label].mean(0) for label in range(10)])
    return (torch.cdist(z, means).argmin(1) == y).float().mean().item()


def test_it_hides_the_label_from_the_latent_and_makes_the_decoder_heed_it(digits, grader):
    def made(weight):
        with seeded(0, "critic"):
            model = build("cvae-mlp", digits.shape, digits.classes)
        weights, curve = fit(
            model, digits.train, Training(400, 64, 3e-3, label_critic=weight), stream(0, "critic")
        )
        model.load_state_dict(weights)
        assert curve["loss"][-1] < 200
        return model.eval()

    without, within = made(0.0), made(50.0)
    assert readable(within, digits) < readable(without, digits) - 0.1
    z, labels = torch.randn(500, 8, generator=stream(0, "z")), torch.arange(500) % 10
    with torch.no_grad():
        hits = [
            (grader(m(z, m.one_hot(labels))).argmax(1) == labels).float().mean()
            for m in (without, within)
        ]
    assert hits[1] > hits[0] + 0.05


def test_no_critic_draws_nothing_and_changes_no_bit(digits):
    model = build("cvae-mlp", digits.shape, digits.classes)
    plain, _ = fit(model, digits.train, Training(2, 16), stream(0, "fit"))
    named, _ = fit(model, digits.train, Training(2, 16, label_critic=0.0), stream(0, "fit"))
    assert all(torch.equal(plain[key], named[key]) for key in plain)
    assert plain.keys() == model.state_dict().keys()
    critical, _ = fit(model, digits.train, Training(2, 16, label_critic=9.0), stream(0, "fit"))
    assert critical.keys() == plain.keys()


def test_a_negative_weight_is_refused():
    with pytest.raises(BadInput, match="label_critic must be at least 0"):
        Training(label_critic=-1.0)
