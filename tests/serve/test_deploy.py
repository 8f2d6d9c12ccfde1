"""`serve deploy` of the printed config on a cluster: no code, scaled by the file alone."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from serve.exposure import configure_proxy
from tests.serve.ports import free_port
from unlearn.gallery import Gallery

pytestmark = pytest.mark.cluster

BIN = Path(sys.executable).parent
TRIES = 4  # Ray gives its controller few seconds to start, which a busy machine may not keep
DEPLOY = Path(__file__).parents[2] / "cluster" / "deploy"
SHEET = "/v1/models/digits/generate?label=1"


@dataclass(frozen=True)
class Cluster:
    """A Ray head, with the environment that the config file asks for.

    dashboard: address that `serve deploy` talks to.
    environment: what commands against it need.
    process: the head; the other processes are below it.
    folder: where Ray keeps its files.
    """

    dashboard: str
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    folder: Path

    def print_config(self, gallery: Path, port: int, *options: str) -> str:
        """Return what `amnesia serve --print-config` prints."""
        command = [sys.executable, "-m", "cluster", "serve", "--gallery", str(gallery)]
        command += [f"--port={port}", "--print-config", *options]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def deploy(self, text: str, file: Path) -> None:
        """Write the config file, and deploy it."""
        file.write_text(text)
        command = [str(BIN / "serve"), "deploy", "--address", self.dashboard, str(file)]
        for _ in range(TRIES):
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
            if done.returncode == 0:
                return
        raise AssertionError(done.stderr)

    def replicas(self, kind: str) -> list[psutil.Process]:
        """Return the processes of a deployment."""
        found = []
        for member in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it ends at this moment
                if f":{kind}" in " ".join(member.cmdline()):
                    found.append(member)
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head on free ports, as an operator would start it."""
    token = tmp_path_factory.mktemp("head") / "token"
    token.write_text("a-token-of-this-test-0123456789abcdef")
    before = dict(os.environ)
    configure_proxy()
    root = str(Path(__file__).parents[2])
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": root}
    asked = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_ADDRESS": ""}
    environment = {**os.environ, **path, **asked}
    os.environ.clear()
    os.environ.update(before)
    dashboard = free_port()
    ports = [f"--port={free_port()}", f"--dashboard-port={dashboard}"]
    ports += [f"--dashboard-agent-listen-port={free_port()}", "--dashboard-host=127.0.0.1"]
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets allow no long path
    start = [str(BIN / "ray"), "start", "--head", *ports, "--num-cpus=2", "--disable-usage-stats"]
    start.append(f"--temp-dir={folder}")
    process = subprocess.Popen(
        [*start, "--include-dashboard=true", "--block"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        wait_for(lambda: _answers(address), 120)
        yield Cluster(address, environment, process, Path(folder))
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=10)
    except httpx.TransportError:
        return False
    return True


def _status(url: str) -> int:
    """Return the status of an answer; 0 if there is none."""
    try:
        return httpx.get(url, timeout=30).status_code
    except httpx.TransportError:
        return 0


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.2)


def test_the_config_deploys_scales_and_shows_a_lost_replica(
    cluster: Cluster, made: Path, tmp_path: Path
) -> None:
    file, port = tmp_path / "config.yaml", free_port()
    url = f"http://127.0.0.1:{port}"
    text = cluster.print_config(made, port)
    cluster.deploy(text, file)  # as it was printed
    wait_for(lambda: _status(f"{url}/healthz") == 200, 180)
    sheet = httpx.get(url + SHEET)
    assert sheet.headers["x-model-version"] == Gallery(str(made)).current("digits")
    assert len(cluster.replicas("Front")) == 1

    _check_prometheus(cluster, url, tmp_path)

    scaled = text.replace("  - name: Front\n", "  - name: Front\n    num_replicas: 2\n")
    cluster.deploy(scaled, file)
    wait_for(lambda: len(cluster.replicas("Front")) == 2, 120)
    wait_for(lambda: _status(f"{url}/healthz") == 200, 120)

    os.kill(cluster.replicas("Front")[0].pid, signal.SIGKILL)
    wait_for(lambda: _status(f"{url}/healthz") == 503, 60)
    wait_for(lambda: _status(f"{url}/healthz") == 200, 120)
    assert len(cluster.replicas("Front")) == 2
    assert httpx.get(url + SHEET).content == sheet.content

    pool = ("--placement=pool", "--replicas=1", "--cpus=0.25")
    cluster.deploy(cluster.print_config(made, port, *pool), file)
    wait_for(lambda: len(cluster.replicas("Models")) == 1, 120)
    wait_for(lambda: len(cluster.replicas("Front")) == 1, 120)
    wait_for(lambda: _status(f"{url}/healthz") == 200, 120)
    assert httpx.get(url + SHEET).content == sheet.content

    cluster.deploy(_ray_service(made, port), file)
    wait_for(lambda: len(cluster.replicas("Models")) == 0, 120)
    wait_for(lambda: len(cluster.replicas("Front")) == 2, 120)
    wait_for(lambda: _status(f"{url}/healthz") == 200, 120)
    assert httpx.get(url + SHEET).content == sheet.content


def _ray_service(gallery: Path, port: int) -> str:
    """Return `serveConfigV2` of the Kubernetes file: for this gallery, at two replicas.

    The application has another name, as an operator may give it.
    """
    service = yaml.safe_load((DEPLOY / "kuberay-rayservice.yaml").read_text())
    document = yaml.safe_load(service["spec"]["serveConfigV2"])
    document["http_options"] = {"host": "127.0.0.1", "port": port}  # fixed while Serve runs
    document["proxy_location"] = "HeadOnly"
    [app] = document["applications"]
    app["name"] = "under-another-name"
    app["args"]["gallery"] = str(gallery)
    app["deployments"] = [{"name": "Front", "num_replicas": 2}]
    text: str = yaml.safe_dump(document)
    return text


def _check_prometheus(cluster: Cluster, url: str, scratch: Path) -> None:
    """Let Debian's Prometheus, where there is one, scrape the service by the file that we ship."""
    binary = shutil.which("prometheus")
    if binary is None:
        return
    shipped = (DEPLOY / "prometheus.yml").read_text()
    file = scratch / "prometheus.yml"
    file.write_text(shipped.replace("/tmp/ray/", f"{cluster.folder}/"))
    port = free_port()
    listen = f"--web.listen-address=127.0.0.1:{port}"
    command = [binary, f"--config.file={file}", f"--storage.tsdb.path={scratch / 'data'}", listen]
    quiet = subprocess.DEVNULL
    run = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        wait_for(lambda: _scraped(f"http://127.0.0.1:{port}"), 90)
    finally:
        run.terminate()
        run.wait(30)


def _scraped(prometheus: str) -> bool:
    """Tell whether Prometheus has counted a sheet of the generator."""
    query = {"query": 'ray_amnesia_images_total{model="digits",outcome="ok"} > 0'}
    try:
        answer = httpx.get(f"{prometheus}/api/v1/query", params=query)
    except httpx.TransportError:  # it is starting
        return False
    return answer.status_code == 200 and answer.json()["data"]["result"] != []
