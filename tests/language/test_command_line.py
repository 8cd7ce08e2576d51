"""`python -m simplegrad transcript PROGRAM`"""

import io
import os
import subprocess
import sys

import pytest

from simplegrad import registry
from simplegrad.__main__ import main
from simplegrad.language import EXAMPLES


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
    from simplegrad.checks.commands import command

    monkeypatch.setattr(command, "main", lambda *arguments, **named: (*arguments, *named.values()))
    assert main(["check", "ops.py::fused", "--order", "3", "--json"]) == ("ops.py::fused", 3, "json", False, None)
    assert main(["check", "ops.py", "--surrogate", "--format", "github", "--inputs", "x"]) == (
        "ops.py",
        2,
        "github",
        True,
        "x",
    )


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "simplegrad", "transcript", "zero-gradients"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "v0 = a * a" in done.stdout


OPS = """
import torch
from simplegrad import TapeEntry, Variable, aggregate, gradient_tape
print("reading")


@aggregate
def doubled(a, b):
    r = Variable(a.value * 2)
    gradient_tape.append(TapeEntry([a.name], [r.name], lambda d: [d[0] * 2.0]))
    return r
"""
OTHER = "\n\n@aggregate\ndef first(a, b):\n    return a * 1.5\n"
PROGRAM = "a = ones(2)\nb = ones(2)\nL = f(a, b).sum()\ngrad(L, [a])\n"


@pytest.fixture
def own(tmp_path):
    """Paths of a program and of a file of aggregates; `own(text)` writes the second."""
    program, ops = tmp_path / "program.txt", tmp_path / "my_ops.py"
    program.write_text(PROGRAM)

    def written(text):
        ops.write_text(text)
        return str(program), str(ops)

    yield written
    registry.discard(str(ops))


@pytest.mark.parametrize("said", ["{}::doubled", "{}"])
def test_an_aggregate_of_ones_own_file(own, said, capsys):
    program, ops = own(OPS)
    assert main(["transcript", program, "--aggregate", said.format(ops)]) == 0
    told = capsys.readouterr()
    assert "L = v0.sum()" in told.out and "v3 = v2 * 2.0" in told.out
    assert "reading" not in told.out and "reading" in told.err


@pytest.mark.parametrize(
    ("text", "said", "reason"),
    [
        (OPS + OTHER, "{}", "{} has more than one aggregate. Say which: {}::doubled, {}::first."),
        (OPS, "{}::double", "{} has no aggregate called 'double'. Did you mean 'doubled'? Say which: {}::doubled."),
        ("x = 1", "{}", "{} has no aggregate: write @simplegrad.aggregate above a function of Variables."),
        ("x = ", "{}::f", "{}:1: SyntaxError: invalid syntax"),
    ],
)
def test_what_is_wrong_with_ones_own_file(own, text, said, reason, capsys):
    program, ops = own(text)
    assert main(["transcript", program, "--aggregate", said.replace("{}", ops)]) == 2
    told = capsys.readouterr()
    assert told.err.replace("reading\n", "").startswith(f"{program}: {reason.replace('{}', ops)}")
    assert told.out == ""


def test_a_file_that_is_not_there(own, capsys):
    program, _ = own("")
    assert main(["transcript", program, "--aggregate", "nowhere.py::f"]) == 2
    assert "nowhere.py: there is no such file." in capsys.readouterr().err


def test_files_with_a_byte_order_mark_are_read(own, tmp_path, capsys):
    program, ops = own("\ufeff" + OPS)
    (tmp_path / "program.txt").write_text("\ufeff" + PROGRAM)
    assert main(["transcript", program, "--aggregate", ops]) == 0
    assert "v3 = v2 * 2.0" in capsys.readouterr().out


def test_a_reader_that_has_read_enough_is_no_error():
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "simplegrad", "transcript", "first-gradient"]
    ended = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert ended.returncode == 1 and ended.stderr == ""
