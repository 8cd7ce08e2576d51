"""First and double backward of a chain of pointwise operations: this engine beside torch.autograd, in turn, in one run.

The chain z = op(z), n times; g = dsum(z)/dx; then dsum(g * g)/dx. Both sides compute the same numbers, bit for bit.
Times are CPU time of the process, so that what else the machine does counts for neither side.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import partial
from inspect import signature
from operator import attrgetter
from statistics import median

import torch

from simplegrad import Tape, Variable, grad, record
from simplegrad.trace.events import KINDS, Entry, Value


def sines(z, x, b, n: int):
    for _ in range(n):
        z = z.sin()
    return z


def products(z, x, b, n: int):
    for _ in range(n):
        z = z * x
    return z


def exponentials(z, x, b, n: int):
    for _ in range(n // 2):
        z = -z.exp()
    return z


def mixed(z, x, b, n: int):
    for _ in range(n // 4):
        z = (z.sin() * b).tanh() + b
    return z


CHAINS = {"sin": sines, "z * x": products, "exp, neg": exponentials, "sin, * b, tanh, + b": mixed}


def by_torch(chain: Callable, n: int, size: int) -> torch.Tensor:
    x = torch.full((size,), 0.5, requires_grad=True)
    (g,) = torch.autograd.grad(chain(x, x, torch.full((size,), 1.001), n).sum(), x, create_graph=True)
    return torch.autograd.grad((g * g).sum(), x)[0]


def first_by_torch(chain: Callable, n: int, size: int) -> torch.Tensor:
    """Without create_graph: nobody differentiates again."""
    x = torch.full((size,), 0.5, requires_grad=True)
    return torch.autograd.grad(chain(x, x, torch.full((size,), 1.001), n).sum(), x)[0]


def first_by_tape(chain: Callable, n: int, size: int) -> torch.Tensor:
    with Tape():
        x, b = Variable.constant(torch.full((size,), 0.5)), Variable.constant(torch.full((size,), 1.001))
        return grad(chain(x, x, b, n).sum(), [x], prune="ahead")[0].value


def by_tape(chain: Callable, n: int, size: int) -> torch.Tensor:
    with Tape():
        return on_this_tape(chain, n, size)


def by_recorded_tape(chain: Callable, n: int, size: int) -> torch.Tensor:
    with Tape(), record():
        return on_this_tape(chain, n, size)


def by_tape_and_trace(chain: Callable, n: int, size: int) -> torch.Tensor:
    """With a look at the trace: what the second pass recorded is computed then, and every field of every event read."""
    with Tape(), record() as trace:
        result = on_this_tape(chain, n, size)
        for event in trace.events:
            READ[type(event)](event)
    return result


def by_tape_and_all_of_trace(chain: Callable, n: int, size: int) -> torch.Tensor:
    """And what they are of: inputs, outputs and text of each entry, name, shape and dtype of each value."""
    with Tape(), record() as trace:
        result = on_this_tape(chain, n, size)
        for each in (*trace.events, *trace.entries, *trace.values):
            READ[type(each)](each)
    return result


READ = {kind: attrgetter(*signature(kind).parameters) for kind in (*KINDS.values(), Entry, Value)}


def on_this_tape(chain: Callable, n: int, size: int) -> torch.Tensor:
    x, b = Variable.constant(torch.full((size,), 0.5)), Variable.constant(torch.full((size,), 1.001))
    (g,) = grad(chain(x, x, b, n).sum(), [x], prune="ahead")
    return grad((g * g).sum(), [x], prune="ahead")[0].value


def beside(ours: Callable, theirs: Callable, runs: int) -> tuple[float, float]:
    """Median CPU seconds of each, taken in turn after a warm-up, so that the machine's mood is the same for both."""
    times: tuple[list, list] = ([], [])
    for run in range(runs + 2):
        for side, function in zip(times, (ours, theirs)):
            start = time.process_time()
            function()
            if run > 1:
                side.append(time.process_time() - start)
    return median(times[0]), median(times[1])


def rows(what: str, goal: str, ours: Callable, n: int, size: int, runs: int, theirs: Callable = by_torch) -> list[dict]:
    found = []
    for name, chain in CHAINS.items():
        assert torch.equal(ours(chain, n, size), theirs(chain, n, size)), f"{what}, {name}: the numbers differ"
        mine, torchs = beside(partial(ours, chain, n, size), partial(theirs, chain, n, size), runs)
        detail = f"{name}: {mine * 1e3:.1f} ms beside torch's {torchs * 1e3:.1f} ms"
        found.append({"what": what, "goal": goal, "ratio": mine / torchs, "detail": detail})
    return found


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, where it is glibc, for this process.

    Else it gives memory back and faults it in again, page by page, at moments that strike either side by chance: a pass
    on 100,000 elements then takes from 1.0 to 1.7 of its time, and not the same twice.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 1 << 30)
        mallopt(_MMAP_THRESHOLD, 32 << 20)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


def main(quick: bool = False) -> list[dict]:
    torch.set_num_threads(1)
    keep_freed_memory()
    short, long, runs = (100, 200, 2) if quick else (1000, 5000, 15)
    title = "double backward, chain of {:,} ops, {:,} elements"
    first = f"first backward, chain of {short:,} ops, 4 elements, recorded by nobody"
    recording, reading = title.format(short, 4) + ", recording", title.format(short, 4) + ", recording, all events read"
    showing = reading + ", and all that they are of"
    few = max(runs // 2, 2)
    return [
        *rows(title.format(short, 4), "at most 0.95", by_tape, short, 4, runs),
        *rows(title.format(long, 4), "at most 0.85", by_tape, long, 4, few),
        *rows(first, "at most 1.2", first_by_tape, short, 4, runs, first_by_torch),
        *rows(recording, "at most 1.4", by_recorded_tape, short, 4, runs),
        *rows(reading, "at most 8", by_tape_and_trace, short, 4, few),
        *rows(showing, "", by_tape_and_all_of_trace, short, 4, few),
        *rows(title.format(short, 100_000), "at most 1.05", by_tape, short, 100_000, 2 if quick else 5),
    ]


if __name__ == "__main__":
    for row in main():
        print(f"{row['ratio']:5.2f}  ({row['goal']})  {row['what']}; {row['detail']}")
