"""`python -m simplegrad check` on files outside the project: what it prints, and how it exits."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import simplegrad
from simplegrad import registry
from simplegrad.__main__ import main as command_line
from simplegrad.checks.commands.bundle import Bundle
from simplegrad.checks.commands.command import checked, finite, main, opened

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
    assert main(f"{ops}::escaping", order=2, format="json") == 1
    ((finding,),) = [each["findings"] for each in json.loads(capsys.readouterr().out)]
    fields = "code sentence entry slot made_at read_at order step dropped fix"
    assert set(fields.split()) <= set(finding)
    assert finding["made_at"]["file"] == str(ops) and finding["made_at"]["first"] == 11
    assert set(finding["dropped"]) == {"a", "b"}


@pytest.mark.parametrize("name, said", [
    ("escapin", "Did you mean escaping?"),
    ("untried", "has no example inputs. Write @simplegrad.example(lambda: (…)) above it."),
    ("nothing_like_it", "It has: escaping, recomputing, untried."),
])  # fmt: skip
def test_a_name_that_cannot_be_checked(ops, capsys, name, said):
    assert main(f"{ops}::{name}") == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main(str(tmp_path / "absent.py"), format="json") == 2
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
    assert main(str(path), format="json") == 1
    printed = capsys.readouterr()
    (result,) = json.loads(printed.out)
    assert (result["name"], result["verdict"]) == ("SinhBad", "escaped_temporary")
    assert printed.err == ""


def test_a_case_of_a_lambda_goes_by_the_name_of_its_file(tmp_path, capsys):
    text = "import torch\ndef case(): return (lambda x: x * x), (torch.ones(2, requires_grad=True),)\n"
    assert main(str(write(tmp_path / "square.py", text)), format="json") == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "square"


def test_a_case_that_raises_could_not_be_run_and_says_where(tmp_path, capsys):
    path = write(tmp_path / "raising.py", "def case():\n    raise OSError('no data here')\n")
    assert main(str(path), format="json") == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["verdict"] == "could_not_run"
    assert f"case: could not be checked. OSError at {path}:2: no data here" in printed.err


def test_what_the_file_prints_does_not_spoil_the_json(tmp_path, capsys):
    path = write(tmp_path / "chatty.py", textwrap.dedent(OPS) + "\nprint('hello')\n")
    main(f"{path}::recomputing", format="json")
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["ok"]
    assert "hello" in printed.err


def test_numbers_that_json_has_no_word_for():
    assert finite({"a": [float("nan"), 1.0], "b": (float("-inf"), "x")}) == {"a": ["nan", 1.0], "b": ["-inf", "x"]}


def test_a_file_as_parameters_of_a_pytest_test(ops):
    """As the module's docstring shows it."""
    assert [(target.name, checked(target).ok) for target in opened(str(ops))[0]] == [
        ("escaping", False),
        ("recomputing", True),
    ]


TWO = """
    import torch
    from simplegrad import example

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, g):
            return 2 * g

    class Forgotten(Doubled):
        @staticmethod
        def backward(ctx, g):
            return 3 * g
"""
CASE = "def case(): return lambda x: Doubled.apply(x).sin(), (torch.rand(2, dtype=torch.float64, requires_grad=True),)"


def test_what_a_case_does_not_call_is_not_passed_over_in_silence(tmp_path, capsys):
    path = write(tmp_path / "two.py", TWO)
    path.write_text(path.read_text() + CASE)
    assert main(str(path)) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("two: correct")
    assert "Forgotten: not checked, it has no example inputs. Write @simplegrad.example(" in printed.err
    assert "Doubled: not checked" not in printed.err


def test_nothing_but_what_has_no_inputs_is_not_judged(tmp_path, capsys):
    assert main(str(write(tmp_path / "two.py", TWO))) == 2
    printed = capsys.readouterr()
    assert "Doubled: not checked" in printed.err and "Forgotten: not checked" in printed.err
    assert printed.out == ""


def test_example_inputs_above_a_function_an_aggregate_and_a_custom_op(tmp_path):
    text = """
        import torch, simplegrad

        def x():
            return torch.rand(2)

        @simplegrad.example(x)
        class Negated(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return -x

            @staticmethod
            def backward(ctx, g):
                return -g

        @simplegrad.example(x)
        @simplegrad.aggregate
        def above(a):
            return -a

        @simplegrad.aggregate
        @simplegrad.example(x)
        def below(a):
            return -a

        @simplegrad.example(x)
        @torch.library.custom_op("simplegrad_tests::copied", mutates_args=())
        def copied(x: torch.Tensor) -> torch.Tensor:
            return x.clone()
    """
    ready, left = opened(str(write(tmp_path / "many.py", text)))
    assert [(each.name, each.kind) for each in ready] == [
        ("above", "aggregate"),
        ("below", "aggregate"),
        ("Negated", "function"),
        ("copied", "operator"),
    ]
    assert left == [] and all(each.prepared()[1][0].shape == (2,) for each in ready)


def test_example_wants_a_function():
    with pytest.raises(TypeError, match=r"example\(…\) was given a Tensor; expected a function that makes inputs"):
        simplegrad.example(torch.rand(2))


@pytest.mark.parametrize(
    ("format", "begins"),
    [("github", "::error file="), ("sarif", '{\n  "$schema"'), ("junit", "<?xml"), ("json", "[\n  {"), ("text", "esc")],
)
def test_each_format_goes_to_stdout_and_what_the_file_prints_to_stderr(ops, capsys, monkeypatch, format, begins):
    monkeypatch.chdir(ops.parent)
    ops.write_text(ops.read_text() + "\nprint('printed by the file')\n")
    assert command_line(["check", "my_ops.py::escaping", "--format", format]) == 1
    printed = capsys.readouterr()
    if format != "text":
        assert printed.out.startswith(begins) and "printed by the file" in printed.err
        assert "printed by the file" not in printed.out
    if format == "github":
        assert printed.out.startswith("::error file=my_ops.py,line=16,")


def test_kept_inputs_take_the_place_of_the_examples(ops, tmp_path, capsys):
    Bundle((torch.rand(5), torch.rand(5))).save(tmp_path / "kept.safetensors")
    assert main(f"{ops}::escaping", inputs=str(tmp_path / "kept.safetensors"), format="json") == 1
    ((finding,),) = [each["findings"] for each in json.loads(capsys.readouterr().out)]
    assert len(finding["dropped"]["a"]) == 5
    assert main(str(ops), inputs=str(tmp_path / "kept.safetensors")) == 2
    assert "these inputs fit one target only. Say which: FILE::NAME." in capsys.readouterr().err
    assert main(f"{ops}::escaping", inputs=str(ops)) == 2
    assert "expected inputs that a check has kept" in capsys.readouterr().err
