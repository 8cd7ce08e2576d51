"""Double backward of one expression, on 4 elements a tensor: recorded, by hand, compiled, and torch.autograd.

All forms take turns within one run; medians of CPU time. `python -m benchmarks.compiler` prints the table. "compiled,
fused" has bodies of `propagate` that are one entry each (compile_aggregate(…, fused=True)): the goals are for that.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from simplegrad import Tape, TapeEntry, Variable, add_optional, compile_aggregate, grad, gradient_tape, registry

EPS = 1e-6
# Of the time of recorded operations, for what is compiled and fused.
GOALS = {"(a + b) * b": "at most 0.9", "RMSNorm": "at most 0.75", "tanh(x @ w + b)": "at most 0.85"}


# --- the three expressions, as recorded operations -----------------------------------------------------------------


def product(a, b):
    return (a + b) * b


def rmsnorm(x, w):
    ms = (x * x).mean(dim=-1, keepdim=True)
    rstd = (ms + EPS) ** -0.5
    return x * rstd * w


def layer(x, w, b):
    return (x @ w + b).tanh()


# --- by hand: what is declared, once with zeros for None ("almost"), once with branches ---------------------------


def zeros_for(gradients, variables):
    return [Variable.constant(torch.zeros_like(v.value)) if g is None else g for g, v in zip(gradients, variables)]


def rmsnorm_by_hand(branching: bool) -> Callable:
    def rmsnorm_hand(x, w):
        ms = Variable((x.value * x.value).mean(-1, keepdim=True) + EPS)
        rstd = Variable(ms.value**-0.5)
        n = Variable(x.value * rstd.value)
        y = Variable(n.value * w.value)

        def propagate(dL_doutputs):
            if not branching:
                dL_doutputs = zeros_for(dL_doutputs, (y, ms, rstd, n))
            dL_dy, dL_dms, dL_drstd, dL_dn = dL_doutputs
            dL_dw = dL_dx = None
            if dL_dy is not None:
                dL_dw = dL_dy * n
                dL_dn = add_optional(dL_dn, dL_dy * w)
            if dL_dn is not None:
                dL_dx = dL_dn * rstd
                dL_drstd = add_optional(dL_drstd, (dL_dn * x).sum(dim=-1, keepdim=True))
            if dL_drstd is not None:
                dL_dms = add_optional(dL_dms, dL_drstd * (ms**-1.5 * -0.5))
            if dL_dms is not None:
                dL_dx = add_optional(dL_dx, dL_dms * (2 / x.shape[-1]) * x)
            return [dL_dx, dL_dw]

        outputs = [y.name, ms.name, rstd.name, n.name]
        gradient_tape.append(TapeEntry(inputs=[x.name, w.name], outputs=outputs, propagate=propagate))
        return y

    return rmsnorm_hand


def layer_by_hand(branching: bool) -> Callable:
    def layer_hand(x, w, b):
        y = Variable((x.value @ w.value + b.value).tanh())

        def propagate(dL_doutputs):  # one output, which is the result: there is nothing to branch on
            (dL_dy,) = dL_doutputs
            dL_dt = dL_dy * (1 - y * y)
            return [dL_dt @ w.T, x.T @ dL_dt, dL_dt.sum(dim=0)]

        gradient_tape.append(TapeEntry(inputs=[x.name, w.name, b.name], outputs=[y.name], propagate=propagate))
        return y

    return layer_hand


CASES: dict[str, tuple[Callable, Callable, Callable, list]] = {
    "(a + b) * b": (product, registry["simple_variable_almost"], registry["simple_variable"], [(4,), (4,)]),
    "RMSNorm": (rmsnorm, rmsnorm_by_hand(False), rmsnorm_by_hand(True), [(4,), (4,)]),
    "tanh(x @ w + b)": (layer, layer_by_hand(False), layer_by_hand(True), [(2, 2), (2, 2), (2,)]),
}


# --- running -------------------------------------------------------------------------------------------------------


def on_tape(function: Callable, tensors: list[torch.Tensor]) -> Tape:
    """A double backward on a tape of its own."""
    with Tape() as tape:
        inputs = [Variable.constant(x) for x in tensors]
        gradients = grad(function(*inputs).sum(), inputs)
        grad(squares(gradients), inputs)
    return tape


def on_torch(function: Callable, tensors: list[torch.Tensor]) -> tuple:
    inputs = [x.detach().requires_grad_() for x in tensors]
    gradients = torch.autograd.grad(function(*inputs).sum(), inputs, create_graph=True)
    torch.autograd.grad(squares(gradients), inputs, allow_unused=True)
    return ()


def squares(gradients):
    total = (gradients[0] * gradients[0]).sum()
    for g in gradients[1:]:
        total = total + (g * g).sum()
    return total


class Operations(TorchDispatchMode):
    """Counts what tensors compute; views and what only makes a tensor are left out."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ not in _FREE
        return func(*args, **(kwargs or {}))


_FREE = {"mT", "expand", "detach", "view", "_unsafe_view", "reshape", "transpose", "t", "unsqueeze", "squeeze", "alias"}


def operations(run: Callable, function: Callable, tensors: list[torch.Tensor]) -> int:
    with Operations() as counted:
        run(function, tensors)
    return counted.count


def medians(forms: dict[str, Callable[[], object]], rounds: int, calls: int) -> dict[str, float]:
    """CPU seconds a call, the forms in turn; Python's collector runs between the turns, not in them, as in `timeit`.

    Each turn begins with a call that is not timed: the first one after torch.autograd pays for what that leaves behind.
    """
    times: dict[str, list[float]] = {name: [] for name in forms}
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, form in forms.items():
            form()
            gc.collect(0)
            gc.disable()
            start = time.process_time()
            for _ in range(calls):
                form()
            times[name].append((time.process_time() - start) / calls)
            gc.enable()
    return {name: statistics.median(each) for name, each in times.items()}


def measured(title: str, rounds: int, calls: int) -> list[dict]:
    recorded, almost, branching, shapes = CASES[title]
    tensors = [torch.rand(shape) + 0.2 for shape in shapes]
    functions = {
        "recorded operations": (on_tape, recorded),
        "by hand, almost": (on_tape, almost),
        "by hand, branching": (on_tape, branching),
        "compiled": (on_tape, compile_aggregate(recorded)),
        "compiled, fused": (on_tape, compile_aggregate(recorded, fused=True)),
        "torch.autograd": (on_torch, recorded),
    }
    entries = {name: len(run(function, tensors)) for name, (run, function) in functions.items()}
    counts = {name: operations(run, function, tensors) for name, (run, function) in functions.items()}
    forms = {name: (lambda r=run, f=function: r(f, tensors)) for name, (run, function) in functions.items()}
    seconds = medians(forms, rounds, calls)
    base = seconds["recorded operations"]
    return [
        {
            "what": f"double backward of {title}, {name}",
            "goal": GOALS[title] if name == "compiled, fused" else None,
            "ratio": seconds[name] / base,
            "detail": f"{entries[name] or '-'} entries, {counts[name]} operations, {seconds[name] * 1e6:.0f} us",
        }
        for name in functions
    ]


def main(quick: bool = False) -> list[dict]:
    """A row for each form of each expression; `ratio` is its time, in times of recorded operations."""
    torch.set_num_threads(1)
    rounds, calls = (3, 2) if quick else (200, 5)
    return [row for title in CASES for row in measured(title, rounds, calls)]


if __name__ == "__main__":
    for row in main():
        print(f"{row['what']:58} {row['ratio']:5.2f} x the time  {row['goal'] or '':13} {row['detail']}")
