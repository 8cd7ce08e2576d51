"""A trace tells the run, whenever it is read, and from however many threads."""

import threading

import pytest
import torch

from simplegrad import Program, Tape, TapeEntry, Variable, grad, gradient_tape, record
from simplegrad.language import EXAMPLES
from simplegrad.trace.builder import _MAKERS
from simplegrad.trace.events import Accumulated, PassBegun, PassEnded, PassFailed, Visited
from tests.engine.cases import CASES, values


@pytest.fixture(autouse=True)
def own_tape():
    with Tape():
        yield


def leaf(*numbers, name=None) -> Variable:
    return Variable.constant(torch.tensor(numbers), name=name)


@pytest.mark.parametrize("read_first", [False, True])
def test_a_step_of_an_optimizer_by_assignment(read_first):
    with record() as trace:
        x = leaf(1.0, 2.0, name="x")
        (g,) = grad((x * x).sum(), [x])
        assert not read_first or len(trace)
        x.value = x.value - 0.1 * g.value
    assert trace.transcript().startswith("x = tensor([1., 2.])") and trace.notices == []


def test_a_value_that_was_replaced_and_used_again_is_told():
    with record() as trace:
        x = leaf(1.0, name="x")
        x * 2
        x.value = x.value + 1
        x * 3
        x * 4
    assert trace.value_named("x").tensor.tolist() == [1.0]
    (notice,) = trace.notices
    assert notice.startswith("x was given another tensor, x.value = …, after it had been used.")


def test_a_change_in_place_is_told():
    with record() as trace:
        x = leaf(1.0, name="x")
        y = x * x
        x.value += 1
        y.value.zero_()
    (notice,) = trace.notices
    assert notice.startswith("x, v0 were changed in place after this run computed with them")


def failing(x):
    r = Variable(x.value * 2, "r")

    def propagate(dL_doutputs):
        dL_doutputs[0] * 2
        raise ZeroDivisionError("as planned")

    gradient_tape.append(TapeEntry([x.name], [r.name], propagate))
    return r


def test_what_follows_a_pass_that_raised_belongs_to_no_pass():
    with record() as trace:
        a = leaf(1.0, name="a")
        L = failing(a).sum(name="L")
        with pytest.raises(ZeroDivisionError):
            grad(L, [a])
        M = (a * 3).sum(name="M")
        grad(M, [a])
    failed = next(event for event in trace if isinstance(event, PassFailed))
    assert (failed.error, failed.pass_.loss.name) == ("ZeroDivisionError", "L")
    assert failed.entry.statement == "r = failing(a)"
    assert failed.message == "as planned (in the propagate of entry 0, 'r = failing(a)')"
    later = [entry for entry in trace.entries if entry.statement.endswith("a * 3") or entry.outputs[0].name == "M"]
    assert [(entry.pass_id, entry.made_by) for entry in later] == [(None, None)] * 2
    assert trace.error is None and [run.title for run in trace.passes] == ["pass of L", "pass of M"]
    assert [event.parent for event in trace if isinstance(event, PassBegun)] == [None, None]
    end = trace.at(len(trace))
    assert end.pass_.title == "pass of M" and not trace.at(failed.index + 2).in_pass
    assert trace.at(failed.index + 1).gradients["a"].state == "unreached"  # broken off: not known to be zero
    assert any(line.startswith("dL failed at test_true.py:") for line in trace.transcript().splitlines())


def test_a_failed_pass_within_a_pass():
    def tried(x):
        r = Variable(x.value * 2)

        def propagate(dL_doutputs):
            with pytest.raises(ZeroDivisionError):
                grad(failing(x), [x])
            return [dL_doutputs[0] * 2]

        gradient_tape.append(TapeEntry([x.name], [r.name], propagate))
        return r

    with record() as trace:
        a = leaf(1.0, name="a")
        assert grad(tried(a).sum(name="L"), [a])[0].tolist() == [2.0]
    assert isinstance(trace[-1], PassEnded) and trace[-1].pass_ is trace.passes[0]


def test_a_transcript_says_that_the_run_failed_and_where():
    with pytest.raises(ZeroDivisionError), record() as trace:
        leaf(1.0, name="a")
        raise ZeroDivisionError("between")
    assert trace.transcript().splitlines()[-1].startswith("the run failed at test_true.py:")
    assert trace.transcript().endswith(": ZeroDivisionError: between")
    program = Program.parse("a = tensor([1.0])\nb = a @ ones(3)").run()
    assert "the run failed at line 2: " in program.transcript()


def test_two_threads_read_one_trace():
    for _ in range(5):
        with Tape(), record() as trace:
            x = leaf(0.5, 2.0)
            y = x
            for _ in range(300):
                y = (y * x).sin()
            grad(y.sum(), [x])
        found, barrier = [], threading.Barrier(4, timeout=20)

        def read(trace=trace, found=found, barrier=barrier):
            barrier.wait()
            found.append((len(trace), trace.at(len(trace)).gradients["v0"].state, len(trace.entries)))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4 and len(set(found)) == 1


def test_a_reading_that_raised_is_told_by_the_next(monkeypatch):
    with record() as trace:
        x = leaf(1.0, name="x")
        x * 2
        x * 3

    def broken(*args):
        raise RuntimeError("out of paper")

    monkeypatch.setitem(_MAKERS, "recorded", broken)
    with pytest.raises(RuntimeError, match="out of paper"):
        len(trace)
    assert len(trace) == 1
    assert trace.notices == [
        "A part of this run could not be read: RuntimeError: out of paper. Events after number 0 are missing."
    ]


def test_a_trace_is_a_sequence_of_events():
    with record() as trace:
        x = leaf(1.0, name="x")
        x * 2
    assert [event.kind for event in trace] == ["Leaf", "Recorded"]
    assert trace[-1] == trace.events[1] and trace[:1] == trace.events[:1]


# --- broadcasting ------------------------------------------------------------------------------------------------


def assert_shapes(trace):
    """Of all gradients, whatever shows them. Only a number that a propagate made for a None is left alone, as there."""
    rows = [(x, g) for event in trace if isinstance(event, PassEnded) for x, g in event.table]
    for event in trace:
        if isinstance(event, Accumulated):
            rows += [(event.value, event.contribution), (event.value, event.total)]
        if isinstance(event, Visited):
            rows += zip(event.entry.inputs, event.outgoing)
    assert rows and [(x, g) for x, g in rows if g is not None and g.shape != x.shape] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
@pytest.mark.parametrize("none", ["skip", "zeros"])
def test_every_gradient_of_every_table_has_the_shape_of_its_variable(example, none):
    text = example if isinstance(example, str) else example.name
    assert_shapes(Program.parse(EXAMPLES[text].text).run(none=none))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_operator_undoes_its_broadcasting(case):
    with record() as trace:
        xs = [Variable.constant(x) for x in values(case.shapes, case.lowest)]
        first = grad(case.function(*xs), xs)
        grad(sum([(g * g).sum() for g in first if g is not None], start=leaf(0.0)), xs)
    assert_shapes(trace)


def test_the_entry_that_broadcast_undoes_it():
    with record() as trace:
        x = Variable.constant(torch.ones(2, 3), name="x")
        bias = leaf(1.0, 2.0, 3.0, name="bias")
        (g,) = grad((x + bias).sum(), [bias])
    summed = next(entry for entry in trace.entries if entry.operator == "sum_to_size")
    assert trace.entries[summed.made_by].statement == "v0 = x + bias" and summed.outputs[0].name == g.name
    assert dict(trace[-1].table)[trace.value_named("bias")].name == g.name


def test_the_notebooks_own_loop_over_the_tape():
    x, bias = Variable.constant(torch.ones(2, 3)), leaf(1.0, 2.0, 3.0)
    y = x * bias
    (entry,) = gradient_tape
    assert [tuple(g.shape) for g in entry.propagate([Variable.constant(torch.ones(2, 3))])] == [(2, 3), (3,)]
    assert entry.outputs == [y.name]
