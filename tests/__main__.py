"""`python -m tests`: all tests, and before them the browser that some of them drive, if this machine has none.

Those that wait for a server or a browser run one after another; the others share what these leave of the cores, and
what they say is printed at the end. Arguments go to pytest, which then runs once: `python -m tests -k store`.

`python -m tests --core`: what works without streamlit and plotly, without a browser. `python -m tests --but-core`: all
the other tests.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORE = """
    test_aggregates.py test_files.py test_notebook.py torch_bridge trace/test_store.py trace/test_recorder.py
    engine/test_grad.py engine/test_tape.py language/test_command_line.py language/test_run.py compiler/test_source.py
    compiler/test_torch_function.py comparison checks/test_command.py checks/test_check.py
"""
CORE = [f"tests/{part}" for part in CORE.split()]
# Each worker imports torch: more would need gigabytes. A file goes to one of them: what its tests share is made once.
# They are given out in the order of conftest.py.
SHARED = ("-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadfile", "--no-loadscope-reorder")
WAITING = ("tests/browser", "tests/server")
BROWSERS = ("chromium", "google-chrome")
HOW = """\
The tests drive a Chromium, and there is none here. Install Chromium or Chrome (https://www.chromium.org), and say
where it is if it is not on the PATH:

    CHROMIUM=/path/to/chromium python -m tests
"""


def has_browser() -> bool:
    return bool(os.environ.get("CHROMIUM") or any(map(shutil.which, BROWSERS)))


def install_browser() -> None:
    """Debian's, where there is apt-get and somebody who may use it."""
    may = [] if getattr(os, "geteuid", lambda: 1)() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (may and not shutil.which("sudo")):
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["update", "-q"],
        ["install", "-q", "-y", "--no-install-recommends", "chromium", "fonts-liberation", "nginx"],
    ):
        if subprocess.run([*may, "apt-get", *command], env=quiet, stdin=subprocess.DEVNULL).returncode:
            return


def main() -> int:
    what, given = (sys.argv[1], sys.argv[2:]) if sys.argv[1:2] in (["--core"], ["--but-core"]) else ("", sys.argv[1:])
    if what == "--core":
        return started(*SHARED, *CORE, *given).wait()
    left_out = [f"--ignore={part}" for part in CORE if what]
    if given:
        return driving(*left_out, *given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # they end with this process
    with behind(*SHARED, *(f"--ignore={part}" for part in WAITING), *left_out) as others:
        code = driving(*WAITING)
    return code or others.returncode


def driving(*arguments: str) -> int:
    """Tests of which some drive a browser."""
    if not has_browser():
        install_browser()
    if not has_browser():
        sys.exit(HOW)
    return started(*arguments).wait()


@contextmanager
def behind(*arguments: str) -> Iterator[subprocess.Popen]:
    """Tests that take what others leave of the cores."""
    with tempfile.TemporaryFile() as said:
        running = started(*arguments, stdout=said, stderr=said, **BEHIND)
        try:
            yield running
            running.wait()
        finally:
            running.kill()
            said.seek(0)
            print(said.read().decode(errors="replace"), flush=True)


def started(*arguments: str, **options) -> subprocess.Popen:
    one_thread = {"OMP_NUM_THREADS": "1", **os.environ}  # tensors are small, and the cores are taken by other tests
    return subprocess.Popen([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, env=one_thread, **options)


def step_back() -> None:
    """Linux may share the cores by session first: nice says who goes first inside of one only."""
    os.nice(10)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("10")


BEHIND = {"start_new_session": True, "preexec_fn": step_back} if os.name == "posix" else {}

if __name__ == "__main__":
    sys.exit(main())
