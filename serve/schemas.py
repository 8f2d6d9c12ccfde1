"""Define what a client may ask, and explain in one line what is wrong with another request."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

import numpy as np
from fastapi import HTTPException, Request
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from serve.images import Fit, Shape, decode_all, parse
from unlearn.errors import BadInput, require
from unlearn.gallery import VARIANTS

MAX_IMAGES = 256  # per request
MAX_SEED = 2**32 - 1
QUICK = 4096  # decoding files of so many bytes takes less time than handing the work to a thread
VARIANT_RULE = f"one of {', '.join(VARIANTS)}"
FIT_RULE = "pad or crop: how files of another size are scaled; left out, they are refused"
Variant = Literal["amnesiac", "original", "oracle"]
Format = Literal["png", "json", "npy"]


def _refuse_non_integers(value: Any) -> Any:
    """Refuse `true` and 3.0, which pydantic would read as whole numbers."""
    if isinstance(value, bool | float):
        raise ValueError("not a whole number")
    return value


WholeNumber = Annotated[int, BeforeValidator(_refuse_non_integers)]


class SheetRequest(BaseModel):
    """What GET and POST generate share. Each description completes `<key> must be ...`."""

    model_config = ConfigDict(extra="forbid")

    label: WholeNumber = Field(description="a whole number, a class of the model")
    n: WholeNumber = Field(
        16, ge=1, le=MAX_IMAGES, description=f"a whole number from 1 to {MAX_IMAGES}"
    )
    seed: WholeNumber = Field(
        0, ge=0, le=MAX_SEED, description=f"a whole number from 0 to {MAX_SEED}"
    )
    variant: Variant = Field("amnesiac", description=VARIANT_RULE)

    def check(self, classes: int) -> None:
        """Refuse a label that the model does not have."""
        require(
            0 <= self.label < classes,
            f"label must be a whole number from 0 to {classes - 1}, not {self.label}",
        )


class SheetQuery(SheetRequest):
    """The query of GET generate, with the version that is asked."""

    version: str | None = Field(None, description="a promoted version; the current one by default")


class GenerateRequest(SheetRequest):
    """The body of POST generate."""

    format: Format = Field("png", description=f"one of {', '.join(get_args(Format))}")


class ClassifyRequest(BaseModel):
    """The JSON body of POST classify."""

    model_config = ConfigDict(extra="forbid")

    images: list[Any] = Field(
        min_length=1,
        max_length=MAX_IMAGES,
        description=f"a list of 1 to {MAX_IMAGES} images: nested lists of pixel values in [0, 1], "
        "or base64 PNG files",
    )
    variant: Variant = Field("amnesiac", description=VARIANT_RULE)
    fit: Fit | None = Field(None, description=FIT_RULE)


def explain(errors: Sequence[Any], model: type[BaseModel]) -> str:
    """Explain the first of pydantic's errors in one line: key, rule, value.

    Unknown keys come first, because a misspelt key also shows up as a missing one.
    """
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    error = unknown[0] if unknown else errors[0]
    fields = model.model_fields
    keys = ", ".join(fields)
    if unknown:
        return f"unknown key {str(error['loc'][-1])[:60]!r}; allowed: {keys}"
    key = next((str(part) for part in error["loc"] if part in fields), None)
    if key is None:
        return f"the body must be a JSON object with the keys {keys}, sent as application/json"
    rule = fields[key].description
    if error["type"] == "missing":
        return f"{key} is missing; it must be {rule}"
    return f"{key} must be {rule}, not {_shorten(error['input'])}"


def _shorten(value: Any) -> str:
    """Write a client's value in at most 63 characters."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


async def read_images(
    request: Request, shape: Shape, dataset: str | None = None
) -> tuple[NDArray[np.float32], str]:
    """Read the body of a classify request, a form with image files or JSON.

    dataset: the model's data set, which says how `fit` prepares an image

    Returns the images (n, *shape) with pixel values in [0, 1], and the variant. Raises `BadInput`,
    `TooLarge`, and an `HTTPException` 415 for another content type.
    """
    header = request.headers.get("content-type", "")
    content_type = header.partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _read_form(request, shape, dataset)
    if content_type == "application/json":
        return await _read_json(request, shape, dataset)
    raise HTTPException(
        415, "send image files as multipart/form-data, or {'images': [...]} as application/json"
    )


async def _read_json(
    request: Request, shape: Shape, dataset: str | None
) -> tuple[NDArray[np.float32], str]:
    body = await request.body()
    try:
        asked = await run_in_threadpool(ClassifyRequest.model_validate_json, body)
    except ValidationError as error:
        raise BadInput(explain(error.errors(), ClassifyRequest)) from error
    images = await run_in_threadpool(parse, asked.images, shape, dataset, asked.fit)
    return images, asked.variant


FORM_FIELDS = {"variant": VARIANTS, "fit": get_args(Fit)}  # text field -> allowed values


async def _read_form(
    request: Request, shape: Shape, dataset: str | None
) -> tuple[NDArray[np.float32], str]:
    _check_whole(await request.body(), request.headers["content-type"])
    fields: dict[str, Any] = {}
    files: list[bytes] = []
    async with request.form(max_files=MAX_IMAGES + 1, max_fields=8) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                require(name == "image", _unknown_field(name))
                files.append(await value.read())
            else:
                _check_field(name, value, fields)
                fields[name] = value
    count = len(files)
    require(1 <= count <= MAX_IMAGES, f"send 1 to {MAX_IMAGES} image files, not {count}")
    fit = fields.get("fit")
    if sum(map(len, files)) <= QUICK:
        return decode_all(files, shape, dataset, fit), fields.get("variant", "amnesiac")
    images = await run_in_threadpool(decode_all, files, shape, dataset, fit)
    return images, fields.get("variant", "amnesiac")


def _check_whole(body: bytes, content_type: str) -> None:
    """Refuse a form that ends before its last boundary: its parser would drop the last file."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    last = b"--" + boundary + b"--"
    whole = boundary == b"" or body.startswith(last) or b"\r\n" + last in body
    require(whole, "the form is cut off before its last boundary; send it whole")


def _check_field(name: str, value: str, before: dict[str, Any]) -> None:
    """Refuse a form field that is unknown, stands there twice, or has a value not allowed."""
    require(name in FORM_FIELDS, _unknown_field(name))
    require(name not in before, f"form field {name!r} must stand there once; leave one out")
    allowed = FORM_FIELDS[name]
    rule = f"{name} must be one of {', '.join(allowed)}, not {_shorten(value)}"
    require(value in allowed, rule)


def _unknown_field(name: str) -> str:
    known = ", ".join(FORM_FIELDS)
    return f"unknown form field {name[:60]!r}; allowed: {known}, and `image` for files"
