"""Say whether the application is whole, by what Ray Serve's controller says of it."""

import asyncio

import ray.serve
from ray.exceptions import RayError
from ray.serve.schema import ApplicationStatusOverview

ANSWER_S = 5.0  # a controller that takes longer counts as one that does not answer
FRESH_S = 0.5  # how long an answer is used again: health costs the same under load as without
# States of a deployment that serves: it may grow, shrink or be replaced meanwhile.
SERVING = ("HEALTHY", "UPSCALING", "DOWNSCALING", "UPDATING")


class Health:
    """What the controller says of one application, asked at most every `FRESH_S`.

    application: its name.
    """

    def __init__(self, application: str) -> None:
        self._application = application
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._missing: str | None = None

    async def missing(self) -> str | None:
        """Say what is missing; None if nothing is."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if now - self._asked_at > FRESH_S:
                self._missing = await self._ask()
                self._asked_at = now
            return self._missing

    async def _ask(self) -> str | None:
        try:
            status = await asyncio.wait_for(asyncio.to_thread(ray.serve.status), ANSWER_S)
        except (RayError, TimeoutError):
            return "Ray Serve's controller does not answer; it is restarted by Ray"
        return what_is_missing(status.applications.get(self._application))


def what_is_missing(application: ApplicationStatusOverview | None) -> str | None:
    """Name the first deployment that is not as the controller wants it; None if all are."""
    if application is None:
        return "the controller does not know this application; deploy it again"
    for name, deployment in application.deployments.items():
        states = deployment.replica_states.items()
        running = sum(count for state, count in states if state == "RUNNING")
        status = deployment.status.value
        if running == 0 or status not in SERVING:
            why = " ".join(deployment.message.split())[:200]
            line = f"{name} is {status.lower()}, {running} of its replicas run"
            return f"{line}: {why}" if why else line
    return None
