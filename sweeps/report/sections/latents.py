"""The latent space of the sweep's best cell: images decoded from it, test images encoded to it."""

from torch import Tensor

from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import picture
from sweeps.report.projections import project, projections_for
from unlearn.generators.latents import displacement, encodings, plane, slerp_grid
from unlearn.streams import stream

PER_CLASS = 40  # test images that are encoded
SIDE = 12  # of the grid between four latents


def section(context: Context) -> str:
    if not context.is_best:
        return ""
    models, test = context.models.by_kind, context.models.dataset.test
    before, labels = encodings(models["original"], test, PER_CLASS)
    after, _ = encodings(models["amnesiac"], test, PER_CLASS)
    return (
        _plane(context, before)
        + _between_corners(context)
        + _maps(context, before, after, labels)
        + _moved(context, before, after, labels)
    )


def _plane(context: Context, latents: Tensor) -> str:
    label = context.models.problem.forget[0]
    images = {}
    for kind, model in context.models.by_kind.items():
        images[kind] = plane(model, latents, label)
    two = latents.shape[1] == 2
    span = "the latent plane" if two else "the first two principal components of z"
    caption = (
        f"Images under label {label} over {span}, +-3 standard deviations. "
        "Grey zones decode to nothing."
    )
    return picture(figures.mosaics(images), caption)


def _between_corners(context: Context) -> str:
    problem = context.models.problem
    label = problem.forget[0]
    images = {}
    for kind, model in context.models.by_kind.items():
        generator = stream(problem.seed, "slerp")  # the same four latents for every model
        images[kind] = slerp_grid(model, label, SIDE, generator)
    caption = f"Images under label {label} between four latents, interpolated spherically."
    return picture(figures.mosaics(images), caption)


def _maps(context: Context, before: Tensor, after: Tensor, labels: Tensor) -> str:
    problem, parts = context.models.problem, []
    for name in projections_for(before.shape[1]):
        points = {
            "before": project(before, name, problem.seed),
            "after": project(after, name, problem.seed),
        }
        figure = figures.scatter(points, labels, problem.forget)
        caption = f"Latents of test images, {name}; crosses are forgotten classes."
        parts.append(picture(figure, caption))
    return "".join(parts)


def _moved(context: Context, before: Tensor, after: Tensor, labels: Tensor) -> str:
    moved = displacement(before, after, labels).tolist()
    forget = context.models.problem.forget
    figure = figures.displacements(moved, labels.unique().tolist(), forget)
    return picture(figure, "How far the encoder moved each class.")
