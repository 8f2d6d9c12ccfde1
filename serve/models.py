"""The promoted models in memory: asked for images or probabilities, loaded on first use. Torch only, no Ray."""

import json
import threading
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serve.catalog import Pick, Unservable, refusal
from unlearn.artifacts import Gallery
from unlearn.errors import BadInput
from unlearn.evaluation import draw
from unlearn.models import build


class ModelCache:
    """Keeps the `capacity` most recently used variants of a gallery on `device`; answers one request at a time."""

    def __init__(self, gallery: Gallery, device: str = "cpu", capacity: int = 24) -> None:
        self._gallery, self._device = gallery, device
        self._model = lru_cache(capacity)(self._load)
        self._turn = threading.Lock()

    def generate(self, pick: Pick, label: int, n: int, seed: int) -> NDArray[np.uint8]:
        """`n` images of `label`, uint8 (n, channels, height, width), the same for the same pick and arguments on one
        kind of device. Every variant is drawn from the same latents. Raises `Unservable`."""
        with self._turn:
            images = draw(self._model(pick), [label], n, seed, "serve")[0]
        return self._finite(pick, images).mul(255).round().to(torch.uint8).cpu().numpy()

    @torch.no_grad()
    def classify(self, pick: Pick, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Class probabilities (n, classes) of images (n, channels, height, width) in [0, 1]. Raises `Unservable`."""
        with self._turn:
            logits = self._model(pick)(torch.from_numpy(images).to(self._device))
        return self._finite(pick, logits).double().softmax(1).cpu().numpy()

    def _load(self, pick: Pick) -> Any:
        try:
            weights = self._gallery.load(pick.name, pick.version, pick.variant)
            return build(
                pick.model, pick.shape, pick.classes, weights, json.loads(pick.options)
            ).to(self._device)
        except (BadInput, OSError, LookupError, TypeError, RuntimeError) as error:
            raise Unservable(refusal(self._gallery, pick.name, error)) from error

    def _finite(self, pick: Pick, answer: Tensor) -> Tensor:
        if not bool(torch.isfinite(answer).all()):
            error = BadInput(f"its {pick.variant} weights give values that are not finite")
            raise Unservable(refusal(self._gallery, pick.name, error))
        return answer
