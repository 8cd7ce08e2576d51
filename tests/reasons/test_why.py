"""Why a gradient is what it is: state, cause and line, on programs of many kinds; nothing on healthy ones."""

import inspect
import io
import warnings

import pytest
import torch
from torch import nn

import simplegrad
from simplegrad import Trace, record_torch
from simplegrad.__main__ import main
from simplegrad.reasons.answer import CAUSES, STATES
from simplegrad.torch_bridge import source
from tests.reasons import programs, programs_fourth, programs_more, programs_third
from tests.reasons.programs import Halves

SETS = programs, programs_more, programs_third, programs_fourth
FAULTS = {name: fault for each in SETS for name, fault in each.FAULTS.items()}
HEALTHY = {name: program for each in SETS for name, program in each.HEALTHY.items()}


def run(program):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program(lambda model: record_torch(model, values="norm"))[1]


def from_file(trace):
    """What somebody else reads, who has nothing but the file."""
    file = io.BytesIO()
    trace.save(file)
    file.seek(0)
    return Trace.load(file)


def marked(program):
    lines, first = inspect.getsourcelines(Halves.backward if program.__name__ == "function_returns_none" else program)
    mark = ("# here", "# or here", "# none of it")
    return [first + i for i, line in enumerate(lines) if line.rstrip().endswith(mark)]


@pytest.mark.parametrize("name", FAULTS)
def test_state_cause_and_line(name):
    program, parameter, state, causes = FAULTS[name]
    trace = run(program)
    answer = trace.why(parameter)
    assert (answer.state, answer.cause in causes) == (state, True), answer
    assert answer.place.first in marked(program), answer
    assert answer.place.text
    assert answer.state in STATES
    assert answer.cause in CAUSES
    assert str(from_file(trace).why(parameter)) == str(answer)


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_programs_have_no_finding(name):
    trace = run(HEALTHY[name])
    assert simplegrad.diagnose(trace).findings == ()
    assert trace.held
    assert simplegrad.diagnose(from_file(trace)).findings == ()


UNASKED = ("detached_features", "dead_units", "log_of_zero", "never_cleared", "scaled_by_hand")


@pytest.mark.parametrize("name", [*UNASKED, "dropped_by_a_hook_before_the_step"])
def test_a_diagnosis_finds_it_unasked(name):
    program, parameter, state, causes = FAULTS[name]
    findings = simplegrad.diagnose(run(program)).findings
    assert (findings[0].state, findings[0].cause) == (state, causes[0])
    assert any(parameter in (finding.parameter + finding.sentence) for finding in findings)


def test_the_command_line(tmp_path, capsys):
    program, parameter, *_ = FAULTS["detached_features"]
    path = str(tmp_path / "run.trace")
    run(program).save(path)
    assert main(["why", path, parameter]) == 1
    assert "detach" in capsys.readouterr().out
    assert main(["why", path]) == 1
    assert "first.weight" in capsys.readouterr().out
    assert main(["why", path, "last.weight"]) == 0
    assert main(["why", path, "frist.weight"]) == 2
    assert "Did you mean first.weight" in capsys.readouterr().err
    assert main(["why", str(tmp_path / "none.trace")]) == 2


def test_without_a_model_names_come_from_the_code():
    layer = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    with record_torch() as trace:
        layer[1](layer[0](torch.ones(1, 3)).detach()).sum().backward()
    answer = trace.why("0.weight")
    assert (answer.state, answer.cause) == ("none", "detach")


def half_precision_step(*, scaler, factor=1.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with record_torch(model) as trace:
        with torch.autocast("cpu", dtype=torch.float16):
            loss = (model(torch.ones(2, 4)).float() * 100).square().mean() * factor
        scaler.scale(loss).backward()  # the scale
        scaler.step(optimizer)
        scaler.update()
    return trace


def test_an_overflow_of_half_precision_is_the_scale_of_the_loss():
    trace = half_precision_step(scaler=torch.amp.GradScaler("cpu", init_scale=2.0**24))
    answer = trace.why("0.weight")
    assert (answer.state, answer.cause) == ("nan", "loss_scale")
    assert "16777216" in answer.sentence
    assert answer.place.text.rstrip().endswith("# the scale")
    assert simplegrad.diagnose(trace).findings == ()  # the scaler skips the step, as it should


def test_an_overflow_without_a_scale_is_none_of_a_slope():
    trace = half_precision_step(scaler=torch.amp.GradScaler("cpu", enabled=False), factor=1e6)
    answer = trace.why("0.weight")
    assert (answer.cause, "overflows float16" in answer.sentence) == ("nonfinite", True)


def test_a_pass_and_its_line():
    x = torch.ones(2, requires_grad=True)
    with record_torch() as trace:
        torch.autograd.grad((x * 2).sum(), x)
        (x * 2).sum().backward()
    lines = [event.source[1] for event in trace.events if event.kind == "PassBegun"]
    assert lines[1] - lines[0] == 1


def test_a_tape_answers_too():
    from simplegrad import Variable, grad, record

    with record() as trace:
        a, b = Variable.constant(torch.ones(3), name="a"), Variable.constant(torch.ones(3), name="b")
        grad((a * a).sum(), [a, b])
    assert trace.why("b").cause == "unused"
    assert trace.why("a").state == "value"


def test_an_unknown_name_is_an_error():
    layer = nn.Linear(2, 1)
    with record_torch(layer) as trace:
        layer(torch.ones(1, 2)).sum().backward()
    with pytest.raises(KeyError, match=r"Did you mean weight\?"):
        trace.why("weigth")


def test_what_a_softmax_does_not_see_is_told_as_that():
    answer = run(programs_third.bias_of_the_keys).why("k.bias")
    assert (answer.state, answer.cause) == ("tiny", "flat")
    assert "softmax does not change" in answer.sentence
    assert ".softmax(-1)" in answer.place.text


def test_a_softmax_of_one_element_is_none_that_is_saturated():
    assert "over one element" in run(programs_third.softmax_of_one_element).why("q.weight").sentence


def test_a_factor_that_is_trained_is_named():
    answer = run(programs_third.factors_that_begin_small).why("2.inner.weight")
    assert (answer.state, answer.cause) == ("tiny", "zero_factor")
    assert "2.gamma is small at this step, and gets a gradient" in answer.sentence


def test_the_function_that_records_is_read_once_for_all_parameters(monkeypatch):
    """It may be a script of a thousand lines, and the model may have a thousand parameters."""
    read = []
    plain = source._turns_off
    monkeypatch.setattr(source, "_turns_off", lambda node: read.append(node) or plain(node))

    source._said_outside.cache_clear()
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))
    with record_torch(model) as trace:
        model(torch.ones(1, 2)).sum().backward()
    assert len(trace.held) == 40
    assert read and len(set(read)) == len(read)


def test_a_nan_that_a_step_brought_into_a_parameter_is_told_where_it_was_born():
    """The next forward reads it first, but nothing is wrong there."""
    model = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with record_torch(model) as trace:
        for number in range(3):
            optimizer.zero_grad()
            loss = model(torch.tensor([1, 2])).square().sum()
            if number == 1:
                loss = (loss - loss.detach()).sqrt()
            loss.backward()
            optimizer.step()
    (finding,) = simplegrad.diagnose(trace).findings
    assert "born in the backward of sqrt" in finding.sentence and "A step of SGD brought it into" in finding.sentence
    assert finding.place.text.strip() == "loss = (loss - loss.detach()).sqrt()"
