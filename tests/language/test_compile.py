"""Texts of the language: what they may say, and errors at their place."""

import cProfile
import pstats

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simplegrad import ProgramError, compile_aggregate
from simplegrad.compiler import CompileError
from simplegrad.language import Limits
from simplegrad.language.limits import Guard, watched_by
from simplegrad.trace import LimitError

from ..compiler.cases import assert_same, climbed, inputs_of


def test_free_names_are_inputs_in_order_of_first_appearance():
    compiled = compile_aggregate("t = c * a\nb + t * a")
    assert [node.name for node in compiled.expression.inputs] == ["c", "a", "b"]


@pytest.mark.parametrize(
    "text, same",
    [
        ("torch.tanh(a) + sigmoid(a)", "a.tanh() + a.sigmoid()"),
        ("# a comment\n\nt = a.exp()\n# another\nt", "a.exp()"),
        ("return a * 2", "a * 2"),
        ("2 * a + 3 ** 2", "a * 2 + 9"),
        ("a.view(2, -1).sum(1)", "a.reshape(2, -1).sum(dim=1)"),
        ("where(0.5 < a, a, 0.0)", "where(a > 0.5, a, 0.0)"),
        ("t = a", "a * 1"),
        ("t = a\nt += a\nt *= 2", "a * 4"),
        ("t, u = a, a * 2\nt + u", "a * 3"),
        ("(a > 0.5) * a", "where(a > 0.5, a, 0.0)"),
        ("c = tensor([1.0, 2.0, 3.0, 4.0])\na * c + c", "c = arange(1, 5)\n(a + 1) * c"),
        ("a * ones(4) + zeros(a.shape[0])", "a * 1"),
        ("(a * a).sum('L0') * a", "(a * a).sum() * a"),
        ("y = a\nfor i in range(2):\n    y = y * a\ny", "a * a * a"),
        ("for i in range(3):\n    t = a.exp()\n    a = t * 0.5\na", "((a.exp() * 0.5).exp() * 0.5).exp() * 0.5"),
        (
            "def square(x, n=2):\n    if n == 2:\n        return x * x\n    return x\nsquare(a) + square(a, n=1)",
            "a * a + a",
        ),
        ("def cube(a):\n    return a * a * a", "a ** 3"),
        ("import torch\nu: Variable = torch.exp(a)\nadd_optional(None, u)", "a.exp()"),
        ("parts = [a, a.exp()]\ncat(parts)[:4] + parts[1]", "a + a.exp()"),
    ],
)
def test_ways_to_say_it(text, same):
    inputs = inputs_of([(4,)])
    ours, theirs = climbed(compile_aggregate(text), inputs, 2), climbed(compile_aggregate(same).reference, inputs, 2)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "text, line, column, message",
    [
        ("", 1, 1, "there is no expression"),
        ("(a + ) * b", 1, 6, "this cannot be read from here on"),
        ("t = a + b\nt.tahn()", 2, 3, "'.tahn' is not known. Did you mean 'tanh'?"),
        ("a * sqr(b)", 1, 5, "'sqr' is not known. Did you mean 'sqrt'?"),
        ("a if b else c", 1, 6, "Choose between values with where(condition, x, y)"),
        ("a > 0 and b > 0", 1, 1, "join conditions with & and |"),
        ("[x for x in a]", 1, 1, "write the loop out"),
        ("for x in a:\n    x", 1, 10, "a loop goes through a list"),
        ("import os", 1, 1, "nothing is imported"),
        ("a, b = c", 1, 1, "2 names on the left side, but the right is 'c'"),
        ("a.__class__", 1, 3, "'.__class__' is not known"),
        ("__import__('os')", 1, 1, "'__import__' is not known"),
        ("a.tanh", 1, 3, "is a method: call it, x.tanh(…)"),
        ("a + 'x'", 1, 5, "text is of no use"),
        ("a + 1j", 1, 5, "not a number"),
        ("a > 0", 1, 1, "the result is a condition"),
        ("a.size(0)", 1, 1, "the result is a size"),
        ("1 + 2", 1, 1, "the result is int"),
        ("tensor([1.0]) * 2", 1, 1, "the result is a constant"),
        ("where(a, 1.0, 2.0)", 1, 1, "first comes a condition"),
        ("a.sum(dim=0.5)", 1, 1, "dim is a whole number, not 0.5"),
        ("a.sum(dims=0)", 1, 1, "unexpected keyword argument 'dims'. Did you mean 'dim'?"),
        ("a.expand(b)", 1, 1, "sizes are whole numbers, x.shape[0] or *x.shape"),
        ("tanh", 1, 1, "'tanh' is not a value: call it, tanh(…)"),
        ("a[b.sum() > 0.5 :]", 1, 1, "the ends of a slice are whole numbers"),
        ("a[::-1]", 1, 3, "the step of a slice is 1 or more"),
        ("1 / 0 * a", 1, 1, "1 / 0: division by zero"),
        ("9 ** 9 ** 9 * a", 1, 1, "too large"),
        ("a + " + "0x" + "f" * 4000, 1, 5, "this number is too large"),
        ("x * y\nz", 1, 1, "line 1 has no effect"),
        ("return x\nz", 1, 1, "what follows would never run"),
        ("t = x\nif 1 < 2:\n    t = x * t", 2, 1, "the last line says what is computed"),
        ("grad(x.sum(), [x])", 1, 1, "grad has no place in what is compiled"),
        ("simple(x, y)", 1, 1, "simple has no place in what is compiled"),
        ("x * rand(4)", 1, 5, "what is compiled computes the same each time"),
        ("x.value * x", 1, 1, "'.value' has no place in what is compiled"),
    ],
)
def test_errors_at_their_place(text, line, column, message):
    with pytest.raises(ProgramError) as raised:
        compile_aggregate(text)
    error = raised.value
    assert message in error.message
    if message:
        assert (error.line, error.column) == (line, column), error.message
    assert error.text == (text.splitlines() or [""])[error.line - 1]


def test_deep_and_long_texts_are_refused():
    for text in ("(" * 500 + "a" + ")" * 500, "-" * 300 + "a", "a + " * 12_000 + "a", " " * 30_000):
        with pytest.raises(ProgramError):
            compile_aggregate(text)


def test_what_computes_on_no_shapes_is_told_with_its_reason():
    for text, said in [
        ("a.softmax(dim=7)", "Dimension out of range"),
        ("cat([a, b], dim=99)", "Dimension out of range"),
        ("a.sum(dim=(0, 0))", "appears multiple times"),
        ("a.shape[0] // 0 * a", "by zero"),
    ]:
        with pytest.raises(CompileError, match=said):
            assert compile_aggregate(text).forward_source


def test_a_comment_that_ends_in_quotes_is_a_comment():
    assert "a.value * b.value" in compile_aggregate('a * b # ""').forward_source


def test_several_results_of_a_text():
    compiled = compile_aggregate("t = a * b\nt, t.sin()")
    assert compiled.outputs == ("t", "r") or len(compiled.outputs) == 2


def test_the_time_of_a_compilation_is_limited():
    compiled = compile_aggregate("t = a * b\nt.tanh() * a")
    with watched_by(Guard(Limits(seconds=-1))):
        with pytest.raises(ProgramError, match="too much to compile"):
            compile_aggregate("t = a * b\nt.tanh() * a")
        with pytest.raises(LimitError):
            assert compiled.forward_source


def test_what_is_written_for_a_long_text_grows_with_its_length():
    """Calls of Python, counted: they were cubic in the lines."""

    def calls(lines: int) -> int:
        compiled = compile_aggregate("t = a\n" + "t = t * t + a\n" * lines + "t")
        compiled.case_of([torch.rand(4)])  # what is imported at first is not counted
        counted = cProfile.Profile()
        compiled = compile_aggregate("t = a\n" + "t = t * t + a\n" * lines + "t")
        counted.enable()
        compiled.case_of([torch.rand(4)])
        counted.disable()
        return pstats.Stats(counted).total_calls

    assert calls(120) < 3 * calls(60)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("ab.()+*[]:,=0123456789 sumexp\n", max_size=60)))
def test_any_text_is_compiled_or_refused(text):
    try:
        assert compile_aggregate(text).expression.results
    except ProgramError as error:
        assert error.line >= 1 and error.column >= 1


# --- functions ----------------------------------------------------------------------------------------------------


def test_a_function_is_traced_and_its_names_are_kept():
    def swish(x, beta):
        """x times sigmoid(beta x)."""
        gate = torch.sigmoid(beta * x)
        return x * gate

    compiled = compile_aggregate(swish)
    assert (compiled.name, compiled.summary) == ("swish", "x times sigmoid(beta x).")
    assert "gate = Variable(" in compiled.forward_source
    inputs = inputs_of([(3, 4), (4,)])
    assert_same(climbed(compiled, inputs, 3), climbed(swish, inputs, 3))


def test_sizes_are_met_at_the_call():
    def standard(x):
        return (x.reshape(x.shape[0], -1) - x.sum() / x.numel()).sum(dim=1) / x.shape[-1] ** 0.5

    compiled = compile_aggregate(standard)
    for shape in ((2, 3), (4, 2, 2)):
        inputs = inputs_of([shape])
        assert_same(climbed(compiled, inputs, 2), climbed(standard, inputs, 2))


def test_several_results():
    compiled = compile_aggregate(lambda a, b: (a * b, (a * b).sin()), "both")
    ours, theirs = (
        climbed(lambda a, b, f=f: f(a, b)[0] + f(a, b)[1] * 2, inputs_of([(4,), (4,)]), 3)
        for f in (compiled, lambda a, b: (a * b, (a * b).sin()))
    )
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda x: x if x.sum() > 0 else -x, "no `if`, `and` or `not` can ask for it"),
        (lambda x: x * x.ndim if (x > 0).all() else x, "no `if`, `and` or `not` can ask for it"),
        (lambda x: x.max(0), "the result is a constant"),
        (lambda x: x * float(x.sum()), "cannot be made a number"),
        (lambda x: x * torch.rand(4, requires_grad=True), "is not a constant, since gradients flow to it"),
        (lambda x: torch.fft.fft(x), "torch.fft.fft is not an operator of the engine. Its results are complex"),
        (lambda x: x.nancumsum(0), "'nancumsum' is not an operator of the engine. The nearest that are there: nansum"),
        (lambda: 1, "the function has no parameters"),
        (lambda *x: x[0], "a fixed list of inputs"),
        (lambda x: 3.0, "the result is float"),
    ],
)
def test_what_a_function_may_not_do(function, message):
    with pytest.raises((CompileError, TypeError), match=message.replace("(", r"\(") or None):
        compile_aggregate(function, "g")


def test_what_is_neither_a_text_nor_a_function():
    with pytest.raises(CompileError, match=r"was given a int; expected an expression as text"):
        compile_aggregate(3)


def test_an_object_that_is_called():
    class Doubled:
        def __call__(self, x):
            return x * 2

    assert compile_aggregate(Doubled()).name == "Doubled"
