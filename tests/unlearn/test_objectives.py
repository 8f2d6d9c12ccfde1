"""The negative ELBO, worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from unlearn.models.base import Generative
from unlearn.objectives import generator_loss, negative_elbo
from unlearn.streams import stream

MU, LOGVAR = 1.0, math.log(4)  # a deviation of 2
KL = 2 * 0.5 * (1 + 4 - 1 - math.log(4))  # over two dimensions of z
RECONSTRUCTION = 3 * math.log(2)  # three pixels of probability 1/2


class Toy(Generative):
    """q(z) = N(1, 4) for every image; the decoder answers 1/2 for every pixel."""

    shape, classes, z_dim = (1, 1, 3), 2, 2

    def __init__(self) -> None:
        super().__init__()
        self.z = torch.empty(0)

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full((len(x), 2), MU), torch.full((len(x), 2), LOGVAR)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        self.z = z
        return torch.zeros(len(z), *self.shape)


X = torch.rand(400, 1, 1, 3, generator=stream(0, "x"))
C = torch.eye(2)[torch.arange(400) % 2]


def noise() -> Tensor:
    return torch.randn(400, 2, generator=stream(0, "z"))


def test_the_loss_is_cross_entropy_plus_kl_in_nats_per_image() -> None:
    loss = negative_elbo(Toy(), X, C, stream(0, "z"))
    assert loss.shape == (400,)
    assert loss.tolist() == pytest.approx([RECONSTRUCTION + KL] * 400)


def test_z_has_the_mean_and_deviation_of_the_encoder() -> None:
    model = Toy()
    negative_elbo(model, X, C, stream(0, "z"))
    torch.testing.assert_close(model.z, 1 + 2 * noise())


def test_the_kl_weight_scales_the_kl_term_alone() -> None:
    loss = negative_elbo(Toy(), X, C, stream(0, "z"), kl_weight=3.0)
    assert loss[0].item() == pytest.approx(RECONSTRUCTION + 3 * KL)


def test_dropped_latents_are_drawn_from_the_prior() -> None:
    model = Toy()
    negative_elbo(model, X, C, stream(0, "z"), z_dropout=0.25)
    dropped = (model.z - noise()).abs().amax(1) < 1e-6
    torch.testing.assert_close(model.z[~dropped], 1 + 2 * noise()[~dropped])
    assert 70 < dropped.sum() < 130  # of 400; a deviation of 9 around 100


def test_a_critic_is_added_and_sees_the_latent_and_the_label() -> None:
    model = Toy()
    loss = negative_elbo(model, X, C, stream(0, "z"), critic=lambda z, c: z[:, 0] + 10 * c[:, 1])
    expected = RECONSTRUCTION + KL + model.z[:, 0] + 10 * C[:, 1]
    torch.testing.assert_close(loss, expected)


def test_a_generators_loss_takes_labels() -> None:
    model, labels = Toy(), torch.arange(400) % 2
    loss = generator_loss(model, X, labels, stream(0, "z"), critic=lambda z, c: c[:, 1])
    assert loss[:2].tolist() == pytest.approx([RECONSTRUCTION + KL, RECONSTRUCTION + KL + 1])
