"""The files that Prometheus and Grafana are given ask for metrics that the service has."""

import json
import re
from pathlib import Path

import pytest

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
