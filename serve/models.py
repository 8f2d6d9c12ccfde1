"""Load promoted models on first use, and run them. Uses torch only, no Ray."""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from serve.catalog import ModelKey, Unservable, refusal
from unlearn.errors import BadInput, require
from unlearn.evaluation import draw, latents
from unlearn.gallery import Gallery
from unlearn.models import build
from unlearn.models.base import Generative


@dataclass
class Draw:
    """A request for images that waits for its turn.

    key, label, n, seed: what is asked.
    images: the images (n, channels, height, width), once they are drawn.
    error: why they could not be.
    """

    key: ModelKey
    label: int
    n: int
    seed: int
    images: Tensor | None = None
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.images is not None or self.error is not None

    def result(self) -> Tensor:
        """Return the images. Raises the error if there is one."""
        if self.error is not None:
            raise self.error
        require(self.images is not None, "the images are not drawn yet; take a turn first")
        return cast(Tensor, self.images)


class ModelCache:
    """The most recently used models of a gallery, in memory. One of them runs at a time.

    gallery: where the weights are read from.
    device: where the models run, as torch names it.
    capacity: number of models (one variant of one version each) that stay loaded.
    batch: images that a generator draws at a time; concurrent requests for one model share batches.
        Every batch has exactly this size, so an image has the same bytes whatever it is drawn with.
        0 draws every request alone, at its own size.
    on_load: called with the key and the seconds that it took when a model was loaded.
    """

    def __init__(
        self,
        gallery: Gallery,
        device: str = "cpu",
        capacity: int = 24,
        batch: int = 0,
        on_load: Callable[[ModelKey, float], None] | None = None,
    ) -> None:
        self._gallery = gallery
        self._device = device
        self._batch = batch
        self._on_load = on_load
        self._waiting: list[Draw] = []
        self._queue = threading.Lock()  # of `_waiting`
        self._capacity = capacity
        self._models: OrderedDict[ModelKey, Any] = OrderedDict()  # least recently used first
        self._lock = threading.Lock()

    def generate(self, key: ModelKey, label: int, n: int, seed: int) -> NDArray[np.uint8]:
        """Draw `n` images of `label`: uint8 (n, channels, height, width).

        The same arguments give the same images on one kind of device. All variants are drawn from
        the same latents. Raises `Unservable`.
        """
        if self._batch:
            images = self._draw_together(Draw(key, label, n, seed))
        else:
            with self._lock:
                images = draw(self._model(key), [label], n, seed, "serve")[0]
        self._check_finite(key, images)
        return images.mul(255).round().to(torch.uint8).cpu().numpy()

    def _draw_together(self, asked: Draw) -> Tensor:
        """Wait for a turn, and use it for every request for the same model that waits by then."""
        with self._queue:
            self._waiting.append(asked)
        with self._lock:
            if not asked.done:  # else another's turn has drawn it
                self._draw_all(asked.key, self._take(asked.key))
        return asked.result()

    def _take(self, key: ModelKey) -> list[Draw]:
        """Take the requests for a model out of the queue."""
        with self._queue:
            taken = [draw for draw in self._waiting if draw.key == key]
            self._waiting = [draw for draw in self._waiting if draw.key != key]
        return taken

    @torch.no_grad()
    def _draw_all(self, key: ModelKey, draws: list[Draw]) -> None:
        """Draw what is asked of one model; write the images, or the error, into each request."""
        try:
            model = self._model(key)
            made = [latents(model, draw.label, draw.n, draw.seed, "serve") for draw in draws]
            z, classes = (torch.cat(parts) for parts in zip(*made, strict=True))
            images = self._in_batches(model, z, classes)
            sizes = [draw.n for draw in draws]
            for draw, part in zip(draws, images.split(sizes), strict=True):
                draw.images = part
        except (Unservable, RuntimeError) as error:
            for draw in draws:
                draw.error = error

    def _in_batches(self, model: Generative, z: Tensor, classes: Tensor) -> Tensor:
        """Run a generator on batches of exactly `batch` rows; the last one is filled with zeros."""
        count = len(z)
        missing = -count % self._batch
        z, classes = F.pad(z, (0, 0, 0, missing)), F.pad(classes, (0, 0, 0, missing))
        pairs = zip(z.split(self._batch), classes.split(self._batch), strict=True)
        drawn = [model(rows, labels) for rows, labels in pairs]
        return torch.cat(drawn)[:count]

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
