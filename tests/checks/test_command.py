"""`python -m simplegrad check` on files outside the project: what it prints, and how it exits."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from simplegrad import registry
from simplegrad.checks.command import checked, finite, main, opened

torch.set_num_threads(1)

OPS = """
    import torch
    import simplegrad
    from simplegrad import TapeEntry, Variable, gradient_tape

    def inputs():
        return torch.tensor([0.3, 0.9]), torch.tensor([0.2, 0.4])

    @simplegrad.aggregate(example=inputs)
    def escaping(a, b):
        t = a.value + b.value
        t_v = Variable(t, name="t")
        r = Variable(t * b.value)

        def propagate(dL_doutputs):
            (dL_dr,) = dL_doutputs
            return [dL_dr * b, dL_dr * b + dL_dr * t_v]

        gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name], propagate=propagate))
        return r

    @simplegrad.aggregate(example=inputs)
    def recomputing(a, b):
        r = Variable((a.value + b.value) * b.value)

        def propagate(dL_doutputs):
            (dL_dr,) = dL_doutputs
            return [dL_dr * b, dL_dr * b + dL_dr * (a + b)]

        gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name], propagate=propagate))
        return r

    @simplegrad.aggregate
    def untried(a):
        return a * a
"""

SINH = """
    import torch

    class SinhBad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.grows, ctx.shrinks = torch.exp(x), torch.exp(-x)
            return (ctx.grows - ctx.shrinks) / 2

        @staticmethod
        def backward(ctx, g):
            return g * (ctx.grows + ctx.shrinks) / 2
"""


@pytest.fixture(autouse=True)
def clean():
    before, path = dict(registry), list(sys.path)
    yield
    for origin in {each.origin for name, each in registry.items() if before.get(name) is not each}:
        registry.discard(origin)
    sys.path[:] = path


@pytest.fixture
def ops(tmp_path):
    return write(tmp_path / "my_ops.py", OPS)


def write(path, text):
    path.write_text(textwrap.dedent(text).lstrip())
    return path


def test_a_file_outside_the_project_from_a_shell(ops):
    """The command itself, in a process and a folder of its own."""
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-m", "simplegrad", "check", "my_ops.py", "--json"],
        cwd=ops.parent, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 1
    assert [(each["name"], each["verdict"], each["ok"]) for each in json.loads(ran.stdout)] == [
        ("escaping", "escaped_temporary", False),
        ("recomputing", "correct", True),
    ]
    assert "untried: not checked, it has no example inputs" in ran.stderr


def test_the_report_names_value_line_and_dropped_gradient(ops, capsys):
    assert main(f"{ops}::escaping") == 1
    said = capsys.readouterr().out
    assert said.startswith("escaping: escaped_temporary")
    assert f"made at {ops}:11" in said
    assert "dropped gradient of a" in said and "dropped gradient of b" in said


def test_notes_alone_are_correct(ops, capsys):
    assert main(f"{ops}::recomputing") == 0
    assert "note: recomputed" in capsys.readouterr().out


def test_several_reports_are_summed_up(ops, capsys):
    assert main(str(ops)) == 1
    assert capsys.readouterr().out.endswith("2 checked: escaping with a fault.\n")


def test_every_field_of_a_finding_is_in_the_json(ops, capsys):
    assert main(f"{ops}::escaping", order=2, as_json=True) == 1
    ((finding,),) = [each["findings"] for each in json.loads(capsys.readouterr().out)]
    fields = "code sentence entry slot made_at read_at order step dropped fix"
    assert set(fields.split()) <= set(finding)
    assert finding["made_at"]["file"] == str(ops) and finding["made_at"]["first"] == 11
    assert set(finding["dropped"]) == {"a", "b"}


@pytest.mark.parametrize("name, said", [
    ("escapin", "Did you mean escaping?"),
    ("untried", "has no example inputs. Write @simplegrad.aggregate(example=lambda: (…)) above it."),
    ("nothing_like_it", "It has: escaping, recomputing, untried."),
])  # fmt: skip
def test_a_name_that_cannot_be_checked(ops, capsys, name, said):
    assert main(f"{ops}::{name}") == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main(str(tmp_path / "absent.py"), as_json=True) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out) == []
    assert "absent.py: there is no such file." in printed.err


def test_a_file_with_an_error_shows_the_line(tmp_path, capsys):
    path = write(tmp_path / "broken.py", "x = 1\ny = x +\n")
    assert main(str(path)) == 2
    assert f"{path}:2: SyntaxError: invalid syntax\n    y = x +\n" in capsys.readouterr().err


def test_a_file_with_nothing_to_check_says_what_to_declare(tmp_path, capsys):
    path = write(tmp_path / "empty.py", "x = 1\n")
    assert main(str(path)) == 2
    assert "nothing to check. Declare example inputs" in capsys.readouterr().err


@pytest.mark.parametrize("declared", [
    "EXAMPLES = {'SinhBad': lambda: (torch.tensor([0.5, 1.0]),)}",
    "SinhBad.example = staticmethod(lambda: (torch.tensor([0.5, 1.0]),))",
    "def case(): return SinhBad.apply, (torch.tensor([0.5, 1.0], requires_grad=True),)",
])  # fmt: skip
def test_a_torch_function_with_inputs_beside_it(tmp_path, capsys, declared):
    path = write(tmp_path / "sinh.py", textwrap.dedent(SINH) + "\n\n" + declared + "\n")
    assert main(str(path), as_json=True) == 1
    printed = capsys.readouterr()
    (result,) = json.loads(printed.out)
    assert (result["name"], result["verdict"]) == ("SinhBad", "escaped_temporary")
    assert printed.err == ""


def test_a_case_of_a_lambda_goes_by_the_name_of_its_file(tmp_path, capsys):
    text = "import torch\ndef case(): return (lambda x: x * x), (torch.ones(2, requires_grad=True),)\n"
    assert main(str(write(tmp_path / "square.py", text)), as_json=True) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "square"


def test_a_case_that_raises_could_not_be_run_and_says_where(tmp_path, capsys):
    path = write(tmp_path / "raising.py", "def case():\n    raise OSError('no data here')\n")
    assert main(str(path), as_json=True) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["verdict"] == "could_not_run"
    assert f"case: could not be checked. OSError at {path}:2: no data here" in printed.err


def test_what_the_file_prints_does_not_spoil_the_json(tmp_path, capsys):
    path = write(tmp_path / "chatty.py", textwrap.dedent(OPS) + "\nprint('hello')\n")
    main(f"{path}::recomputing", as_json=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["ok"]
    assert "hello" in printed.err


def test_numbers_that_json_has_no_word_for():
    assert finite({"a": [float("nan"), 1.0], "b": (float("-inf"), "x")}) == {"a": ["nan", 1.0], "b": ["-inf", "x"]}


def test_a_file_as_parameters_of_a_pytest_test(ops):
    """As the module's docstring shows it."""
    assert [(target.name, checked(target).ok) for target in opened(str(ops))] == [
        ("escaping", False),
        ("recomputing", True),
    ]
