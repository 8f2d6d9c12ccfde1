"""Morphs, planes and encodings: what they must be at points where it is known."""

import math
from typing import Any

import pytest
import torch

from unlearn.generators.latents import displacement, encodings, morph, plane, slerp, slerp_grid
from unlearn.models import build
from unlearn.splits import Dataset, Images
from unlearn.streams import seeded, stream


@pytest.fixture(scope="module", params=["cvae-mlp", "cvae-2d"])
def model(request: pytest.FixtureRequest) -> Any:
    with seeded(0, "latents"):
        return build(request.param, (1, 28, 28), 10).eval()


def decoded(model: Any, z: torch.Tensor, label: int) -> torch.Tensor:
    with torch.no_grad():
        images: torch.Tensor = model(z, model.one_hot(torch.full((len(z),), label)))
        return images


def test_slerp_keeps_the_norm_and_divides_the_angle() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    half, third = (slerp(a, b, torch.tensor([t])) for t in (1 / 2, 1 / 3))
    assert half.tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    assert third.tolist() == pytest.approx([math.cos(math.pi / 6), math.sin(math.pi / 6)])
    assert slerp(a, b, torch.tensor([0.0])).tolist() == pytest.approx([1.0, 0.0])
    assert slerp(a, a, torch.tensor([0.3])).tolist() == [1.0, 0.0]
    assert slerp(a, 3 * a, torch.tensor([0.25])).tolist() == [1.5, 0.0]


def test_a_morph_starts_and_ends_at_the_labels_own_images(model: Any) -> None:
    images = morph(model, 7, 0, 3, 5, stream(0, "morph"))
    assert images.shape == (3, 5, 1, 28, 28)
    a, b = torch.randn(2, 3, 1, model.z_dim, generator=stream(0, "morph"))
    first, last = decoded(model, a.squeeze(1), 7), decoded(model, b.squeeze(1), 0)
    torch.testing.assert_close(images[:, 0], first, atol=1e-5, rtol=0)
    torch.testing.assert_close(images[:, -1], last, atol=1e-5, rtol=0)


def test_the_middle_of_a_morph_has_half_of_each_label(model: Any) -> None:
    images = morph(model, 7, 0, 1, 5, stream(0, "morph"))
    a, b = torch.randn(2, 1, model.z_dim, generator=stream(0, "morph"))
    c = torch.zeros(1, 10)
    c[0, [0, 7]] = 0.5
    with torch.no_grad():
        middle = model(slerp(a, b, torch.tensor([[0.5]])), c)
    torch.testing.assert_close(images[:, 2], middle, atol=1e-5, rtol=0)


def test_the_centre_of_a_plane_is_the_mean_latent(model: Any) -> None:
    latents = torch.randn(50, model.z_dim, generator=stream(0, "plane"))
    images = plane(model, latents, 3, side=5)
    assert images.shape == (5, 5, 1, 28, 28)
    centre = decoded(model, latents.mean(0, keepdim=True), 3)[0]
    torch.testing.assert_close(images[2, 2], centre, atol=1e-5, rtol=0)


def test_the_edge_of_a_plane_is_three_deviations_away(model: Any) -> None:
    """Latents spread along the first axis by 2, along the second by 1: deviations known."""
    latents = torch.zeros(5, model.z_dim)
    latents[:, 0] = torch.tensor([-2.0, 2.0, 0.0, 0.0, 0.0])
    latents[:, 1] = torch.tensor([0.0, 0.0, -1.0, 1.0, 0.0])
    images = plane(model, latents, 3, side=3)
    edge = torch.zeros(4, model.z_dim)
    edge[0, 0], edge[1, 0] = 3 * math.sqrt(8 / 4), -3 * math.sqrt(8 / 4)
    edge[2, 1], edge[3, 1] = 3 * math.sqrt(2 / 4), -3 * math.sqrt(2 / 4)
    right, left, bottom, top = decoded(model, edge, 3)
    for found, either in ((images[1, 2], (right, left)), (images[2, 1], (bottom, top))):
        distances = [(found - image).abs().max().item() for image in either]
        assert min(distances) < 1e-5  # the sign of a principal axis is free


def test_the_corners_of_a_slerp_grid_are_draws_of_the_prior(model: Any) -> None:
    grid = slerp_grid(model, 3, 4, stream(0, "grid"))
    assert grid.shape == (4, 4, 1, 28, 28)
    z = torch.randn(4, model.z_dim, generator=stream(0, "grid"))
    corners = torch.stack([grid[0, 0], grid[-1, 0], grid[0, -1], grid[-1, -1]])
    torch.testing.assert_close(corners, decoded(model, z, 3), atol=1e-5, rtol=0)


def test_the_first_images_of_every_class_are_encoded(model: Any, digits: Dataset) -> None:
    images: Images = digits.test
    z, labels = encodings(model, images, 4)
    assert z.shape == (40, model.z_dim)
    assert labels.bincount().tolist() == [4] * 10
    threes = images.pixels()[images.y == 3][:4]
    with torch.no_grad():
        mean, _ = model.encode(threes, model.one_hot(torch.full((4,), 3)))
    torch.testing.assert_close(z[labels == 3], mean, atol=1e-5, rtol=0)


def test_displacement_is_the_distance_between_centroids() -> None:
    """The centroid of class 1 moves by (3, 4), that of class 0 stays although its images move."""
    labels = torch.tensor([0, 1, 0, 1])
    before = torch.zeros(4, 2)
    after = torch.tensor([[1.0, 0.0], [6.0, 8.0], [-1.0, 0.0], [0.0, 0.0]])
    assert displacement(before, after, labels).tolist() == [0.0, 5.0]
