"""Pictures of one chosen cell, beside its original and its oracle: (figure, caption) pairs for the report."""

import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

from sweeps.compute.restore import cache_for, cell_from, weights_of
from sweeps.report import figures
from sweeps.spec.cells import Problem
from unlearn.artifacts import Store
from unlearn.errors import require
from unlearn.evaluation import draw
from unlearn.generators.latents import displacement, encodings, morph, plane, slerp_grid
from unlearn.streams import stream

Picture = tuple[Figure, str]
PER_CLASS = 40  # points a class in a map


def models_of(row: pd.Series, data_root: str) -> tuple[Problem, Any, dict[str, Any]]:
    """The row's group, a worker cache, and its three models by kind."""
    cell, cache = cell_from(row), cache_for(row, data_root)
    problem = cell.problem
    amnesiac = cache.build(problem.original, weights_of(cache, cell, row))
    models = {
        "original": cache.model(problem.original),
        "amnesiac": amnesiac,
        "oracle": cache.model(problem.oracle),
    }
    return problem, cache, models


def grids(row: pd.Series, data_root: str, n: int = 8) -> Figure:
    """Before | after | oracle on the same latents."""
    problem, cache, models = models_of(row, data_root)
    labels = list(range(cache.dataset(problem.dataset).classes))
    pictures = {
        kind: draw(model, labels, n, problem.seed, "report") for kind, model in models.items()
    }
    return figures.sheets(
        {
            "oracle (never saw it)" if kind == "oracle" else kind: images
            for kind, images in pictures.items()
        },
        labels,
        problem.forget,
    )


def of_generator(row: pd.Series, data_root: str) -> Iterator[Picture]:
    """Morphs into the forgotten class and between kept ones, the decoded plane, slerp grids, and maps of z."""
    problem, cache, models = models_of(row, data_root)
    images, lost = cache.dataset(problem.dataset).test, problem.forget[0]
    for start, end in _ways(problem.forget, cache.dataset(problem.dataset).classes):
        ways = {
            kind: morph(m, start, end, 10, 12, stream(problem.seed, "morph"))
            for kind, m in models.items()
        }
        fate = "forgotten" if end in problem.forget else "kept"
        yield (
            figures.mosaics(ways),
            f"Label {start} to {end} ({fate}): label straight, latents slerped, a row each.",
        )
    before, labels = encodings(models["original"], images, PER_CLASS)
    after, _ = encodings(models["amnesiac"], images, PER_CLASS)
    planes = {kind: plane(model, before, lost) for kind, model in models.items()}
    span = "the latent plane" if before.shape[1] == 2 else "the first two principal components of z"
    yield figures.mosaics(planes), f"Label {lost} over {span}, +-3 deviations: grey zones are dead."
    slerps = {
        kind: slerp_grid(model, lost, 12, stream(problem.seed, "slerp"))
        for kind, model in models.items()
    }
    yield figures.mosaics(slerps), f"Label {lost} between four latents, slerped both ways."
    for name in maps(before.shape[1]):
        points = {
            "before": embed(before, name, problem.seed),
            "after": embed(after, name, problem.seed),
        }
        yield (
            figures.scatter(points, labels, problem.forget),
            f"Encoded test images, {name}; forgotten classes crossed.",
        )
    moved, classes = displacement(before, after, labels).tolist(), labels.unique().tolist()
    yield (
        figures.displacements(moved, classes, problem.forget),
        "How far the encoder moved each class.",
    )


def _ways(forget: tuple[int, ...], classes: int) -> list[tuple[int, int]]:
    """Seed 000's morphs, 7 to the forgotten 0 and 3 to 9, where those labels fit; else the nearest that do."""
    kept = [label for label in range(classes) if label not in forget]
    start = 7 if 7 in kept else kept[0]
    pair = (3, 9) if {3, 9} <= set(kept) else (kept[0], kept[-1])
    return [(start, forget[0]), *([pair] if len(kept) > 1 else [])]


def of_classifier(row: pd.Series, data_root: str) -> Iterator[Picture]:
    """Confusion matrices and a map of the features, before and after."""
    size = round(len(row["test_confusion"]) ** 0.5)
    columns = {
        "original": "original_test_confusion",
        "amnesiac": "test_confusion",
        "oracle": "oracle_test_confusion",
    }
    tables = {kind: np.asarray(row[column]).reshape(size, size) for kind, column in columns.items()}
    yield (
        figures.confusions(tables, row["forget"]),
        "Confusion on test, each row a share of its class.",
    )
    problem, cache, models = models_of(row, data_root)
    images = cache.dataset(problem.dataset).test
    chosen = images.take(
        torch.cat([(images.y == c).nonzero().squeeze(1)[:PER_CLASS] for c in images.y.unique()])
    )
    if all(hasattr(model, "features") for model in models.values()):
        with torch.no_grad():
            features = {kind: model.features(chosen.pixels()) for kind, model in models.items()}
        for name in maps(features["original"].shape[1]):
            points = {kind: embed(seen, name, problem.seed) for kind, seen in features.items()}
            yield (
                figures.scatter(points, chosen.y, problem.forget),
                f"Features of test images, {name}; forgotten: x.",
            )


def maps(dimensions: int) -> list[str]:
    """How latents are put on paper: as they are in two dimensions, else by t-SNE, and by UMAP where it is installed."""
    if dimensions == 2:
        return ["as they are"]
    return ["t-SNE", *(["UMAP"] if importlib.util.find_spec("umap") else [])]


def embed(points: Tensor, name: str, seed: int) -> Tensor:
    """Points (n, d) as (n, 2), by `t-SNE`, `UMAP` (the `umap` extra) or `as they are`."""
    require(
        name in ("t-SNE", "UMAP", "as they are"),
        f"unknown map {name!r}; known: t-SNE, UMAP, as they are",
    )
    if name == "as they are":
        return points
    if name == "t-SNE":
        made = TSNE(init="pca", random_state=seed, perplexity=min(30, (len(points) - 1) / 3))
    else:
        made = importlib.import_module("umap").UMAP(random_state=seed)
    with threadpool_limits(1):  # a few hundred points: a second thread costs more than it brings
        return torch.from_numpy(np.asarray(made.fit_transform(points.cpu().numpy())))


def stored(row: pd.Series) -> dict[str, Tensor]:
    """What the cell left in the store for the report: its film, its probes' pictures; {} where the store has none."""
    store = Store(row["store"])
    return (
        dict(store.load("pictures", row["cell_id"]))
        if store.has("pictures", row["cell_id"])
        else {}
    )
