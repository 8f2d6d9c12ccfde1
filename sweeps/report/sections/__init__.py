"""The sections that the page shows for each problem: one file each, `section(context) -> html`.

A section that has nothing to show returns "". To add one, write its file and name it in `SECTIONS`.
"""

from collections.abc import Callable

from sweeps.report.context import Context
from sweeps.report.sections import (
    attacks,
    choice,
    classes,
    confusion,
    cost,
    curves,
    features,
    front,
    judges,
    knobs,
    latents,
    morphs,
    recording,
    relearning,
    samples,
    scores,
)

Section = Callable[[Context], str]

SECTIONS: dict[str, list[Section]] = {  # by task, in the order of the page
    "generator": [
        choice.section,
        cost.section,
        scores.section,
        attacks.section,
        judges.section,
        samples.section,
        recording.section,
        front.section,
        knobs.section,
        morphs.section,
        latents.section,
        classes.section,
        relearning.section,
        curves.section,
    ],
    "classifier": [
        choice.section,
        cost.section,
        scores.section,
        attacks.section,
        front.section,
        knobs.section,
        confusion.section,
        features.section,
        classes.section,
        relearning.section,
        curves.section,
    ],
}
