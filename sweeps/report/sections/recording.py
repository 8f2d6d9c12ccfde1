"""An animation of what the generator drew while it unlearned."""

from sweeps.compute.recorder import gif
from sweeps.report.context import Context
from sweeps.report.elements import image


def section(context: Context) -> str:
    pictures = context.pictures
    if "film" not in pictures:
        return ""
    last = int(pictures["film_steps"][-1])
    caption = f"Images drawn while unlearning, from step 0 to step {last}; one column per label."
    return image(gif(pictures["film"]), "gif", caption)
