"""Bodies that are one entry each, to any order."""

import pytest
import torch

import simplegrad.compiler.fused as fused_module
from simplegrad import Tape, Variable, check, compile_aggregate, grad, record

from .cases import CASES, assert_same, climbed, inputs_of

RMSNORM = CASES[55]


@pytest.fixture
def every_body_is_fused(monkeypatch):
    monkeypatch.setattr(fused_module, "FEWEST", 1)


@pytest.mark.parametrize("text, shapes", CASES)
def test_each_operator_to_order_three(text, shapes, every_body_is_fused):
    compiled, inputs = compile_aggregate(text, fused=True), inputs_of(shapes)
    for none, prune in (("skip", "none"), ("zeros", "ahead")):
        assert_same(climbed(compiled, inputs, 3, none, prune), climbed(compiled.reference, inputs, 3, none, prune))


def entries(fused: bool) -> list[str]:
    compiled = compile_aggregate(RMSNORM[0], "rmsnorm", fused=fused)
    with Tape(), record() as trace:
        x, w = (Variable.constant(value) for value in inputs_of(RMSNORM[1]))
        dx, _ = grad(compiled(x, w).sum(), [x, w])
        grad((dx * dx).sum(), [x, w])
    return [entry.operator for entry in trace.entries if entry.pass_id is not None]


def test_a_pass_over_it_is_one_entry():
    assert entries(fused=True).count("rmsnorm_from_r") == 1 and "pow_number" not in entries(fused=True)
    assert "pow_number" in entries(fused=False)
    assert len(entries(fused=True)) < len(entries(fused=False)) / 2


@pytest.mark.parametrize("index", [0, 2, 11, 41, 55, 57])
def test_check_finds_nothing(index, every_body_is_fused):
    text, shapes = CASES[index]
    report = check(compile_aggregate(text, fused=True), *inputs_of(shapes), order=3)
    assert report.ok and not report.findings, str(report)


def test_a_body_of_few_operations_is_not_worth_an_entry():
    compiled = compile_aggregate("(a + b) * b", fused=True)
    with Tape(), record() as trace:
        a, b = (Variable.constant(torch.rand(4)) for _ in "ab")
        grad(compiled(a, b).sum(), [a, b])
    assert [entry.operator for entry in trace.entries if entry.aggregate] == ["f"]
