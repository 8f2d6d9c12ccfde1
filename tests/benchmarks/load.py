"""A load generator: clients that keep a connection open and send a request after each answer.

It speaks just enough HTTP/1.1 (answers with a Content-Length) to cost a few hundredths of a
millisecond per request, so that on two cores the service is measured, not the generator.
"""

import asyncio
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import uvloop


@dataclass
class Load:
    """What the clients of one run saw.

    seconds: how long the run lasted.
    statuses: HTTP status -> number of answers; 0 counts lost connections.
    latencies: seconds from request to answer, of answers 200 and 304.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def good(self) -> float:
        """Good answers per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        """Milliseconds within which `percent` percent of the good answers came."""
        return 1e3 * statistics.quantiles(self.latencies, n=100)[percent - 1]


class Client(asyncio.Protocol):
    """One connection. It sends the next request when an answer is complete, until `stop`."""

    def __init__(self, requests: list[bytes], first: int, load: Load, stop: float) -> None:
        self._requests = requests
        self._next = first
        self._load = load
        self._stop = stop
        self._buffer = b""
        self._closing = False  # the server said that it would
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        if self._sent >= self._stop:
            self._transport.close()
            return
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        self._buffer = b""
        self._count(int(head[9:12]))
        if b"connection: close" in head.lower():
            self._closing = True
            self._transport.close()
        else:
            self._send()

    def _count(self, status: int) -> None:
        self._load.statuses[status] += 1
        if status in (200, 304):
            self._load.latencies.append(time.perf_counter() - self._sent)

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self._stop and not self._closing:
            self._load.statuses[0] += 1
        if not self.done.done():
            self.done.set_result(None)


def _content_length(head: bytes) -> int:
    """Read the length of the body; an answer without the header (304) has none."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


async def _drive(port: int, requests: list[bytes], clients: int, seconds: float) -> Load:
    load = Load()
    started = time.perf_counter()
    stop = started + seconds
    loop = asyncio.get_running_loop()

    async def connect_until_the_end(number: int) -> None:
        """Connect again when the server closes the connection before the time is up."""
        while time.perf_counter() < stop:
            try:
                _, client = await loop.create_connection(
                    lambda: Client(requests, number * 1009, load, stop), "127.0.0.1", port
                )
            except OSError:
                load.statuses[0] += 1
                await asyncio.sleep(0.05)
                continue
            await client.done

    await asyncio.gather(*(connect_until_the_end(number) for number in range(clients)))
    load.seconds = time.perf_counter() - started
    return load


def drive(port: int, requests: list[bytes], clients: int, seconds: float) -> Load:
    """Send the requests in turn from `clients` connections to 127.0.0.1 for `seconds`."""
    return uvloop.run(_drive(port, requests, clients, seconds))


def get(path: str, **headers: str) -> bytes:
    """Write a GET request."""
    return _request("GET", path, headers, b"")


def post(path: str, body: bytes, content_type: str) -> bytes:
    """Write a POST request."""
    headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
    return _request("POST", path, headers, body)


def _request(verb: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"{verb} {path} HTTP/1.1", "Host: bench"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
