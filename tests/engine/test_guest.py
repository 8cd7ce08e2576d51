"""In somebody else's process: the collector, modes of torch, threads, copies; and nothing is lost in silence."""

import ast
import copy
import gc
import linecache
import pickle
import sys
import threading
import weakref
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode

import simplegrad
from simplegrad import Tape, TapeEntry, Variable, check, compile_aggregate, grad, gradient_tape, record, reset_tape
from simplegrad.engine import ChangedInPlaceError, OtherTapeError, current_tape
from simplegrad.engine.deferred import put_off_on

ENGINE = Path(simplegrad.__file__).parent / "engine"


@pytest.fixture(autouse=True)
def own_tape():
    with Tape() as tape:
        yield tape


def leaf(*numbers, name=None) -> Variable:
    return Variable.constant(torch.tensor(numbers), name=name)


def cube(x):
    return x * x * x


# --- Python's collector and caches -------------------------------------------------------------------------------


def test_the_engine_leaves_the_collector_alone():
    for path in ENGINE.glob("*.py"):
        imported = [
            alias.name for node in ast.walk(ast.parse(path.read_text())) for alias in getattr(node, "names", [])
        ]
        assert "gc" not in imported, path


@pytest.mark.parametrize("watched", [False, True])
def test_garbage_of_the_host_is_collected_while_it_records(watched):
    class Model:
        def __init__(self):
            self.me = self

    living, thresholds = weakref.WeakSet(), gc.get_threshold()
    gc.set_threshold(50, 5, 5)  # often enough for a short loop
    try:
        for _ in range(300):
            living.add(Model())
            with Tape(), record() if watched else Tape() as trace:
                x = leaf(0.5, 2.0)
                grad(cube(x).sum(), [x])
            assert not watched or len(trace)
    finally:
        gc.set_threshold(*thresholds)
    assert len(living) < 100


def test_texts_of_compiled_code_are_let_go():
    for i in range(200):
        f = compile_aggregate(f"x * {i}.5 + x.sin()", name="many")
        f(leaf(1.0))
    assert sum(name.startswith("<compiled") for name in linecache.cache) <= 300


# --- modes of torch ----------------------------------------------------------------------------------------------

MODES = {
    "inference": torch.inference_mode,
    "meta": lambda: torch.device("meta"),
    "fake": FakeTensorMode,
}


@pytest.mark.parametrize("mode", MODES)
def test_a_number_first_met_in_a_mode_does_no_harm_later(mode):
    number = {"inference": 3.03125, "meta": 3.0625, "fake": 3.09375}[mode]
    with MODES[mode](), Tape():
        Variable.constant(torch.ones(2)) * number
    x = leaf(1.0, 2.0)
    assert (x * number).tolist() == [number, 2 * number]
    t = torch.ones(2, requires_grad=True)
    (g,) = torch.autograd.grad((t * (Variable.constant(t) * number).value).sum(), [t])
    assert g.tolist() == [2 * number, 2 * number]


@pytest.mark.parametrize("transform", [torch.func.grad, lambda f: torch.vmap(f, randomness="same")])
def test_a_number_first_met_under_a_transform(transform):
    number = 3.015625

    def f(x):
        with Tape():
            return (Variable.constant(x) * number).value.sum()

    transform(f)(torch.ones(2))
    assert (leaf(1.0, 2.0) * number).tolist() == [number, 2 * number]


def test_check_after_inference_mode():
    with torch.inference_mode(), Tape():
        leaf(1.0) * 7.25

    @simplegrad.aggregate
    def seven(x):
        """7.25 times x."""
        r = Variable(x.value * 7.25)
        gradient_tape.append(TapeEntry([x.name], [r.name], lambda dL_doutputs: [dL_doutputs[0] * 7.25]))
        return r

    assert check(seven, torch.ones(3), reference=lambda x: x * 7.25).ok


def test_tangents_of_forward_mode_are_kept():
    from torch.autograd import forward_ad

    with forward_ad.dual_level(), Tape():
        x = Variable.constant(forward_ad.make_dual(torch.tensor([2.0]), torch.tensor([1.0])))
        (g,) = grad(cube(x).sum(), [x])
        assert forward_ad.unpack_dual(g.value).tangent.tolist() == [12.0]


# --- a pass that is put off gives what the run gave ---------------------------------------------------------------


def second_pass(value: torch.Tensor):
    x = Variable.constant(value)
    (g,) = grad(cube(x).sum(), [x])
    (h,) = grad((g * g).sum(), [x])
    return x, h


def test_a_step_in_place_before_a_third_order_is_an_error():
    x, h = second_pass(torch.tensor([0.5, 2.0]))
    assert put_off_on(current_tape())
    x.value.mul_(1.1)
    for _ in range(2):
        with pytest.raises(ChangedInPlaceError, match="the gradient needs v0, of shape .2,., as it was"):
            grad(h.sum(), [x])
    assert (leaf(1.0) * 2).tolist() == [2.0]  # the tape goes on


def test_whole_numbers_changed_in_place():
    with record() as trace:
        x = Variable.constant(torch.tensor([1, 2]))
        (g,) = grad((x * x).sum(), [x])
        grad((g * x).sum(), [x])
        x.value.add_(1)
    assert len(trace.passes) == 2 and trace.notices


def test_autocast_is_read_as_it_ran():
    a, b = torch.rand(3, 3), torch.rand(3, 3)
    lengths = []
    for read_within in (True, False):
        with Tape(), record() as trace:
            x, w = Variable.constant(a), Variable.constant(b)
            (g,) = grad((x @ w).sin().sum(), [x])
            with torch.autocast("cpu", torch.bfloat16):
                grad((g @ w).sum(), [x, w])
                lengths += [len(trace)] if read_within else []
        lengths += [len(trace)]
    assert len(set(lengths)) == 1 and not trace.notices


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, lambda: torch.device("cpu")])
def test_other_modes_while_a_pass_is_put_off(mode):
    with mode():
        x, h = second_pass(torch.tensor([0.5, 2.0]))
    assert grad(h.sum(), [x])[0].tolist() == pytest.approx([108 * 0.25, 108 * 4.0])


# --- operands whose history is elsewhere -------------------------------------------------------------------------


def test_an_operand_that_another_threads_tape_computed():
    a, found = leaf(1.0, name="a"), []
    thread = threading.Thread(target=lambda: found.append(a * 2))
    thread.start()
    thread.join()
    with pytest.raises(OtherTapeError) as caught:
        found[0] * a
    assert str(caught.value) == (
        "mul: the operand v0, of shape (1,), was computed on another tape, and no gradient finds its way back through "
        "that. Compute it here; or, if it is meant to be a constant, take its value: Variable.constant(v0.value)."
    )


def test_an_operand_from_before_a_reset():
    a = leaf(1.0, name="a")
    y = a * 2
    reset_tape()
    with pytest.raises(OtherTapeError, match="^sum: the operand v0, of shape .1,., was computed before this tape was"):
        y.sum()
    with pytest.raises(OtherTapeError):
        torch.cat([y, a, a])
    with pytest.raises(OtherTapeError):
        gradient_tape.append(TapeEntry([y], [Variable(y.value)], lambda g: g))
    assert grad((a * y.detach()).sum(), [a])[0].tolist() == [2.0]


def test_a_hand_written_result_of_another_tape():
    with Tape():
        a = leaf(1.0, name="a")
        r = Variable(a.value * 2, name="r")
        gradient_tape.append(TapeEntry([a.name], [r.name], lambda g: [g[0] * 2]))
    with pytest.raises(OtherTapeError, match="the operand r, of shape"):
        r + 1
    assert (a + 1).tolist() == [2.0]  # a leaf is one here too


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_is_a_leaf_of_its_own(copied):
    a = leaf(2.0, name="a")
    b = copied(a)
    assert [g.tolist() for g in grad((a * b * b).sum(), [a, b])] == [[4.0], [8.0]]


# --- names, and what a Variable and a tape look like ---------------------------------------------------------------


@pytest.mark.parametrize("name", [3, "", "a b", "1a", "a-b", "a\nb", b"a"])
def test_a_name_is_one(name):
    with pytest.raises(ValueError, match="is not a name. A name has letters, digits and _"):
        leaf(1.0, name=name)
    with pytest.raises(ValueError, match="is not a name"):
        leaf(1.0).sum(name=name)


def test_repr_says_the_name_and_print_the_numbers():
    a = leaf(1.0, name="a")
    assert (repr(a), str(a)) == ("Variable(tensor([1.]), name='a')", "tensor([1.])")


def test_the_current_tape_by_its_name_in_the_notebook():
    with record(gradient_tape) as trace:
        a = leaf(1.0, name="a")
        grad((a * a).sum(), [a])
    assert len(trace.passes) == 1
    with Tape() as tape, gradient_tape as same:
        assert same is tape is current_tape()
        b = leaf(1.0, name="b")
        b * b * b
    assert [entry.outputs for entry in tape[0:2]] == [["v0"], ["v1"]] == [entry.outputs for entry in tape[-2:]]
    with tape:
        assert [entry.outputs for entry in gradient_tape[::-1]] == [["v1"], ["v0"]]
    assert repr(tape) == "v0 = b * b\nv1 = v0 * b"


def test_one_tape_entered_in_two_threads():
    tape, errors, barrier = Tape(), [], threading.Barrier(2, timeout=20)

    def enter():
        try:
            for _ in range(20):
                with tape:
                    barrier.wait()
                    assert current_tape() is tape
                    barrier.wait()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_zeros_have_the_dtype_of_what_they_stand_for():
    dtypes = []
    with Tape():
        x = Variable.constant(torch.ones(2, dtype=torch.float64))
        q = Variable(torch.ones(2, dtype=torch.float32), "q")
        s = Variable(torch.ones(2, dtype=torch.float64), "s")

        def propagate(dL_doutputs):
            dtypes.extend(g.dtype for g in dL_doutputs)
            return [dL_doutputs[1]]

        gradient_tape.append(TapeEntry([x], [q, s], propagate))
        half = Variable.constant(torch.ones(2, dtype=torch.float16))
        y = half * 2
        with record() as trace:
            grad(s.sum(), [x, half], none="zeros")
    assert dtypes == [torch.float32, torch.float64]
    incoming = next(e.incoming[0] for e in trace if e.kind == "VisitBegun" and e.entry.statement.startswith(y.name))
    assert incoming.dtype == "float16"


def test_a_long_tape_is_told_once(monkeypatch):
    monkeypatch.setattr(sys.modules["simplegrad.engine.grad"], "MANY_ENTRIES", 10)
    x = leaf(1.0)
    y = x
    for _ in range(12):
        y = y * 2
    with pytest.warns(UserWarning, match="This tape has 12 entries, and every pass walks all of them") as told:
        grad(y, [x])
        grad(y, [x])
    assert len(told) == 1 and told[0].filename == __file__


def test_a_pass_put_off_is_made_up_for_as_it_ran_also_under_autocast():
    with Tape():
        x = Variable.constant(torch.tensor([[2.0, 3.0], [1.0, 4.0]]) / 8, name="x")
        (g,) = grad((x @ x).tanh().sum(), [x])
        (h,) = grad((g * g).sum(), [x])
        before = h.value.clone()
        loss = h.sum()
        with torch.autocast("cpu", torch.bfloat16):
            (third,) = grad(loss, [x])
    assert h.value.dtype == torch.float32 and torch.equal(h.value, before)
    assert third is not None and third.shape == x.shape


def test_a_pass_asked_for_under_autocast_only_is_what_it_was():
    with Tape():
        x = Variable.constant(torch.tensor([[2.0, 3.0], [1.0, 4.0]]) / 8, name="x")
        (g,) = grad((x @ x).tanh().sum(), [x])
        (h,) = grad((g * g).sum(), [x])
        with torch.autocast("cpu", torch.bfloat16):
            twice = h + h  # the pass is recorded here
            assert h.name
    assert torch.equal(twice.value, 2 * h.value)


@pytest.mark.parametrize("which", ["L", "wanted"])
def test_what_was_computed_before_a_reset_has_no_gradient_and_no_known_zero(which):
    with Tape() as tape:
        x = Variable.constant(torch.ones(2), name="x")
        old = (x * x).sum(name="old")
        tape.reset()
        new = (x * x).sum()
        with pytest.raises(OtherTapeError, match=r"of shape \(\), was computed before this tape was reset"):
            grad(old, [x]) if which == "L" else grad(new, [old])
        assert grad(new, [x])[0].value.tolist() == [2, 2]  # a leaf stays one
