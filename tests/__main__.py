"""`python -m tests`: all tests, and before them the browser that some of them drive, if this machine has none.

The tests share the cores; those in a browser run after them, one after another: beside others a page may take longer
than a test waits for it, and two browsers at once take as long. Arguments go to pytest, which then runs once:
`python -m tests -k store`.

`python -m tests --core`: what works without streamlit and plotly, without a browser. `python -m tests --but-core`: all
the other tests.
"""

import os
import shutil
import subprocess
import sys
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
        return tested(*SHARED, *CORE, *given)
    if not has_browser():
        install_browser()
    if not has_browser():
        print(HOW, file=sys.stderr)
        return 1
    left_out = [f"--ignore={part}" for part in CORE if what]
    if given:
        return tested(*left_out, *given)
    code = tested(*SHARED, "--ignore=tests/browser", *left_out)
    return code or tested("tests/browser")


def tested(*arguments: str) -> int:
    one_thread = {"OMP_NUM_THREADS": "1", **os.environ}  # tensors are small, and the cores are taken by other tests
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, env=one_thread).returncode


if __name__ == "__main__":
    sys.exit(main())
