"""A gallery of real digits, trained once, and one real service in front of it."""

import io
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from cluster.ray_session import ray_session
from serve.catalog import ModelKey
from serve.exposure import configure_proxy
from serve.launch import Server, start
from serve.models import ModelCache
from serve.settings import ServiceSettings
from tests.serve.ports import free_port
from unlearn.fisher.generators import generator_fisher
from unlearn.gallery import Gallery
from unlearn.methods import make_method
from unlearn.models import Weights, build
from unlearn.splits import Dataset, Images
from unlearn.streams import stream
from unlearn.train import Training, fit

TOKEN = "correct-horse-battery-staple"
SHAPE = (1, 28, 28)
SHEET, READ = "/v1/models/digits/generate", "/v1/models/reader/classify"
GENERATOR_SCORES = {
    "forget_probability": 0.02,
    "original_forget_probability": 0.97,
    "oracle_forget_probability": 0.05,
    "retain_accuracy": 0.93,
    "original_retain_accuracy": 0.95,
    "oracle_retain_accuracy": 0.94,
    "class_accuracy": [0.9] * 10,
}
CLASSIFIER_SCORES = {
    "test_forget_accuracy": 0.0,
    "test_retain_accuracy": 0.95,
    "original_test_forget_accuracy": 0.98,
}


def card(task: str, model: str, method: str, **more: Any) -> dict[str, Any]:
    """Build the card of a model that forgot ones."""
    return {
        "task": task,
        "model": model,
        "dataset": "mnist5k",
        "shape": list(SHAPE),
        "classes": 10,
        "forget": [1],
        "method": method,
        "seed": 0,
        "provenance": {"cell_id": "0123456789abcdef"},
        **more,
    }


def train(name: str, images: Images, plan: Training) -> Weights:
    torch.manual_seed(0)
    return fit(build(name, SHAPE, 10), images, plan, stream(0, "fit"))[0]


def generators(digits: Dataset, effort: tuple[int, ...]) -> list[dict[str, Weights]]:
    """Train one original and oracle, and an amnesiac for each number of steps."""
    plan = Training(steps=100, batch=64, lr=2e-3, kl_weight=2, z_dropout=0.1)
    splits = digits.split([1])
    original = train("cvae-mlp", digits.train, plan)
    oracle = train("cvae-mlp", splits.train.retain, plan)
    model = build("cvae-mlp", SHAPE, 10, original)
    fisher = generator_fisher(model, 500, stream(0, "fisher"))
    made = []
    for steps in effort:
        method = make_method("selective-amnesia", {"steps": steps})
        amnesiac = method(model, splits, stream(0, "unlearn"), fisher=fisher).weights
        made.append({"original": original, "amnesiac": amnesiac, "oracle": oracle})
    return made


def classifiers(digits: Dataset) -> dict[str, Weights]:
    """Train an original and an oracle; the oracle also stands in for the amnesiac."""
    plan = Training(steps=60, batch=64, lr=5e-3)
    oracle = train("cnn", digits.split([1]).train.retain, plan)
    return {"original": train("cnn", digits.train, plan), "amnesiac": oracle, "oracle": oracle}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """A gallery of a generator (two versions) and a classifier, which no test changes."""
    root = tmp_path_factory.mktemp("gallery")
    gallery = Gallery(str(root))
    effort = (30, 60)
    for steps, variants in zip(effort, generators(digits, effort), strict=True):
        knobs = {"lam": 100.0, "gamma": 1.0, "steps": steps}
        generator = card(
            "generator", "cvae-mlp", "selective-amnesia", knobs=knobs, scores=GENERATOR_SCORES
        )
        gallery.publish("digits", variants, generator)
    reader = card("classifier", "cnn", "retrain", knobs={}, scores=CLASSIFIER_SCORES)
    gallery.publish("reader", classifiers(digits), reader)
    return root


@pytest.fixture
def gallery(made: Path, tmp_path: Path) -> Gallery:
    """A copy that a test may change."""
    shutil.copytree(made, tmp_path / "gallery")
    return Gallery(str(tmp_path / "gallery"))


@dataclass(frozen=True)
class LocalBackend:
    """A backend that runs the models in this process, for tests of the application alone."""

    cache: ModelCache

    async def generate(self, key: ModelKey, label: int, n: int, seed: int) -> NDArray[np.uint8]:
        return self.cache.generate(key, label, n, seed)

    async def classify(self, key: ModelKey, images: NDArray[np.float32]) -> NDArray[np.float64]:
        return self.cache.classify(key, images)

    async def missing(self) -> str | None:
        return None


def png(array: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", **options)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """Build a PNG that declares far more pixels than it holds (a decompression bomb)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        length, checksum = len(data), zlib.crc32(kind + data)
        return struct.pack(">I", length) + kind + data + struct.pack(">I", checksum)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 999))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


@pytest.fixture(scope="session")
def served(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """The gallery that the service reads; tests may change it and must put it back."""
    root = tmp_path_factory.mktemp("served") / "gallery"
    shutil.copytree(made, root)
    return Gallery(str(root))


@pytest.fixture(scope="session")
def server(served: Gallery) -> Iterator[Server]:
    """The service on a Ray of its own: HAProxy, two HTTP replicas, a token, a short queue."""
    settings = ServiceSettings(
        served.root, port=free_port(), token=TOKEN, replicas=2, queued=8, body_s=5
    )
    before = dict(os.environ)
    configure_proxy()
    try:
        with ray_session(None, service=True), start(settings) as running:
            yield running
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client that sends the token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as made:
        yield made


def error_line(answer: Any, status: int) -> str:
    """Check that an answer refuses with this status, and return its one line."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error"]
    line: str = body["error"]
    assert "\n" not in line
    return line
