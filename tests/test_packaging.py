"""What an installed simplegrad has is what the repository has: its files, its version, what it needs."""

import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import simplegrad
import tests.__main__ as runner
from simplegrad import extras
from tests.test_floors import imported, libraries

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINES = (ROOT / "requirements.txt").read_text().split()


def test_versions_agree():
    assert PROJECT["project"]["version"] == simplegrad.__version__


def test_requirements_pin_what_they_name():
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+", line) for line in LINES)
    assert "torch==2.13.0" in LINES


def named(lines: list[str]) -> set[str]:
    return {re.split("[=<>]", line)[0] for line in lines}


def test_the_package_and_its_extra_need_what_the_requirements_pin():
    core, extra = PROJECT["project"]["dependencies"], PROJECT["project"]["optional-dependencies"]["app"]
    assert named(core) == {"torch", "numpy", "safetensors", "networkx"}
    assert named(extra) == set(extras.EXTRAS["app"])
    assert named(core) | named(extra) == named(LINES)
    assert not any("==" in line for line in core), "a range: others have a torch of their own"


def test_only_what_shows_imports_what_the_core_lacks():
    for path in (ROOT / "simplegrad").rglob("*.py"):
        if "view" not in path.parts and path.name != "serve.py":
            assert not libraries(imported(path)) & {"streamlit", "plotly", "pandas"}, path


def test_everything_imported_is_required():
    sources = [*(ROOT / "simplegrad").rglob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "app.py"]
    theirs = {"pandas", "starlette", "hosting"}  # Streamlit's, and the module beside app.py; below, who loads a plugin
    found = set().union(*(libraries(imported(path)) for path in sources))
    assert found - theirs - {"pytest", "_pytest", "IPython"} == {line.split("==")[0] for line in LINES}


def test_every_file_that_is_no_module_is_package_data():
    declared = PROJECT["tool"]["setuptools"]["package-data"]
    for path in (ROOT / "simplegrad").rglob("*.*"):
        if path.suffix != ".py" and "__pycache__" not in path.parts:
            homes = [folder for folder in path.parents if (folder / "__init__.py").exists()]
            package, inside = ".".join(homes[0].relative_to(ROOT).parts), path.relative_to(homes[0]).as_posix()
            assert any(fnmatch(inside, pattern) for pattern in declared.get(package, [])), path


def test_every_folder_of_modules_is_a_package():
    for folder in {path.parent for path in (ROOT / "simplegrad").rglob("*.py")}:
        assert (folder / "__init__.py").exists(), folder


def test_importing_the_library_imports_no_page():
    """A script or a test of the user's waits for torch, and for nothing else."""
    code = (
        "import sys, simplegrad; print([x for x in ('streamlit', 'plotly', 'networkx', 'pandas') if x in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"


class Ran:
    """A process that is none, with the exit code that the last argument of its command says, or 0."""

    noted: list[list[str]]

    def __init__(self, command, **_):
        self.noted.append(command)
        self.returncode = int(command[-1]) if command[-1].isdigit() else 0


@pytest.fixture
def bare_machine(monkeypatch):
    """No browser, and whatever is run is noted."""
    noted = []
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(sys, "argv", ["tests"])
    monkeypatch.setattr(runner.shutil, "which", lambda name: None)
    monkeypatch.setattr(runner.subprocess, "run", type("Noted", (Ran,), {"noted": noted}))
    return noted


def test_a_missing_browser_is_a_failure_that_says_what_to_do(bare_machine, capsys):
    assert runner.main() == 1
    assert bare_machine == []
    assert "CHROMIUM=/path/to/chromium python -m tests" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users have no numbers here")
@pytest.mark.parametrize(("user", "first"), [(0, "apt-get"), (1000, "sudo")])
def test_debians_browser_is_installed_where_it_can_be(bare_machine, monkeypatch, user, first):
    monkeypatch.setattr(runner.os, "geteuid", lambda: user)
    monkeypatch.setattr(runner.shutil, "which", lambda name: name if name in ("apt-get", "sudo") else None)
    assert runner.main() == 1  # nothing was really installed
    assert [command[0] for command in bare_machine] == [first, first]
    assert "chromium" in bare_machine[1]


def test_the_core_needs_no_browser_and_names_files_that_are_there(bare_machine, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tests", "--core", "-x"])
    assert runner.main() == 0
    ((*_, option),) = bare_machine
    shared = bare_machine[0][3 : 3 + len(runner.SHARED)]
    files = bare_machine[0][3 + len(runner.SHARED) : -1]
    assert (*shared, option) == (*runner.SHARED, "-x") and all((ROOT / file).exists() for file in files)


def test_the_core_and_the_others_are_all_tests(bare_machine, monkeypatch):
    """The others in two runs, one of them with a browser: what the core's run has is left out, and nothing else is."""
    monkeypatch.setenv("CHROMIUM", "/usr/bin/chromium")
    assert runner.main() == 0
    others, in_a_browser = bare_machine
    monkeypatch.setattr(sys, "argv", ["tests", "--but-core"])
    assert runner.main() == 0
    assert bare_machine[2:] == [[*others, *(f"--ignore={part}" for part in runner.CORE)], in_a_browser]
    assert in_a_browser[-1] == "tests/browser" and others[-1] == "--ignore=tests/browser"


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1), (5, 2)])
def test_both_runs_have_to_pass(bare_machine, monkeypatch, codes):
    monkeypatch.setenv("CHROMIUM", "/usr/bin/chromium")
    monkeypatch.setattr(runner, "tested", lambda *given: codes["tests/browser" in given])
    assert runner.main() == (codes[0] or codes[1])


@pytest.mark.parametrize("code", [0, 1, 5])
def test_what_pytest_says_is_what_the_command_says(bare_machine, monkeypatch, code):
    monkeypatch.setenv("CHROMIUM", "/usr/bin/chromium")
    monkeypatch.setattr(sys, "argv", ["tests", "-k", str(code)])
    assert runner.main() == code
    assert bare_machine == [[sys.executable, "-m", "pytest", "-k", str(code)]]
