"""The traces of all programs: two launches of torchrun, for all tests and all workers together."""

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.comparison.ranks import together


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(processes: int, script: str, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess:
    """A script on several ranks of this machine; ended, with its ranks, after `timeout` seconds."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(free_port()), script, *arguments]
    around = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    around["PYTHONPATH"] = str(Path(__file__).parents[3])
    with subprocess.Popen(command, env=around, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            said, _ = running.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            running.terminate()  # torchrun ends its ranks
            said, _ = running.communicate(timeout=30)
        return subprocess.CompletedProcess(command, running.returncode, said)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Where the traces are; the first worker that asks makes them."""
    base = tmp_path_factory.getbasetemp()
    found = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ranks"
    found.mkdir(exist_ok=True)
    with open(found / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (found / "done").exists():
            for processes in (2, 4):
                ran = launch(processes, together.__file__, str(found))
                assert ran.returncode == 0, ran.stdout
            (found / "done").touch()
    return found
