"""A film of forgetting: what a generator draws, at moments of its own unlearning."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from unlearn.streams import stream

FRAMES, TILES = 24, 4


class Film:
    """A `watch` for `descend`: the same latents of every label, drawn at up to 24 steps, closer at the start.

    `frames` holds uint8 tensors (labels, 4, channels, height, width), `steps` when each was drawn.
    """

    def __init__(self, z_dim: int, classes: int, total: int, seed: int, device: str) -> None:
        self.moments = {0, *np.geomspace(1, total, FRAMES - 1).round().astype(int).tolist()}
        self.z = torch.randn(classes * TILES, z_dim, generator=stream(seed, "film")).to(device)
        self.labels = torch.arange(classes, device=device).repeat_interleave(TILES)
        self.frames: list[Tensor] = []
        self.steps: list[int] = []

    @torch.no_grad()
    def __call__(self, step: int, model: nn.Module) -> None:
        if step not in self.moments:
            return
        training = model.training
        images = model.eval()(self.z, model.one_hot(self.labels))  # type: ignore[operator]
        model.train(training)
        self.frames.append((images * 255).round().to(torch.uint8).unflatten(0, (-1, TILES)).cpu())
        self.steps.append(step)

    def pictures(self) -> dict[str, Tensor]:
        """For the store: `film` (t, labels, 4, channels, height, width) and `film_steps` (t,); {} where nothing ran."""
        return (
            {"film": torch.stack(self.frames), "film_steps": torch.tensor(self.steps)}
            if self.frames
            else {}
        )


def gif(film: Tensor, seconds: float = 0.25) -> bytes:
    """An animated GIF of a film (t, labels, n, channels, height, width): a column a label, a row a latent, one pixel a
    pixel, since a page can enlarge it for nothing."""
    t, labels, n, channels, height, width = film.shape
    sheet = film.permute(0, 2, 4, 1, 5, 3).reshape(t, n * height, labels * width, channels)
    frames = [
        Image.fromarray(frame.squeeze(-1) if channels == 1 else frame) for frame in sheet.numpy()
    ]
    sink, pause = io.BytesIO(), int(seconds * 1000)
    lasting = [pause] * (t - 1) + [8 * pause]
    frames[0].save(sink, "GIF", save_all=True, append_images=frames[1:], duration=lasting, loop=0)
    return sink.getvalue()
