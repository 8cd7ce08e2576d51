"""Compiled aggregates against recorded operations: every operator, to order 3, in every mode of `grad`."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simplegrad import Tape, Variable, check, compile_aggregate

from .cases import CASES, C, M, V, assert_same, climbed, inputs_of


@pytest.mark.parametrize("text, shapes", CASES, ids=[f"{text}-{i}" for i, (text, _) in enumerate(CASES)])
def test_each_operator_to_order_three(text, shapes):
    compiled, inputs = compile_aggregate(text), inputs_of(shapes)
    for none, prune in (("skip", "none"), ("zeros", "ahead")):
        assert_same(climbed(compiled, inputs, 3, none, prune), climbed(compiled.reference, inputs, 3, none, prune))


@pytest.mark.parametrize("text", ["maximum(a, b) * a", "a.amax(dim=0) * b", "(a - b).relu() + (a - b).abs()"])
def test_ties_and_kinks_are_shared_as_the_engine_shares_them(text):
    compiled, inputs = compile_aggregate(text), [torch.ones(3, 2, dtype=torch.float64), torch.ones(3, 2).double()]
    assert_same(climbed(compiled, inputs, 3), climbed(compiled.reference, inputs, 3))


def test_zero_to_the_power():
    compiled = compile_aggregate("a ** b")
    inputs = [torch.tensor([0.0, 0.0, 2.0]).double(), torch.tensor([2.0, 0.0, 0.0]).double()]
    assert_same(climbed(compiled, inputs, 2), climbed(compiled.reference, inputs, 2))


def test_an_index_may_be_an_input():
    compiled = compile_aggregate("(x - x.logsumexp(dim=-1, keepdim=True))[labels, labels].mean() * x")
    inputs = [*inputs_of([(3, 4)]), torch.tensor([0, 2, 2])]
    ours, theirs = ([], [])
    for function, found in ((compiled, ours), (compiled.reference, theirs)):
        found += climbed(lambda x, f=function: f(x, Variable.constant(inputs[1])), inputs[:1], 3)
    assert_same(ours, theirs)


def test_two_calls_never_share_a_gradient():
    compiled = compile_aggregate("t = a + b\nt * b")
    inputs = inputs_of([V, V])
    twice = [climbed(lambda a, b, f=f: f(f(a, b), a), inputs, 3) for f in (compiled, compiled.reference)]
    assert_same(*twice)


def test_one_variable_may_be_several_inputs():
    compiled = compile_aggregate("a * b.sin()")
    runs = [climbed(lambda a, f=f: f(a, a), inputs_of([V]), 3) for f in (compiled, compiled.reference)]
    assert_same(*runs)


ONE = compile_aggregate("(a + b) * b * a.sum()")


@pytest.mark.parametrize("shapes", [[M, V], [V, M], [V, V], [C, V], [(), V], [(1, 4), C], [(), ()]])
def test_one_compiled_aggregate_meets_many_shapes(shapes):
    inputs = inputs_of(shapes)
    assert_same(climbed(ONE, inputs, 2), climbed(ONE.reference, inputs, 2))


@pytest.mark.parametrize("text, shapes", [CASES[i] for i in (0, 1, 9, 10, 22, 30, 41, 44, 54, 55, 56, 57)])
def test_check_finds_nothing(text, shapes):
    report = check(compile_aggregate(text), *inputs_of(shapes), order=3)
    assert report.ok and not report.findings, str(report)


def value_of(gradient):
    return None if gradient is None else gradient.value


@pytest.mark.parametrize("text, shapes", [CASES[i] for i in (0, 2, 7, 11, 54, 55, 58)])
def test_every_pattern_gives_what_zeros_give(text, shapes):
    compiled, inputs = compile_aggregate(text), inputs_of(shapes)
    with Tape() as tape:
        variables = [Variable.constant(x) for x in inputs]
        compiled(*variables)
        made = compiled.case.made
        shapes = [made.shapes.value(node).shape for node in made.outputs]
        gradients = [Variable.constant(torch.rand(shape).double()) for shape in shapes]
        for pattern in itertools.product((True, False), repeat=len(shapes)):
            if any(pattern):
                some = [g if comes else None for g, comes in zip(gradients, pattern)]
                zeros = [g if comes else Variable.constant(g.value * 0) for g, comes in zip(gradients, pattern)]
                ours, theirs = tape[0].propagate(some), tape[0].propagate(zeros)
                assert_same([[value_of(g) for g in ours]], [[value_of(g) for g in theirs]])


names = st.sampled_from(["a", "b", "c"])


def grown(parts):
    """Larger expressions of smaller ones; all of shape (3, 4), (4,) or (3, 1), which go together."""
    one = st.sampled_from(
        ["({}).exp()", "({}).tanh()", "({}).sigmoid()", "({}).sin()", "({}).cos()", "({}).relu()", "({}).abs()"]
        + ["(({}).abs() + 0.5).log()", "(({}).abs() + 0.5).sqrt()", "-({})", "({}) * 0.5", "1.5 - ({})", "({}) ** 2"]
        + ["({}).sum()", "({}).mean(dim=-1, keepdim=True)", "({}).amax(dim=-1, keepdim=True)", "({}).softmax(dim=-1)"]
        + [
            "({}).logsumexp(dim=-1, keepdim=True)",
            "({}).expand(3, 4)[:, 1:2]",
            "({}).expand(3, 4).T.T",
            "2 / (({}).abs() + 1)",
        ]
    )
    two = st.sampled_from(
        ["({}) + ({})", "({}) - ({})", "({}) * ({})", "({}) / (({}).abs() + 1)", "maximum(({}) + c, ({}) + c)"]
        + [
            "minimum(({}) + c, ({}) + c)",
            "where(c > 0.7, {}, {})",
            "cat([({}).expand(3, 4), ({}).expand(3, 4)], dim=0)[1:4]",
        ]
        + [
            "stack([({}).expand(3, 4), ({}).expand(3, 4)], dim=0).sum(dim=0)",
            "(({}).expand(3, 4).T @ ({}).expand(3, 4)).sum(dim=0) * c",
        ]
    )
    return st.one_of(
        st.tuples(one, parts).map(lambda pair: pair[0].format(pair[1])),
        st.tuples(two, parts, parts).map(lambda three: three[0].format(*three[1:])),
    )


expressions = st.recursive(names, grown, max_leaves=6)


@settings(max_examples=80, deadline=None)
@given(expressions, expressions)
def test_any_expression_at_any_order(first, second):
    text = f"t = {first}\nu = {second}\nt * t.sum() + u.sum() * (a + b * c).sum()"
    compiled, inputs = compile_aggregate(text), inputs_of([M, V, C], seed=len(text))
    by_name = dict(zip("abc", inputs))
    inputs = [by_name[node.name] for node in compiled.expression.inputs]
    with torch.no_grad():
        ours, theirs = climbed(compiled, inputs, 3), climbed(compiled.reference, inputs, 3)
    scale = max((float(g.abs().max()) for level in theirs for g in level if g is not None), default=1.0)
    if scale < 1e6:
        assert_same(ours, theirs)
