"""What a client may ask, and the one line that it is told when it asks for something else."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

import numpy as np
from fastapi import HTTPException, Request
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from serve.images import decode, parse
from unlearn.artifacts import VARIANTS
from unlearn.errors import BadInput, require

MAX_IMAGES = 256  # a request
MAX_SEED = 2**32 - 1
Variant = Literal["amnesiac", "original", "oracle"]
Format = Literal["png", "json", "npy"]


def _strict(value: Any) -> Any:
    """Neither true nor 3.5 is a whole number."""
    if isinstance(value, bool | float):
        raise ValueError("not a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_strict)]


class Sheet(BaseModel):
    """A sheet of generated images. Each description completes the sentence `<key> must be ...`."""

    model_config = ConfigDict(extra="forbid")

    label: Whole = Field(description="a whole number, a class of the model")
    n: Whole = Field(16, ge=1, le=MAX_IMAGES, description=f"a whole number from 1 to {MAX_IMAGES}")
    seed: Whole = Field(0, ge=0, le=MAX_SEED, description=f"a whole number from 0 to {MAX_SEED}")
    variant: Variant = Field("amnesiac", description=f"one of {', '.join(VARIANTS)}")

    def check(self, classes: int) -> None:
        """Refuse a label that the model does not have."""
        require(
            0 <= self.label < classes,
            f"label must be a whole number from 0 to {classes - 1}, not {self.label}",
        )


class Batch(Sheet):
    """A sheet, or the images themselves."""

    format: Format = Field("png", description=f"one of {', '.join(get_args(Format))}")


class Images(BaseModel):
    """Images to classify."""

    model_config = ConfigDict(extra="forbid")

    images: list[Any] = Field(
        min_length=1,
        max_length=MAX_IMAGES,
        description=f"a list of 1 to {MAX_IMAGES} images: nested lists of pixel values in [0, 1], or base64 PNG files",
    )
    variant: Variant = Field("amnesiac", description=f"one of {', '.join(VARIANTS)}")


def sentence(errors: Sequence[Any], model: type[BaseModel]) -> str:
    """The first of pydantic's errors in one line: the key, what it must be, what it was. Unknown keys come first, since
    a misspelt key also shows as a missing one."""
    error = min(errors, key=lambda error: error["type"] != "extra_forbidden")
    fields = model.model_fields
    key = next((str(part) for part in error["loc"] if part in fields), None)
    if error["type"] == "extra_forbidden":
        return f"unknown key {str(error['loc'][-1])[:60]!r}; allowed: {', '.join(fields)}"
    if key is None:
        return f"the body must be a JSON object with the keys {', '.join(fields)}, sent as application/json"
    if error["type"] == "missing":
        return f"{key} is missing; it must be {fields[key].description}"
    return f"{key} must be {fields[key].description}, not {_short(error['input'])}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


async def uploaded(
    request: Request, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float32], str]:
    """The images (n, *shape) in [0, 1] and the variant of a classify request: a form with files, or JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form(request, shape)
    if kind == "application/json":
        return await _json(request, shape)
    raise HTTPException(
        415, "send image files as multipart/form-data, or {'images': [...]} as application/json"
    )


async def _json(request: Request, shape: tuple[int, int, int]) -> tuple[NDArray[np.float32], str]:
    body = await request.body()
    try:
        asked = await run_in_threadpool(Images.model_validate_json, body)
    except ValidationError as error:
        raise BadInput(sentence(error.errors(), Images)) from error
    return await run_in_threadpool(parse, asked.images, shape), asked.variant


async def _form(request: Request, shape: tuple[int, int, int]) -> tuple[NDArray[np.float32], str]:
    async with request.form(max_files=MAX_IMAGES + 1, max_fields=8) as form:
        fields = [
            (name, value) for name, value in form.multi_items() if not isinstance(value, UploadFile)
        ]
        files = [
            await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)
        ]
    for name, value in fields:
        require(
            name == "variant",
            f"unknown form field {name[:60]!r}; allowed: variant, and image files",
        )
        require(
            value in VARIANTS, f"variant must be one of {', '.join(VARIANTS)}, not {_short(value)}"
        )
    require(1 <= len(files) <= MAX_IMAGES, f"send 1 to {MAX_IMAGES} image files, not {len(files)}")
    pixels = await run_in_threadpool(lambda: np.stack([decode(data, shape) for data in files]))
    return pixels, str(dict(fields).get("variant", "amnesiac"))
