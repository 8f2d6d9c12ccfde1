"""What the service is measured against: FastAPI and uvicorn alone, with the same models and PNGs.

    GALLERY=DIR python -m uvicorn --factory tests.benchmarks.plain:app --port PORT --no-access-log

It is what one would write in an afternoon: no token, no limits, no deadlines, no metrics, and a
gallery that is read once.
"""

import io
import os
from typing import Annotated, Any

import numpy as np
import torch
from fastapi import FastAPI, File, Header, Response, UploadFile
from PIL import Image

from serve.catalog import Catalog
from serve.images import sheet
from serve.models import ModelCache
from unlearn.digests import digest
from unlearn.gallery import Gallery


def app() -> FastAPI:
    torch.set_num_threads(1)
    gallery = Gallery(os.environ["GALLERY"])
    catalog, cache = Catalog(gallery), ModelCache(gallery)
    entries = {name: catalog.entry(name) for name in gallery.names()}
    made = FastAPI()

    @made.get("/v1/models/{name}/generate")
    def generate(
        name: str,
        label: int,
        n: int = 16,
        seed: int = 0,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        key = entries[name].key("amnesiac")
        tag = f'"{digest([key.sha256, label, n, seed])}"'
        if if_none_match == tag:
            return Response(status_code=304, headers={"ETag": tag})
        png = sheet(cache.generate(key, label, n, seed))
        return Response(png, media_type="image/png", headers={"ETag": tag})

    @made.post("/v1/models/{name}/classify")
    def classify(name: str, image: Annotated[UploadFile, File()]) -> dict[str, Any]:
        pixels = np.asarray(Image.open(io.BytesIO(image.file.read())), np.float32) / np.float32(255)
        probabilities = cache.classify(entries[name].key("amnesiac"), pixels[None, None])
        return {"probabilities": probabilities.tolist()}

    return made
