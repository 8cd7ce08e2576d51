"""An installed wheel works in any folder, and a part that is not installed is a sentence."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

import simplegrad
from simplegrad.__main__ import main

ROOT = Path(__file__).parent.parent
# Caches least of all: other tests write into them meanwhile.
NOT_INSTALLED = ".git", "build", "tests", "docs", "benchmarks", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"

WRONG = """
import torch
from simplegrad import TapeEntry, Variable, aggregate, gradient_tape


@aggregate(example=lambda: (torch.tensor([0.5, 1.0]),))
def square(x):
    r = Variable(x.value * x.value)
    gradient_tape.append(TapeEntry(inputs=[x.name], outputs=[r.name], propagate=lambda dL: [dL[0] * x]))
    return r
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that a wheel of this repository unpacks to; no checkout is near."""
    folder = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*NOT_INSTALLED))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def anywhere(installed: Path, folder: Path) -> dict:
    """Options for a process that has the wheel, in another folder and with a home of its own."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(folder)}
    return {"cwd": folder, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


def test_the_wheel_has_the_app_and_its_files(installed):
    app = installed / "simplegrad" / "app"
    assert (app / "app.py").read_text() == (ROOT / "app.py").read_text()
    for folder in ("pages", ".streamlit"):
        files = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        assert {path.name for path in (app / folder).iterdir()} == files
    beside = {path.name for path in ROOT.glob("*.py")} - {"setup.py"}
    assert "app.py" in beside
    assert {path.name for path in app.iterdir()} == {"pages", ".streamlit"} | beside
    assert [path.name for path in installed.iterdir() if path.suffix != ".dist-info"] == ["simplegrad"]


def test_every_file_of_the_package_is_in_the_wheel(installed):
    ours = [path for path in (ROOT / "simplegrad").rglob("*.*") if path.is_file() and "__pycache__" not in path.parts]
    assert [path for path in ours if not (installed / path.relative_to(ROOT)).exists()] == []


def test_the_wheel_checks_a_file_in_another_folder(installed, tmp_path):
    (tmp_path / "ops.py").write_text(WRONG)
    run = subprocess.run([sys.executable, "-m", "simplegrad", "check", "ops.py"], **anywhere(installed, tmp_path))
    assert run.returncode == 1, run.stdout
    assert run.stdout.startswith("square: ")


def test_the_wheels_pages_are_drawn_in_any_folder(installed, tmp_path):
    code = """
from streamlit.testing.v1 import AppTest
from simplegrad.serve import script
app = AppTest.from_file(str(script()), default_timeout=60).run()
for page in ("compose", "compile"):
    app.switch_page(f"pages/{page}.py").run()
    print(page, [each.value for each in [*app.exception, *app.error]], [each.label for each in app.selectbox][:1])
"""
    run = subprocess.run([sys.executable, "-c", code], **anywhere(installed, tmp_path))
    assert "compose [] [" in run.stdout and "compile [] [" in run.stdout, run.stdout


def test_the_wheels_app_is_served_in_any_folder(installed, tmp_path):
    (tmp_path / "ops.py").write_text(WRONG)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "simplegrad", "app", "ops.py", f"--server.port={port}", "--server.headless=true"]
    with subprocess.Popen(command, **anywhere(installed, tmp_path)) as server:
        try:
            assert b"ok" in answer(f"http://127.0.0.1:{port}/_stcore/health", server)
        finally:
            server.terminate()


def answer(url: str, server: subprocess.Popen) -> bytes:
    for _ in range(600):
        assert server.poll() is None, server.stdout.read()
        try:
            with urllib.request.urlopen(url, timeout=5) as page:
                return page.read()
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no answer from {url}")


def test_a_missing_extra_is_a_sentence_that_names_it():
    hidden = "import importlib.util as u; there = u.find_spec; u.find_spec = lambda n: n != 'streamlit' and there(n)"
    code = f"{hidden}\nimport sys; from simplegrad.__main__ import main; sys.exit(main(['app']))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2
    said = 'simplegrad app needs streamlit, which is not installed. Install: pip install "simplegrad[app]"\n'
    assert run.stderr == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["app", "nowhere.py"], "nowhere.py: no such file. Give Python files with aggregates, or saved traces."),
        (["app", "--server.port", "1"], "--server.port: options for Streamlit are written with =, such as"),
        (["transcript", "first-gradient", "--server.port=1"], "unrecognized arguments: --server.port=1"),
        (["run", "x.py", "--out", "y"], "follow `--`: simplegrad run [options] x.py -- --out y"),
    ],
)
def test_what_keeps_a_command_from_starting_is_said(arguments, said, capsys):
    try:
        code = main(arguments)
    except SystemExit as stopped:  # argparse's own
        code = stopped.code
    assert code == 2
    assert said in capsys.readouterr().err


def test_the_version_names_what_a_report_of_a_fault_should(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert re.fullmatch(rf"simplegrad {simplegrad.__version__} \(torch 2\.\S+, Python 3\.\S+\)\n", said)
