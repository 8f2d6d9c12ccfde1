"""Projections: none in two dimensions, else two columns per point."""

import pytest
import torch

from sweeps.report.projections import project, projections_for
from unlearn.errors import BadInput


def test_two_dimensions_are_shown_as_they_are() -> None:
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    assert projections_for(2) == ["as they are"]
    assert torch.equal(project(points, "as they are", 0), points)


def test_tsne_gives_two_columns_and_the_same_ones_again() -> None:
    points = torch.arange(24.0).reshape(8, 3) ** 0.5
    first, again = project(points, "t-SNE", 0), project(points, "t-SNE", 0)
    assert first.shape == (8, 2)
    assert torch.equal(first, again)


def test_an_unknown_projection_is_refused() -> None:
    with pytest.raises(BadInput, match=r"'pca'.*as they are, t-SNE, UMAP"):
        project(torch.zeros(2, 3), "pca", 0)
