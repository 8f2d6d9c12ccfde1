"""A SLURM of one node, from Debian's packages slurm-wlm and munge; its files lie in one folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
UP_S = 60.0

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MailProg=/bin/true
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs that this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]


def search_path() -> str:
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


@dataclass(frozen=True)
class Slurm:
    """A running SLURM; `config` is its slurm.conf."""

    config: Path

    def command(self, *arguments: str, **more: str) -> str:
        """Run one of SLURM's commands, and return what it prints."""
        run = subprocess.run(
            arguments,
            env={**os.environ, "SLURM_CONF": str(self.config), **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, f"{arguments}: {run.stdout}{run.stderr}"
        return run.stdout.strip()

    def state(self, job: str) -> str:
        """The job's state, as `scontrol show job` names it."""
        shown = self.command("scontrol", "show", "job", job)
        return shown.split("JobState=")[1].split()[0]


@contextmanager
def one_node(folder: Path) -> Iterator[Slurm]:
    """Start munged, slurmctld and slurmd; stop them at the end."""
    started: list[subprocess.Popen[bytes]] = []
    config = folder / "slurm.conf"
    slurm = Slurm(config)
    _write(config)

    def start(*command: str) -> None:
        with (folder / f"{Path(command[0]).name}.out").open("wb") as log:
            environment = {**os.environ, "PATH": search_path(), "SLURM_CONF": str(config)}
            started.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
            )

    try:
        start("munged", "--foreground", "--force", *_munge_files(folder))
        start("slurmctld", "-D", "-f", str(config))
        start("slurmd", "-D", "-f", str(config))
        _wait_until_idle(slurm, folder)
        yield slurm
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _write(config: Path) -> None:
    folder = config.parent
    for name in ("state", "spool"):
        (folder / name).mkdir()
    ports = [_free_port(), _free_port()]
    text = CONFIG.format(
        folder=folder,
        host=socket.gethostname(),
        controller=ports[0],
        daemon=ports[1],
        user="root",
        cpus=os.cpu_count(),
    )
    config.write_text(text)


def _munge_files(folder: Path) -> list[str]:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    names = ("socket", "pid", "log", "seed")
    files = {name: folder / f"munge.{name}" for name in names}
    return [
        f"--key-file={key}",
        f"--socket={files['socket']}",
        f"--pid-file={files['pid']}",
        f"--log-file={files['log']}",
        f"--seed-file={files['seed']}",
    ]


def _wait_until_idle(slurm: Slurm, folder: Path) -> None:
    deadline = time.monotonic() + UP_S
    while True:
        try:
            if slurm.command("sinfo", "--noheader", "--format=%t") == "idle":
                return
        except AssertionError:
            pass  # the controller does not answer yet
        logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.out"))
        assert time.monotonic() < deadline, f"no idle node within {UP_S:.0f} s\n{logs}"
        time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
