"""`pytest --simplegrad`: which tests it makes, what a failure says, what is kept, and what is known already."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from simplegrad import load_bundle
from simplegrad.pytest_plugin import Run

ROOT = Path(__file__).parents[2]
DEMO = Path(__file__).parent / "demo"
FAULTY = {"Swish", "Tanh", "Sine", "Swapped"}
RIGHT = {"Square", "Softplus", "Product", "Matmul", "Scaled", "RowSum"}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """pytest in another folder, with the plugin as an installed simplegrad brings it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    plugin = [] if entry_points(group="pytest11", name="simplegrad") else ["-p", "simplegrad.pytest_plugin"]
    plugin += ["-p", "no:cacheprovider", "--rootdir", folder, "-rA"]
    command = [sys.executable, "-m", "pytest", *plugin, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def outcomes(output: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for outcome, test in re.findall(r"^(PASSED|FAILED|XFAIL|ERROR) (\S+)", output, re.MULTILINE):
        found.setdefault(outcome, set()).add(test.rsplit("::", 1)[-1])
    return found


def lines_of_faults() -> dict[str, str]:
    """Function -> file:line of the comment that says what is wrong."""
    found, name = {}, ""
    for file in sorted((DEMO / "fused").glob("*.py")):
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            name = line.split()[1].split("(")[0] if line.startswith("class ") else name
            if "# wrong: " in line:
                found[name] = f"fused/{file.name}:{number}"
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return shutil.copytree(DEMO, tmp_path_factory.mktemp("demo") / "repository", dirs_exist_ok=True)


@pytest.fixture(scope="module")
def plain(demo) -> subprocess.CompletedProcess:
    return run(demo, "--simplegrad", "fused", "--simplegrad-bundles", "kept", "--simplegrad-html", "pages")


@pytest.fixture(scope="module")
def over_xdist(demo) -> subprocess.CompletedProcess:
    """Over two workers, from a file each, writing a baseline."""
    files = ["--simplegrad", "fused/activations.py", "--simplegrad", "fused/products.py"]
    return run(demo, "-n", "2", *files, "--simplegrad-baseline", "known.json", "--simplegrad-write-baseline")


def test_the_demo_repository_fails_where_it_should(plain):
    assert plain.returncode == 1, plain.stdout + plain.stderr
    assert outcomes(plain.stdout) == {"FAILED": FAULTY, "PASSED": RIGHT}


def test_a_failure_is_the_cause_with_its_line_and_no_traceback_of_ours(plain):
    assert lines_of_faults().keys() == FAULTY
    for name, place in lines_of_faults().items():
        assert re.search(rf"^{re.escape(place)}: {name}: \w+$", plain.stdout, re.MULTILINE), (name, place)
    assert "Traceback" not in plain.stdout and "pytest_plugin.py" not in plain.stdout
    assert "write instead:" in plain.stdout


def test_what_has_no_inputs_is_listed(plain):
    assert "10 of 11 hand-written backwards checked, 4 with a fault or not judged" in plain.stdout
    assert re.search(r"^not covered: Unused \(fused/activations\.py:\d+\) has no example inputs", plain.stdout, re.M)


def test_xdist_gives_the_same_and_a_baseline_makes_known_faults_expected(demo, over_xdist):
    assert outcomes(over_xdist.stdout) == {"XFAIL": FAULTY, "PASSED": RIGHT}, over_xdist.stdout + over_xdist.stderr
    assert "10 of 11 hand-written backwards checked" in over_xdist.stdout
    assert over_xdist.stdout.count("not covered: Unused") == 1
    known = json.loads((demo / "known.json").read_text())["faults"]
    assert {test.rsplit("::", 1)[-1] for test in known} == FAULTY
    known = {test: codes for test, codes in known.items() if not test.endswith("::Sine")}  # found since then
    known["fused/activations.py::Square"] = ["wrong_gradient"]  # mended since then
    (demo / "known.json").write_text(json.dumps({"version": 1, "faults": known}))
    again = run(demo, "--simplegrad", "fused", "--simplegrad-baseline", "known.json")
    assert outcomes(again.stdout) == {"XFAIL": FAULTY - {"Sine"}, "PASSED": RIGHT, "FAILED": {"Sine"}}
    assert "mended: fused/activations.py::Square is correct now" in again.stdout


def test_a_page_is_kept_of_each_fault(demo, plain):
    pages = {path.stem.rsplit("-", 1)[-1]: path for path in (demo / "pages").glob("*.html")}
    assert pages.keys() == FAULTY
    assert all(f"<title>{name}: " in path.read_text(encoding="utf-8") for name, path in pages.items())
    assert plain.stdout.count("page: pages") == len(FAULTY)


def test_the_ready_workflow_uses_options_that_there_are(plain):
    workflow = (ROOT / "docs" / "backwards.yml").read_text()
    used = set(re.findall(r"--simplegrad[\w-]*", workflow))
    known = set(re.findall(r"--simplegrad[\w-]*", (ROOT / "simplegrad" / "pytest_plugin.py").read_text()))
    assert len(used) >= 4 and used <= known


def test_a_failing_case_is_kept_and_fails_again_in_another_process(demo, plain):
    (command,) = re.findall(r"again: simplegrad (check \S+::Tanh --inputs \S+)", plain.stdout)
    bundle = load_bundle(demo / command.split()[-1])
    assert bundle.about["seed"] == 0 and bundle.about["torch"] == torch.__version__
    assert bundle.inputs[0].shape == (5,)
    options = {"cwd": demo, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "capture_output": True, "text": True}
    again = subprocess.run([sys.executable, "-m", "simplegrad", *command.split()], **options)
    assert again.returncode == 1 and again.stdout.startswith("Tanh: "), again.stdout + again.stderr


TESTS = """
    import pytest, torch
    from fused.activations import Sine, Square, Unused

    def x():
        return torch.rand(3, dtype=torch.float64, requires_grad=True)

    @pytest.mark.simplegrad(order=1)
    def test_right(check_backward):
        assert set(check_backward(Square.apply, x()).errors) <= {1}

    def test_wrong(check_backward):
        check_backward(Sine.apply, x())

    @pytest.mark.simplegrad(surrogate=True)
    def test_meant(check_backward):
        check_backward(Sine.apply, x())

    @pytest.mark.simplegrad(ordre=3)
    def test_misspelt(check_backward):
        check_backward(Unused.apply, x())
"""


def test_a_fixture_and_a_mark_for_tests_of_ones_own(demo):
    (demo / "test_own.py").write_text(textwrap.dedent(TESTS))
    output = run(demo, "test_own.py").stdout
    found = outcomes(output)
    assert found["PASSED"] == {"test_right", "test_meant"}, output
    assert found["FAILED"] == {"test_wrong", "test_misspelt"}
    assert lines_of_faults()["Sine"] in output and "Traceback" not in output
    assert "@pytest.mark.simplegrad knows order, surrogate, reference, not ordre." in output
    assert "During handling" not in output, "a failure is said once"


def test_a_file_that_cannot_be_imported_is_a_failure(tmp_path):
    (tmp_path / "ops.py").write_text("import torch\n1 / 0\n")
    broken = run(tmp_path, "--simplegrad", "ops.py", "--simplegrad", "not_there")
    assert broken.returncode == 1
    assert "ops.py:2: ZeroDivisionError: division by zero" in broken.stdout
    assert "not_there: ModuleNotFoundError" in broken.stdout
    assert re.search(r"^_+ ops\.py cannot be read _+$", broken.stdout, re.MULTILINE)


def test_a_backward_that_several_tests_call_counts_once():
    one = Run(SimpleNamespace(getoption=lambda name: None))
    one.told = [
        {"test": "ops.py::Sine", "codes": ["wrong_gradient"], "called": ["/ops.py:Sine"]},
        {"test": "test_own.py::test_sine", "codes": [], "called": ["/ops.py:Sine"]},
        {"test": "ops.py::fused", "codes": [], "called": []},
    ]
    one.uncovered = [["Cosine", "/ops.py", 7]]
    assert next(one.summary()) == "2 of 3 hand-written backwards checked, 1 with a fault or not judged"


def test_nothing_is_imported_until_it_is_used(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test_it(): assert not {'torch', 'numpy', 'simplegrad.engine'} & set(sys.modules)\n"
    )
    unused = run(tmp_path, "test_it.py")
    assert unused.returncode == 0, unused.stdout
    assert "hand-written" not in unused.stdout
