"""A value that is changed between an entry and its pass, which would give a gradient of neither value."""

import threading

import pytest
import torch

from simplegrad import Tape, TapeEntry, Variable, grad, gradient_tape, record
from simplegrad.engine import ChangedInPlaceError


@pytest.fixture(autouse=True)
def own_tape():
    with Tape():
        yield


def leaf(*numbers, name=None) -> Variable:
    return Variable.constant(torch.tensor(numbers), name=name)


def doubled_in_place(x):
    x.value.mul_(2)


def replaced(x):
    x.value = x.value * 2


def added_in_place(x):
    x.value += 1


def squared_by_hand(x):
    r = Variable(x.value**2)
    gradient_tape.append(TapeEntry([x.name], [r.name], lambda dL_doutputs: [dL_doutputs[0] * x * 2]))
    return r


@pytest.mark.parametrize("change", [doubled_in_place, replaced, added_in_place])
@pytest.mark.parametrize("square", [lambda x: x * x, lambda x: x**2, squared_by_hand, lambda x: x @ x])
@pytest.mark.parametrize("prune", ["none", "ahead"])
def test_a_leaf_that_is_changed_before_the_pass(change, square, prune):
    x = leaf(1.0, 2.0, name="x")
    L = square(x).sum()
    change(x)
    with pytest.raises(ChangedInPlaceError, match="the gradient needs x, of shape \\(2,\\), as it was, and it was"):
        grad(L, [x], prune=prune)
    assert grad(square(x).sum(), [x], prune=prune)[0].tolist() == (2 * x.value).tolist()  # computed again, it is right


@pytest.mark.parametrize("change", [doubled_in_place, replaced])
def test_a_result_that_is_changed_before_the_pass(change):
    x = leaf(1.0, 2.0)
    for y in (x.exp(), x.sin()):
        L = (y * y).sum()
        change(y)
        with pytest.raises(ChangedInPlaceError, match=f"needs {y.name}"):
            grad(L, [x])


@pytest.mark.parametrize("change", [doubled_in_place, replaced])
def test_before_a_pass_over_a_pass(change):
    x = leaf(1.0, 2.0, name="x")
    (g,) = grad((x * x * x).sum(), [x])
    (h,) = grad(g.sum(), [x])  # this one is right
    assert h.tolist() == [6.0, 12.0]
    change(x)
    for L in (g.sum(), h.sum()):
        with pytest.raises(ChangedInPlaceError):
            grad(L, [x])


def test_by_whom_the_tensor_is_held_makes_no_difference():
    tensor, mask = torch.tensor([1.0, -2.0]), torch.tensor([True, False])
    x = Variable.constant(tensor)
    y = x * 2
    view, held = y.view(2, 1), y.value
    for change, L in (
        (lambda: tensor.add_(1), x * x),
        (lambda: view.value.add_(1), y * y),
        (lambda: held.add_(1), y.exp() * y),
        (lambda: mask.fill_(True), x.masked_fill(mask, 0.0)),
        (lambda: tensor.view(2, 1).mul_(2), x.unsqueeze(0) ** 2),
    ):
        change()
        with pytest.raises(ChangedInPlaceError):
            grad(L.sum(), [x])


def test_what_no_rule_reads_may_be_changed():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    L = ((x + w) * 2).sum() + (w * x).sum()
    w.value.add_(1)
    assert grad(L, [w], prune="ahead")[0].tolist() == [3.0, 4.0]  # of w * x only x is read
    with pytest.raises(ChangedInPlaceError):
        grad(L, [x], prune="ahead")


def test_a_change_before_the_forward_is_none():
    x = leaf(1.0, 2.0)
    x.value.mul_(3)
    y = x * 1.5
    y.value  # noqa: B018  handed out, and left as it is
    with torch.no_grad():
        x.value.mul_(2)
    assert grad((x * x + y).sum(), [x])[0].tolist() == [13.5, 25.5]
    with torch.inference_mode():
        z = leaf(1.0, 2.0)
        assert grad((z * z).sum(), [z])[0].tolist() == [2.0, 4.0]


def by_assignment(w, step):
    w.value = w.value - step


def in_place(w, step):
    w.value.sub_(step)


@pytest.mark.parametrize("move", [by_assignment, in_place])
@pytest.mark.parametrize("order, none", [(1, "skip"), (2, "skip"), (1, "zeros")])
@pytest.mark.parametrize("watched", [False, True])
def test_steps_of_an_optimizer_on_one_tape(move, order, none, watched):
    """Each with a forward of its own: the old ones lie on the same tape, and no gradient comes there."""

    def run():
        w, expected = Variable.constant(torch.tensor([[1.0, 2.0]], dtype=torch.float64)), [1.0, 2.0]
        turned = w.t()  # a view that is made once
        for _ in range(3):
            for _ in range(order - 1):
                L = (w**3).sum()
            L = ((w**2) @ turned).sum()
            (g,) = grad(L, [w], none=none)
            if order == 2:
                (g,) = grad((g * g).sum() / 20, [w], none=none)
                expected = [e - 0.01 * 2 * 9 * 2 * e**3 / 20 for e in expected]
            else:
                expected = [e - 0.01 * 3 * e**2 for e in expected]
            move(w, 0.01 * g.value)
            if move is by_assignment:
                turned = w.t()
        assert w.tolist() == [pytest.approx(expected)]

    if watched:
        with record():
            run()
    else:
        run()


def test_a_tape_that_borrows_a_leaf_of_another():
    w = leaf(1.0, 2.0, name="w")
    for change in (doubled_in_place, replaced):
        with Tape():
            x = leaf(1.0, 1.0)
            L = (w * x).sum()
            change(w)
            with pytest.raises(ChangedInPlaceError, match="needs w"):
                grad(L, [x])
            assert grad((w * x).sum(), [x])[0].tolist() == w.tolist()


def test_a_pass_that_failed_for_it_says_so_in_its_trace():
    with pytest.raises(ChangedInPlaceError), record() as trace:
        x = leaf(1.0, name="x")
        L = (x * x).sum()
        x.value.add_(1)
        grad(L, [x])
    assert "ChangedInPlaceError: entry 0, 'v0 = x * x': the gradient needs x" in trace.transcript()


def test_threads_that_read_and_replace_values_meanwhile():
    """Whoever asks for a value tells the tape that made it, while that runs passes and others make tapes."""
    x, failed, over = leaf(1.0, 2.0), [], threading.Event()
    made = [x * k for k in range(200)]

    def reads():
        while not over.is_set():
            try:
                with Tape():
                    y = Variable.constant(torch.ones(2))
                    y.value = y.value + 1
                    [each.value for each in made]
            except Exception as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=reads) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        made[:] = [x * k for k in range(20)]
        with pytest.raises(ChangedInPlaceError):
            y = leaf(1.0, 1.0)
            L = (y * x).sum()
            y.value.add_(1)
            grad(L, [x], prune="ahead")
        gradient_tape.reset()
    over.set()
    for thread in threads:
        thread.join()
    assert not failed


@pytest.mark.parametrize("made", [lambda x: x * x, lambda x: x.sin(), lambda x: x.sum(), lambda x: x @ x])
@pytest.mark.parametrize("used", [lambda y: y * y, lambda y: y.sin(), lambda y: 3 * y * y.exp()])
def test_a_result_that_nobody_has_read_may_be_changed(made, used):
    """As in torch: what reads it later reads what it is then."""
    x = leaf(1.0, 2.0, name="x")
    y = made(x)
    y.value.add_(1)
    (g,) = grad(used(y).sum(), [x])
    (gg,) = grad((g * g).sum(), [x])
    z = torch.tensor([1.0, 2.0], requires_grad=True)
    r = made(z)
    with torch.no_grad():
        r.add_(1)
    (h,) = torch.autograd.grad(used(r).sum(), [z], create_graph=True)
    (hh,) = torch.autograd.grad((h * h).sum(), [z])
    torch.testing.assert_close(g.value, h.detach())
    torch.testing.assert_close(gg.value, hh)


def test_what_read_it_before_is_refused_still():
    x = leaf(1.0, 2.0, name="x")
    y = x * 3
    z = y * y
    y.value.add_(1)
    with pytest.raises(ChangedInPlaceError):
        grad((z + y * y).sum(), [x])
    assert grad((y * y).sum(), [x])[0].tolist() == [24.0, 42.0]
