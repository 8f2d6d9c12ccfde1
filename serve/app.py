"""The application for Ray Serve's own commands, so that a config file deploys it without code.

serve run serve.app:build gallery=/data/gallery replicas=2
amnesia serve --gallery /data/gallery --print-config > config.yaml && serve deploy config.yaml
"""

import os
from typing import Any

import yaml
from ray.serve import Application

from serve.deployments import APPLICATION, application
from serve.exposure import cluster_variables, replica_variables
from serve.settings import AppSettings, ServiceSettings

HEADER = """\
# The service as `serve deploy` and a RayService (serveConfigV2) take it.
# Ray reads these variables when a node starts: set them for every `ray start`
# (docs/serving.md says what each does).
{variables}
# What `args` may hold: amnesia's docs/serving.md, "Settings". `num_replicas` or
# `autoscaling_config` under `deployments` win over `args.replicas`.
"""


def build(args: AppSettings) -> Application:
    """Build the application. Raises `BadInput` for settings out of range.

    Without `token_sha256` the token is $AMNESIA_TOKEN, if the cluster has it in its environment.
    """
    return application(with_token(args, os.environ.get("AMNESIA_TOKEN")))


def with_token(settings: AppSettings, token: str | None) -> AppSettings:
    """Return the settings with the token's SHA-256, unless they have one. Raises `BadInput`."""
    if settings.token_sha256 is not None or not token:
        return settings
    return ServiceSettings(**settings.model_dump(), token=token).app()


def print_config(settings: ServiceSettings) -> str:
    """Write the config file of the service; it holds the token's SHA-256, never the token."""
    variables = "".join(f"#   {name}={value}\n" for name, value in cluster_variables().items())
    return HEADER.format(variables=variables.rstrip()) + yaml.safe_dump(
        config(settings), sort_keys=False, default_flow_style=False
    )


def config(settings: ServiceSettings) -> dict[str, Any]:
    """Return the config in the form of Ray's `ServeDeploySchema`."""
    app = {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": "serve.app:build",
        "runtime_env": {"env_vars": replica_variables()},
        "args": settings.app().model_dump(mode="json", exclude_defaults=True),
        "deployments": [{"name": "Front"}, *([{"name": "Models"}] if settings.pooled else [])],
    }
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": settings.host, "port": settings.port},
        "applications": [app],
    }
