"""Record what a generator draws at some steps of its own unlearning; encode the record as a GIF."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from unlearn.streams import stream

FRAMES = 24  # at most, per recording
LATENTS = 4  # images per label in a frame
LAST_FRAME = 8  # a GIF shows its last frame 8 times as long as the others


class Recorder:
    """A `watch` callback for `descend` that draws the same latents of every label at some steps.

    It draws at step 0 and at up to 23 geometrically spaced steps, which are dense at the start,
    where images change most. It changes nothing in the model. `frames` holds uint8 tensors
    (labels, 4, channels, height, width); `steps` holds the step of each.

    z_dim: size of a latent
    classes: number of labels
    total: steps of the whole unlearning
    seed: of the latents
    device: where the model is
    """

    def __init__(self, z_dim: int, classes: int, total: int, seed: int, device: str) -> None:
        spaced = np.geomspace(1, total, FRAMES - 1).round().astype(int)
        self.moments = {0, *spaced.tolist()}
        generator = stream(seed, "film")
        latents = torch.randn(classes * LATENTS, z_dim, generator=generator)
        self.z = latents.to(device)
        self.labels = torch.arange(classes, device=device).repeat_interleave(LATENTS)
        self.frames: list[Tensor] = []
        self.steps: list[int] = []

    @torch.no_grad()
    def __call__(self, step: int, model: nn.Module) -> None:
        """Draw a frame if `step` is one to record; the model stays in the mode that it was in."""
        if step not in self.moments:
            return
        training = model.training
        images = model.eval()(self.z, model.one_hot(self.labels))  # type: ignore[operator]
        model.train(training)
        pixels = (images * 255).round().to(torch.uint8)
        by_label = pixels.unflatten(0, (-1, LATENTS))
        self.frames.append(by_label.cpu())
        self.steps.append(step)

    def pictures(self) -> dict[str, Tensor]:
        """Return the recording for the store; {} where nothing was recorded.

        `film` is (t, labels, 4, channels, height, width), uint8; `film_steps` is (t,).
        """
        if not self.frames:
            return {}
        return {"film": torch.stack(self.frames), "film_steps": torch.tensor(self.steps)}


def gif(film: Tensor, seconds: float = 0.25) -> bytes:
    """Encode frames (t, labels, n, channels, height, width), uint8, as an animated GIF.

    A column holds one label, a row one latent. One image pixel is one GIF pixel: the page enlarges
    the GIF, which costs no bytes. `seconds`: how long a frame stays; the last one stays longer.
    """
    t, labels, n, channels, height, width = film.shape
    by_row = film.permute(0, 2, 4, 1, 5, 3)
    sheets = by_row.reshape(t, n * height, labels * width, channels)
    if channels == 1:
        sheets = sheets.squeeze(-1)
    first, *others = map(Image.fromarray, sheets.numpy())
    pause = int(seconds * 1000)  # Pillow takes milliseconds
    durations = [pause] * (t - 1) + [LAST_FRAME * pause]
    sink = io.BytesIO()
    first.save(sink, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    return sink.getvalue()
