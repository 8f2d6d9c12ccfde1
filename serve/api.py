"""The HTTP application: its routes, and how it answers every failure.

It knows a catalog and a backend, nothing of Ray.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Annotated, Any, Protocol

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from serve.audit import VERSION, audit_router
from serve.catalog import Catalog, Entry, ModelKey, UnknownModel, Unservable
from serve.images import TooLarge, npy, sheet
from serve.inspector import Inspector
from serve.middleware import Guard, Limits
from serve.revalidate import Revalidate, Sheets, names, not_modified, sheet_headers
from serve.schemas import (
    FIT_RULE,
    ClassifyRequest,
    GenerateRequest,
    SheetQuery,
    explain,
    read_images,
)
from serve.telemetry import Meter, Observe
from serve.trace import current
from serve.web import add_manners
from unlearn.digests import digest
from unlearn.errors import BadInput, require

CONTENT_POLICY = (
    "default-src 'none'",
    "style-src 'unsafe-inline'",
    "script-src 'unsafe-inline'",
    "img-src blob: data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
)
PAGE_HEADERS = {
    "Content-Security-Policy": "; ".join(CONTENT_POLICY),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
VERBS = {"generator": "generate", "classifier": "classify"}  # task -> what its models can do
# Encoding so many bytes of pixels takes less time than handing the work to a thread and back.
QUICK = 4096
DEFAULT_LIMITS = Limits()


class Busy(RuntimeError):
    """All replicas are at work and the queue is full. The message says so."""


class Backend(Protocol):
    """Runs the models. Raises `Busy` or `Unservable`."""

    async def generate(self, key: ModelKey, label: int, n: int, seed: int) -> NDArray[np.uint8]: ...

    async def classify(self, key: ModelKey, images: NDArray[np.float32]) -> NDArray[np.float64]: ...

    async def missing(self) -> str | None:
        """Say which replicas do not answer; None if all do."""


@dataclass(frozen=True)
class AppState:
    """What the routes work with.

    catalog: the models on offer.
    backend: runs them.
    inspector: looks for damaged files.
    sheets: what clients may have already.
    recipe: what the bytes of an image depend on beside its model and the request.
    """

    catalog: Catalog
    backend: Backend
    inspector: Inspector
    sheets: Sheets
    recipe: dict[str, Any] = field(default_factory=dict)


async def _state(request: Request) -> AppState:  # FastAPI runs a plain `def` in a thread
    state: AppState = request.app.state.amnesia
    return state


async def _entry(request: Request, name: str) -> Entry:
    """Return the model at the version that the query names, or at its current one."""
    version = request.query_params.get("version")
    catalog, trace = (await _state(request)).catalog, current()
    entry = catalog.known(name) if version is None else None
    if entry is None:
        entry = await run_in_threadpool(catalog.entry, name, version)
    trace.model, trace.version = entry.name, entry.version
    return entry


TheState = Annotated[AppState, Depends(_state)]
TheEntry = Annotated[Entry, Depends(_entry)]
router = APIRouter(redirect_slashes=False)


@router.get("/", include_in_schema=False)
def page() -> HTMLResponse:
    return _html("page.html")


@router.get("/docs", include_in_schema=False)
def docs() -> HTMLResponse:
    return _html("docs.html")


def _html(name: str) -> HTMLResponse:
    text = files("serve").joinpath(name).read_text("utf-8")
    return HTMLResponse(text, headers=PAGE_HEADERS)


@router.get("/healthz")
async def healthz(state: TheState) -> dict[str, Any]:
    """200 if every replica answers, else 503; names the models whose files are damaged."""
    missing = await state.backend.missing()
    if missing is not None:
        raise HTTPException(503, missing)
    damaged = await state.inspector.damaged()
    return {"status": "degraded", "damaged": damaged} if damaged else {"status": "ok"}


@router.get("/v1/models")
async def models(state: TheState) -> dict[str, list[dict[str, Any]]]:
    """The card of every promoted model."""
    return {"models": await run_in_threadpool(state.catalog.cards)}


@router.get("/v1/models/{name}")
async def model(entry: TheEntry) -> dict[str, Any]:
    """One card: task, forget set, method and knobs, scores, provenance, promoted versions."""
    return entry.public()


@router.get("/v1/models/{name}/generate", response_class=Response)
async def get_sheet(
    request: Request, state: TheState, entry: TheEntry, query: Annotated[SheetQuery, Query()]
) -> Response:
    """A PNG sheet of `n` images of `label`.

    The same version, label, seed and n give the same bytes.
    """
    asked = GenerateRequest(**query.model_dump(exclude={"version"}))
    _check(entry, "generator", asked)
    tag = _etag(entry, asked, state.recipe)
    if query.version is None:
        state.sheets.remember(request.scope, entry, tag)
    if names(request.headers.get("if-none-match", ""), tag):
        return not_modified(tag)
    response = await _generate(state, entry, asked)
    response.headers.update(sheet_headers(tag))
    return response


def _etag(entry: Entry, asked: GenerateRequest, recipe: dict[str, Any]) -> str:
    """Identify the answer by everything that its bytes depend on."""
    weights = entry.key(asked.variant).sha256
    return f'"{digest({**asked.model_dump(), "weights": weights, **recipe})}"'


@router.post("/v1/models/{name}/generate", response_class=Response)
async def post_sheet(state: TheState, entry: TheEntry, asked: GenerateRequest) -> Response:
    """`n` images of `label` as a PNG sheet, as JSON (pixel values in [0, 1]) or as .npy (uint8)."""
    _check(entry, "generator", asked)
    return await _generate(state, entry, asked)


async def _generate(state: AppState, entry: Entry, asked: GenerateRequest) -> Response:
    _note(asked.variant, asked.n)
    key = entry.key(asked.variant)
    images = await state.backend.generate(key, asked.label, asked.n, asked.seed)
    if images.size <= QUICK:
        return _render(entry, asked, images)
    return await run_in_threadpool(_render, entry, asked, images)


def _note(variant: str, images: int) -> None:
    """Tell the log and the metrics what a model is about to do."""
    trace = current()
    trace.variant, trace.images = variant, images


def _render(entry: Entry, asked: GenerateRequest, images: NDArray[np.uint8]) -> Response:
    """Encode images (n, channels, height, width) in the format that the client asked for."""
    headers = {"X-Model-Version": entry.version}
    if asked.format == "png":
        return Response(sheet(images), media_type="image/png", headers=headers)
    if asked.format == "npy":
        return Response(npy(images), media_type="application/octet-stream", headers=headers)
    pixels = (images / 255).round(4).tolist()
    echo = asked.model_dump(exclude={"format"})
    answer = {"model": entry.name, "version": entry.version, **echo, "images": pixels}
    return JSONResponse(answer, headers=headers)


# `classify` reads its body itself, so FastAPI cannot derive this part of /openapi.json.
CLASSIFY_SCHEMA = ClassifyRequest.model_json_schema()
FORM_SCHEMA = {
    "type": "object",
    "properties": {
        "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "variant": CLASSIFY_SCHEMA["properties"]["variant"],
        "fit": {"type": "string", "description": FIT_RULE},
    },
}
CLASSIFY_BODY = {
    "parameters": [
        {"name": "version", "in": "query", "description": VERSION, "schema": {"type": "string"}}
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": CLASSIFY_SCHEMA},
            "multipart/form-data": {"schema": FORM_SCHEMA},
        },
    },
}


@router.post("/v1/models/{name}/classify", openapi_extra=CLASSIFY_BODY)
async def classify(request: Request, state: TheState, entry: TheEntry) -> dict[str, Any]:
    """Class probabilities of image files (PNG, JPEG) or of JSON images, one row per image."""
    _check(entry, "classifier")
    images, variant = await read_images(request, entry.shape, entry.card.get("dataset"))
    _note(variant, len(images))
    probabilities = await state.backend.classify(entry.key(variant), images)
    return {
        "model": entry.name,
        "version": entry.version,
        "variant": variant,
        "predicted": probabilities.argmax(1).tolist(),
        "probabilities": probabilities.tolist(),
    }


def _check(entry: Entry, task: str, asked: GenerateRequest | None = None) -> None:
    """Refuse a model of the other task, and a label that the model does not have."""
    own = entry.card["task"]
    require(own == task, f"model {entry.name!r} is a {own}: it can {VERBS[own]}, not {VERBS[task]}")
    if asked is not None:
        asked.check(entry.card["classes"])


STATUS: dict[type[Exception], int] = {
    BadInput: 422,
    TooLarge: 413,
    UnknownModel: 404,
    Unservable: 503,
    Busy: 429,
    ClientDisconnect: 400,  # nobody reads the answer; the log shows it
}
Handler = Callable[[Request, Exception], Awaitable[JSONResponse]]


def _answer_with(status: int) -> Handler:
    """Make an exception handler that answers with the exception's own line."""
    headers = {"Retry-After": "1"} if status == 429 else None

    async def handler(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status, headers)

    return handler


async def _on_http_error(request: Request, error: StarletteHTTPException) -> JSONResponse:
    detail = str(error.detail)
    if error.status_code in (404, 405):
        detail = f"{request.method} {request.url.path[:80]} is not served here; see /docs"
    return JSONResponse({"error": detail}, error.status_code, error.headers)


async def _on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    schema = GenerateRequest if request.method == "POST" else SheetQuery
    return JSONResponse({"error": explain(error.errors(), schema)}, 422)


async def _on_failure(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": "internal error; the service's log has the details"}, 500)


def build_app(
    catalog: Catalog,
    backend: Backend,
    expected: str | None,
    limits: Limits = DEFAULT_LIMITS,
    meter: Meter | None = None,
    recipe: dict[str, Any] | None = None,
    origins: Sequence[str] = (),
) -> FastAPI:
    """Build the application.

    catalog: the models on offer.
    backend: runs them.
    expected: fingerprint of the token that clients must send; None if no token is needed.
    limits: how long a request may take.
    meter: takes in every request that ended; None for no metrics.
    recipe: what the bytes of an image depend on beside its model and the request.
    origins: origins whose pages may call the service from a browser.
    """
    app = FastAPI(title="amnesia gallery", docs_url=None, redoc_url=None, redirect_slashes=False)
    sheets = Sheets(catalog)
    app.state.amnesia = AppState(catalog, backend, Inspector(catalog), sheets, recipe or {})
    app.include_router(router)
    app.include_router(audit_router(catalog))
    app.add_middleware(Revalidate, sheets=sheets)
    app.add_middleware(Guard, expected=expected, limits=limits)
    add_manners(app, origins)
    app.add_middleware(Observe, meter=meter)
    for kind, status in STATUS.items():
        app.add_exception_handler(kind, _answer_with(status))
    app.add_exception_handler(StarletteHTTPException, _on_http_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _on_invalid)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _on_failure)
    return app
