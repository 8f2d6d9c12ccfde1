"""Influence: the damped inverse by a dense solve, the published recursion by a slow loop."""

import pytest
import torch

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from unlearn.methods.influence import (
    Influence,
    damped_inverse,
    gradient,
    mean_gradient,
    published_inverse,
)
from unlearn.streams import stream


def rows_and_vector() -> tuple[torch.Tensor, torch.Tensor]:
    generator = stream(0, "rows")
    rows = torch.randn(5, 7, generator=generator, dtype=torch.double)
    return rows, torch.randn(7, generator=generator, dtype=torch.double)


@pytest.mark.parametrize("damping", [1e-3, 0.1, 10.0])
def test_the_damped_inverse_is_that_of_a_dense_solve(damping: float) -> None:
    rows, vector = rows_and_vector()
    dense = damping * torch.eye(7, dtype=torch.double) + rows.T @ rows / 5
    expected = torch.linalg.solve(dense, vector)
    torch.testing.assert_close(damped_inverse(rows, vector, damping), expected)


def test_the_published_recursion_by_hand() -> None:
    """Two gradients, N = 2: o = (1, 0); k - (k . g) / (2 + o . g) o with g = (2, 1), v = (3, 4)."""
    rows = [torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0])]
    found = published_inverse(rows, torch.tensor([3.0, 4.0]))
    assert found.tolist() == pytest.approx([3 - 10 / 4, 4.0])
    assert rows[0].tolist() == [1.0, 0.0]


def test_the_published_recursion_shrinks_its_second_vector() -> None:
    """A third gradient equal to the second meets o = (1, 0) (1 - 2 / 5), with N = 3."""
    rows = [torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0]), torch.tensor([2.0, 1.0])]
    found = published_inverse(rows, torch.tensor([3.0, 4.0]))
    once = 3 - 10 / 5
    shared = 0.6 * 2
    assert found.tolist() == pytest.approx([once - (2 * once + 4) / (3 + shared) * 0.6, 4.0])


def test_the_step_goes_up_the_forgotten_images_loss() -> None:
    """One retained batch makes H, whose gradient is orthogonal to that of the forgotten images."""
    model, splits = two_pixels(), two_pixel_splits()
    method = Influence(alpha=0.5, damping=0.1, batches=1, batch=2)
    found = method(model, splits, stream(0, "i")).weights["head.weight"]

    # the gradient of CE is (p - e_y) x^T: (-.5, .25, .25) of pixel 1, (.1, -.2, .1) of pixel 2
    wanted = torch.tensor([[-0.5, 0.0], [0.25, 0.0], [0.25, 0.0]])
    row = torch.tensor([[0.0, 0.1], [0.0, -0.2], [0.0, 0.1]])
    forget, retain = splits.train.forget, splits.train.retain
    torch.testing.assert_close(mean_gradient(model, forget), wanted.flatten())
    torch.testing.assert_close(gradient(model, retain.pixels(), retain.y), row.flatten())
    # they are orthogonal, so H^-1 wanted = wanted / damping
    torch.testing.assert_close(found, model.head.weight.detach() + 0.5 / 0.1 * wanted)
