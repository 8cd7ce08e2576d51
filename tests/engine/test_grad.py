"""`grad`: its table, its modes, what is skipped and pruned, broadcasting undone, and what it says about mistakes."""

import pytest
import torch

from simplegrad import Tape, TapeEntry, Variable, add_optional, grad, gradient_tape, record
from simplegrad.engine import OtherTapeError, RawTensorError, WrongCountError, WrongShapeError
from simplegrad.trace.events import VisitBegun, Visited
from tests.engine.test_operators import MODES


@pytest.fixture(autouse=True)
def tape():
    with Tape() as tape:
        yield tape


def leaf(*numbers, name=None) -> Variable:
    return Variable.constant(torch.tensor(numbers), name=name)


def by_hand(inputs, value, propagate, name=None) -> Variable:
    """A hand-written operator of one output."""
    r = Variable(value, name)
    gradient_tape.append(TapeEntry([x.name for x in inputs], [r.name], propagate))
    return r


def states(trace) -> list[tuple[str, str]]:
    return [(event.entry.outputs[0].name, event.state) for event in trace.events if isinstance(event, Visited)]


# --- the plain cases ---------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_scalar_is_seeded_with_ones():
    a = leaf(1.0, 2.0, name="a")
    assert grad(a * a, [a])[0].tolist() == [2.0, 4.0]


def test_what_was_not_used_is_none_or_zeros():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0, 5.0)
    L = (a * a).sum()
    assert grad(L, [a, b])[1] is None
    assert grad(L, [a, b], none="zeros")[1].tolist() == [0.0, 0.0, 0.0]


def test_the_gradient_of_a_loss_for_itself_is_one():
    a = leaf(1.0, 2.0)
    L = a.sum()
    assert [g.item() for g in grad(L, [L])] == [1.0]
    assert grad(a, [a])[0].tolist() == [1.0, 1.0]


def test_a_variable_wanted_twice_comes_twice():
    a = leaf(1.0, 2.0)
    first, second = grad((a * a).sum(), [a, a])
    assert first is second


def test_a_single_variable_may_be_wanted_without_a_list():
    a = leaf(3.0)
    assert grad((a * a).sum(), a)[0].tolist() == [6.0]


def test_an_intermediate_can_be_wanted():
    a = leaf(2.0)
    t = a * a
    assert [g.tolist() for g in grad((t * t).sum(), [t, a])] == [[8.0], [32.0]]


@pytest.mark.parametrize("none", ["skip", "zeros"])
@pytest.mark.parametrize("prune", ["none", "ahead"])
def test_third_order_of_a_cube(none, prune):
    x = leaf(2.0)
    g = x * x * x
    for expected in (12.0, 12.0, 6.0):
        (g,) = grad(g, [x], none=none, prune=prune)
        assert g.tolist() == [expected]


def test_broadcasting_is_undone_at_every_order():
    a, b = leaf(1.0, 2.0, 3.0), Variable.constant(torch.full((2, 1), 2.0))
    L = (a * b * b).sum()
    da, db = grad(L, [a, b])
    assert (da.tolist(), db.tolist()) == ([8.0, 8.0, 8.0], [[24.0], [24.0]])
    dda, ddb = grad((da * da).sum() + (db * db).sum(), [a, b])
    assert dda.shape == a.shape and ddb.shape == b.shape


def test_add_optional():
    a, b = leaf(1.0), leaf(2.0)
    assert add_optional(None, None) is None
    assert add_optional(a, None) is a and add_optional(None, b) is b
    assert add_optional(a, b).tolist() == [3.0]


def test_grad_inside_of_propagate():
    """A hand-written operator whose propagate differentiates: d(x**3)/dx, found by a pass within the pass."""

    def cube(x):
        def propagate(dL_doutputs):
            (dr_dx,) = grad((x * x * x).sum(), [x])
            return [dL_doutputs[0] * dr_dx]

        return by_hand([x], x.value**3, propagate)

    x = leaf(2.0, 3.0, name="x")
    with record() as trace:
        (first,) = grad(cube(x).sum(), [x])
        (second,) = grad(first.sum(), [x])
    assert (first.tolist(), second.tolist()) == ([12.0, 27.0], [12.0, 18.0])
    inner = trace.passes[1]
    begun = next(event for event in trace.events if getattr(event, "run", None) is inner)
    assert isinstance(trace.events[begun.parent], VisitBegun)  # it happened within the visit of cube's entry


# --- skipped, pruned, partial ------------------------------------------------------------------------------------


def test_entries_that_the_loss_does_not_need_are_skipped():
    a, b = leaf(1.0, name="a"), leaf(2.0, name="b")
    with record() as trace:
        (b * b).sum(name="other")
        grad((a * a).sum(name="L"), [a])
    assert states(trace) == [("L", "propagated"), ("v1", "propagated"), ("other", "skipped"), ("v0", "skipped")]


def test_entries_that_no_wanted_result_depends_on_are_pruned_ahead():
    a, b = leaf(1.0, name="a"), leaf(2.0, name="b")
    with record() as trace:
        L = ((b * b) * (a * a)).sum(name="L")
        grad(L, [a], prune="ahead")
    assert states(trace) == [("L", "propagated"), ("v2", "propagated"), ("v1", "propagated"), ("v0", "pruned")]


def test_pruning_ahead_computes_less_and_the_same():
    a, b = leaf(1.0, name="a"), leaf(2.0, name="b")
    L = ((b * b).exp().sin() * (a * a)).sum()
    before = len(gradient_tape)
    (full,) = grad(L, [a])
    middle = len(gradient_tape)
    (pruned,) = grad(L, [a], prune="ahead")
    assert torch.equal(full.value, pruned.value)
    assert len(gradient_tape) - middle < middle - before


def two_outputs(seen: list):
    """q, r = x * 2, x * 3, by hand; what comes in is noted."""

    def call(x):
        q, r = Variable(x.value * 2, "q"), Variable(x.value * 3, "r")

        def propagate(dL_doutputs):
            seen.append(dL_doutputs)
            dL_dq, dL_dr = dL_doutputs
            through_q = None if dL_dq is None else dL_dq * 2
            return [add_optional(through_q, None if dL_dr is None else dL_dr * 3)]

        gradient_tape.append(TapeEntry([x.name], [q.name, r.name], propagate))
        return q, r

    return call


def test_an_output_that_nobody_used_is_none_at_its_place():
    seen, x = [], leaf(1.0)
    q, r = two_outputs(seen)(x)
    with record() as trace:
        assert grad(r.sum(), [x])[0].tolist() == [3.0]
    assert seen[0][0] is None and seen[0][1].tolist() == [1.0]
    assert states(trace)[-1] == ("q", "partial")


def test_without_none_every_output_gets_zeros():
    seen, x = [], leaf(1.0)
    q, r = two_outputs(seen)(x)
    with record() as trace:
        assert grad(r.sum(), [x], none="zeros")[0].tolist() == [3.0]
    assert seen[0][0].tolist() == [0.0]
    assert states(trace)[-1] == ("q", "propagated")


def test_without_none_nothing_is_skipped():
    a, b = leaf(1.0, name="a"), leaf(2.0, name="b")
    with record() as trace:
        (b * b).sum(name="other")
        grad((a * a).sum(name="L"), [a, b], none="zeros")
    assert {state for _, state in states(trace)} == {"propagated"}


def test_none_from_propagate_adds_nothing():
    a, b = leaf(1.0, name="a"), leaf(2.0, name="b")
    r = by_hand([a, b], a.value + b.value, lambda dL_doutputs: [dL_doutputs[0], None])
    da, db = grad((r * b).sum(), [a, b])
    assert (da.tolist(), db.tolist()) == ([2.0], [3.0])


def test_a_propagate_may_return_a_tuple_or_one_gradient():
    a = leaf(1.0)
    r = by_hand([a], a.value * 2, lambda dL_doutputs: (dL_doutputs[0] * 2,))
    assert grad(r, [a])[0].tolist() == [2.0]


def test_propagate_gets_a_list_of_its_own():
    """What a propagate does to the list it is given, no other entry sees."""
    a = leaf(1.0)
    r = by_hand([a], a.value * 2, lambda dL_doutputs: [dL_doutputs.pop() * 2])
    assert grad(r.sum(), [a])[0].tolist() == [2.0]


# --- what it says about mistakes ---------------------------------------------------------------------------------


def message(error: type[Exception], call) -> str:
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("how_many", [0, 1, 3])
def test_a_wrong_number_of_gradients(how_many):
    a, b = leaf(1.0, name="a"), leaf(2.0, name="b")
    r = by_hand([a, b], a.value, lambda dL_doutputs: dL_doutputs * how_many)
    assert message(WrongCountError, lambda: grad(r, [a])) == (
        f"entry 0, 'v0 = test_a_wrong_number_of_gradients(a, b)': propagate returned {how_many} gradients for "
        f"2 inputs (a, b). Return one for each, in that order; None for a known zero."
    )


def test_a_propagate_without_return():
    a = leaf(1.0, name="a")
    r = by_hand([a], a.value, lambda dL_doutputs: None)
    assert message(WrongCountError, lambda: grad(r, [a])) == (
        "entry 0, 'v0 = test_a_propagate_without_return(a)': propagate returned None, not gradients. Does it "
        "end without `return`? Return one for each of its 1 inputs; [None] says a known zero."
    )
    r = by_hand([a], a.value, lambda dL_doutputs: [None])
    assert grad(r, [a]) == [None]


@pytest.mark.parametrize("symbol", "+-*/@")
def test_operands_that_do_not_go_together(symbol):
    a, b = leaf(1.0, 2.0, name="a"), leaf(1.0, 2.0, 3.0, name="b")
    compute = {"+": a.add, "-": a.sub, "*": a.mul, "/": a.div, "@": a.matmul}[symbol]
    with pytest.raises(RuntimeError) as caught:
        compute(b)
    assert caught.value.__notes__ == [f"in a {symbol} b, of shapes (2,) and (3,)"]


def test_a_wrong_shape():
    a, b = leaf(1.0, 2.0, name="a"), leaf(2.0, name="b")
    r = by_hand([a, b], a.value * b.value, lambda dL_doutputs: [dL_doutputs[0] * b, dL_doutputs[0] * a])
    assert message(WrongShapeError, lambda: grad(r, [a])) == (
        "entry 0, 'v0 = test_a_wrong_shape(a, b)', gradient 1 (of b): propagate returned shape (2,), "
        "but b has shape (1,). Where forward broadcast b, undo it: gradient.sum_to_size(1)."
    )


def test_a_raw_tensor_from_propagate():
    a = leaf(1.0, name="a")
    r = by_hand([a], a.value, lambda dL_doutputs: [dL_doutputs[0].value])
    assert message(RawTensorError, lambda: grad(r, [a])) == (
        "entry 0, 'v0 = test_a_raw_tensor_from_propagate(a)', gradient 0 (of a): propagate returned a Tensor, not a "
        "Variable or None. Compute it from the incoming gradients with operators on Variables, so that it can be "
        "differentiated again."
    )


OPERAND = (
    "a Tensor of shape (1,) where a Variable belongs. A gradient cannot flow through it. If it is a constant, wrap it: "
    "Variable.constant(…); if it was computed from Variables, compute it on them."
)
TENSOR = torch.ones(1)
RAW = {
    "*": [lambda x: x * TENSOR, lambda x: TENSOR * x],
    "+": [lambda x: x + TENSOR, lambda x: TENSOR + x],
    "-": [lambda x: x - TENSOR, lambda x: TENSOR - x],
    "/": [lambda x: x / TENSOR, lambda x: TENSOR / x],
    "**": [lambda x: x**TENSOR, lambda x: TENSOR**x],
    "@": [lambda x: x @ TENSOR, lambda x: TENSOR @ x],
    "maximum": [lambda x: torch.maximum(x, TENSOR)],
    "where": [lambda x: torch.where(TENSOR > 0, TENSOR, x)],
    "cat": [lambda x: torch.cat([x, TENSOR])],
    "stack": [lambda x: torch.stack([x, TENSOR])],
}


@pytest.mark.parametrize("what", RAW)
def test_a_raw_tensor_as_an_operand_is_a_constant_leaf(what):
    for call in RAW[what]:
        x = leaf(2.0)
        t = x.value.clone().requires_grad_()
        ours, theirs = call(x), call(t)
        assert torch.equal(ours.value, theirs.detach())
        (g,) = grad(ours.sum(), [x])
        assert torch.equal(g.value, torch.autograd.grad(theirs.sum(), t)[0])


@pytest.mark.parametrize("what", RAW)
def test_what_a_propagate_captured_raw_is_no_constant(what):
    """It may have been computed from the inputs: the gradient of a gradient would be lost in silence."""
    for call in RAW[what]:
        r = by_hand([x := leaf(2.0)], x.value, lambda dL_doutputs, call=call: [call(dL_doutputs[0])])
        assert message(RawTensorError, lambda r=r, x=x: grad(r, [x])).endswith(f": got {OPERAND}")


def test_a_condition_is_a_factor_also_in_a_propagate():
    x = leaf(-1.0, 2.0)
    r = by_hand([x], x.value.relu(), lambda dL_doutputs: [dL_doutputs[0] * (x.value > 0)])
    assert grad(r.sum(), [x])[0].tolist() == [0.0, 1.0]


def test_another_object_as_an_operand():
    for other in ("b", None, [1.0]):
        kind = type(other).__name__
        says = message(RawTensorError, lambda other=other: leaf(1.0) * other)
        assert says == f"*: got a {kind} where a Variable belongs. A tensor or a number will do too."


def test_what_is_no_tensor_in_a_variable():
    assert message(RawTensorError, lambda: Variable([1.0])) == (
        "Variable(…) was given a list, not a tensor. Write Variable(torch.tensor(…))."
    )
    assert message(RawTensorError, lambda: Variable(leaf(1.0))) == (
        "Variable(…) was given a Variable, not a tensor. It is a Variable already."
    )


def test_what_is_no_variable_in_grad():
    a = leaf(1.0)
    assert message(RawTensorError, lambda: grad(a.value, [a])) == "grad: L is a Tensor, not a Variable."
    assert message(RawTensorError, lambda: grad(a, [a, None])) == "grad: wanted[1] is a NoneType, not a Variable."


def test_a_variable_of_another_tape():
    a = leaf(1.0, name="a")
    with Tape():
        foreign = leaf(1.0, name="b")
    says = (
        "('b') was made on another tape, and this tape does not know how it was used. "
        "Make it, compute with it and call grad within one tape: with Tape(): …"
    )
    assert message(OtherTapeError, lambda: grad(a, [a, foreign])) == f"grad: wanted[1] {says}"
    assert message(OtherTapeError, lambda: grad(foreign, [a])) == f"grad: L {says}"


def test_modes_that_are_not_there():
    a = leaf(1.0)
    assert message(ValueError, lambda: grad(a, [a], none="None")) == "grad(…, none='None'): expected 'skip' or 'zeros'."
    assert message(ValueError, lambda: grad(a, [a], prune=True)) == "grad(…, prune=True): expected 'none' or 'ahead'."


def test_an_error_of_propagate_names_its_entry_and_leaves_the_tape_usable():
    def propagate(dL_doutputs):
        raise ZeroDivisionError("of the user")

    a = leaf(1.0, name="a")
    r = by_hand([a], a.value, propagate, name="r")
    with pytest.raises(ZeroDivisionError, match="^of the user") as caught:
        grad(r, [a])
    entry = "r = test_an_error_of_propagate_names_its_entry_and_leaves_the_tape_usable(a)"
    assert caught.value.__notes__ == [f"in the propagate of entry 0, '{entry}'"]
    assert grad((a * a).sum(), [a])[0].tolist() == [2.0]


@pytest.mark.parametrize("none, prune", MODES)
def test_a_gradient_has_the_dtype_of_its_variable(none, prune):
    """Where float32 met float64, as in torch; at both orders, by entries that can be differentiated again."""
    tensors = [torch.tensor([0.5, 2.0]), torch.tensor([1.5, 0.25], dtype=torch.float64)]
    x, y = (tensor.clone().requires_grad_() for tensor in tensors)
    first = torch.autograd.grad(((x * y).sin() * x).sum(), [x, y], create_graph=True)
    second = torch.autograd.grad(sum((g * g).sum() for g in first), [x, y])
    with Tape():
        x, y = map(Variable.constant, tensors)
        ours = grad(((x * y).sin() * x).sum(), [x, y], none=none, prune=prune)
        again = grad((ours[0] * ours[0]).sum() + (ours[1] * ours[1]).sum(), [x, y], none=none, prune=prune)
    for mine, true in zip([*ours, *again], [*first, *second]):
        assert mine.dtype is true.dtype
        torch.testing.assert_close(mine.value, true.detach())


def test_gradients_of_whole_numbers_are_not_rounded():
    with Tape():
        x = Variable.constant(torch.tensor([1, 2, 3]))
        assert grad((x * 0.5).sum(), [x])[0].tolist() == [0.5, 0.5, 0.5]
