"""Relearning: how many steps until the forgotten class is back, from a few of its images or from none of them."""

import copy
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from unlearn.attacks.generators.base import Context, Outcome, images_outcome
from unlearn.models.base import Generative
from unlearn.objectives import generator_loss
from unlearn.splits import Images

STEPS, EVERY, BATCH, LR, RECOVERED = 200, 5, 64, 1e-3, 0.5


def shots(images: Images, per_class: int, generator: torch.Generator) -> Images:
    """`per_class` images of every class in `images`, repeated to fill a batch."""
    chosen = []
    for label in images.y.unique().tolist():
        places = (images.y == label).nonzero().squeeze(1)
        order = torch.randperm(len(places), generator=generator, device=generator.device).to(
            places.device
        )
        chosen.append(places[order[:per_class]])
    index = torch.cat(chosen)
    return images.take(index.repeat(-(-BATCH // len(index))))


def _taught(
    subject: Generative, batches: Iterator[tuple[Tensor, Tensor]], generator: torch.Generator
) -> Iterator[int]:
    """Train `subject` in place on its own objective; yields the number of steps done, every 5 steps."""
    optimizer = torch.optim.Adam(subject.parameters(), lr=LR)
    for step in range(1, STEPS * 1000):
        x, y = (part.to(generator.device) for part in next(batches))
        optimizer.zero_grad(set_to_none=True)
        generator_loss(subject, x, y, generator).mean().backward()
        optimizer.step()
        if step % EVERY == 0:
            yield step


def probe(
    subject: Generative, context: Context, generator: torch.Generator, per_class: int | None = None
) -> Outcome:
    """Fine-tune a copy, Adam 1e-3, batch 64, for 200 x effort steps on `per_class` training images of each forgotten
    class (None: on kept images alone), asking every 5 steps for `trials` images on fixed latents.

    `steps`: when the grader first reads half of them as the forgotten class; `hits`: at the end.
    """
    pupil = copy.deepcopy(subject)
    train, device = context.splits.train, generator.device
    images = train.retain if per_class is None else shots(train.forget, per_class, generator)
    wanted = context.wanted(context.trials, device)
    z = torch.randn(context.trials, subject.z_dim, generator=generator, device=device)
    reached = None
    for step in _taught(pupil, images.batches(BATCH, generator), generator):
        with torch.no_grad():
            drawn = pupil(z, pupil.one_hot(wanted))
        if reached is None and context.graded(drawn, wanted).float().mean() >= RECOVERED:
            reached = step
        if step >= context.steps(STEPS):
            break
    end = images_outcome(context, drawn, wanted)
    return Outcome(end.hits, end.trials, end.pictures, reached, reached is not None)


SHOTS = {f"relearn-{n}": partial(probe, per_class=n) for n in (1, 10, 100)}
