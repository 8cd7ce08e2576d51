"""The generated code: what it says, what it computes, and how little."""

import inspect
import re
import sys
from pathlib import Path

import pytest
import torch

import simplegrad.compiler.case as case_module
from simplegrad import Tape, Variable, compile_aggregate, grad, gradient_tape, record, registry
from simplegrad.compiler import CompileError
from simplegrad.engine import RawTensorError

from .cases import CASES, assert_same, climbed, inputs_of

GOLDEN = Path(__file__).parent / "rmsnorm.txt"
RMSNORM = "ms = (x * x).mean(dim=-1, keepdim=True)\nrstd = (ms + 1e-6) ** -0.5\nx * rstd * w"


def met(compiled, shapes) -> None:
    """Call it, so that its code is for these shapes."""
    with Tape():
        compiled(*[Variable.constant(x) for x in inputs_of(shapes)])


def lines(text: str) -> list[str]:
    return [line.split("#")[0].rstrip() for line in text.splitlines()]


def test_forward_declares_the_temporary():
    source = compile_aggregate("(a + b) * b", "fused").forward_source
    assert "    t = Variable(a.value + b.value)\n    r = Variable(t.value * b.value)\n" in source
    assert "TapeEntry([a, b], [r, t], propagate)" in source


def test_the_body_of_a_first_pass_is_the_hand_written_optimum():
    body = compile_aggregate("(a + b) * b", "fused").specialisation_source((True, None))
    assert lines(body)[2:] == [
        "    dL_dt = dL_dr * b",
        "    dL_db = dL_dr * t",
        "    dL_db = dL_db + dL_dt",
        "    dL_da = dL_dt",
        "    return [dL_da, dL_db]",
    ]
    assert "# r = t * b" in body and "# t = a + b" in body


def recorded_in_first_pass(function) -> list[str]:
    with Tape(), record() as trace:
        a, b = (Variable.constant(torch.rand(4)) for _ in "ab")
        grad(function(a, b).sum(), [a, b])
    return sorted(entry.operator for entry in trace.entries if entry.pass_id == 0)


def test_a_first_pass_runs_the_operations_of_the_hand_written_optimum():
    compiled = recorded_in_first_pass(compile_aggregate("(a + b) * b"))
    assert compiled == recorded_in_first_pass(registry["simple_variable"]) == ["add", "expand", "mul", "mul"]


def test_rmsnorm_reads_like_a_good_hand_written_one():
    compiled = compile_aggregate(RMSNORM, "rmsnorm")
    with Tape():
        compiled(Variable.constant(torch.rand(3, 4)), Variable.constant(torch.rand(4)))
    assert compiled.source == GOLDEN.read_text()


@pytest.mark.parametrize("text, shapes", CASES)
def test_none_is_asked_for_at_the_top_and_nowhere_else(text, shapes):
    compiled = compile_aggregate(text)
    met(compiled, shapes)
    count = len(compiled.outputs)
    assert compiled.forward_source.count("is not None") == (count if count < 3 else 1)
    for pattern in compiled.patterns:
        assert not re.search(r"is (not )?None|add_optional|zeros_like", compiled.specialisation_source(pattern))


@pytest.mark.parametrize("text, shapes", CASES)
def test_every_operation_says_which_forward_line_it_is_of(text, shapes):
    compiled = compile_aggregate(text)
    met(compiled, shapes)
    for pattern in compiled.patterns:
        body = compiled.specialisation_source(pattern).splitlines()[2:-1]
        assert all("  # " in line for line in body), body


def test_bodies_are_made_when_their_pattern_is_first_seen():
    compiled = compile_aggregate("(a + b) * b")
    with Tape():
        a, b = (Variable.constant(torch.rand(4)) for _ in "ab")
        loss = compiled(a, b).sum()
        assert not compiled.case.bodies
        gradients = grad(loss, [a, b])
        assert compiled.case.seen == [(True, False)]
        len(gradient_tape)  # has that pass recorded, if it was deferred
        assert set(compiled.case.bodies) == {(True, False)}
        body = compiled.case.bodies[True, False]
        grad((gradients[0] * gradients[1]).sum(), [a, b])
        assert set(compiled.case.bodies) == {(True, False)}  # that pass is deferred, and its body runs on tensors
        assert compiled.case.seen == [(True, False), (False, True)]
        len(gradient_tape)
        assert set(compiled.case.bodies) == {(True, False), (False, True)}
    climbed(compiled, inputs_of([(4,), (4,)]), 1)
    assert compiled.case.bodies[True, False] is body


def test_the_none_pattern_of_the_results_follows():
    compiled = compile_aggregate("t = a.exp()\nu = b.exp()\nt * u")
    with Tape() as tape:
        a, b = (Variable.constant(torch.rand(4)) for _ in "ab")
        compiled(a, b)
        slot = compiled.outputs.index("t")
        incoming = [Variable.constant(torch.rand(4)) if i == slot else None for i in range(len(compiled.outputs))]
        dL_da, dL_db = tape[0].propagate(incoming)
    assert dL_da is not None and dL_db is None


def test_patterns_beyond_the_most_go_through_the_general_body(monkeypatch):
    monkeypatch.setattr(case_module, "MOST_BODIES", 1)
    monkeypatch.setattr("simplegrad.compiler.code.MOST_BODIES", 1)
    compiled = compile_aggregate(RMSNORM)
    with Tape() as tape:
        compiled(*[Variable.constant(x) for x in inputs_of([(3, 4), (4,)])])
        made = compiled.case.made
        gradients = [Variable.constant(torch.rand(made.shapes.value(n).shape).double()) for n in made.outputs]
        for pattern in compiled.patterns:
            some = [g if comes else None for g, comes in zip(gradients, pattern)]
            zeros = [g if comes else Variable.constant(g.value * 0) for g, comes in zip(gradients, pattern)]
            ours, theirs = tape[0].propagate(some), tape[0].propagate(zeros)
            assert_same([[g if g is None else g.value for g in ours]], [[g.value for g in theirs]])
    assert len(compiled.case.bodies) == 15
    assert "f_general" in compiled.case.code.fallback_text((True, True, False, False))


def test_common_subexpressions_are_one_and_dead_ones_none():
    compiled = compile_aggregate("u = a.sin()\nv = a.exp()\nw = a.exp()\nv * w + w * v")
    source = compiled.forward_source
    assert source.count("a.value.exp()") == 1 and "a.value.sin()" not in source


def test_what_reverse_reads_and_forward_has_is_not_computed_again():
    compiled = compile_aggregate("a.sin() * a.cos()")
    assert not [line for line in lines(compiled.specialisation_source([True] * 3)) if ".cos()" in line]


def test_a_temporary_that_nothing_reads_is_not_declared():
    assert compile_aggregate("(a + b).tanh()").outputs == ("r",)
    assert compile_aggregate("(a * 2 + b) * 3").outputs == ("r",)


def test_broadcasting_is_undone_where_there_was_some():
    compiled = compile_aggregate("(a + b) * b")
    compiled.case_of([torch.rand(3, 4), torch.rand(4)])
    assert "sum_to_size" not in compiled.source
    with Tape():
        compiled(Variable.constant(torch.rand(3, 4)), Variable.constant(torch.rand(4)))
    assert "dL_db.sum_to_size(b.shape)" in compiled.source


def test_one_code_for_shapes_that_differ_in_size_only():
    compiled = compile_aggregate("(a + b) * b")
    cases = [compiled.case_of([torch.rand(n, 4), torch.rand(n, 4)]) for n in (2, 3, 7)]
    assert len(set(map(id, cases))) == 1


def test_a_name_of_the_source_may_be_a_name_of_the_code():
    compiled = compile_aggregate("torch_ = where1 * Variables\nbody = torch_.sin()\ndL_dr = body * torch_\ndL_dr * g")
    inputs = inputs_of([(4,)] * len(compiled.expression.inputs))
    assert_same(climbed(compiled, inputs, 2), climbed(compiled.reference, inputs, 2))


def test_it_is_an_aggregate():
    compiled = compile_aggregate("(a + b) * b", "fused")
    assert (compiled.name, compiled.summary, compiled.arity) == ("fused", "(a + b) * b", 2)
    assert "def fused(a, b):" in compiled.source
    assert list(inspect.signature(compiled.function).parameters) == ["a", "b"]
    with Tape(), record() as trace:
        compiled(a=Variable.constant(torch.rand(4)), b=Variable.constant(torch.rand(4)))
    assert trace.entries[0].operator == "fused" and trace.entries[0].aggregate


def test_lines_of_generated_code_can_be_looked_up():
    import linecache

    with Tape(), record() as trace:
        a, b = (Variable.constant(torch.rand(4)) for _ in "ab")
        grad(compile_aggregate("(a + b) * b", "fused")(a, b).sum(), [a, b])
    places = [entry.source for entry in trace.entries if entry.operator == "mul"]
    assert {linecache.getline(*place).split("#")[0].strip() for place in places} == {
        "dL_dt = dL_dr * b",
        "dL_db = dL_dr * t",
    }


def test_wrong_inputs_are_told():
    compiled = compile_aggregate("(a + b) * b", "fused")
    with Tape():
        a = Variable.constant(torch.rand(4))
        with pytest.raises(TypeError, match=r"fused\(a, b\) was given 1 inputs, and takes 2"):
            compiled(a)
        with pytest.raises(RawTensorError, match="fused: input b is a Tensor, not a Variable. Wrap it"):
            compiled(a, torch.rand(4))
        with pytest.raises(CompileError) as raised:
            compiled(a, Variable.constant(torch.rand(3)))
    assert str(raised.value).startswith("fused: The size of tensor a (4) must match the size of tensor b (3)")
    assert str(raised.value).endswith(". in fused, at 't = a + b', with a of shape (4,), b of shape (3,).")


def test_a_wrong_pattern_is_told():
    compiled = compile_aggregate("(a + b) * b")
    for pattern in ((True,), (None, None)):
        with pytest.raises(ValueError, match="a pattern says for each of r, t"):
            compiled.specialisation_source(pattern)


@pytest.mark.parametrize("name", ["a b", "class", "Variable", "2x"])
def test_a_name_that_code_may_not_take(name):
    with pytest.raises(ValueError, match="expected a name as a function"):
        compile_aggregate("a * b", name)


def test_a_text_four_times_as_long_takes_four_times_the_work():
    def calls(lines):
        text, count = "t = x\n" + "t = t*t\n" * lines + "t", 0

        def counted(frame, event, argument):
            nonlocal count
            count += event == "call"

        sys.setprofile(counted)
        try:
            assert compile_aggregate(text).forward_source
        finally:
            sys.setprofile(None)
        return count

    calls(2)  # what is imported and worked out once
    assert 1000 < calls(200) <= 1.1 * 4 * calls(50)
