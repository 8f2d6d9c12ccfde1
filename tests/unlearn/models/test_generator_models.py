"""The generators: any image size, the references' sizes, and their Fisher against a slow loop."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import BadInput
from unlearn.fisher.diagonal import diagonal_fisher
from unlearn.fisher.generators import batch_mean_fisher, generator_fisher
from unlearn.models import MODELS, build, task_of
from unlearn.models.base import Generative
from unlearn.objectives import negative_elbo
from unlearn.splits import Dataset
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit

Shape = tuple[int, int, int]
GENERATORS = [name for name in MODELS if task_of(name) == "generator"]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 15, 22)])
@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_fits_any_image(name: str, shape: Shape) -> None:
    model = build(name, shape, 7)
    x, c = torch.rand(4, *shape), model.one_hot(torch.tensor([0, 3, 6, 1]))
    mu, logvar = model.encode(x, c)
    assert mu.shape == logvar.shape == (4, model.z_dim)
    image = model(mu, 0.5 * c)
    assert image.shape == x.shape
    assert ((image >= 0) & (image <= 1)).all()
    assert not torch.equal(model(mu, c), model(mu, c.roll(1, 1)))


def test_the_networks_have_the_sizes_of_the_references() -> None:
    def size(name: str) -> int:
        return sum(p.numel() for p in build(name, (1, 28, 28), 10).parameters())

    convs = (11 * 32 * 16 + 32) + (32 * 64 * 16 + 64) + (64 * 32 * 16 + 32) + (32 * 16 + 1)
    linear = 2 * (3136 * 20 + 20) + (30 * 3136 + 3136)
    assert size("cvae-conv") == convs + linear
    assert (size("cvae-mlp"), size("cvae-mlp-expanding")) == (1_081_120, 685_856)
    assert build("cvae-2d", (1, 28, 28), 10).z_dim == 2


def sample_loss(model: Generative, x: Tensor, c: Tensor, noise: Tensor) -> Tensor:
    """Negative ELBO with the given noise, in a form that one sample and a batch share."""
    mu, logvar = model.encode(x, c)
    logits = model.decode(mu + (0.5 * logvar).exp() * noise, c)
    pixels = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return pixels.flatten(1).sum(1) + 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)


@pytest.mark.parametrize("shape", [(1, 12, 12), (2, 11, 14), (3, 10, 9)])
@pytest.mark.parametrize("name", GENERATORS)
def test_batched_fisher_equals_the_per_sample_loop(name: str, shape: Shape) -> None:
    with seeded(0, name, shape):
        model = build(name, shape, 3).double()
    draws = stream(0, name, *shape)
    x = torch.rand(6, *shape, generator=draws, dtype=torch.float64)
    c = torch.eye(3, dtype=torch.float64)[torch.arange(6) % 3]
    noise = torch.randn(6, model.z_dim, generator=draws, dtype=torch.float64)

    fast = diagonal_fisher(model, [lambda: sample_loss(model, x, c, noise)])

    slow = {key: torch.zeros_like(p) for key, p in model.named_parameters()}
    for i in range(6):
        loss = sample_loss(model, x[i : i + 1], c[i : i + 1], noise[i : i + 1]).sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for key, gradient in zip(slow, gradients, strict=True):
            slow[key] += gradient.square() / 6
    for key in slow:
        torch.testing.assert_close(fast[key], slow[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", GENERATORS)
def test_the_papers_fisher_covers_every_generator(name: str) -> None:
    model = build(name, (1, 12, 12), 4)
    fisher = generator_fisher(model, 24, stream(0, "fisher"), batch=10)
    again = generator_fisher(model, 24, stream(0, "fisher"), batch=10)
    assert fisher.keys() == dict(model.named_parameters()).keys()
    for key, value in fisher.items():
        assert (value >= 0).all()
        assert torch.equal(value, again[key])
    assert sum(value.sum() for value in fisher.values()) > 0


def own_losses(model: Generative, n: int, generator: torch.Generator) -> Tensor:
    """Losses (n,) of n images that the model draws itself, in the order of the paper's Fisher."""
    z = torch.randn(n, model.z_dim, generator=generator)
    c = model.one_hot(torch.randint(model.classes, (n,), generator=generator))
    return negative_elbo(model, model(z, c).detach(), c, generator)


def test_the_papers_fisher_equals_the_slow_loop() -> None:
    """8 samples in batches of 5 and 3: the mean over samples of squared gradients."""
    with seeded(0, "slow"):
        model = build("cvae-2d", (1, 4, 4), 3)
    parameters = dict(model.named_parameters())
    slow = {key: torch.zeros_like(p) for key, p in parameters.items()}
    draws = stream(0, "fisher")
    for n in (5, 3):
        for loss in own_losses(model, n, draws):
            gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
            for key, gradient in zip(slow, gradients, strict=True):
                slow[key] += gradient.square() / 8
    fast = generator_fisher(model, 8, stream(0, "fisher"), batch=5)
    for key in slow:
        torch.testing.assert_close(fast[key], slow[key], rtol=1e-4, atol=1e-7)


def test_batch_mean_fisher_squares_the_mean_gradient_of_each_batch() -> None:
    with seeded(0, "slow"):
        model = build("cvae-2d", (1, 4, 4), 3)
    parameters = dict(model.named_parameters())
    slow = {key: torch.zeros_like(p) for key, p in parameters.items()}
    draws = stream(0, "fisher")
    for n in (5, 3):
        mean = own_losses(model, n, draws).mean()
        gradients = torch.autograd.grad(mean, list(parameters.values()))
        for key, gradient in zip(slow, gradients, strict=True):
            slow[key] += gradient.square() / 2
    fast = batch_mean_fisher(model, 8, stream(0, "fisher"), batch=5)
    for key in slow:
        torch.testing.assert_close(fast[key], slow[key], rtol=1e-5, atol=1e-8)


def test_batch_mean_fisher_is_too_small_and_right_at_batch_one(original: Generative) -> None:
    exact = generator_fisher(original, 60, stream(0, "f"), batch=1)
    ones = batch_mean_fisher(original, 60, stream(0, "f"), batch=1)
    wrong = batch_mean_fisher(original, 60, stream(0, "f"), batch=30)
    for key in exact:
        torch.testing.assert_close(ones[key], exact[key], rtol=1e-3, atol=1e-7)
    assert wrong["decoder.0.weight"].sum() < 0.5 * exact["decoder.0.weight"].sum()


def test_cvae_conv_learns_digits(digits: Dataset) -> None:
    with seeded(0, "conv"):
        model = build("cvae-conv", digits.shape, digits.classes)
    weights, curve = fit(model, digits.train, Training(60, 32, 3e-3), stream(0, "conv"))
    model.load_state_dict(weights)
    x, y = digits.test.pixels()[:200], digits.test.y[:200]
    assert negative_elbo(model, x, model.one_hot(y), stream(0, "elbo")).mean().item() < 260
    assert curve["loss"][0] > 500


def test_images_too_small_for_two_strides_are_refused() -> None:
    with pytest.raises(BadInput, match="at least 4 x 4"):
        build("cvae-conv", (1, 3, 9), 10)


def test_fisher_stays_right_where_an_activation_works_in_place() -> None:
    with seeded(0, "in place"):
        first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    plain = nn.Sequential(first, nn.ReLU(), second).double()
    in_place = nn.Sequential(first, nn.ReLU(inplace=True), second)
    x = torch.randn(5, 3, generator=stream(0, "x"), dtype=torch.float64)
    one = diagonal_fisher(plain, [lambda: plain(x).square().sum(1)])
    two = diagonal_fisher(in_place, [lambda: in_place(x).square().sum(1)])
    for key in one:
        torch.testing.assert_close(one[key], two[key])


def test_a_layer_that_the_loss_does_not_use_has_no_information() -> None:
    with seeded(0, "in place"):
        first, second = nn.Linear(3, 4).double(), nn.Linear(4, 2).double()
    x = torch.randn(5, 3, generator=stream(0, "x"), dtype=torch.float64)
    unused = nn.ModuleList([first, second])
    part = diagonal_fisher(unused, [lambda: unused[0](x).sum(1)])
    assert part["1.weight"].abs().sum() == 0 < part["0.weight"].sum()
