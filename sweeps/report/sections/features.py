"""A map of the features of test images: original, the sweep's best cell, oracle."""

import torch

from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import picture
from sweeps.report.projections import project, projections_for
from unlearn.splits import Images

PER_CLASS = 40  # test images


def section(context: Context) -> str:
    """Return "" for models without a method `features`."""
    if not context.is_best:
        return ""
    models, problem = context.models.by_kind, context.models.problem
    if not all(hasattr(model, "features") for model in models.values()):
        return ""
    shown = _first_of_each_class(context.models.dataset.test)
    pixels = shown.pixels()
    with torch.no_grad():
        features = {kind: model.features(pixels) for kind, model in models.items()}
    parts = []
    for name in projections_for(features["original"].shape[1]):
        points = {}
        for kind, seen in features.items():
            points[kind] = project(seen, name, problem.seed)
        figure = figures.scatter(points, shown.y, problem.forget)
        caption = f"Features of test images, {name}; crosses are forgotten classes."
        parts.append(picture(figure, caption))
    return "".join(parts)


def _first_of_each_class(images: Images) -> Images:
    """Return the first `PER_CLASS` images of every class."""
    places = []
    for label in images.y.unique():
        of_class = (images.y == label).nonzero().squeeze(1)
        places.append(of_class[:PER_CLASS])
    return images.take(torch.cat(places))
