"""How long a check takes beside `gradcheck` and `gradgradcheck` of the same case, and the first one in a process.

`python -m benchmarks checks` prints a table; `main()` returns its rows.
"""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.autograd import Function

from simplegrad.checks.check import check

ROOT = Path(__file__).parent.parent
CASES = ROOT / "tests" / "checks" / "functions"
SMALL, LARGE, FIRST, LOOPS = 3.0, 0.125, 1.2, 1.0  # goals


def beside(fn: Callable, inputs: tuple, rounds: int, first_order: bool = True) -> float:
    """The median ratio of a warm check to gradcheck and gradgradcheck, in turns, so that a busy machine slows both."""
    check(fn, *inputs)
    ratios = []
    for _ in range(rounds):
        ours = seconds(lambda: check(fn, *inputs))
        theirs = seconds(lambda: refused(torch.autograd.gradcheck, fn, inputs)) if first_order else 0.0
        ratios.append(ours / (theirs + seconds(lambda: refused(torch.autograd.gradgradcheck, fn, inputs))))
    return statistics.median(ratios)


def seconds(run: Callable) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def refused(checker: Callable, fn: Callable, inputs: tuple) -> None:
    with contextlib.suppress(Exception):  # it takes no second derivative, say
        checker(fn, inputs, raise_exception=False)


# --- cases -----------------------------------------------------------------------------------------------------------


def small_cases() -> dict[str, tuple[Callable, tuple]]:
    found = {}
    sys.path.insert(0, str(CASES))
    for path in sorted(CASES.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"case_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if hasattr(module, "case"):
            found[path.stem] = module.case()
    return found


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * g * x**2


class Softmax(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.softmax(-1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return y * (g - (g * y).sum(-1, keepdim=True))


class Product(Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.mT, x.mT @ g


class TanhWrong(Function):
    """A square is missing."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (1 - x.tanh())


class SinhKept(Function):
    """The exponential is kept, and lost at the second order."""

    @staticmethod
    def forward(ctx, x):
        e = x.exp()
        ctx.save_for_backward(e)
        return (e - 1 / e) / 2

    @staticmethod
    def backward(ctx, g):
        (e,) = ctx.saved_tensors
        return g * (e + 1 / e) / 2


class ScanWrong(Function):
    """A running average, whose backward forgets one factor in a loop."""

    @staticmethod
    def forward(ctx, x, a):
        ctx.save_for_backward(x, a)
        h, states = x[0] * 0, []
        for row in x:
            h = a * h + row
            states.append(h)
        return torch.stack(states)

    @staticmethod
    def backward(ctx, g):
        x, a = ctx.saved_tensors
        back, h, states, rows = g[0] * 0, x[0] * 0, [], []
        for row in x:
            states.append(h)
            h = a * h + row
        total = torch.zeros_like(a)
        for k in reversed(range(len(x))):
            back = g[k] + back
            total = total + back * states[k]
            rows.append(back)
            back = a * back * 0.9
        return torch.stack(rows[::-1]), total


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


LARGE_CASES = {
    "cube of 500": (Cube, (drawn(500),)),
    "softmax of 20 x 25": (Softmax, (drawn(20, 25),)),
    "product of 20 x 20 and 20 x 5": (Product, (drawn(20, 20), drawn(20, 5))),
    "wrong tanh of 500": (TanhWrong, (drawn(500),)),
    "escape in sinh of 500": (SinhKept, (drawn(500),)),
}


# --- rows ------------------------------------------------------------------------------------------------------------


def small_row(rounds: int) -> dict:
    ratios = {name: beside(fn, inputs, rounds) for name, (fn, inputs) in small_cases().items()}
    most = max(ratios, key=ratios.get)
    return {
        "what": f"check / gradcheck + gradgradcheck, median of {len(ratios)} small cases",
        "goal": SMALL,
        "ratio": statistics.median(ratios.values()),
        "detail": f"at most {ratios[most]:.1f}, of {most}",
    }


def large_rows(rounds: int) -> list[dict]:
    return [
        {
            "what": f"check / gradcheck + gradgradcheck, {name}",
            "goal": LARGE,
            "ratio": beside(function.apply, inputs, rounds),
            "detail": "elements from 500 on",
        }
        for name, (function, inputs) in LARGE_CASES.items()
    ]


def loop_row(rounds: int) -> dict:
    inputs = drawn(40, 3), torch.full((3,), 0.5, dtype=torch.double, requires_grad=True)
    ratio = beside(ScanWrong.apply, inputs, rounds, first_order=False)
    return {"what": "check of a fault in a loop / gradgradcheck", "goal": LOOPS, "ratio": ratio, "detail": "40 steps"}


FRESH = """
import sys, time
start = time.perf_counter()
import torch
began = time.perf_counter()
if len(sys.argv) > 1:
    from simplegrad import check
    from benchmarks.checks import SinhKept, drawn
    check(SinhKept.apply, drawn(4))
print(time.perf_counter() - began)
"""


def first_row(rounds: int) -> dict:
    """What the first check of a process takes once torch is there."""

    def fresh() -> float:
        run = subprocess.run(
            [sys.executable, "-c", FRESH, "check"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return float(run.stdout)

    value = statistics.median(fresh() for _ in range(rounds))
    return {
        "what": "seconds of the first check beyond `import torch`",
        "goal": FIRST,
        "value": value,
        "detail": "a fault",
    }


def main(quick: bool = False) -> list[dict]:
    """The rows: what, goal, ratio or value, detail."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = 1 if quick else 5
        return [small_row(rounds), *large_rows(rounds), loop_row(rounds), first_row(rounds)]
    finally:
        torch.set_num_threads(threads)
