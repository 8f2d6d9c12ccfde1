"""The service on Ray Serve: replicas that run the models, and HTTP replicas in front of them."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import ray.serve
import torch
from fastapi import FastAPI
from numpy.typing import NDArray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve.api import Busy, build_app
from serve.catalog import Catalog, ModelKey, Unservable
from serve.middleware import fingerprint
from serve.models import ModelCache
from serve.web import check_origins
from unlearn.artifacts import Gallery
from unlearn.errors import require

APPLICATION = "amnesia"
PING_S = 5.0  # a replica that takes longer counts as one that does not answer
HEALTH_PERIOD_S = 2  # how often Ray Serve checks a replica
FRONT_ONGOING, FRONT_QUEUED = 64, 1024  # requests per HTTP replica: in progress, waiting


@dataclass(frozen=True)
class ServiceSettings:
    """What is served, where, and on how much of the cluster. Raises `BadInput`.

    gallery: folder or URL of the gallery.
    host: address to listen on.
    port: port to listen on, 1 to 65535.
    token: bearer token that clients must send, visible ASCII without spaces; None for none.
    replicas: number of model replicas, and of HTTP replicas, at least 1.
    cpus: CPUs per model replica, above 0, fractions allowed.
    gpus: GPUs per model replica, at least 0, fractions allowed.
    front_cpus: CPUs per HTTP replica, above 0, fractions allowed.
    ongoing: requests that one model replica holds at a time, at least 1.
    queued: requests that one HTTP replica keeps waiting before it answers 429, at least 1.
    builders: the user's own `package.module:builder`s that a card may name; no other code of theirs
        is run.
    allow_origins: origins whose pages may call the service from a browser; `*` for all.
    """

    gallery: str
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    replicas: int = 1
    cpus: float = 0.5
    gpus: float = 0.0
    front_cpus: float = 0.25
    ongoing: int = 4
    queued: int = 32
    builders: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_origins(self.allow_origins)
        require(1 <= self.port <= 65535, f"port must be 1 to 65535, not {self.port}")
        require(self.replicas >= 1, f"replicas must be at least 1, not {self.replicas}")
        require(self.cpus > 0, f"cpus must be above 0, not {self.cpus}")
        require(self.front_cpus > 0, f"front_cpus must be above 0, not {self.front_cpus}")
        require(self.gpus >= 0, f"gpus must be at least 0, not {self.gpus}")
        require(self.ongoing >= 1, f"ongoing must be at least 1, not {self.ongoing}")
        require(self.queued >= 1, f"queued must be at least 1, not {self.queued}")
        require(
            self.token is None or _is_sendable(self.token),
            "the token must be visible ASCII characters without spaces; set AMNESIA_TOKEN to such",
        )


def _is_sendable(token: str) -> bool:
    """Tell whether a token can stand in an HTTP header."""
    return token != "" and token.isascii() and token.isprintable() and " " not in token


class Models:
    """A replica that runs models.

    gallery: folder or URL of the gallery.
    cpus: CPUs of this replica; torch uses as many threads, at least 1.
    gpus: GPUs of this replica; 0 runs the models on the CPU.
    """

    def __init__(self, gallery: str, cpus: float, gpus: float) -> None:
        torch.set_num_threads(max(1, int(cpus)))
        self._cache = ModelCache(Gallery(gallery), "cuda" if gpus else "cpu")

    def generate(self, key: ModelKey, label: int, n: int, seed: int) -> NDArray[np.uint8]:
        return self._cache.generate(key, label, n, seed)

    def classify(self, key: ModelKey, images: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._cache.classify(key, images)

    async def ping(self) -> bool:
        return True


@dataclass(frozen=True)
class RayBackend:
    """The model replicas, as the HTTP application sees them.

    models: handle of the model replicas.
    replicas: number of replicas that should answer, of either kind.
    """

    models: DeploymentHandle[Any]
    replicas: int

    async def generate(self, key: ModelKey, label: int, n: int, seed: int) -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = await self._call("generate", key, label, n, seed)
        return images

    async def classify(self, key: ModelKey, images: NDArray[np.float32]) -> NDArray[np.float64]:
        probabilities: NDArray[np.float64] = await self._call("classify", key, images)
        return probabilities

    async def _call(self, method: str, key: ModelKey, *args: Any) -> Any:
        """Call a method of some replica; turn Ray's errors into `Busy` and `Unservable`."""
        remote = self.models.options(method_name=method)
        try:
            return await remote.remote(key, *args)
        except BackPressureError as error:
            raise Busy("too many requests at once; try again in a second") from error
        except (ActorDiedError, ActorUnavailableError, DeploymentUnavailableError) as error:
            lost = f"model {key.name!r} lost the replica that served it; try again"
            raise Unservable(lost) from error
        except RayTaskError as error:
            if isinstance(error.cause, Unservable):
                raise Unservable(str(error.cause)) from None
            raise

    async def missing(self) -> str | None:
        """Ping every replica; name a kind of which fewer than `replicas` answer in `PING_S`."""
        front = ray.serve.get_deployment_handle("Front", APPLICATION)
        for kind, handle in {"model": self.models, "HTTP": front}.items():
            answering = await _count_answering(handle)
            if answering < self.replicas:
                return f"{answering} of {self.replicas} {kind} replicas answer"
        return None


async def _count_answering(handle: DeploymentHandle[Any]) -> int:
    """Count the replicas that answer a ping."""
    pings = handle.broadcast("ping")
    try:
        answers = await pings.results_async(timeout_s=PING_S, return_exceptions=True)
    except (DeploymentUnavailableError, TimeoutError):
        return 0
    return sum(answer is True for answer in answers)


@ray.serve.ingress()
class Front:
    """An HTTP replica: it checks requests, and leaves torch to the model replicas.

    models: handle of the model replicas.
    settings: what is served; its token is not needed here.
    expected: fingerprint of the token; None if none is needed.
    """

    def __init__(
        self, models: DeploymentHandle[Any], settings: ServiceSettings, expected: str | None
    ) -> None:
        self._catalog = Catalog(Gallery(settings.gallery), settings.builders)
        self._backend = RayBackend(models, settings.replicas)
        self._expected = expected
        self._origins = settings.allow_origins

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_app(self._catalog, self._backend, self._expected, origins=self._origins)

    async def ping(self) -> bool:
        return True


def application(settings: ServiceSettings) -> ray.serve.Application:
    """Bind the two deployments. Replicas receive the token's fingerprint, never the token."""
    models = ray.serve.deployment(
        num_replicas=settings.replicas,
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
        max_ongoing_requests=settings.ongoing,
        max_queued_requests=settings.queued,
        health_check_period_s=HEALTH_PERIOD_S,
    )(Models)
    front = ray.serve.deployment(
        num_replicas=settings.replicas,
        ray_actor_options={"num_cpus": settings.front_cpus},
        max_ongoing_requests=FRONT_ONGOING,
        max_queued_requests=FRONT_QUEUED,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        health_check_period_s=HEALTH_PERIOD_S,
    )(Front)
    expected = None if settings.token is None else fingerprint(settings.token)
    model_replicas = models.bind(settings.gallery, settings.cpus, settings.gpus)
    return front.bind(model_replicas, replace(settings, token=None), expected)
