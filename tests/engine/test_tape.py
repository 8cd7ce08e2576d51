"""The tape: names, hand-written entries, one tape for each context, and no two gradients that merge."""

import copy
import gc
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simplegrad import Tape, TapeEntry, Variable, fresh_name, grad, gradient_tape, reset_tape
from simplegrad.engine import RawTensorError, UnknownNameError, WrongShapeError, current_tape


@pytest.fixture(autouse=True)
def tape():
    with Tape() as tape:
        yield tape


def leaf(*numbers, name=None) -> Variable:
    return Variable.constant(torch.tensor(numbers), name=name)


def double(x: Variable, name=None) -> Variable:
    """x * 2, by hand; its entry goes by names."""
    r = Variable(x.value * 2, name)
    gradient_tape.append(TapeEntry([x.name], [r.name], lambda dL_doutputs: [dL_doutputs[0] * 2]))
    return r


# --- names -------------------------------------------------------------------------------------------------------


def test_fresh_names_count_from_0():
    a = leaf(1.0, name="a")
    assert [(a + a).name, (a * a).name, a.exp().name] == ["v0", "v1", "v2"]
    reset_tape()
    assert leaf(1.0).name == "v0"


def test_a_name_is_given_in_the_order_of_making_not_of_asking():
    first, second = leaf(1.0), leaf(2.0)
    assert (second.name, first.name) == ("v1", "v0")


def test_a_name_that_is_taken_gets_a_suffix():
    assert [leaf(1.0, name="t").name for _ in range(3)] == ["t", "t_1", "t_2"]
    assert [leaf(1.0, name="t_1").name for _ in range(2)] == ["t_1_1", "t_1_2"]


def test_a_given_name_and_a_fresh_one_never_meet():
    given_name = leaf(1.0, name="v1")
    fresh = [leaf(1.0), leaf(1.0), leaf(1.0)]
    names = [x.name for x in fresh]
    assert given_name.name == "v1" and len({*names, "v1"}) == 4


def test_fresh_name_is_nobodys():
    a = leaf(1.0, name="v0")
    names = [fresh_name(), fresh_name(), leaf(1.0).name, a.name]
    assert len(set(names)) == 4


@given(st.lists(st.sampled_from(["a", "t", "v0", "v1", "v2", "v5", "a_1", "v1_1", None]), min_size=1, max_size=12))
def test_no_two_variables_share_a_name_or_a_gradient(names):
    with Tape() as tape:
        leaves = [leaf(float(i + 1), name=name) for i, name in enumerate(names)]
        assert len({x.name for x in leaves}) == len(leaves)
        assert all(tape.variable(x.name) is x for x in leaves)
        L = sum([double(x) * float(i) for i, x in enumerate(leaves)], start=leaf(0.0))
        assert [g.tolist() for g in grad(L, leaves)] == [[2.0 * i] for i in range(len(leaves))]


def test_what_was_computed_on_another_tape_has_its_name_there():
    with Tape() as tape:
        a = leaf(1.0, name="a") * 2
        b = a.exp()
        t, t_1 = (a.named("t", lambda: a * b) for _ in range(2))
    with Tape() as other:
        x, y = (leaf(1.0, name="b") * 2 for _ in range(2))
        assert (b.name, a.name, t.name, t_1.name) == ("v1", "v0", "t", "t_1")
        assert other.variable("v1") is None and (x.name, y.name) == ("v0", "v1")
    assert [entry.outputs for entry in tape] == [["v0"], ["v1"], ["t"], ["t_1"]]
    del tape
    with other:
        assert (b.name, t.name, t_1.name, y.name) == ("v1", "t", "t_1", "v1")  # that tape is gone


def test_a_leaf_of_another_tape_has_the_name_by_which_entries_of_this_one_say_it():
    with Tape():
        a = leaf(2.0)
    with Tape() as tape:
        b = leaf(3.0)
        assert (b.name, a.name) == ("v0", "v0_1")
        r = double(a)
        assert tape[0].inputs == ["v0_1"] and tape.variable("v0_1") is a and r.name == "v1"


def test_names_that_were_used_before_a_reset_do_not_merge():
    old = leaf(1.0, name="x")
    reset_tape()
    new = leaf(2.0, name="x")
    d_old, d_new = grad((old * 3 + new * 5).sum(), [old, new])
    assert (d_old.tolist(), d_new.tolist()) == ([3.0], [5.0])
    assert old.name != new.name


def test_fresh_ones_from_before_a_reset_do_not_merge_either():
    old = leaf(1.0)
    assert old.name == "v0"
    reset_tape()
    new = leaf(2.0)
    d_old, d_new = grad((old * 3 + new * 5).sum(), [old, new])
    assert (d_old.tolist(), d_new.tolist()) == ([3.0], [5.0])
    assert old.name != new.name


def test_a_leaf_of_before_the_reset_goes_on():
    a = leaf(3.0, name="a")
    grad((a * a).sum(), [a])
    reset_tape()
    assert len(gradient_tape) == 0
    assert grad((a * a).sum(), [a])[0].tolist() == [6.0]
    assert a.name == "a"


# --- hand-written entries ----------------------------------------------------------------------------------------


def test_an_appended_entry_is_on_the_tape():
    a = leaf(1.0, name="a")
    r = double(a)
    (entry,) = gradient_tape
    assert isinstance(entry, TapeEntry)
    assert (entry.inputs, entry.outputs) == (["a"], [r.name])
    assert entry.propagate([leaf(1.0)])[0].tolist() == [2.0]


def test_entries_of_operators_read_the_same():
    a, b = leaf(2.0, name="a"), leaf(3.0, name="b")
    r = a * b
    (entry,) = gradient_tape
    assert (entry.inputs, entry.outputs) == (["a", "b"], [r.name])
    assert [g.tolist() for g in entry.propagate([leaf(1.0)])] == [[3.0], [2.0]]


def test_a_tape_entry_is_a_named_tuple_as_in_the_notebook():
    def propagate(dL_doutputs):
        return dL_doutputs

    assert TapeEntry(["a"], ["r"], propagate) == TapeEntry(inputs=["a"], outputs=["r"], propagate=propagate)


def test_a_deep_copy_is_a_leaf_of_its_own():
    a = leaf(3.0, name="a")
    b = copy.deepcopy(a)
    assert [g if g is None else g.tolist() for g in grad(b * b, [a, b])] == [None, [6.0]]
    assert b.value.data_ptr() != a.value.data_ptr()


def test_what_is_no_entry():
    with pytest.raises(TypeError) as caught:
        gradient_tape.append((["a"], ["r"], lambda dL_doutputs: dL_doutputs))
    assert str(caught.value) == (
        "gradient_tape.append(…) was given a tuple. Append TapeEntry(inputs=[x.name, …], outputs=[r.name, …], "
        "propagate=propagate)."
    )


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_a_name_that_nobody_has(kind):
    a = leaf(1.0, name="a")
    names = {"inputs": ["a"], "outputs": [a.name]} | {kind: ["a", "nobody"]}
    with pytest.raises(UnknownNameError) as caught:
        gradient_tape.append(TapeEntry(**names, propagate=lambda dL_doutputs: dL_doutputs))
    assert str(caught.value) == (
        f"TapeEntry({kind}=['a', 'nobody']): {kind}[1] is 'nobody', and no Variable of this tape has that name. "
        f"Use the Variable's own: {kind}=[x.name]."
    )
    assert len(gradient_tape) == 0


def test_an_entry_may_use_one_variable_twice():
    a = leaf(3.0, name="a")
    r = Variable(a.value * a.value)
    gradient_tape.append(TapeEntry([a.name, a.name], [r.name], lambda dL_doutputs: [dL_doutputs[0] * a] * 2))
    assert grad(r.sum(), [a])[0].tolist() == [6.0]


def test_the_tape_prints_as_a_transcript():
    a = leaf(1.0, name="a")
    double(a * a, name="r")
    assert repr(gradient_tape) == "v0 = a * a\nr = double(v0)"
    reset_tape()
    assert repr(gradient_tape) == "an empty tape"


# --- a tape for each context -------------------------------------------------------------------------------------


def test_tapes_nest():
    outer = current_tape()
    with Tape() as inner:
        leaf(1.0) + 1
        assert current_tape() is inner and len(inner) == 1
    assert current_tape() is outer and len(outer) == 0


def test_the_same_tape_entered_within_itself():
    with Tape() as tape:
        with tape:
            leaf(1.0) + 1
        assert current_tape() is tape
    assert current_tape() is not tape


def test_two_threads_never_meet():
    """Both go through the same steps at the same time; the barrier makes each step of one fall between the other's."""
    barrier, found = threading.Barrier(2, timeout=20), {}

    def run(number: float) -> None:
        x = leaf(number, name="x")
        for _ in range(30):
            barrier.wait()
            y = x * x * x
            barrier.wait()
            (g,) = grad(y.sum(), [x])
            assert g.tolist() == [3 * number * number]
        found[number] = (current_tape(), len(gradient_tape), x.name, [entry.outputs for entry in gradient_tape])

    threads = [threading.Thread(target=run, args=(number,)) for number in (2.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {2.0, 3.0}
    assert found[2.0][0] is not found[3.0][0]
    assert found[2.0][1:] == found[3.0][1:]  # the same entries, the same names, as if each were alone
    assert len(gradient_tape) == 0


def test_an_entry_that_is_asked_for_twice_is_one():
    with Tape() as tape:
        x = Variable.constant(torch.ones(2))
        x * x + x
        assert gradient_tape[0] in gradient_tape and tape[1] in list(tape) and tape[0] == tape[0]
        assert tape[0] != tape[1]


def chained(x):
    for _ in range(100):
        x = (x.sin() * x).exp() / x + x
    return x.sum()


def new_objects(run) -> tuple:
    """What it returns, and how many objects Python's collector has more to walk through afterwards, by class."""
    gc.collect()
    gc.disable()
    try:
        known = {id(each) for each in gc.get_objects()}
        result = run()
        gc.collect()  # which stops following what holds nothing that it follows
        found = [type(each).__name__ for each in gc.get_objects() if id(each) not in known]
    finally:
        gc.enable()
    return result, {name: found.count(name) for name in set(found) if found.count(name) > 50}


def test_an_operation_leaves_the_collector_a_variable_and_its_tensor():
    """In forward and in a pass: no tuple, cell, closure or list besides. The collector was half of a long pass."""
    x = leaf(0.5, 1.5)
    L, found = new_objects(lambda: chained(x))
    assert set(found) == {"Variable", "Tensor"} and max(found.values()) <= 505
    (g,), found = new_objects(lambda: grad(L, [x]))
    assert not found  # nobody has asked what it records
    _, found = new_objects(lambda: g.name)
    assert set(found) == {"Variable", "Tensor"}


def test_resets_leave_nothing_behind():
    with Tape() as tape:
        leaf = Variable.constant(torch.tensor(2.0))
        for _ in range(100):
            reset_tape()
        assert len(tape.eras) == 1
        assert tape.owns(leaf.key) and grad(leaf * leaf, [leaf])[0].tolist() == 4.0


def test_a_variable_keeps_its_shape():
    with Tape():
        x = Variable.constant(torch.ones(2), name="x")
        with pytest.raises(WrongShapeError, match=r"has shape \(2,\), and was given a tensor of shape \(3,\)"):
            x.value = torch.ones(3)
        with pytest.raises(RawTensorError, match="was given a float"):
            x.value = 1.0
        x.value = torch.zeros(2)
        assert (x + 1).tolist() == [1.0, 1.0]


def test_threads_on_one_tape_find_all_of_their_gradients(tape):
    found = []

    def work():
        with tape:
            for _ in range(40):
                x = leaf(1.0, 2.0)
                (g,) = grad((x * x * x).sum(), [x])
                (h,) = grad((g * 1).sum(), [x], prune="ahead")
                found.append(h.tolist())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[6.0, 12.0]] * 120
