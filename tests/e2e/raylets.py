"""Several Ray nodes on one machine, each with folders and processes of its own, to kill and add."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from ray.util.state import list_actors, list_nodes

from tests.e2e.terminal import ROOT

TRIALS = ("PackTrial", "ResourceTrainable")  # how Tune names the actors of our trials
UP_S = 120.0  # seconds that a node has to join on a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Raylets:
    """A Ray cluster; `folder` holds one folder per node.

    port, dashboard: of the head
    nodes: the `ray start` of each node, by name; the head is `head`
    temporary: Ray's own folders; their names are short, because a socket's path is
    """

    folder: Path
    port: int = field(default_factory=free_port)
    dashboard: int = field(default_factory=free_port)
    nodes: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)
    temporary: Path = field(default_factory=lambda: Path(mkdtemp(prefix="ray-", dir="/tmp")))

    @property
    def address(self) -> str:
        """Where drivers join."""
        return f"127.0.0.1:{self.port}"

    @property
    def jobs(self) -> str:
        """The Jobs API."""
        return f"http://127.0.0.1:{self.dashboard}"

    def start(self, name: str, cpus: int, *options: str, **environment: str) -> None:
        """Start the head or a further node, and wait until it has joined.

        options: further ones of `ray start`
        """
        self.launch(name, cpus, *options, **environment)
        self._wait_for(name)

    def launch(self, name: str, cpus: int, *options: str, **environment: str) -> None:
        """Start a node; it joins in seconds, on a busy machine in a minute."""
        own = self.folder / name
        own.mkdir()
        head = [
            *("--head", f"--port={self.port}", "--dashboard-host=127.0.0.1"),
            f"--dashboard-port={self.dashboard}",
        ]
        where = head if name == "head" else [f"--address={self.address}"]
        command = [
            *(str(Path(sys.executable).with_name("ray")), "start", "--block"),
            *where,
            f"--node-name={name}",
            f"--num-cpus={cpus}",
            f"--dashboard-agent-listen-port={free_port()}",
            "--disable-usage-stats",
            # A node's death takes its files along: nodes that share a folder would lose theirs too.
            f"--temp-dir={self.temporary / name}",
            *options,
        ]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        variables = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "RAY_ADDRESS": "",
            "RAY_AUTH_MODE": "disabled",
        }
        with (own / "log").open("wb") as log:
            self.nodes[name] = subprocess.Popen(
                command,
                cwd=own,
                env={**variables, "AMNESIA_DATA": str(own / "data"), **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_for(self, name: str) -> None:
        deadline = time.monotonic() + UP_S
        while name not in self.alive():
            log = (self.folder / name / "log").read_text()
            assert self.nodes[name].poll() is None, f"node {name} did not start:\n{log}"
            late = f"node {name} did not join within {UP_S:.0f} s:\n{log}"
            assert time.monotonic() < deadline, late
            time.sleep(0.5)

    def alive(self) -> dict[str, str]:
        """Node ids of the live nodes, by name; none while the head starts."""
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.dashboard)) != 0:
                return {}
        try:
            found = list_nodes(address=self.jobs, filters=[("state", "=", "ALIVE")])
        except Exception:  # a head that starts fails in many ways
            return {}
        return {node.node_name: node.node_id for node in found}

    def trials_on(self, node_id: str) -> int:
        """How many actors of trials were started on a node."""
        found = list_actors(address=self.jobs, filters=[("node_id", "=", node_id)])
        return sum(any(name in actor.class_name for name in TRIALS) for actor in found)

    def kill(self, name: str) -> None:
        """SIGKILL to a node, as when its power goes."""
        os.killpg(self.nodes[name].pid, signal.SIGKILL)
        self.nodes.pop(name).wait()

    def close(self) -> None:
        """Stop all nodes, the head last."""
        for name in reversed(list(self.nodes)):
            self.nodes[name].terminate()
        for process in self.nodes.values():
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.temporary, ignore_errors=True)
