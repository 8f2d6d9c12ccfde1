"""Morphs, planes and encodings: what they must be at points where it is known."""

import math

import pytest
import torch

from unlearn.generators.latents import displacement, encodings, morph, plane, slerp, slerp_grid
from unlearn.models import build
from unlearn.splits import Images
from unlearn.streams import seeded, stream


@pytest.fixture(scope="module", params=["cvae-mlp", "cvae-2d"])
def model(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    with seeded(0, "latents"):
        return build(request.param, (1, 28, 28), 10).eval()


def test_slerp_keeps_the_norm_and_halves_the_angle() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    half = slerp(a, b, torch.tensor([0.5]))
    assert half.tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    assert slerp(a, a, torch.tensor([0.3])).tolist() == [1.0, 0.0]


def test_a_morph_starts_and_ends_at_the_labels_own_images(model) -> None:  # type: ignore[no-untyped-def]
    images = morph(model, 7, 0, 3, 5, stream(0, "morph"))
    assert images.shape == (3, 5, 1, 28, 28)
    a, b = torch.randn(2, 3, 1, model.z_dim, generator=stream(0, "morph"))
    labels = [model.one_hot(torch.full((3,), label)) for label in (7, 0)]
    with torch.no_grad():
        torch.testing.assert_close(images[:, 0], model(a.squeeze(1), labels[0]), atol=1e-5, rtol=0)
        torch.testing.assert_close(images[:, -1], model(b.squeeze(1), labels[1]), atol=1e-5, rtol=0)


def test_grids_have_their_shape_and_the_plane_its_centre(model) -> None:  # type: ignore[no-untyped-def]
    latents = torch.randn(50, model.z_dim, generator=stream(0, "plane"))
    images = plane(model, latents, 3, side=5)
    assert images.shape == (5, 5, 1, 28, 28)
    with torch.no_grad():
        centre = model(latents.mean(0, keepdim=True), model.one_hot(torch.tensor([3])))[0]
    torch.testing.assert_close(images[2, 2], centre, atol=1e-5, rtol=0)
    grid = slerp_grid(model, 3, 4, stream(0, "grid"))
    corner = torch.randn(4, model.z_dim, generator=stream(0, "grid"))[:1]
    with torch.no_grad():
        torch.testing.assert_close(
            grid[0, 0], model(corner, model.one_hot(torch.tensor([3])))[0], atol=1e-5, rtol=0
        )


def test_encodings_and_how_far_centroids_move(model, digits) -> None:  # type: ignore[no-untyped-def]
    images: Images = digits.test
    z, labels = encodings(model, images, 4)
    assert z.shape == (40, model.z_dim)
    assert labels.bincount().tolist() == [4] * 10
    shift = torch.zeros_like(z)
    shift[labels == 3, 0] = 2.0
    assert displacement(z, z + shift, labels).tolist() == pytest.approx(
        [0, 0, 0, 2, 0, 0, 0, 0, 0, 0], abs=1e-6
    )
