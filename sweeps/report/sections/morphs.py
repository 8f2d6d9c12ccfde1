"""Morphs by the sweep's best cell, from one label to another: kept to forgotten, kept to kept."""

from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import picture
from unlearn.generators.latents import morph
from unlearn.streams import stream

ROWS, STEPS = 10, 12


def section(context: Context) -> str:
    if not context.is_best:
        return ""
    forget = context.models.problem.forget
    pairs = routes(forget, context.models.dataset.classes)
    return "".join(_morph(context, start, end) for start, end in pairs)


def _morph(context: Context, start: int, end: int) -> str:
    problem = context.models.problem
    images = {}
    for kind, model in context.models.by_kind.items():
        generator = stream(problem.seed, "morph")  # the same latents for every model
        images[kind] = morph(model, start, end, ROWS, STEPS, generator)
    fate = "forgotten" if end in problem.forget else "kept"
    caption = (
        f"Label {start} to {end} ({fate}). The label is interpolated linearly, the latent "
        "spherically; each row has a latent pair of its own."
    )
    return picture(figures.mosaics(images), caption)


def routes(forget: tuple[int, ...], classes: int) -> list[tuple[int, int]]:
    """Return the pairs (start, end) of labels to morph: 7 to the first forgotten one, and 3 to 9.

    These are the pairs of seed 000. If 7, 3 or 9 is forgotten or does not exist, the first and last
    kept labels replace them. If only one label is kept, there is no second pair.
    """
    kept = [label for label in range(classes) if label not in forget]
    start = 7 if 7 in kept else kept[0]
    to_forgotten = (start, forget[0])
    if len(kept) < 2:
        return [to_forgotten]
    between_kept = (3, 9) if {3, 9} <= set(kept) else (kept[0], kept[-1])
    return [to_forgotten, between_kept]
