"""Bodies and answers that take too long, at the middleware that watches over them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message

from serve.middleware import Guard, Limits

LIMITS = Limits(body_s=0.05, request_s=0.2)
Answer = Callable[[Request], Coroutine[Any, Any, Response]]


async def reads_its_body(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())} bytes")


async def never_ends(request: Request) -> Response:
    await asyncio.sleep(60)
    return PlainTextResponse("late")


async def never_ends_its_answer(request: Request) -> Response:
    async def parts() -> Any:
        yield b"begun"
        await asyncio.sleep(60)

    return StreamingResponse(parts())


def ask(answer: Answer, *chunks: bytes, silent: bool = False) -> list[Message]:
    """Post chunks to an application of one route; return what it sends.

    silent: after the chunks nothing more comes, though the body is not complete.
    """

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return PlainTextResponse(error.detail, error.status_code, error.headers)

    app = Starlette(
        routes=[Route("/", answer, methods=["POST"])], exception_handlers={HTTPException: refuse}
    )
    app.add_middleware(Guard, expected=None, limits=LIMITS)
    waiting = list(chunks)
    sent: list[Message] = []

    async def receive() -> Message:
        if waiting:
            chunk = waiting.pop(0)
            more = silent or bool(waiting)
            return {"type": "http.request", "body": chunk, "more_body": more}
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
        "root_path": "",
        "server": ("here", 80),
        "scheme": "http",
    }
    asyncio.run(app(scope, receive, send))
    return sent


def test_a_body_in_time_is_read() -> None:
    start, body = ask(reads_its_body, b"ab", b"cde")
    assert (start["status"], body["body"]) == (200, b"5 bytes")


def test_a_body_that_stops_coming_is_408_and_closes_the_connection() -> None:
    start, body = ask(reads_its_body, b"a", silent=True)
    assert start["status"] == 408
    assert (b"connection", b"Close") in [(n, v.title()) for n, v in start["headers"]]
    assert b"did not arrive within 0.05 s" in body["body"]


def test_a_request_that_is_not_answered_in_time_is_504() -> None:
    start, body = ask(never_ends, b"")
    assert start["status"] == 504
    assert body["body"] == b'{"error":"not answered within 0.2 s; try again later"}'


def test_an_answer_that_was_begun_is_broken_off() -> None:
    with pytest.raises(TimeoutError):
        ask(never_ends_its_answer, b"")
