"""What a test needs of npm: fetched once, into pytest's cache. Without npm or its registry the test is skipped."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def fetched(config: pytest.Config, package: str) -> Path:
    """The folder `node_modules` with a package (`name@version`) in it."""
    folder = Path(config.cache.mkdir(package.replace("@", "-").replace("/", "-")))
    modules = folder / "node_modules"
    if (modules / package.rsplit("@", 1)[0] / "package.json").exists():
        return modules
    if not shutil.which("npm"):
        pytest.skip(f"{package} comes from npm, which is not installed")
    install = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(folder), package]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm could not fetch {package}: {done.stderr[-300:]}")
    return modules
