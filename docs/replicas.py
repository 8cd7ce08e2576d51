"""Two servers of the app, or more, behind one nginx: `python -m docs.replicas [--count 2] [--port 8500] [FILES]`.

What hosting.md says, as a script: for a try on one machine, for tests, and to copy from. It needs no rights of root.
Every visitor is led to one of the servers, by a cookie; where that one is gone, to another. The servers share nothing:
an address holds all that a page shows.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATIENCE = 60  # seconds, until a server is up
DEAD = 2  # seconds that a server which did not answer is left alone

SETUP = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 4m;

  # a server for each visitor: the one that their cookie names, else one by lot
  split_clients $request_id $lot {{ {lots} }}
  map $cookie_simplegrad_server $server_of_visitor {{ default $lot; {known} }}
{upstreams}
  # a websocket is opened by a request that says so; other requests keep their connections
  map $http_upgrade $connection_for {{ default upgrade; '' ''; }}

  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;  # the name that visitors use, which the servers have to know
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_for;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_connect_timeout 2s;
    proxy_next_upstream error timeout;
    proxy_read_timeout 1h;  # a page that is open and says nothing for that long
    proxy_buffering off;
    location = {path}/_stcore/health {{ proxy_pass http://$server_of_visitor; }}
    location {path}/ {{
      proxy_pass http://$server_of_visitor;
      add_header Set-Cookie "simplegrad_server=$server_of_visitor; Path={path}/; HttpOnly; SameSite=Lax" always;
    }}
  }}
}}
"""


def written(folder: str, port: int, servers: Sequence[int], path: str = "") -> str:
    """nginx's configuration, for servers at these ports of this machine, below a path as "/simplegrad" or ""."""
    names = [f"server{number}" for number in range(len(servers))]
    share = 100 // len(servers)
    lots = " ".join([*(f"{share}% {name};" for name in names[:-1]), f"* {names[-1]};"])
    known = " ".join(f"{name} {name};" for name in names)
    upstreams = "".join(_upstream(name, number, servers) for number, name in enumerate(names))
    return SETUP.format(folder=folder, port=port, path=path, lots=lots, known=known, upstreams=upstreams)


def _upstream(name: str, number: int, servers: Sequence[int]) -> str:
    """A server, and the others for when it does not answer."""
    lines = [
        f"server 127.0.0.1:{port} max_fails=1 fail_timeout={DEAD}s{'' if place == number else ' backup'};"
        for place, port in enumerate(servers)
    ]
    return f"  upstream {name} {{ {' '.join(lines)} }}\n"


class Replicas:
    """Servers and an nginx before them; `url` is where visitors go."""

    def __init__(self, count: int = 2, port: int = 0, path: str = "", files: Iterable[str] = ()):
        self.folder = tempfile.mkdtemp(prefix="replicas-")
        self.path = f"/{path.strip('/')}" if path.strip("/") else ""
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}{self.path}"
        self.files, self.secret = list(files), secrets.token_hex(32)
        self.ports = [free_port() for _ in range(count)]
        self.servers = [self._serve(each) for each in self.ports]
        self.nginx: subprocess.Popen | None = None

    def _serve(self, port: int) -> subprocess.Popen:
        options = {"port": port, "address": "127.0.0.1", "headless": "true", "baseUrlPath": self.path.strip("/")}
        command = [sys.executable, "-m", "streamlit", "run", "app.py"]
        command += [f"--server.{name}={value}" for name, value in options.items() if value != ""]
        shared = {"STREAMLIT_SERVER_COOKIE_SECRET": self.secret, "OMP_NUM_THREADS": "1"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        return subprocess.Popen([*command, "--", *self.files], cwd=ROOT, env={**os.environ, **shared}, **quiet)

    def wait(self) -> Replicas:
        """Until all servers answer; then nginx is let in front of them."""
        for port, server in zip(self.ports, self.servers):
            answers(f"http://127.0.0.1:{port}{self.path}/_stcore/health", server)
        setup = Path(self.folder, "nginx.conf")
        setup.write_text(written(self.folder, self.port, self.ports, self.path))
        self.nginx = subprocess.Popen([nginx(), "-p", self.folder, "-c", str(setup), "-e", "stderr"])
        answers(f"{self.url}/_stcore/health", self.nginx)
        return self

    def kill(self, number: int) -> None:
        """As a machine that fails: nothing is said to anybody."""
        self.servers[number].send_signal(signal.SIGKILL)
        self.servers[number].wait()

    def again(self, number: int) -> None:
        """A server at the same place."""
        self.servers[number] = self._serve(self.ports[number])
        answers(f"http://127.0.0.1:{self.ports[number]}{self.path}/_stcore/health", self.servers[number])

    def stop(self) -> None:
        for process in filter(None, [self.nginx, *self.servers]):
            process.terminate()
        for process in filter(None, [self.nginx, *self.servers]):
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Replicas:
        return self.wait()

    def __exit__(self, *_) -> None:
        self.stop()


def answers(url: str, process: subprocess.Popen) -> None:
    """Wait until there is an answer. Raises RuntimeError where the process ended, or nothing came."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer (exit code of its process: {process.poll()})")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def nginx() -> str:
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not found:
        raise RuntimeError("no nginx found: install it (Debian: apt install nginx).")
    return found


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m docs.replicas", description=__doc__.splitlines()[0])
    asked.add_argument("--count", type=int, default=2, help="servers (default: 2)")
    asked.add_argument("--port", type=int, default=8500, help="where visitors go (default: 8500)")
    asked.add_argument("--path", default="", help="below which the app lies, as /simplegrad")
    asked.add_argument("files", nargs="*", help="files of aggregates, and saved traces, as for app.py")
    given = asked.parse_args()
    with Replicas(given.count, given.port, given.path, given.files) as running:
        print(f"{running.url}/ is served by {given.count} servers, at ports {', '.join(map(str, running.ports))}")
        signal.sigwait([signal.SIGINT, signal.SIGTERM])


if __name__ == "__main__":
    main()
