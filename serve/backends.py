"""Run the models: in this process, or in a pool of model replicas.

Both refuse a request at once if too many wait, and add to its trace how long it waited and ran.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve.api import Busy
from serve.catalog import ModelKey, Unservable
from serve.health import Health
from serve.models import ModelCache
from serve.trace import current

QUICK_S = 0.002
REMEMBERED = 4096  # durations by model and number of images; forgotten when there are more
TOO_MANY = "too many requests at once; try again in a second"


class Admission:
    """Counts the requests that wait for a model or run in one, and refuses those above a limit.

    limit: requests at most, at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place for the time of the `with` block. Raises `Busy` if none is free."""
        if self._inside >= self._limit:
            raise Busy(TOO_MANY)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


@dataclass(frozen=True)
class Timed:
    """What a model gave, and the seconds it took.

    value: the images or probabilities.
    seconds: how long the model ran.
    """

    value: Any
    seconds: float


def timed(work: Callable[..., Any], *args: Any) -> Timed:
    """Call `work` and time it."""
    started = time.perf_counter()
    value = work(*args)
    return Timed(value, time.perf_counter() - started)


class InlineBackend:
    """Runs the models in this process: in a thread, so that the event loop stays free.

    What is known to be done in `QUICK_S` runs in the event loop at once, if nothing else runs: to
    hand it to the thread and back would take longer.

    cache: the models.
    admission: refuses what would wait too long.
    health: what `/healthz` asks.
    threads: requests that are in the cache's hands at a time; more than one where it can draw them
        together.
    """

    def __init__(
        self, cache: ModelCache, admission: Admission, health: Health, threads: int = 1
    ) -> None:
        self._cache = cache
        self._admission = admission
        self._health = health
        self._thread = ThreadPoolExecutor(threads, "models")
        self._threaded = 0
        self._seconds: dict[tuple[ModelKey, int], float] = {}  # of the last run, by model and size

    async def generate(self, key: ModelKey, label: int, n: int, seed: int) -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = await self._run(n, self._cache.generate, key, label, n, seed)
        return images

    async def classify(self, key: ModelKey, images: NDArray[np.float32]) -> NDArray[np.float64]:
        size = len(images)
        probabilities: NDArray[np.float64] = await self._run(
            size, self._cache.classify, key, images
        )
        return probabilities

    async def _run(self, size: int, work: Callable[..., Any], key: ModelKey, *args: Any) -> Any:
        with self._admission.place():
            if self._is_quick(key, size):
                done = timed(work, key, *args)
                current().model_s += done.seconds
            else:
                done = await self._in_thread(work, key, *args)
        self._remember(key, size, done.seconds)
        return done.value

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Timed:
        loop = asyncio.get_running_loop()
        self._threaded += 1
        try:
            return await traced(loop.run_in_executor(self._thread, timed, work, *args))
        finally:
            self._threaded -= 1

    def _is_quick(self, key: ModelKey, size: int) -> bool:
        """Tell whether to run now: it is short, the model is loaded, and the thread is idle."""
        short = self._seconds.get((key, size), QUICK_S) < QUICK_S
        return short and self._threaded == 0 and self._cache.holds(key)

    def _remember(self, key: ModelKey, size: int, seconds: float) -> None:
        if len(self._seconds) > REMEMBERED:
            self._seconds.clear()
        self._seconds[key, size] = seconds

    async def missing(self) -> str | None:
        return await self._health.missing()


async def traced(work: Any) -> Timed:
    """Await a `Timed`; add to the request's trace how long it waited and how long it ran."""
    trace, started = current(), time.perf_counter()
    done: Timed = await work
    trace.model_s += done.seconds
    trace.queued_s += max(0.0, time.perf_counter() - started - done.seconds)
    return done


class PoolBackend:
    """Runs the models in replicas of their own.

    models: handle of the model replicas.
    admission: refuses, before the hop to a replica, what would wait too long.
    health: what `/healthz` asks.
    """

    def __init__(self, models: DeploymentHandle[Any], admission: Admission, health: Health) -> None:
        self._models = models
        self._admission = admission
        self._health = health

    async def generate(self, key: ModelKey, label: int, n: int, seed: int) -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = await self._call("generate", key, label, n, seed)
        return images

    async def classify(self, key: ModelKey, images: NDArray[np.float32]) -> NDArray[np.float64]:
        probabilities: NDArray[np.float64] = await self._call("classify", key, images)
        return probabilities

    async def _call(self, method: str, key: ModelKey, *args: Any) -> Any:
        """Call a method of some replica; turn Ray's errors into `Busy` and `Unservable`."""
        remote = self._models.options(method_name=method)
        try:
            with self._admission.place():
                done = await traced(remote.remote(key, *args))
                return done.value
        except BackPressureError as error:
            raise Busy(TOO_MANY) from error
        except (ActorDiedError, ActorUnavailableError, DeploymentUnavailableError) as error:
            lost = f"model {key.name!r} lost the replica that served it; try again"
            raise Unservable(lost) from error
        except RayTaskError as error:
            if isinstance(error.cause, Unservable):
                raise Unservable(str(error.cause)) from None
            raise

    async def missing(self) -> str | None:
        return await self._health.missing()
