"""The service on Ray Serve: replicas that hold the models, and replicas that speak HTTP in front of them."""

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
from serve.catalog import Catalog, Pick, Unservable
from serve.middleware import fingerprint
from serve.models import ModelCache
from unlearn.artifacts import Gallery
from unlearn.errors import require

APPLICATION = "amnesia"
PING_S = 5.0  # a replica that takes longer does not answer


@dataclass(frozen=True)
class Settings:
    """What is served, where, and on how much of the cluster.

    cpus, gpus: of each model replica, fractions allowed; each HTTP replica takes `front_cpus`. ongoing: requests that
    one model replica holds at a time; queued: those that one HTTP replica keeps waiting before it answers 429.
    builders: the user's own `package.module:builder`s that a card may name; no other code of theirs is run.
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

    def __post_init__(self) -> None:
        require(1 <= self.port <= 65535, f"port must be 1 to 65535, not {self.port}")
        require(self.replicas >= 1, f"replicas must be at least 1, not {self.replicas}")
        require(self.cpus > 0, f"cpus must be above 0, not {self.cpus}")
        require(self.front_cpus > 0, f"front_cpus must be above 0, not {self.front_cpus}")
        require(self.gpus >= 0, f"gpus must be at least 0, not {self.gpus}")
        require(self.ongoing >= 1, f"ongoing must be at least 1, not {self.ongoing}")
        require(self.queued >= 1, f"queued must be at least 1, not {self.queued}")
        fits = self.token is None or (
            self.token.isascii() and self.token.isprintable() and " " not in self.token
        )
        require(
            fits and self.token != "", "the token must be visible ASCII characters without spaces"
        )


class Models:
    """A replica that holds models; torch uses as many threads as the replica has CPUs."""

    def __init__(self, gallery: str, cpus: float, gpus: float) -> None:
        torch.set_num_threads(max(1, int(cpus)))
        self._shelf = ModelCache(Gallery(gallery), "cuda" if gpus else "cpu")

    def generate(self, pick: Pick, label: int, n: int, seed: int) -> NDArray[np.uint8]:
        return self._shelf.generate(pick, label, n, seed)

    def classify(self, pick: Pick, images: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._shelf.classify(pick, images)

    async def ping(self) -> bool:
        return True


@dataclass(frozen=True)
class RayBackend:
    """The model replicas, as the HTTP application sees them."""

    models: DeploymentHandle
    replicas: int

    async def generate(self, pick: Pick, label: int, n: int, seed: int) -> NDArray[np.uint8]:
        return await self._ask("generate", pick, label, n, seed)

    async def classify(self, pick: Pick, images: NDArray[np.float32]) -> NDArray[np.float64]:
        return await self._ask("classify", pick, images)

    async def _ask(self, method: str, pick: Pick, *args: Any) -> Any:
        """One call to some replica; Ray's ways to fail become ours."""
        try:
            return await self.models.options(method_name=method).remote(pick, *args)
        except BackPressureError as error:
            raise Busy("too many requests at once; try again in a second") from error
        except (ActorDiedError, ActorUnavailableError, DeploymentUnavailableError) as error:
            raise Unservable(
                f"model {pick.name!r} lost the replica that served it; try again"
            ) from error
        except RayTaskError as error:
            if isinstance(error.cause, Unservable):
                raise Unservable(str(error.cause)) from None
            raise

    async def missing(self) -> str | None:
        """Ask every replica of both kinds; name the kind of which fewer than `replicas` answer within 5 s."""
        front = ray.serve.get_deployment_handle("Front", APPLICATION)
        for kind, handle in {"model": self.models, "HTTP": front}.items():
            answering = await _answering(handle)
            if answering < self.replicas:
                return f"{answering} of {self.replicas} {kind} replicas answer"
        return None


async def _answering(handle: DeploymentHandle) -> int:
    """How many replicas answer a ping."""
    try:
        answers = await handle.broadcast("ping").results_async(
            timeout_s=PING_S, return_exceptions=True
        )
    except (DeploymentUnavailableError, TimeoutError):
        return 0
    return sum(answer is True for answer in answers)


@ray.serve.ingress()
class Front:
    """A replica that speaks HTTP: it checks what is asked, and leaves torch to the model replicas."""

    def __init__(self, models: DeploymentHandle, settings: Settings, expected: str | None) -> None:
        self._catalog = Catalog(Gallery(settings.gallery), settings.builders)
        self._backend, self._expected = RayBackend(models, settings.replicas), expected

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_app(self._catalog, self._backend, self._expected)

    async def ping(self) -> bool:
        return True


def application(settings: Settings) -> ray.serve.Application:
    """The two deployments, bound. The replicas are given the token's fingerprint, never the token."""
    models = ray.serve.deployment(
        num_replicas=settings.replicas,
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
        max_ongoing_requests=settings.ongoing,
        max_queued_requests=settings.queued,
        health_check_period_s=2,
    )(Models)
    front = ray.serve.deployment(
        num_replicas=settings.replicas,
        ray_actor_options={"num_cpus": settings.front_cpus},
        max_ongoing_requests=64,
        max_queued_requests=1024,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        health_check_period_s=2,
    )(Front)
    expected = None if settings.token is None else fingerprint(settings.token)
    held = models.bind(settings.gallery, settings.cpus, settings.gpus)
    return front.bind(held, replace(settings, token=None), expected)
