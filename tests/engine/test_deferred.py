"""A pass that is put off and one that is recorded at once: nothing that can be asked tells them apart."""

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings

from simplegrad import Tape, TapeEntry, Variable, fresh_name, grad, gradient_tape, record, reset_tape
from simplegrad.engine import ChangedInPlaceError, Observer, OtherTapeError, current_tape
from simplegrad.engine.deferred import _went_on, put_off_on
from simplegrad.engine.grad import Pass
from tests.engine.cases import CASES, values
from tests.engine.test_operators import loss_of
from tests.engine.test_programs import PROGRAMS


def second(function, tensors, watched: bool):
    """The second pass of a double backward, which is put off unless somebody watches, and what it was asked for."""
    tape = Tape()
    tape.observers = (Observer(),) if watched else ()
    with tape:
        xs = [Variable.constant(x) for x in tensors]
        L = loss_of([function(*xs)], Variable.constant)
        first = grad(L, xs, prune="ahead")
        L = loss_of([None if g is None else g * g for g in first], Variable.constant)
        results = [None] * len(xs) if L is None else grad(L, xs, prune="ahead")
    assert L is None or (put_off_on(tape) is None) == watched
    return tape, xs, results


def bits(x):
    return None if x is None else (x.value.dtype, tuple(x.shape), tuple(x.value.shape), x.value.flatten().tolist())


def everything(tape: Tape, xs: list, results: list) -> tuple:
    """All that can be asked; names last, since they have the pass recorded."""
    numbers = [bits(x) for x in results]
    with tape:
        names = [None if x is None else x.name for x in results]
        return numbers, names, str(gradient_tape), [x.name for x in xs], fresh_name()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_operator_gives_the_same_bits_names_and_entries(case):
    tensors = values(case.shapes, case.lowest)
    assert everything(*second(case.function, tensors, False)) == everything(*second(case.function, tensors, True))


@settings(max_examples=100, deadline=None)
@given(PROGRAMS.filter(lambda program: all(step.table != "aggregate" for step in program.steps)))
def test_random_programs_give_the_same_bits_names_and_entries(program):
    tensors = values(program.shapes, seed=program.seed)
    assert everything(*second(program, tensors, False)) == everything(*second(program, tensors, True))


def cube(x):
    return x * x * x


X = torch.tensor([0.5, 2.0])

# What may come after a pass that was put off, and has it recorded.
LATER = {
    "an operation": lambda x, h: h * x,
    "one that broadcasts the result": lambda x, h: h + Variable.constant(torch.ones(3, 2)),
    "a sum with a name": lambda x, h: h.sum(name="L2"),
    "a Variable with a name": lambda x, h: (Variable(torch.ones(2), name="h2"), h * h)[1],
    "a leaf": lambda x, h: Variable.constant(torch.ones(2)) * h,
    "only older Variables": lambda x, h: x.sin() * x,
    "a third pass": lambda x, h: grad((h * h).sum(), [x], prune="ahead")[0],
    "a third pass of the loss itself": lambda x, h: grad(h, [x], prune="ahead")[0],
    "a third and a fourth": lambda x, h: grad(grad(h, [x], prune="ahead")[0], [x], prune="ahead")[0],
    "a hand-written entry": lambda x, h: doubled(h),
}


def doubled(x):
    r = Variable(x.value * 2)
    gradient_tape.append(TapeEntry([x.name], [r.name], lambda dL_doutputs: [dL_doutputs[0] * 2]))
    return r


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
def test_what_comes_later_finds_the_pass_recorded(later):
    found = []
    for watched in (False, True):
        tape, (x,), (h,) = second(cube, [X], watched)
        with tape:
            r = later(x, h)
            found.append((everything(tape, [x], [h, r]), [bits(g) for g in grad(r, [x, h])]))
    assert found[0] == found[1]


def test_a_pass_is_recorded_on_its_own_tape_also_from_outside():
    tape, (x,), (h,) = second(cube, [X], watched=False)
    watched, _, _ = second(cube, [X], watched=True)
    with Tape() as other:
        assert len(tape) == len(watched)
        assert not other.entries
    assert tape.owns(h.key)


def test_a_tape_that_had_to_record_a_pass_puts_off_no_more():
    tape, (x,), (h,) = second(cube, [X], watched=False)
    with tape:
        grad((h * x).sum(), [x], prune="ahead")
        grad((h * x).sum(), [x], prune="ahead")
        assert put_off_on(tape) is None
        reset_tape()
        x = Variable.constant(X)
        (g,) = grad(cube(x).sum(), [x], prune="ahead")
        grad(g.sum(), [x], prune="ahead")
        assert put_off_on(tape) is not None


def test_a_first_pass_is_put_off_unless_something_came_after_it_before():
    def gradient():
        x = Variable.constant(X)
        return x, *grad(cube(x).sum(), [x])

    with Tape() as tape:
        x, g = gradient()
        assert put_off_on(tape) is not None and g.value.tolist() == [0.75, 12.0]
        before = len(tape.rows)
        (h,) = grad((g * g).sum(), [x])
        assert h.value.tolist() == [4.5, 288.0] and len(tape.rows) > before
    with Tape() as tape:
        gradient()
        assert put_off_on(tape) is None  # the same call of `grad`
    with Tape() as tape:
        x = Variable.constant(X)
        grad(cube(x).sum(), [x])
        assert put_off_on(tape) is not None  # another


def test_a_first_pass_is_not_put_off_while_somebody_watches():
    with Tape() as tape, record():
        x = Variable.constant(X)
        grad(cube(x).sum(), [x])
        assert put_off_on(tape) is None


def test_a_recording_starts_with_the_pass_on_the_tape():
    tape, (x,), (h,) = second(cube, [X], watched=False)
    with tape, record() as trace:
        h.sum(name="L2")
        name = h.name
    assert [event.kind for event in trace.events] == ["Recorded"]  # h is no leaf, and nothing of the pass is told late
    assert [entry.inputs[0].name for entry in trace.entries] == [name]


def test_a_result_outlives_its_tape_and_its_reset():
    tape, (x,), (h,) = second(cube, [X], watched=False)
    with tape:
        reset_tape()
        assert h.name.startswith("v")
        h = h.detach()
        assert grad(h * 2, [h])[0].tolist() == [2, 2]
    tape, (x,), (h,) = second(cube, [X], watched=False)
    del tape
    with Tape():
        assert h.name.startswith("v")
        assert (h.detach() + h.detach()).tolist() == (2 * h.value).tolist()


def test_a_tape_with_a_pass_put_off_is_no_cycle():
    """Its memory goes when nobody holds it, without the collector."""
    gc.collect()
    gc.disable()
    try:
        tape, _, results = second(cube, [X], watched=False)
        gone = weakref.ref(tape)
        del tape
        assert gone() is None
        tape, (x,), (h,) = second(cube, [X], watched=False)
        with tape:
            h * h
        gone = weakref.ref(tape)
        del tape
        assert gone() is None
    finally:
        gc.enable()


def test_what_fails_on_tensors_is_run_again_recorded():
    """So that the error says where, or is none."""

    def by_hand(x):
        r = Variable(x.value * 2)

        def propagate(dL_doutputs):
            if failing:
                raise ValueError("as planned")
            return [dL_doutputs[0] * 2]

        def twin(propagate, needed):
            def on_tensors(dL_doutputs):
                raise ValueError("on tensors")

            return on_tensors

        gradient_tape.append(TapeEntry([x.name], [r.name], propagate, twin))
        return r

    failing = False
    with Tape():
        x = Variable.constant(X)
        (g,) = grad(cube(by_hand(x)).sum(), [x], prune="ahead")
        assert grad(g.sum(), [x], prune="ahead")[0].tolist() == [24, 96]
    with Tape():
        x = Variable.constant(X)
        (g,) = grad(cube(by_hand(x)).sum(), [x], prune="ahead")
        failing = True
        with pytest.raises(ValueError, match="as planned") as raised:
            grad(g.sum(), [x], prune="ahead")
    assert "in the propagate of entry 0" in raised.value.__notes__[0]


def test_dtypes_are_as_in_a_recorded_pass():
    def mixed(x):
        return (
            (x * x).sum() + (x * Variable.constant(torch.rand(2, dtype=torch.float64))).sin().sum() + (x * x * x).sum()
        )

    torch.manual_seed(0)
    one = everything(*second(mixed, [X], False))
    torch.manual_seed(0)
    assert one == everything(*second(mixed, [X], True))


def test_gradients_that_are_added_in_place_are_nobody_elses():
    def shared(x):
        y = x + x
        z = y + y + y
        return z * y * x + y + z

    tape, _, (h,) = second(shared, [X], watched=False)
    before = bits(h)
    _, _, (other,) = second(shared, [X], watched=True)
    assert before == bits(other)
    with tape:
        len(tape)
    assert bits(h) == before


def test_cycles_of_the_caller_are_collected_as_ever():
    """In a loop of passes; what a pass made must not be counted as old together with what was young before."""

    class Loop:
        def __init__(self):
            self.me = self

    living, thresholds = weakref.WeakSet(), gc.get_threshold()
    gc.set_threshold(50, 5, 5)  # often enough for a short loop
    try:
        for _ in range(400):
            living.add(Loop())
            second(lambda x: cube(cube(x)), [X], watched=False)
    finally:
        gc.set_threshold(*thresholds)
    assert len(living) < 100


# --- changes, interruptions and other things between a pass and whoever asks for what it recorded -------------------


def first_pass(*numbers: float):
    x = Variable.constant(torch.tensor(numbers))
    (g,) = grad(cube(x).sum(), [x])
    assert put_off_on(current_tape()) is not None
    return x, g


@pytest.fixture
def own_tape():
    with Tape() as tape:
        _went_on.clear()  # what other tests taught, by calls in the same line
        yield tape


def negated(x):
    x.value.neg_()  # the cube has the same slope there, and another second derivative


def negative(x):
    x.value = -x.value


def shifted_a_little(x):
    x.value.add_(torch.tensor([0.0, 1.0]))  # beside a gradient of 3e20


@pytest.mark.parametrize("change", [negated, negative, shifted_a_little])
def test_a_change_is_seen_also_where_the_gradients_are_the_same(own_tape, change):
    x, g = first_pass(1e10, 1.0)
    change(x)
    with pytest.raises(ChangedInPlaceError, match=r"v0, of shape \(2,\), was"):
        grad(g.sum(), [x], prune="ahead")


def test_a_tensor_of_another_shape_raises_where_somebody_needs_it_only(own_tape):
    x, g = first_pass(0.5, 2.0)
    x.value.resize_(5)
    y = Variable.constant(torch.ones(2))
    assert grad((y * y).sum(), [y])[0].tolist() == [2.0, 2.0]
    with pytest.raises(ChangedInPlaceError, match="does not run any more"):
        grad(g.sum(), [x], prune="ahead")


def test_a_pass_within_a_transform_leaves_nothing_to_be_recorded_after_it(own_tape):
    def slope(tensor):
        x = Variable.constant(tensor)
        return grad(cube(x).sum(), [x])[0].value

    assert torch.func.vmap(slope)(torch.ones(2, 3)).tolist() == [[3.0] * 3] * 2
    assert (Variable.constant(X) * 2).tolist() == [1.0, 4.0]


def test_whoever_is_interrupted_can_ask_again(own_tape, monkeypatch):
    def interrupted(self):
        run_now(self)
        raise KeyboardInterrupt

    run_now = Pass.run_now
    x, g = first_pass(0.5, 2.0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Pass, "run_now", interrupted)
        g.sum()
    assert grad(g.sum(), [x])[0].tolist() == [3.0, 12.0]


def outcomes(program) -> list:
    """What it gives put off, put off no more, and never put off."""
    found = []
    for forget in (True, False, False):
        if forget:
            _went_on.clear()
        with Tape() as tape:
            tape.observers = (Observer(),) if len(found) == 2 else ()
            try:
                found.append(program())
            except ChangedInPlaceError as error:
                found.append(str(error))
    return found


def result_changed():
    x = Variable.constant(X)
    h = x * x
    dx, dh = grad((h * h).sum(), [x, h])
    dh.value.mul_(2)
    return grad(dx.sum(), [x], prune="ahead")[0].tolist()


def nobody_wants_the_other():
    x, c = Variable.constant(X), Variable.constant(torch.ones(2))
    y = x * c
    x.value.add_(1)
    return grad(y.sum(), [x])[0].tolist()


def what_does_not_read_what_was_changed():
    x, w = Variable.constant(X), Variable.constant(torch.tensor([3.0, 4.0]))
    _, gw = grad((x * x * w).sum(), [x, w])
    w.value.sub_(gw.value)
    return grad(gw.sum(), [x])[0].tolist()


def the_same_for_both():
    a, b = Variable.constant(X), Variable.constant(torch.ones(2))
    da, db = grad((a + b).sum(), [a, b])
    return da is db, da.name, db.name


@pytest.mark.parametrize(
    "program",
    [result_changed, nobody_wants_the_other, what_does_not_read_what_was_changed, the_same_for_both],
    ids=lambda f: f.__name__,
)
def test_it_makes_no_difference_whether_a_pass_was_put_off(program):
    fresh, learned, watched = outcomes(program)
    assert fresh == learned == watched


def test_what_a_pass_computed_on_its_way_was_not_kept(own_tape):
    x, w = Variable.constant(X), Variable.constant(torch.tensor([3.0, 4.0]), name="w")
    (g,) = grad(((x * w).sin() * w).sum(), [x])
    w.value.mul_(2)
    with pytest.raises(ChangedInPlaceError, match="w.* was changed in place"):
        grad(g.sum(), [x], prune="ahead")
    x, g = first_pass(0.5, 2.0)
    x.value.data.mul_(2)  # which torch does not count, and the tape sees by its gradient alone
    with pytest.raises(ChangedInPlaceError, match="as its pass computed it.* tensors that it read were changed after"):
        grad(g.sum(), [x], prune="ahead")


@pytest.mark.parametrize("watched", [False, True])
def test_a_gradient_is_computed_on_its_tape_also_where_it_is_the_seed(own_tape, watched):
    own_tape.observers = (Observer(),) if watched else ()
    L = Variable.constant(torch.tensor(1.0))
    (g,) = grad(L, [L])
    with Tape(), pytest.raises(OtherTapeError):
        g * 2
