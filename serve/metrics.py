"""The service's metrics, in Ray's registry: Prometheus scrapes them with Ray's own."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

from ray.util.metrics import Counter, Histogram

from serve.catalog import ModelKey
from serve.trace import Trace

SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0]
FLUSH_S = 1.0
MODEL = ("model", "version", "variant")  # empty where no model ran
OUTCOMES = {  # status -> outcome; others are told by their first digit
    304: "not_modified",
    401: "unauthorised",
    404: "not_found",
    408: "slow_body",
    413: "too_large",
    429: "busy",
    499: "client_gone",
    503: "unavailable",
    504: "late",
}


@dataclass
class Sums:
    """What requests with the same labels add up to.

    requests: how many there were.
    images: images drawn or classified.
    bytes_in: bytes of their bodies.
    bytes_out: bytes of the answers' bodies.
    """

    requests: int = 0
    images: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def add(self, trace: Trace) -> None:
        """Add a request."""
        self.requests += 1
        self.images += trace.images
        self.bytes_in += trace.bytes_in
        self.bytes_out += trace.bytes_out


class RayMeter:
    """Counts requests. Counters are handed to Ray every `FLUSH_S`: that costs as much as a request.

    Ray prefixes every name with `ray_`, and ends that of a counter with `_total`.
    """

    def __init__(self) -> None:
        self._pending: defaultdict[tuple[str, ...], Sums] = defaultdict(Sums)
        labels = (*MODEL, "route", "outcome")
        self._requests = Counter("amnesia_requests", "Requests that ended.", labels)
        self._bytes = Counter("amnesia_response_bytes", "Bytes of the answers' bodies.", labels)
        self._received = Counter("amnesia_request_bytes", "Bytes of the requests' bodies.", labels)
        self._images = Counter("amnesia_images", "Images drawn or classified.", labels)
        self._seconds = Histogram(
            "amnesia_request_seconds", "From request to answer.", SECONDS, labels
        )
        self._queued = Histogram(
            "amnesia_queue_seconds", "Time that requests waited for a model.", SECONDS, MODEL
        )
        self._model = Histogram(
            "amnesia_model_seconds", "Time that a model ran for a request.", SECONDS, MODEL
        )

    def count(self, trace: Trace) -> None:
        """Count a request that ended."""
        model = {"model": trace.model, "version": trace.version, "variant": trace.variant}
        tags = {**model, "route": trace.route, "outcome": outcome(trace.status)}
        self._seconds.observe(trace.seconds, tags)
        if trace.images:
            self._queued.observe(trace.queued_s, model)
            self._model.observe(trace.model_s, model)
        if not self._pending:
            asyncio.get_running_loop().call_later(FLUSH_S, self._flush)
        self._pending[tuple(tags.values())].add(trace)

    def _flush(self) -> None:
        for values, sums in self._pending.items():
            tags = dict(zip((*MODEL, "route", "outcome"), values, strict=True))
            self._requests.inc(sums.requests, tags)
            counters = {
                self._images: sums.images,
                self._bytes: sums.bytes_out,
                self._received: sums.bytes_in,
            }
            for counter, value in counters.items():
                if value > 0:  # Ray's counters refuse 0
                    counter.inc(value, tags)
        self._pending.clear()


def outcome(status: int) -> str:
    """Name how a request ended."""
    if status in OUTCOMES:
        return OUTCOMES[status]
    return {2: "ok", 4: "refused"}.get(status // 100, "error")


def count_load(key: ModelKey, seconds: float) -> None:
    """Count a model that was loaded."""
    tags = {"model": key.name, "version": key.version, "variant": key.variant}
    _loads().inc(1, tags)
    _load_seconds().observe(seconds, tags)


@lru_cache(1)
def _loads() -> Counter:
    return Counter("amnesia_loads", "Models loaded into memory.", MODEL)


@lru_cache(1)
def _load_seconds() -> Histogram:
    return Histogram("amnesia_load_seconds", "Time to load a model.", SECONDS, MODEL)
