"""The accuracy of the three models while they learn the forgotten class again."""

from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import picture

MODES = {  # prefix of the mode's columns -> caption
    "": "Relearning the forgotten class from its images alone, in mini-batches.",
    "rehearsed_": "Relearning it beside kept images, with the head reset, in mini-batches.",
}


def section(context: Context) -> str:
    """Return "" where the spec did not ask for this attack."""
    row = context.row
    parts = []
    for mode, caption in MODES.items():
        if row.get(f"{mode}relearn_steps") is not None:
            parts.append(picture(figures.relearning(row, mode), caption))
    return "".join(parts)
