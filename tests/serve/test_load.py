"""The whole service under load: lost processes, promotions, and clients that are slow."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import psutil

from serve.launch import Server
from tests.benchmarks.load import Load, drive, get
from tests.serve.conftest import READ, SHEET, TOKEN
from unlearn.gallery import VARIANTS, Gallery

ASK = get(f"{SHEET}?label=1&n=1", Authorization=f"Bearer {TOKEN}")
SLOW = 200


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


@contextmanager
def under_load(server: Server, seconds: float) -> Iterator[Future[Load]]:
    """Eight clients ask for sheets, one after another, from a second before the block on."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(drive, port_of(server), [ASK], 8, seconds)
        time.sleep(1)
        yield running


def replicas() -> list[psutil.Process]:
    """Return the processes that speak HTTP."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "amnesia:Front" in " ".join(child.cmdline())]


def wait_until_whole(client: httpx.Client) -> None:
    deadline = time.monotonic() + 120
    while client.get("/healthz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_replica_that_is_killed_costs_at_most_one_request_and_shows_in_health(
    server: Server, client: httpx.Client
) -> None:
    wait_until_whole(client)
    with under_load(server, 12) as running:
        os.kill(replicas()[0].pid, signal.SIGKILL)
        seen = set()
        while not running.done():
            answer = client.get("/healthz")
            seen.add((answer.status_code, answer.json().get("error", "")[:18]))
            time.sleep(0.1)
    load = running.result()
    assert (503, "Front is unhealthy") in seen
    assert load.statuses[200] > 100
    assert load.statuses.total() - load.statuses[200] <= 1, load.statuses
    wait_until_whole(client)
    assert len(replicas()) == 2


def test_a_controller_that_is_killed_costs_no_request(server: Server, client: httpx.Client) -> None:
    wait_until_whole(client)
    children = psutil.Process().children(recursive=True)
    [controller] = [child for child in children if "ServeController" in " ".join(child.cmdline())]
    with under_load(server, 8) as running:
        os.kill(controller.pid, signal.SIGKILL)
    load = running.result()
    assert set(load.statuses) == {200}, load.statuses
    wait_until_whole(client)


def test_promotion_and_rollback_cost_no_request(
    server: Server, client: httpx.Client, served: Gallery
) -> None:
    newest = served.current("digits")
    variants = {variant: served.load("digits", newest, variant) for variant in VARIANTS}
    card = served.card("digits", newest)
    for key in ("name", "version", "sha256", "format"):
        card.pop(key, None)
    with under_load(server, 5) as running:
        for _ in range(10):
            served.rollback("digits")
            time.sleep(0.1)
            served.publish("digits", variants, card)
            time.sleep(0.1)
    assert set(running.result().statuses) == {200}
    assert client.get(f"{SHEET}?label=1").headers["x-model-version"] == newest


def test_slow_uploads_leave_the_others_their_rate_and_end_in_408(
    server: Server, client: httpx.Client
) -> None:
    alone = drive(port_of(server), [ASK], 8, 2).good
    lines = [f"POST {READ} HTTP/1.1", "Host: slow", f"Authorization: Bearer {TOKEN}"]
    lines += ["Content-Type: application/json", "Content-Length: 1000"]
    begun = "\r\n".join(lines).encode() + b"\r\n\r\n{"
    uploads = [socket.create_connection(("127.0.0.1", port_of(server))) for _ in range(SLOW)]
    try:
        for upload in uploads:
            upload.sendall(begun)
        beside = drive(port_of(server), [ASK], 8, 2)
        waits = [client.get("/healthz").elapsed.total_seconds() for _ in range(5)]
        answers = [upload.recv(4096) for upload in uploads]
    finally:
        for upload in uploads:
            upload.close()
    again = drive(port_of(server), [ASK], 8, 2).good
    assert set(beside.statuses) == {200}
    assert beside.good > min(alone, again) / 2
    assert min(waits) < 0.1
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 408"}


def test_haproxy_listens_on_the_loopback_only(server: Server) -> None:
    children = psutil.Process().children(recursive=True)
    proxies = {child.pid for child in children if child.name() == "haproxy"}
    listening = [each for each in psutil.net_connections("tcp") if each.status == "LISTEN"]
    theirs = {each.laddr[0] for each in listening if each.pid in proxies and each.laddr}
    assert theirs == {"127.0.0.1"}
