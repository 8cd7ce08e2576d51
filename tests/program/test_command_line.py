"""`python -m simplegrad transcript PROGRAM`"""

import io
import subprocess
import sys

import pytest

from simplegrad.__main__ import main
from simplegrad.program import EXAMPLES


def test_the_transcript_of_an_example(capsys):
    assert main(["transcript", "gradient-of-gradient", "--aggregate", "simple_variable"]) == 0
    said = capsys.readouterr()
    assert said.out == EXAMPLES["gradient-of-gradient"].program.run("simple_variable").transcript() + "\n"
    assert said.err == ""


def test_the_transcript_of_a_file(tmp_path, capsys):
    path = tmp_path / "program.txt"
    path.write_text("a = ones(2)\nb = a * 3\n")
    assert main(["transcript", str(path)]) == 0
    assert capsys.readouterr().out == "a = tensor([1., 1.])\nb = a * 3\n"


def test_the_transcript_of_standard_input_with_modes(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a = ones(2)\nb = ones(2)\ngrad(a * 3, [b])"))
    assert main(["transcript", "-", "--none", "zeros", "--prune", "ahead"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["dv0_dv0 = v1", "-" * 24]


def test_a_run_that_fails_prints_what_it_has_and_then_the_reason(tmp_path, capsys):
    path = tmp_path / "program.txt"
    path.write_text("a = ones(2)\nb = a + ones(3)\n")
    assert main(["transcript", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("a = tensor([1., 1.])\n")
    assert said.err.startswith(f"{path}: line 2: a + ones(3), on shapes (2,) and (3,): ")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["exercize"], "Did you mean 'exercise'?"),
        (["exercise", "--aggregate", "simpel"], "Did you mean 'simple'?"),
        (["."], "."),
    ],
)
def test_what_cannot_be_run_is_said_on_stderr(arguments, said, capsys):
    assert main(["transcript", *arguments]) == 2
    told = capsys.readouterr()
    assert said in told.err and told.out == ""


def test_a_text_that_is_no_program_is_shown_with_its_place(tmp_path, capsys):
    path = tmp_path / "program.txt"
    path.write_text("a = ones(2)\nb = a.tahn()\n")
    assert main(["transcript", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"{path}: line 2, column 7: '.tahn' is not known. Did you mean 'tanh'?\n    b = a.tahn()\n          ^\n"
    )


def test_a_file_that_is_no_text_is_refused(tmp_path, capsys):
    path = tmp_path / "program.bin"
    path.write_bytes(b"\xff\xfe\x00")
    assert main(["transcript", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_check_hands_its_arguments_on(monkeypatch):
    from simplegrad.checks import command

    monkeypatch.setattr(command, "main", lambda *arguments: arguments)
    assert main(["check", "ops.py::fused", "--order", "3", "--json"]) == ("ops.py::fused", 3, True)
    assert main(["check", "ops.py"]) == ("ops.py", 2, False)


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "simplegrad", "transcript", "zero-gradients"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "v0 = a * a" in done.stdout
