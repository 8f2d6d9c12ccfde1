"""Tell of every request: one line of JSON in the access log, and the metrics."""

import asyncio
import json
import sys
import time
import uuid
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.trace import Trace, begin, end

REQUEST_ID = b"x-request-id"
LONGEST_ID = 128
FLUSH_S = 0.2  # log lines are written together that often: a write per request costs a tenth of it


class Meter(Protocol):
    """Takes in requests that ended."""

    def count(self, trace: Trace) -> None: ...


class Observe:
    """ASGI middleware that tells of each request when it has ended.

    app: the application behind it.
    meter: takes in the requests; None for none.
    """

    def __init__(self, app: ASGIApp, meter: Meter | None) -> None:
        self.app = app
        self.meter = meter
        self.log = AccessLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        trace = Trace(_request_id(scope), scope["method"], scope["path"])
        started = time.perf_counter()
        token = begin(trace)
        try:
            await self.app(scope, receive, _noting(trace, send))
        finally:
            end(token)
            trace.seconds = time.perf_counter() - started
            trace.route = _route(scope)
            self.log.add(line(trace))
            if self.meter is not None:
                self.meter.count(trace)


def _request_id(scope: Scope) -> str:
    """Return the client's id, or the one that Ray Serve gave the request and tells the client."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID:
            return str(value[:LONGEST_ID].decode("latin-1"))
    return uuid.uuid4().hex


def _noting(trace: Trace, send: Send) -> Send:
    """Wrap `send` so that the trace holds the answer's status and size."""

    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            trace.status = message["status"]
        else:
            trace.bytes_out += len(message.get("body", b""))
        await send(message)

    return noting


def _route(scope: Scope) -> str:
    """Return the route that answered, not the path: clients can make up any number of paths."""
    return str(getattr(scope.get("route"), "path", ""))


class AccessLog:
    """Writes lines to standard output, which Ray keeps per process; many at a time."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Take in a line; it is written within `FLUSH_S`."""
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_S, self._flush)
        self._lines.append(line)

    def _flush(self) -> None:
        text = "\n".join(self._lines) + "\n"
        self._lines.clear()
        sys.stdout.write(text)
        sys.stdout.flush()


def line(trace: Trace) -> str:
    """Write the log line of a request."""
    seconds = {
        "ms": round(1e3 * trace.seconds, 2),
        "queue_ms": round(1e3 * trace.queued_s, 2),
        "model_ms": round(1e3 * trace.model_s, 2),
    }
    told = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "request_id": trace.request_id,
        "method": trace.method,
        "path": trace.path[:200],
        "status": trace.status,
        **seconds,
        "model": trace.model,
        "version": trace.version,
        "variant": trace.variant,
        "images": trace.images,
        "bytes_in": trace.bytes_in,
        "bytes_out": trace.bytes_out,
    }
    return json.dumps(told, separators=(",", ":"))
