"""The service on Ray Serve: HTTP replicas that run the models themselves, or a pool behind them.

Imports no torch: the process that only launches the service does without.
"""

from typing import TYPE_CHECKING, Any

import ray
import ray.serve
from fastapi import FastAPI
from ray.serve.config import HTTPOptions
from ray.serve.handle import DeploymentHandle

from serve.exposure import check_door
from serve.settings import AppSettings, ServiceSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serve.api import Backend
    from serve.catalog import ModelKey
    from serve.models import ModelCache

__all__ = ["APPLICATION", "Front", "Models", "ServiceSettings", "application"]

APPLICATION = "amnesia"
CONTROLLER = "SERVE_CONTROLLER_ACTOR"  # the name of Ray Serve's own actor, in the namespace `serve`
HEALTH_PERIOD_S = 2  # how often Ray Serve checks a replica
# Requests that an HTTP replica holds. It is far more than run: those that still upload their body,
# or read their answer slowly, must never fill the places of others.
FRONT_ONGOING = 4096
# The application writes a line per request of its own. `enable_access_log` drops the line of Ray,
# and the level WARNING spares making it up.
LOGGING = {"enable_access_log": False, "log_level": "WARNING"}


def _make_cache(settings: AppSettings) -> "ModelCache":
    """Make the cache of a process that runs models: on its CPUs, or on its GPU."""
    import torch

    from serve.metrics import count_load
    from serve.models import ModelCache
    from unlearn.gallery import Gallery

    torch.set_num_threads(max(1, int(settings.cpus)))
    device = "cuda" if settings.gpus else "cpu"
    return ModelCache(Gallery(settings.gallery), device, batch=settings.batch, on_load=count_load)


class Models:
    """A pool replica: it runs models, and speaks no HTTP.

    settings: the application's settings.
    """

    def __init__(self, settings: AppSettings) -> None:
        from serve.backends import timed

        self._cache = _make_cache(settings)
        self._timed = timed

    def generate(self, key: "ModelKey", label: int, n: int, seed: int) -> Any:
        """Draw images; returns them with the seconds that it took."""
        return self._timed(self._cache.generate, key, label, n, seed)

    def classify(self, key: "ModelKey", images: "NDArray[np.float32]") -> Any:
        """Classify images; returns the probabilities with the seconds that it took."""
        return self._timed(self._cache.classify, key, images)


@ray.serve.ingress()
class Front:
    """An HTTP replica: it checks requests, and runs the models or hands them to the pool.

    settings: the application's settings.
    models: handle of the pool; None if this replica runs the models itself.
    """

    def __init__(self, settings: AppSettings, models: DeploymentHandle[Any] | None = None) -> None:
        check_own_door(settings)
        self._settings = settings
        self._models = models

    def __serve_build_asgi_app__(self) -> FastAPI:
        from serve.api import build_app
        from serve.catalog import Catalog
        from serve.metrics import RayMeter
        from serve.middleware import Limits
        from unlearn.gallery import Gallery

        settings = self._settings
        return build_app(
            Catalog(Gallery(settings.gallery), settings.builders),
            self._backend(),
            settings.token_sha256,
            limits=Limits(settings.body_s, settings.request_s),
            meter=RayMeter(),
            recipe=settings.recipe,
            origins=settings.allow_origins,
        )

    def _backend(self) -> "Backend":
        from serve.backends import Admission, InlineBackend, PoolBackend
        from serve.health import Health

        settings = self._settings
        health = Health(ray.serve.get_replica_context().app_name)
        if self._models is None:
            admission = Admission(settings.ongoing + settings.queued)
            threads = settings.ongoing if settings.batch else 1  # whose requests share batches
            return InlineBackend(_make_cache(settings), admission, health, threads)
        admission = Admission(settings.most * settings.ongoing + settings.queued)
        return PoolBackend(self._models, admission, health)


def check_own_door(settings: AppSettings) -> None:
    """Refuse to serve beyond the loopback without a token, however this was deployed."""
    check_door(listening_host(), settings.token_sha256)


def listening_host() -> str:
    """Return the address on which Ray Serve listens, as its controller has it."""
    controller: Any = ray.get_actor(CONTROLLER, namespace="serve")
    options: HTTPOptions = ray.get(controller.get_http_config.remote())
    return str(options.host)


def application(settings: AppSettings) -> ray.serve.Application:
    """Bind the deployments. Replicas receive the token's fingerprint, never the token."""
    settings = settings.app()
    resources = {"num_cpus": settings.cpus, "num_gpus": settings.gpus}
    if not settings.pooled:
        return _deployment(Front, settings, resources, FRONT_ONGOING).bind(settings)
    models = _deployment(Models, settings, resources, settings.ongoing).bind(settings)
    front = {"num_cpus": settings.front_cpus}
    return _deployment(Front, settings, front, FRONT_ONGOING).bind(settings, models)


def _deployment(
    kind: type, settings: AppSettings, resources: dict[str, float], ongoing: int
) -> ray.serve.Deployment:
    """Describe one deployment: its resources, its number of replicas, and its limits."""
    return ray.serve.deployment(
        ray_actor_options=resources,
        max_ongoing_requests=ongoing,
        health_check_period_s=HEALTH_PERIOD_S,
        logging_config=LOGGING,
        **scale(settings),
    )(kind)


def scale(settings: AppSettings) -> dict[str, Any]:
    """Ask for a fixed number of replicas, or for scaling between two."""
    if settings.least == settings.most:
        return {"num_replicas": settings.least}
    scaling = {
        "min_replicas": settings.least,
        "max_replicas": settings.most,
        "target_ongoing_requests": settings.ongoing,
    }
    return {"autoscaling_config": scaling}
