"""`python -m tests`: all tests, and before them the browser that some of them drive, if this machine has none.

Arguments go to pytest: `python -m tests -k store`. The tests run one after another: those in a browser look at times
and frames that other work would disturb, and sharing the cores saves the rest little, since every worker has to import
torch (`-n 2 --ignore=tests/browser` does it all the same).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
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
        ["install", "-q", "-y", "--no-install-recommends", "chromium", "fonts-liberation"],
    ):
        if subprocess.run([*may, "apt-get", *command], env=quiet, stdin=subprocess.DEVNULL).returncode:
            return


def main() -> int:
    if not has_browser():
        install_browser()
    if not has_browser():
        print(HOW, file=sys.stderr)
        return 1
    return subprocess.run([sys.executable, "-m", "pytest", *sys.argv[1:]], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
