"""The checks before every route: the bearer token and the limit on a request's size."""

import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/", "/healthz", "/docs", "/openapi.json")  # paths that need no token
MAX_BODY = 8 << 20  # bytes
TOO_LARGE = f"the request is too large; at most {MAX_BODY} bytes"
NO_TOKEN = "this service asks for its token: send the header `Authorization: Bearer <token>`"


def fingerprint(token: str) -> str:
    """Return the SHA-256 of a token, as hexadecimal digits.

    It is enough to recognise the token, and it is all that leaves the launching process.
    """
    return hashlib.sha256(token.encode()).hexdigest()


class Guard:
    """ASGI middleware that refuses requests without the token and requests that are too large.

    Answers 401 on every path outside `OPEN` if the token is missing or wrong, and 413 if the body
    has more than `MAX_BODY` bytes, whether the request declares its size or not.

    app: the application behind it.
    expected: fingerprint of the token; None if the service needs no token.
    """

    def __init__(self, app: ASGIApp, expected: str | None) -> None:
        self.app = app
        self.expected = expected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refuse(scope["path"], Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self.app(scope, _limit_body(receive), send)

    def _refuse(self, path: str, headers: Headers) -> JSONResponse | None:
        """Return the answer to a request that may not pass; None for one that may."""
        if path not in OPEN and not self._authorised(headers):
            return JSONResponse({"error": NO_TOKEN}, 401, {"WWW-Authenticate": "Bearer"})
        if _declares_too_much(headers):
            return JSONResponse({"error": TOO_LARGE}, 413)
        return None

    def _authorised(self, headers: Headers) -> bool:
        if self.expected is None:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = fingerprint(token.strip())
        return scheme.lower() == "bearer" and hmac.compare_digest(given, self.expected)


def _declares_too_much(headers: Headers) -> bool:
    """Tell whether the declared size is above the limit, or is no number."""
    declared = headers.get("content-length", "0")
    return not declared.isdecimal() or int(declared) > MAX_BODY


def _limit_body(receive: Receive) -> Receive:
    """Wrap `receive` so that it raises 413 once more than `MAX_BODY` bytes have arrived."""
    received = 0

    async def counting() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY:
            raise HTTPException(413, TOO_LARGE)
        return message

    return counting
