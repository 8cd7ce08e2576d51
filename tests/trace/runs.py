"""Runs of every kind, recorded: what the tests of the trace are held against."""

import contextlib
from collections.abc import Callable

import torch

from simplegrad import Tape, TapeEntry, Trace, Variable, grad, gradient_tape, record, registry, reset_tape

RUNS: dict[str, Callable] = {}


def run(function: Callable) -> Callable:
    RUNS[function.__name__] = function
    return function


def recorded(name: str) -> Trace:
    """The trace of one of the runs, on a tape of its own. Some of them raise, which is part of them."""
    with Tape(), contextlib.suppress(RuntimeError), record() as trace:
        RUNS[name]()
    return trace


def leaves() -> tuple[Variable, Variable]:
    a = Variable.constant(torch.tensor([0.5, 1.0, 0.25, 2.0]), name="a")
    b = Variable.constant(torch.tensor([1.5, 0.75, 3.0, 1.0]), name="b")
    return a, b


def two_passes(f: Callable, **modes) -> None:
    a, b = leaves()
    L0 = f(a, b).sum(name="L0")
    da, db = grad(L0, [a, b], **modes)
    L1 = (da * da + db * db).sum(name="L1")
    grad(L1, [a, b], **modes)


for _none in ("skip", "zeros"):
    for _prune in ("none", "ahead"):
        for _name in ("simple", "simple_recompute", "simple_variable_wrong", "simple_variable"):
            RUNS[f"{_name}, none={_none}, prune={_prune}"] = lambda name=_name, none=_none, prune=_prune: two_passes(
                registry[name], none=none, prune=prune
            )


@run
def nothing():
    pass


@run
def no_pass():
    a, b = leaves()
    a * b


@run
def known_zeros():
    a, b = leaves()
    z = a * 0.0
    grad((z * b).sum(), [a, b])


@run
def a_pass_within_a_pass():
    a, _ = leaves()
    r = Variable(a.value**3, "r")

    def propagate(dL_doutputs):
        return [dL_doutputs[0] * grad((a * a * a).sum(), [a])[0]]

    gradient_tape.append(TapeEntry([a.name], [r.name], propagate))
    (da,) = grad(r.sum(), [a])
    grad(da.sum(), [a])


@run
def it_raises_in_propagate():
    a, _ = leaves()
    r = Variable(a.value * 2, "r")

    def propagate(dL_doutputs):
        dL_doutputs[0] * 2
        raise RuntimeError("as planned")

    gradient_tape.append(TapeEntry([a.name], [r.name], propagate))
    grad(r.sum(), [a])


@run
def it_raises_between():
    a, b = leaves()
    grad((a * b).sum(), [a])
    raise RuntimeError("as planned")


@run
def the_tape_is_reset():
    for factor in (2.0, 3.0):
        a, b = leaves()
        L = (a * b * factor).sum(name="L")
        grad(L, [a, b])
        reset_tape()
    c = a * 2
    grad(c, [a])


@run
def all_kinds_of_values():
    x = Variable.constant(torch.arange(12, dtype=torch.float64).reshape(3, 4), name="x")
    y = x[1:, ::2].sum(dim=0) @ x.T[torch.tensor([0, 0])].transpose(0, 1).mean(dim=0).expand(2)
    z = torch.cat([x, x.softmax(dim=1)]).amax(dim=(0, 1)) / (y * y + 1)
    grad(z.sum(), [x], none="zeros")


def two_outputs(x):
    """Two results, of which a program uses one, so that a pass reaches the entry in part."""
    q, r = Variable(x.value * 2, "q"), Variable(x.value * 3, "r")

    def propagate(dL_doutputs):
        dL_dq, dL_dr = dL_doutputs
        return [dL_dr * 3 if dL_dq is None else dL_dq * 2]

    gradient_tape.append(TapeEntry([x.name], [q.name, r.name], propagate))
    return r


@run
def partial_entries():
    a, b = leaves()
    grad((two_outputs(a) * two_outputs(b)).sum(), [a, b])
