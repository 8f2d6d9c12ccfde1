"""The settings, their ranges, and the config file for Ray Serve's own commands."""

from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serve.app import config, print_config, with_token
from serve.deployments import scale
from serve.middleware import fingerprint
from serve.settings import AppSettings, ServiceSettings
from unlearn.errors import BadInput


@pytest.mark.parametrize(
    "wrong",
    [
        {"gallery": ""},
        {"port": 0},
        {"port": 65536},
        {"replicas": 0},
        {"replicas": "3:2"},
        {"replicas": "1:2:3"},
        {"cpus": 0},
        {"front_cpus": 0},
        {"gpus": -1},
        {"ongoing": 0},
        {"queued": 0},
        {"body_s": 0},
        {"request_s": 0},
        {"placement": "moon"},
        {"token_sha256": "abc"},
        {"token": ""},
        {"token": "two words"},
        {"token": "naïve"},
        {"token": "a\nb"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_settings_out_of_range_cannot_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))) as caught:
        ServiceSettings(**{"gallery": "gallery", **wrong})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "least", "most"), [(1, 1, 1), ("2", 2, 2), ("1:4", 1, 4), ("3:3", 3, 3)]
)
def test_replicas_are_a_number_or_two(given: Any, least: int, most: int) -> None:
    settings = AppSettings("gallery", replicas=given)
    assert (settings.least, settings.most) == (least, most)


@pytest.mark.parametrize(
    ("given", "pooled"),
    [
        ({}, False),
        ({"gpus": 0.5}, True),
        ({"placement": "inline", "gpus": 1}, False),
        ({"placement": "pool"}, True),
    ],
    ids=str,
)
def test_models_run_in_a_pool_where_they_want_a_gpu_or_the_user_says_so(
    given: dict[str, Any], pooled: bool
) -> None:
    assert AppSettings("gallery", **given).pooled == pooled


def test_the_token_is_not_shown_and_replicas_get_its_fingerprint_only() -> None:
    settings = ServiceSettings("gallery", token="hunter2", cpus=2)
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.model_dump())
    assert settings.app() == AppSettings("gallery", token_sha256=fingerprint("hunter2"), cpus=2)


def test_the_printed_config_is_one_that_ray_serve_takes() -> None:
    settings = ServiceSettings("/g", host="0.0.0.0", port=8123, token="hunter2", replicas="1:4")
    text = print_config(settings)
    read = ServeDeploySchema(**yaml.safe_load(text))
    assert "hunter2" not in text
    assert (read.http_options.host, read.http_options.port) == ("0.0.0.0", 8123)
    [app] = read.applications
    assert (app.name, app.import_path, app.route_prefix) == ("amnesia", "serve.app:build", "/")
    assert AppSettings(**app.args) == settings.app()


def test_a_cluster_can_hold_the_token_in_its_environment() -> None:
    found = with_token(AppSettings("/g", replicas=2), "hunter2")
    assert found == AppSettings("/g", replicas=2, token_sha256=fingerprint("hunter2"))
    assert with_token(found, "another") == found
    assert with_token(AppSettings("/g"), None) == AppSettings("/g")
    with pytest.raises(BadInput, match="token"):
        with_token(AppSettings("/g"), "two words")


def test_a_pool_has_two_deployments_that_the_config_names() -> None:
    [app] = config(ServiceSettings("/g", placement="pool"))["applications"]
    assert [deployment["name"] for deployment in app["deployments"]] == ["Front", "Models"]


@pytest.mark.parametrize(
    ("replicas", "asked"),
    [
        (3, {"num_replicas": 3}),
        (
            "2:5",
            {
                "autoscaling_config": {
                    "min_replicas": 2,
                    "max_replicas": 5,
                    "target_ongoing_requests": 7,
                }
            },
        ),
    ],
    ids=str,
)
def test_fixed_and_scaling_replicas_reach_ray(replicas: Any, asked: dict[str, Any]) -> None:
    assert scale(AppSettings("/g", replicas=replicas, ongoing=7)) == asked
