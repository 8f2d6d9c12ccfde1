"""The whole service: open routes, the token, a gallery that changes, load, lost replicas."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import ray

from serve.launch import Server, start
from serve.settings import ServiceSettings
from tests.serve.conftest import READ, SHEET, TOKEN, error_line
from tests.serve.ports import free_port
from unlearn.errors import BadInput
from unlearn.gallery import VARIANTS, Gallery


def test_cards_show_what_was_promoted(client: httpx.Client, served: Gallery) -> None:
    cards = {card["name"]: card for card in client.get("/v1/models").json()["models"]}
    assert list(cards) == ["digits", "reader"]
    one = client.get("/v1/models/digits").json()
    assert one == cards["digits"]
    assert (one["task"], one["forget"], one["method"]) == ("generator", [1], "selective-amnesia")
    assert one["versions"] == served.history("digits")
    assert one["version"] == one["versions"][-1]
    assert one["scores"]["forget_probability"] == 0.02
    assert one["provenance"] == {"cell_id": "0123456789abcdef"}


def test_page_docs_and_health_need_no_token_and_no_other_host(server: Server) -> None:
    for path, kind in {
        "/": "text/html",
        "/docs": "text/html",
        "/openapi.json": "json",
        "/healthz": "json",
    }.items():
        answer = httpx.get(server.url + path)
        assert (answer.status_code, kind in answer.headers["content-type"]) == (200, True)
        assert "https://" not in answer.text
    assert set(httpx.get(server.url + "/openapi.json").json()["paths"]) >= {
        "/v1/models",
        "/v1/models/{name}/classify",
    }


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é"],
)
def test_every_v1_route_asks_for_the_token(server: Server, header: str | None) -> None:
    headers = [] if header is None else [(b"Authorization", header.encode())]
    for verb, path in (
        ("GET", "/v1/models"),
        ("GET", "/v1/models/digits"),
        ("GET", f"{SHEET}?label=1"),
        ("POST", SHEET),
        ("POST", READ),
        ("GET", "/v1/models/nope"),
        ("GET", "/v1"),
        ("GET", "//v1/models"),
    ):
        answer = httpx.request(verb, server.url + path, headers=headers)
        assert "Authorization: Bearer" in error_line(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_token_is_in_no_log_of_the_cluster(client: httpx.Client) -> None:
    assert client.get("/v1/models").status_code == 200
    sockets = Path(ray.nodes()[0]["ObjectStoreSocketName"]).parent
    logs = sockets.parent / "logs"  # both lie in the folder of the Ray session
    texts = [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
    assert any(b"/v1/models" in text for text in texts)
    assert not any(TOKEN.encode() in text for text in texts)


def test_promotion_and_rollback_are_served_without_a_restart(
    client: httpx.Client, served: Gallery
) -> None:
    ask = {"label": 1, "seed": 2}
    newest = client.get(SHEET, params=ask)
    older = served.rollback("digits")
    before = client.get(SHEET, params=ask, headers={"If-None-Match": newest.headers["etag"]})
    assert (before.status_code, before.headers["x-model-version"]) == (200, older)
    assert before.content != newest.content
    again = newest.headers["x-model-version"]
    variants = {variant: served.load("digits", again, variant) for variant in VARIANTS}
    card = served.card("digits", again)
    for key in ("name", "version", "sha256", "format"):
        card.pop(key, None)
    assert served.publish("digits", variants, card) == again
    assert client.get(SHEET, params=ask).content == newest.content


def test_a_damaged_model_is_named_and_the_others_are_served(
    client: httpx.Client, served: Gallery
) -> None:
    shutil.copytree(Path(served.root) / "digits", Path(served.root) / "broken")
    try:
        path = Path(served.root) / "broken" / served.current("broken") / "oracle.safetensors"
        path.write_bytes(path.read_bytes()[:-9])
        ask = "/v1/models/broken/generate?label=1&variant="
        says = error_line(client.get(f"{ask}oracle"), 503)
        assert says.startswith("model 'broken' cannot be served: broken/")
        assert client.get(f"{ask}original").status_code == 200
        (path.parent / "card.json").write_text("{")
        assert "damaged" in error_line(client.get("/v1/models/broken"), 503)
        listed = {card["name"]: card for card in client.get("/v1/models").json()["models"]}
        assert "damaged" in listed["broken"]["error"]
        assert listed["digits"]["task"] == "generator"
        assert client.get(f"{SHEET}?label=1").status_code == 200
    finally:
        shutil.rmtree(Path(served.root) / "broken")


def test_each_request_of_a_burst_gets_its_sheet_or_429(
    server: Server, client: httpx.Client
) -> None:
    """100 requests at once meet two replicas of 12 places; /healthz answers meanwhile."""
    limits = httpx.Limits(max_connections=100)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    crowd = httpx.Client(base_url=server.url, headers=headers, timeout=60, limits=limits)
    with crowd, ThreadPoolExecutor(100) as pool:
        asked = [
            pool.submit(crowd.get, SHEET, params={"label": 1, "n": 256, "seed": i})
            for i in range(100)
        ]
        assert client.get("/healthz").status_code == 200
        answers = [future.result() for future in asked]
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert "try again" in error_line(answer, 429)
            assert int(answer.headers["retry-after"]) >= 1
    assert client.get(SHEET, params={"label": 1}).status_code == 200


def test_metrics_tell_models_versions_and_outcomes(client: httpx.Client, served: Gallery) -> None:
    client.get(SHEET, params={"label": 1, "n": 3})
    client.get(SHEET, params={"label": 99})
    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    version = served.current("digits")
    wanted = (
        ("ray_amnesia_requests_total", 'outcome="ok"', 'variant="amnesiac"'),
        ("ray_amnesia_requests_total", 'outcome="refused"', 'variant=""'),
        ("ray_amnesia_images_total", 'outcome="ok"', 'variant="amnesiac"'),
        ("ray_amnesia_model_seconds_bucket", 'variant="amnesiac"'),
        ("ray_amnesia_queue_seconds_bucket", 'variant="amnesiac"'),
        ("ray_amnesia_request_seconds_bucket", 'outcome="ok"'),
        ("ray_amnesia_response_bytes_total", 'outcome="ok"'),
        ("ray_amnesia_loads_total", 'variant="amnesiac"'),
    )
    deadline = time.monotonic() + 60  # Ray hands metrics on every few seconds
    while True:
        lines = httpx.get(address).text.splitlines()
        ours = [line for line in lines if f'version="{version}"' in line]
        missing = [each for each in wanted if not _any_has(ours, each)]
        if not missing:
            return
        assert time.monotonic() < deadline, missing
        time.sleep(1)


def _any_has(lines: list[str], parts: tuple[str, ...]) -> bool:
    return any(all(part in line for part in parts) for line in lines)


def test_a_second_service_and_a_port_in_use_are_refused(server: Server, served: Gallery) -> None:
    with pytest.raises(BadInput, match="already runs on this cluster"):
        start(ServiceSettings(served.root, port=free_port()))
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(
        BadInput, match=rf"cannot listen on 127.0.0.1:{port} .*; choose another port or host"
    ):
        start(ServiceSettings(served.root, port=port))
    assert httpx.get(server.url + "/healthz").status_code == 200
