"""Load promoted models on first use, and run them. Uses torch only, no Ray."""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
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
    on_load: called with the key and the seconds that it took when a model was loaded.
    """

    def __init__(
        self,
        gallery: Gallery,
        device: str = "cpu",
        capacity: int = 24,
        on_load: Callable[[ModelKey, float], None] | None = None,
    ) -> None:
        self._gallery = gallery
        self._device = device
        self._on_load = on_load
        self._capacity = capacity
        self._models: OrderedDict[ModelKey, Any] = OrderedDict()  # least recently used first
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

    def holds(self, key: ModelKey) -> bool:
        """Tell whether a model is in memory."""
        return key in self._models

    def _model(self, key: ModelKey) -> Any:
        """Return a model, loaded if it must be. The caller holds the lock."""
        if key not in self._models:
            self._load(key)
        self._models.move_to_end(key)
        return self._models[key]

    def _load(self, key: ModelKey) -> None:
        """Load a model, and drop the least recently used one if there are too many."""
        started = time.perf_counter()
        self._models[key] = self._build(key)
        if len(self._models) > self._capacity:
            self._models.popitem(last=False)
        if self._on_load is not None:
            self._on_load(key, time.perf_counter() - started)

    def _build(self, key: ModelKey) -> Any:
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
