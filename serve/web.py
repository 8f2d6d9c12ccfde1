"""HTTP manners of the whole application: HEAD, and other origins that may ask."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unlearn.errors import require

SENT = ("Authorization", "Content-Type", "If-None-Match")  # headers that a page may send
SHOWN = ("ETag", "Retry-After", "X-Model-Version")  # headers that a page may read


class HeadAsGet:
    """ASGI middleware that answers HEAD as GET, without the body.

    app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        asked = {**scope, "method": "GET"}
        try:
            await self.app(asked, receive, without_body)
        finally:
            scope["route"] = asked.get("route")  # for log and metrics


class CrossOrigin(CORSMiddleware):
    """Starlette's CORS middleware; it refuses in JSON, as every route does."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        origin = request_headers.get("origin", "")[:80]
        kept = {name: value for name, value in answer.headers.items() if name == "vary"}
        line = f"a page of origin {origin!r} may not ask for this; see --allow-origin"
        return JSONResponse({"error": line}, answer.status_code, kept)


def check_origins(origins: Sequence[str]) -> None:
    """Refuse what is not an origin as browsers send it: `https://host[:port]`, or `*` for all."""
    for origin in origins:
        scheme, _, host = origin.partition("://")
        sound = scheme in ("http", "https") and host != "" and "/" not in host
        require(
            origin == "*" or sound,
            f"--allow-origin must be like https://host:port, or *, not {origin!r}",
        )


def add_manners(app: Starlette, origins: Sequence[str]) -> None:
    """Add both to the application, in front of its other middleware.

    origins: origins whose pages may call the service from a browser; none by default.
    """
    app.add_middleware(HeadAsGet)
    if origins:
        app.add_middleware(
            CrossOrigin,
            allow_origins=list(origins),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=SENT,
            expose_headers=SHOWN,
            max_age=600,
        )
