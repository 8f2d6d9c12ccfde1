"""The files that Prometheus and Grafana are given ask for metrics that the service has."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
import yaml

from serve.launch import Server
from tests.serve.conftest import SHEET
from tests.serve.ports import free_port
from unlearn.artifacts import Gallery

DEPLOY = Path(__file__).parents[2] / "cluster" / "deploy"
MODEL = {"model", "version", "variant"}
REQUEST = {*MODEL, "route", "outcome"}
METRICS = {  # name -> labels
    "requests_total": REQUEST,
    "images_total": REQUEST,
    "response_bytes_total": REQUEST,
    "request_bytes_total": REQUEST,
    "request_seconds_bucket": REQUEST,
    "queue_seconds_bucket": MODEL,
    "model_seconds_bucket": MODEL,
    "loads_total": MODEL,
}


def expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    named = set(re.findall(r"ray_amnesia_(\w+)", " ".join(expressions())))
    assert named == set(METRICS)


@pytest.mark.parametrize("expression", expressions())
def test_the_dashboard_groups_by_labels_that_there_are(expression: str) -> None:
    [name] = set(re.findall(r"ray_amnesia_(\w+)", expression))
    grouped = re.findall(r"by \(([^)]*)\)", expression)
    labels = {label for group in grouped for label in re.split(r",\s*", group)} - {"le"}
    assert labels <= METRICS[name]


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """Prometheus on a free port, with the file that the project ships."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus; Debian has one")
    nodes = Path(ray.nodes()[0]["ObjectStoreSocketName"]).parents[1]
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    [discovery] = job["file_sd_configs"]
    [file] = discovery["files"]
    discovery["files"] = [str(nodes / Path(file).name)]  # of this test's Ray, not of another's
    config["global"] = {"scrape_interval": "1s"}
    shipped = tmp_path / "prometheus.yml"
    shipped.write_text(yaml.safe_dump(config))
    port = free_port()
    run = subprocess.Popen(
        [
            binary,
            f"--config.file={shipped}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield f"http://127.0.0.1:{port}"
    run.terminate()
    run.wait(30)


def test_prometheus_scrapes_the_service(
    server: Server, client: httpx.Client, served: Gallery, prometheus: str
) -> None:
    client.get(SHEET, params={"label": 1, "n": 2})
    query = {"query": 'ray_amnesia_images_total{model="digits",outcome="ok"}'}
    deadline = time.monotonic() + 60
    while not (found := _query(prometheus, query)):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert {sample["metric"]["version"] for sample in found} <= set(served.versions("digits"))


def _query(prometheus: str, query: dict[str, str]) -> list[Any]:
    """Ask Prometheus; nothing comes while it starts."""
    try:
        answer = httpx.get(f"{prometheus}/api/v1/query", params=query)
    except httpx.TransportError:
        return []
    result: list[Any] = answer.json().get("data", {}).get("result", [])
    return result
