"""kill -9 of every process of the service, under a steady load of eight clients."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psutil
import pytest

from serve.client import Client
from serve.launch import Server
from tests.benchmarks.load import drive
from tests.serve.conftest import TOKEN
from tests.serve.test_load import ASK, port_of, wait_until_whole

pytestmark = pytest.mark.cluster

LOAD_S = 15.0
CLIENTS = 8
PROCESSES = {  # name -> part of the command line
    "replica": "ray::ServeReplica:amnesia:Front",
    "controller": "ray::ServeController",
    "fallback proxy": "ray::ProxyActor",
    "keeper of HAProxy": "ray::HAProxyManager",
    "HAProxy": "/haproxy -db",
}


@dataclass
class Retrying:
    """What a client that repeats requests saw.

    answers: requests that were answered
    longest_s: the longest that one took
    """

    answers: int = 0
    longest_s: float = 0.0


@contextmanager
def retrying(url: str) -> Iterator[Retrying]:
    """Ask for images, one request after another; raise what any of them raised."""
    seen, over = Retrying(), threading.Event()

    def ask() -> None:
        with Client(url, TOKEN) as client:
            while not over.is_set():
                began = time.monotonic()
                client.generate("digits", label=1, n=1, seed=seen.answers)
                seen.answers += 1
                seen.longest_s = max(seen.longest_s, time.monotonic() - began)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield seen
        finally:
            over.set()
        asking.result()


def find(part: str) -> list[psutil.Process]:
    """Return the processes below this one whose command lines hold `part`."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if part in " ".join(child.cmdline())]


def wait_for_another(part: str, before: list[psutil.Process]) -> None:
    """Wait until there are as many processes as before the kill."""
    deadline = time.monotonic() + 60
    while len(find(part)) < len(before):
        assert time.monotonic() < deadline, f"no new {part}"
        time.sleep(0.2)


# What breaks HAProxy breaks every connection that goes through it; a client that connects at once
# again may be refused twice within the tenth of a second until another HAProxy listens.
@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("replica", 1),
        ("controller", 0),
        ("fallback proxy", 0),
        ("keeper of HAProxy", 1),
        ("HAProxy", 4 * CLIENTS),
    ],
)
def test_a_killed_process_costs_retrying_clients_nothing(
    server: Server, client: httpx.Client, name: str, allowed: int
) -> None:
    wait_until_whole(client)
    before = find(PROCESSES[name])
    with ThreadPoolExecutor(1) as pool, retrying(server.url) as seen:
        running = pool.submit(drive, port_of(server), [ASK], CLIENTS, LOAD_S)
        time.sleep(2)
        os.kill(before[0].pid, signal.SIGKILL)
        load = running.result()
    lost = load.statuses.total() - load.statuses[200]
    print(f"\n{name}: {lost} lost of {load.statuses}; retrying: {seen}", flush=True)
    assert load.statuses[200] > 100
    assert lost <= allowed, load.statuses
    assert seen.answers > 100
    assert seen.longest_s < 10
    wait_for_another(PROCESSES[name], before)
    wait_until_whole(client)
