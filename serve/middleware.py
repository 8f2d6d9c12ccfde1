"""What stands before every route: the bearer token and the limit on a request's size."""

import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/", "/healthz", "/docs", "/openapi.json")
MAX_BODY = 8 << 20  # bytes


def fingerprint(token: str) -> str:
    """SHA-256 of a token: enough to recognise it, and all that leaves the launching process."""
    return hashlib.sha256(token.encode()).hexdigest()


class Guard:
    """Answers 401 to a request without the token (`expected` is its fingerprint; None = none is asked) everywhere but
    on `OPEN` paths, and 413 to a body above `MAX_BODY` bytes, declared or not."""

    def __init__(self, app: ASGIApp, expected: str | None) -> None:
        self.app, self.expected = app, expected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = None if scope["path"] in OPEN else self._unauthorised(headers)
        refused = refused or _oversized(headers)
        if refused is not None:
            await refused(scope, receive, send)
        else:
            await self.app(scope, _counted(receive), send)

    def _unauthorised(self, headers: Headers) -> JSONResponse | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if self.expected is None:
            return None
        if scheme.lower() == "bearer" and hmac.compare_digest(
            fingerprint(token.strip()), self.expected
        ):
            return None
        message = "this service asks for its token: send the header `Authorization: Bearer <token>`"
        return JSONResponse({"error": message}, 401, {"WWW-Authenticate": "Bearer"})


def _oversized(headers: Headers) -> JSONResponse | None:
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) <= MAX_BODY:
        return None
    return JSONResponse({"error": _too_large()}, 413)


def _too_large() -> str:
    return f"the request is too large; at most {MAX_BODY} bytes"


def _counted(receive: Receive) -> Receive:
    """`receive`, raising 413 once more than `MAX_BODY` bytes of body have come in."""
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY:
            raise HTTPException(413, _too_large())
        return message

    return counting
