"""Project latents or features (n, d) to points in the plane (n, 2)."""

import importlib
import importlib.util

import numpy as np
import torch
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

from unlearn.errors import require

PROJECTIONS = ("as they are", "t-SNE", "UMAP")


def projections_for(dimensions: int) -> list[str]:
    """Return the projections to show: none for two dimensions, UMAP only if it is installed."""
    if dimensions == 2:
        return ["as they are"]
    if importlib.util.find_spec("umap"):
        return ["t-SNE", "UMAP"]
    return ["t-SNE"]


def project(points: Tensor, name: str, seed: int) -> Tensor:
    """Project points (n, d) to (n, 2).

    name: `t-SNE`, `UMAP` (needs the `umap` extra), or `as they are` (d is 2)
    """
    known = ", ".join(PROJECTIONS)
    require(name in PROJECTIONS, f"unknown projection {name!r}; known: {known}")
    if name == "as they are":
        return points
    if name == "t-SNE":
        perplexity = min(30, (len(points) - 1) / 3)
        projection = TSNE(init="pca", random_state=seed, perplexity=perplexity)
    else:
        projection = importlib.import_module("umap").UMAP(random_state=seed)
    with threadpool_limits(1):  # more threads are slower on so few points
        projected = projection.fit_transform(points.cpu().numpy())
    return torch.from_numpy(np.asarray(projected))
