"""The HTML file in Firefox: it opens from a folder and steps by keys. Driven by puppeteer-core, over WebDriver BiDi."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from simplegrad.language import EXAMPLES

from .npm import fetched

PUPPETEER = "puppeteer-core@24.43.1"
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")


@pytest.mark.skipif(not FIREFOX, reason="Firefox is not installed (Debian: apt install firefox-esr)")
@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_a_file_opens_in_firefox_and_steps_by_keys(request, tmp_path):
    modules = fetched(request.config, PUPPETEER)
    EXAMPLES["gradient-of-gradient"].program.run("simple_variable_wrong").to_html(tmp_path / "it.html")
    script = Path(__file__).with_name("firefox.mjs")
    done = subprocess.run(
        ["node", str(script), FIREFOX, str(tmp_path / "it.html"), "ArrowRight", "ArrowRight", "ArrowLeft", "End"],
        capture_output=True, text=True, timeout=240, env={**os.environ, "NODE_PATH": str(modules)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["steps"] == [1, 2, 1, 69]
    assert said["nodes"] > 20 and said["raised"] == []
