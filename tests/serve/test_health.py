"""What `/healthz` makes of the controller's word."""

import pytest
from ray.serve.schema import (  # type: ignore[attr-defined]  # two of them are not listed there
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
)

from serve.health import what_is_missing


def overview(**deployments: tuple[str, int]) -> ApplicationStatusOverview:
    """The status of an application: deployment -> its status, and its running replicas."""
    described = {
        name: DeploymentStatusOverview(
            status=DeploymentStatus(status),
            status_trigger=DeploymentStatusTrigger.UNSPECIFIED,
            replica_states={"RUNNING": running},  # type: ignore[dict-item]  # as Ray fills it in
            message="a replica\ndied",
        )
        for name, (status, running) in deployments.items()
    }
    return ApplicationStatusOverview(ApplicationStatus.RUNNING, "", 0.0, described)


@pytest.mark.parametrize("status", ["HEALTHY", "UPSCALING", "DOWNSCALING", "UPDATING"])
def test_a_deployment_that_serves_is_whole(status: str) -> None:
    assert what_is_missing(overview(Front=("HEALTHY", 2), Models=(status, 1))) is None


def test_a_deployment_that_lost_a_replica_is_named_in_one_line() -> None:
    line = what_is_missing(overview(Front=("HEALTHY", 2), Models=("UNHEALTHY", 1)))
    assert line == "Models is unhealthy, 1 of its replicas run: a replica died"


def test_a_deployment_without_replicas_does_not_serve() -> None:
    line = what_is_missing(overview(Front=("UPDATING", 0)))
    assert line is not None
    assert line.startswith("Front is updating, 0 of its replicas run")


def test_an_application_that_the_controller_does_not_know_is_missing() -> None:
    assert what_is_missing(None) is not None
