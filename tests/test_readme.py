"""What the README says is true: its code runs and prints what its comments say, its numbers are the program's."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from simplegrad import Tape, registry, settings
from simplegrad.language import DEFAULT_LIMITS, Program
from simplegrad.ops import FUNCTIONS, METHODS, TABLE
from simplegrad.trace import document, looks, store
from simplegrad.view.session import COMPARISONS, REPORTS, TRACES, VIEWS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
LIMITS = (ROOT / "docs" / "limits.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def block_with(words: str) -> str:
    (found,) = [block for block in blocks("python") if words in block]
    return found


def said_in_comments(code: str) -> list[str]:
    """What the comments behind `print(…)` say is printed."""
    return re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A reader's folder, with the file of the example in it."""
    (tmp_path / "my_ops.py").write_text(block_with("@aggregate("))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    registry.discard(str(tmp_path / "my_ops.py"))
    sys.modules.pop("my_ops", None)


@pytest.fixture
def own_operators():
    """What is put into the table of operators meanwhile is there for nobody else."""
    tables = (TABLE, FUNCTIONS, METHODS)
    before = [dict(each) for each in tables]
    yield
    for each, was in zip(tables, before):
        each.clear()
        each.update(was)


def test_each_piece_of_code_runs_by_itself_and_prints_what_its_comments_say(folder, own_operators):
    for number, code in enumerate(blocks("python")):
        script = folder / f"block_{number}.py"  # a file, since check reads the source of what it checks
        script.write_text(code)
        output = io.StringIO()
        with Tape(), contextlib.redirect_stdout(output):
            exec(compile(code, str(script), "exec"), {"__name__": "readme"})
        assert output.getvalue().splitlines() == said_in_comments(code)
    assert (folder / "run.trace").exists()


def test_the_program_to_begin_with_runs_to_its_end():
    trace = Program.parse(blocks("text")[0]).run()
    assert trace.error is None and trace.pass_count == 2


def test_its_test_fails_as_it_should(folder):
    (folder / "test_mine.py").write_text(block_with("def test_fused"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_mine.py"]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert "fused: escaped_temporary" in run.stdout


def test_the_console_shows_what_it_says(folder):
    for block in blocks("console"):
        command, *expected = block.splitlines()
        arguments = command.removeprefix("$ python ").split()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        run = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
        pattern = "\n".join(map(re.escape, expected)) + "\n"
        pattern = pattern.replace(re.escape("...") + "\n", "(?:.*\n)*").replace(re.escape("..."), ".*")
        assert re.fullmatch(pattern, run.stdout), run.stdout + run.stderr


def table(first: str) -> dict[str, float]:
    rows = LIMITS.split(f"| {first} | at most |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    cells = [row.strip("| ").split(" | ") for row in rows]
    return {what: float(number.replace(",", "")) for what, number in cells}


def test_the_limits_are_those_of_programs():
    said = {re.match(r"\w+", what)[0]: number for what, number in table("of one program").items()}
    numbers = {name: each for name, each in vars(DEFAULT_LIMITS).items() if not isinstance(each, bool)}
    assert said == numbers


def test_the_limits_are_those_of_trace_files():
    sizes = [store.MOST_JSON_BYTES, store.MOST_COST, store.MOST_COST_RATIO]
    elements = [looks.MOST_DIMENSIONS, document.MOST_ELEMENTS, document.LONGEST_NAME]
    assert list(table("of a trace file").values()) == [*sizes, *elements]


def test_the_limits_are_those_of_the_app():
    said = list(table("of all sessions of the app together, the oldest going first").values())
    assert said == [TRACES.count, TRACES.cost, VIEWS.cost, COMPARISONS.cost, REPORTS.cost]


def test_the_settings_are_those_that_there_are():
    said = table("a setting of the environment of a server")
    assert [what.split("`")[1] for what in said] == [setting.name for setting in settings.ALL]
    assert list(said.values()) == [setting.default for setting in settings.ALL]
    hosting = (ROOT / "docs" / "hosting.md").read_text()
    for setting in settings.ALL:
        assert f"| `{setting.name}` | {setting.default} |" in hosting


def test_links_and_pictures_are_there():
    text = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert len(links) > 10
    for link in links:
        assert (ROOT / link).exists(), link


def test_there_are_two_commands_and_ci_runs_the_second():
    app, tests = blocks("sh")
    assert app == "pip install -r requirements.txt && streamlit run app.py\n"
    assert tests == "pip install -r requirements-dev.txt && python -m tests\n"
    assert "$(grep -m1 '^pip install .*python -m tests' README.md)" in (ROOT / ".ci" / "run").read_text()


def test_every_part_of_the_source_is_in_the_tour():
    tour = README.split("## The source")[1]
    for path in (ROOT / "simplegrad").iterdir():
        if path.is_dir() and path.name not in ("__pycache__", "engine"):
            assert f"[{path.name}/]" in tour, path.name
