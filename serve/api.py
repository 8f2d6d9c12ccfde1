"""The HTTP application: routes, and how every failure is told. It knows a catalog and a backend, nothing of Ray."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any, Protocol

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException

from serve.catalog import Catalog, Entry, Pick, UnknownModel, Unservable
from serve.images import TooLarge, npy, sheet
from serve.middleware import Guard
from serve.schemas import Batch, Images, Sheet, sentence, uploaded
from unlearn.artifacts import digest
from unlearn.errors import BadInput, require

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:"
)
PAGE_HEADERS = {
    "Content-Security-Policy": f"{POLICY}; connect-src 'self'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Busy(RuntimeError):
    """Every replica is at work and the queue is full; the message says so."""


class Backend(Protocol):
    """Where the models run. Raises `Busy` or `Unservable`."""

    async def generate(self, pick: Pick, label: int, n: int, seed: int) -> NDArray[np.uint8]: ...

    async def classify(self, pick: Pick, images: NDArray[np.float32]) -> NDArray[np.float64]: ...

    async def missing(self) -> str | None:
        """What does not answer, in words; None where every replica does."""


@dataclass(frozen=True)
class Desk:
    """What the routes work with."""

    catalog: Catalog
    backend: Backend


def _desk(request: Request) -> Desk:
    return request.app.state.desk


async def _entry(request: Request, name: str) -> Entry:
    return await run_in_threadpool(_desk(request).catalog.entry, name)


TheDesk = Annotated[Desk, Depends(_desk)]
TheEntry = Annotated[Entry, Depends(_entry)]
router = APIRouter()


@router.get("/", include_in_schema=False)
def page() -> HTMLResponse:
    return HTMLResponse(
        files("serve").joinpath("page.html").read_text("utf-8"), headers=PAGE_HEADERS
    )


@router.get("/docs", include_in_schema=False)
def docs() -> HTMLResponse:
    return HTMLResponse(
        files("serve").joinpath("docs.html").read_text("utf-8"), headers=PAGE_HEADERS
    )


@router.get("/healthz")
async def healthz(desk: TheDesk) -> dict[str, str]:
    """200 when every replica answers, else 503."""
    missing = await desk.backend.missing()
    if missing is not None:
        raise HTTPException(503, missing)
    return {"status": "ok"}


@router.get("/v1/models")
async def models(desk: TheDesk) -> dict[str, list[dict[str, Any]]]:
    """The card of every promoted model."""
    return {"models": await run_in_threadpool(desk.catalog.cards)}


@router.get("/v1/models/{name}")
async def model(entry: TheEntry) -> dict[str, Any]:
    """One card: task, forget set, method and knobs, scores, provenance, promoted versions."""
    return entry.public()


@router.get("/v1/models/{name}/generate", response_class=Response)
async def get_sheet(
    request: Request, desk: TheDesk, entry: TheEntry, ask: Annotated[Sheet, Query()]
) -> Response:
    """A PNG sheet of `n` images of `label`; the same version, label, seed and n give the same bytes."""
    batch = Batch(**ask.model_dump())
    _check(entry, "generator", batch)
    tag = f'"{digest({**batch.model_dump(), "weights": entry.pick(batch.variant).sha256})}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    known = {
        part.strip().removeprefix("W/")
        for part in request.headers.get("if-none-match", "").split(",")
    }
    if known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    response = await _generated(desk, entry, batch)
    response.headers.update(headers)
    return response


@router.post("/v1/models/{name}/generate", response_class=Response)
async def post_sheet(desk: TheDesk, entry: TheEntry, batch: Batch) -> Response:
    """`n` images of `label` as a PNG sheet, as JSON (pixel values in [0, 1]) or as .npy (uint8)."""
    _check(entry, "generator", batch)
    return await _generated(desk, entry, batch)


async def _generated(desk: Desk, entry: Entry, batch: Batch) -> Response:
    images = await desk.backend.generate(
        entry.pick(batch.variant), batch.label, batch.n, batch.seed
    )
    return await run_in_threadpool(_rendered, entry, batch, images)


def _rendered(entry: Entry, batch: Batch, images: NDArray[np.uint8]) -> Response:
    headers = {"X-Model-Version": entry.version}
    if batch.format == "png":
        return Response(sheet(images), media_type="image/png", headers=headers)
    if batch.format == "npy":
        return Response(npy(images), media_type="application/octet-stream", headers=headers)
    pixels = (images / 255).round(4).tolist()
    answer = {
        "model": entry.name,
        "version": entry.version,
        **batch.model_dump(exclude={"format"}),
        "images": pixels,
    }
    return JSONResponse(answer, headers=headers)


CLASSIFY_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": Images.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "variant": Images.model_json_schema()["properties"]["variant"],
                    },
                }
            },
        },
    }
}


@router.post("/v1/models/{name}/classify", openapi_extra=CLASSIFY_BODY)
async def classify(request: Request, desk: TheDesk, entry: TheEntry) -> dict[str, Any]:
    """Class probabilities of image files (PNG, JPEG) or of JSON images, one row each."""
    _check(entry, "classifier")
    images, variant = await uploaded(request, entry.shape)
    rows = await desk.backend.classify(entry.pick(variant), images)
    return {
        "model": entry.name,
        "version": entry.version,
        "variant": variant,
        "predicted": rows.argmax(1).tolist(),
        "probabilities": rows.tolist(),
    }


def _check(entry: Entry, task: str, batch: Batch | None = None) -> None:
    """Refuse a model of the other task, and a label that it does not have."""
    verb = {"generator": "generate", "classifier": "classify"}
    mine = entry.card["task"]
    require(
        mine == task, f"model {entry.name!r} is a {mine}: it can {verb[mine]}, not {verb[task]}"
    )
    if batch is not None:
        batch.check(entry.card["classes"])


def _told(status: int) -> Any:
    """An exception handler that answers with the exception's own line."""

    async def handler(request: Request, error: Exception) -> JSONResponse:
        headers = {"Retry-After": "1"} if status == 429 else None
        return JSONResponse({"error": str(error)}, status, headers)

    return handler


async def _http_error(request: Request, error: StarletteHTTPException) -> JSONResponse:
    detail = str(error.detail)
    if error.status_code in (404, 405):
        detail = f"{request.method} {request.url.path[:80]} is not served here; see /docs"
    return JSONResponse({"error": detail}, error.status_code, error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    return JSONResponse(
        {"error": sentence(error.errors(), Batch if request.method == "POST" else Sheet)}, 422
    )


async def _failed(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": "internal error; the service's log has the details"}, 500)


def build_app(catalog: Catalog, backend: Backend, expected: str | None) -> FastAPI:
    """The application; `expected` is the fingerprint of the token that guards it, None where none does."""
    app = FastAPI(title="amnesia gallery", docs_url=None, redoc_url=None)
    app.state.desk = Desk(catalog, backend)
    app.include_router(router)
    app.add_middleware(Guard, expected=expected)
    for kind, status in {
        BadInput: 422,
        TooLarge: 413,
        UnknownModel: 404,
        Unservable: 503,
        Busy: 429,
    }.items():
        app.add_exception_handler(kind, _told(status))
    app.add_exception_handler(StarletteHTTPException, _http_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _failed)
    return app
