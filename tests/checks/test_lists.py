"""Operators of torch.library that take or give lists of tensors: judged as any other, tensor by tensor."""

import pytest
import torch

from simplegrad import check
from tests.checks.right.register import real


def operator(name, body, setup, backward, schema):
    made = torch.library.custom_op(f"lists::{name}", body, mutates_args=(), schema=schema)
    made.register_fake(body)
    made.register_autograd(backward, setup_context=setup)
    return made


def weighted(xs, w):
    return sum(x * c for x, c in zip(xs, w))


def keeps_all(ctx, inputs, output):
    ctx.save_for_backward(*inputs[0], inputs[1])


def right_back(ctx, g):
    *xs, w = ctx.saved_tensors
    return [g * c for c in w], torch.stack([(g * x).sum() for x in xs])


def without_weights(ctx, g):
    *xs, _ = ctx.saved_tensors
    return [g for _ in xs], torch.stack([(g * x).sum() for x in xs])


def without_the_lists(ctx, g):
    *xs, _ = ctx.saved_tensors
    return [None for _ in xs], torch.stack([(g * x).sum() for x in xs])


TAKES = "(Tensor[] xs, Tensor w) -> Tensor"
RIGHT = operator("right", weighted, keeps_all, right_back, TAKES)
WRONG = operator("wrong", weighted, keeps_all, without_weights, TAKES)
NONE = operator("none", weighted, keeps_all, without_the_lists, TAKES)


def test_a_right_one_is_correct_and_asked_by_opcheck():
    report = check(RIGHT, [real(3), real(3, seed=1)], real(2, seed=2))
    assert report.verdict == "correct" and report.clauses[10].state == "holds", str(report)
    assert check(lambda a, b, w: RIGHT([a, b * b], w), real(3), real(3, seed=1), real(2, seed=2)).ok


@pytest.mark.parametrize(("op", "code", "line"), [(WRONG, "wrong", "[g for _"), (NONE, "missing", "[None for _")])
def test_a_wrong_one_is_told_with_its_tensors_and_its_line(op, code, line):
    found = check(op, [real(3), real(3, seed=1)], real(2, seed=2)).faults
    assert {each.slot for each in found} <= {"xs[0]", "xs[1]"} and found[0].slot == "xs[0]"
    assert found[0].code.startswith(code) and line in found[0].read_at.text, found


def splits(x, k):
    return [part.exp() for part in x.split(k)]


def keeps_output(ctx, inputs, output):
    ctx.save_for_backward(*output)


def parts_back(ctx, gs):
    return torch.cat([g * y for g, y in zip(gs, ctx.saved_tensors)]), None


def parts_twice(ctx, gs):
    return torch.cat([g * y for g, y in zip(gs, ctx.saved_tensors)]) * 2, None


GIVES = "(Tensor x, int k) -> Tensor[]"
SPLIT = operator("split", splits, keeps_output, parts_back, GIVES)
TWICE = operator("twice", splits, keeps_output, parts_twice, GIVES)


def test_one_that_gives_a_list():
    assert check(SPLIT, real(4), 3).ok
    report = check(TWICE, real(4), 3)
    assert report.faults[0].read_at.text.strip().startswith("return torch.cat"), str(report)


def test_needs_input_grad_has_the_lists_in_it():
    def backward(ctx, g):
        xs, _ = ctx.needs_input_grad
        return [g if needed else None for needed in xs], None

    def keeps_nothing(ctx, inputs, output):
        pass

    op = operator("summed", lambda xs, k: sum(xs) * 1, keeps_nothing, backward, "(Tensor[] xs, int k) -> Tensor")
    assert check(op, [real(3), real(3, seed=1).detach()], 1).ok
