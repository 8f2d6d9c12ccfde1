"""The checks before every route: the token, a request's size, and the time that it may take."""

import asyncio
import hashlib
import hmac
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.trace import current

OPEN = ("/", "/healthz", "/docs", "/openapi.json")  # paths that need no token
MAX_BODY = 8 << 20  # bytes
TOO_LARGE = f"the request is too large; at most {MAX_BODY} bytes"
NO_TOKEN = "this service asks for its token: send the header `Authorization: Bearer <token>`"


def fingerprint(token: str) -> str:
    """Return the SHA-256 of a token, as hexadecimal digits.

    It is enough to recognise the token, and it is all that leaves the launching process.
    """
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class Limits:
    """How long a request may take.

    body_s: seconds within which its body must have arrived.
    request_s: seconds within which it must be answered.
    """

    body_s: float = 15.0
    request_s: float = 60.0


class Guard:
    """ASGI middleware that refuses what lacks the token, is too large, or takes too long.

    Answers 401 on every path outside `OPEN` if the token is missing or wrong, 413 if the body has
    more than `MAX_BODY` bytes, whether the request declares its size or not, 408 if the body does
    not arrive in time, and 504 if the request is not answered in time.

    app: the application behind it.
    expected: fingerprint of the token; None if the service needs no token.
    limits: the deadlines.
    """

    def __init__(self, app: ASGIApp, expected: str | None, limits: Limits) -> None:
        self.app = app
        self.expected = expected
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refuse(scope["path"], Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._answer_in_time(scope, _limit_body(receive, self.limits.body_s), send)

    async def _answer_in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 504 if the application does not; break off an answer that was begun."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self.limits.request_s) as deadline:
                await self.app(scope, receive, noting)
        except TimeoutError:
            if begun or not deadline.expired():
                raise
            error = f"not answered within {self.limits.request_s:g} s; try again later"
            await JSONResponse({"error": error}, 504)(scope, receive, send)

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


def _limit_body(receive: Receive, seconds: float) -> Receive:
    """Wrap `receive` so that it raises 413 for a body too large, and 408 for one too slow.

    seconds: from now on, within which the whole body must arrive.
    """
    received, complete = 0, False
    deadline = asyncio.get_running_loop().time() + seconds

    async def limited() -> Message:
        nonlocal received, complete
        if complete:  # what comes now is the client's leaving, and may take as long as the answer
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            late = f"the request's body did not arrive within {seconds:g} s; send it faster"
            raise HTTPException(408, late, {"Connection": "close"}) from error
        received += len(message.get("body", b""))
        current().bytes_in = received
        if received > MAX_BODY:
            raise HTTPException(413, TOO_LARGE)
        complete = not message.get("more_body", False)
        return message

    return limited
