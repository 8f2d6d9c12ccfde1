"""Load promoted models on first use, and run them. Uses torch only, no Ray."""

import json
import threading
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serve.catalog import ModelKey, Unservable, refusal
from unlearn.artifacts import Gallery
from unlearn.errors import BadInput
from unlearn.evaluation import draw
from unlearn.models import build


class ModelCache:
    """The most recently used models of a gallery, in memory. Answers one request at a time.

    gallery: where the weights are read from.
    device: where the models run, as torch names it.
    capacity: number of models (one variant of one version each) that stay loaded.
    """

    def __init__(self, gallery: Gallery, device: str = "cpu", capacity: int = 24) -> None:
        self._gallery = gallery
        self._device = device
        self._model = lru_cache(capacity)(self._load)
        self._lock = threading.Lock()

    def generate(self, key: ModelKey, label: int, n: int, seed: int) -> NDArray[np.uint8]:
        """Draw `n` images of `label`: uint8 (n, channels, height, width).

        The same arguments give the same images on one kind of device. All variants are drawn from
        the same latents. Raises `Unservable`.
        """
        with self._lock:
            images = draw(self._model(key), [label], n, seed, "serve")[0]
        self._check_finite(key, images)
        return images.mul(255).round().to(torch.uint8).cpu().numpy()

    @torch.no_grad()
    def classify(self, key: ModelKey, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return class probabilities (n, classes) of images (n, channels, height, width).

        Pixel values lie in [0, 1]. Raises `Unservable`.
        """
        with self._lock:
            logits = self._model(key)(torch.from_numpy(images).to(self._device))
        self._check_finite(key, logits)
        probabilities: NDArray[np.float64] = logits.double().softmax(1).cpu().numpy()
        return probabilities

    def _load(self, key: ModelKey) -> Any:
        try:
            weights = self._gallery.load(key.name, key.version, key.variant)
            options = json.loads(key.options)
            model = build(key.model, key.shape, key.classes, weights, options)
            return model.to(self._device)
        except (BadInput, OSError, LookupError, TypeError, RuntimeError) as error:
            raise Unservable(refusal(self._gallery, key.name, error)) from error

    def _check_finite(self, key: ModelKey, output: Tensor) -> None:
        if not bool(torch.isfinite(output).all()):
            error = BadInput(f"its {key.variant} weights give values that are not finite")
            raise Unservable(refusal(self._gallery, key.name, error))
