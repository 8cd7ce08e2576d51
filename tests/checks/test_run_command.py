"""`simplegrad run train.py`: a script as it is, up to a step, and what is said of the calls in it."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from simplegrad.__main__ import main

TRAIN = """
    import sys
    import torch
    from helpers import steps

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, is_late):
            ctx.save_for_backward(x)
            ctx.factor = 3.0 if is_late else 2.0
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return ctx.factor * g * x, None

    def train(late):
        w = torch.ones(3, requires_grad=True)
        optimizers = [torch.optim.SGD([w], 0.1) for _ in range(2)]
        for i in range(steps):
            for each in optimizers:
                each.zero_grad()
                Square.apply(w, i >= late).sum().backward()
                each.step()
            print("made", i + 1, __name__)

    if __name__ == "__main__":
        train(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(textwrap.dedent(TRAIN))
    Path("helpers.py").write_text("steps = 6\n")
    yield "train.py"
    sys.modules.pop("helpers", None)


def test_the_first_step_of_every_optimizer_and_no_more(script, capsys):
    assert main(["run", script]) == 0
    said = capsys.readouterr().out
    assert "made 1" not in said and "1 distinct call of 1 custom Function judged: none with a fault" in said
    assert "(2 calls" in said


def test_a_later_step_with_arguments_of_the_script(script, capsys):
    assert main(["run", script, "--step", "3", "--format", "json", "--", "2"]) == 1
    out, err = capsys.readouterr()
    (call,) = json.loads(out)["calls"]
    assert "made 2 __main__" in err and "made 3" not in err
    assert call["name"] == "Square" and call["findings"][0]["read_at"]["first"] == 16
    assert Path(call["bundle"]).is_file()


def test_what_was_kept_is_checked_again_from_the_file(script, capsys):
    assert main(["run", script, "--", "0"]) == 1
    again = next(line for line in capsys.readouterr().out.splitlines() if "simplegrad check" in line)
    assert main(again.partition("simplegrad ")[2].split()) == 1


@pytest.mark.parametrize("format", ["github", "sarif", "junit"])
def test_for_other_programs(script, format, capsys):
    assert main(["run", script, "--format", format, "--keep", "", "--", "0"]) == 1
    assert "train.py" in capsys.readouterr().out and not Path("simplegrad-calls").exists()


def test_a_script_that_is_over_before_the_step_is_not_judged(script, capsys):
    assert main(["run", script, "--step", "9"]) == 2
    assert "ended after 6 steps" in capsys.readouterr().err


def test_a_script_that_fails_is_told_with_its_own_frames_and_what_it_called_is_judged(script, capsys):
    text = Path(script).read_text()
    Path(script).write_text(text.replace("for each in", "Square.apply(w, 1); nothing\n        for each in", 1))
    assert main(["run", script]) == 1
    out, err = capsys.readouterr()
    assert "Square: " in out and "NameError" in err and "run_command.py" not in err


def test_a_module_of_a_package_runs_as_python_m_runs_it(script, capsys):
    package = Path("owned")
    package.mkdir()
    (package / "__init__.py").touch()
    text = Path(script).read_text()
    (package / "here.py").write_text("import sys\nsaid = f'{__package__} {sys.argv[1:]}'\n")
    (package / "train.py").write_text("from .here import said; print(said, __name__)\n" + text)
    assert main(["run", "-m", "owned.train", "--", "0"]) == 1
    out = capsys.readouterr().out
    assert "owned ['0'] __main__" in out and "Square: " in out
    assert main(["run", "-m", "owned.nothing"]) == 2
    assert "no such module" in capsys.readouterr().err


def test_no_such_script_no_such_step(script, capsys):
    assert main(["run", "nothing.py"]) == 2
    assert "nothing.py: No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run", script, "--step", "0"])


def test_from_the_shell(script):
    run = [sys.executable, "-m", "simplegrad", "run", script, "--", "0"]
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 1 and "Square with a fault" in done.stdout, done.stderr


def test_what_calls_of_several_shapes_say_is_said_once(script, capsys):
    text = Path(script).read_text()
    once = "Square.apply(w, i >= late).sum().backward()"
    Path(script).write_text(text.replace(once, f"Square.apply(w[None], True).sum().backward(); {once}"))
    assert main(["run", script, "--format", "github", "--", "0"]) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::error")]
    assert len(said) == len(set(said)) == 1
