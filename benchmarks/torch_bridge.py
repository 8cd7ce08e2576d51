"""How long a check takes beside `torch.autograd.gradgradcheck`, and a recorded run beside the same run unrecorded.

`python -m benchmarks.torch_bridge` prints a table; `main()` returns its rows.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.autograd import Function

from simplegrad import Trace, compare
from simplegrad.checks.functions import check_function
from simplegrad.graph import found, graph_of
from simplegrad.torch_bridge.record import record_torch

EPS = 1e-5
GOAL = 0.1  # of gradgradcheck's time


class LayerNormSaved(Function):
    """Layer normalisation that saves its mean and rstd: wrong at second order."""

    @staticmethod
    def forward(ctx, x, w, b):
        mean = x.mean(-1, keepdim=True)
        rstd = ((x - mean).pow(2).mean(-1, keepdim=True) + EPS).rsqrt()
        ctx.save_for_backward(x, w, mean, rstd)
        return (x - mean) * rstd * w + b

    @staticmethod
    def backward(ctx, dy):
        x, w, mean, rstd = ctx.saved_tensors
        return layer_norm_backward(x, w, mean, rstd, dy)


class LayerNormRecomputed(Function):
    """The same, right: backward computes mean and rstd from the saved input."""

    @staticmethod
    def forward(ctx, x, w, b):
        ctx.save_for_backward(x, w)
        return torch.nn.functional.layer_norm(x, x.shape[-1:], w, b, EPS)

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        mean = x.mean(-1, keepdim=True)
        rstd = ((x - mean).pow(2).mean(-1, keepdim=True) + EPS).rsqrt()
        return layer_norm_backward(x, w, mean, rstd, dy)


def layer_norm_backward(x, w, mean, rstd, dy):
    hat, wdy = (x - mean) * rstd, w * dy
    c1, c2 = (hat * wdy).mean(-1, keepdim=True), wdy.mean(-1, keepdim=True)
    return (wdy - hat * c1 - c2) * rstd, (dy * hat).sum(0), dy.sum(0)


def inputs() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((8, 64), (64,), (64,))
    return tuple(torch.randn(s, dtype=torch.double, generator=generator).requires_grad_() for s in shapes)


def alternated(first: Callable, second: Callable, rounds: int) -> tuple[float, float]:
    """Median seconds of each, run in turns so that a busy machine slows both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for run, taken in zip((first, second), times, strict=True):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def row(function: type[Function], rounds: int) -> dict:
    """One line of the table: the check of one Function beside gradgradcheck."""
    x = inputs()
    check_function(function.apply, x)  # imports and caches that a first call fills
    ours, theirs = alternated(
        lambda: check_function(function.apply, x),
        lambda: torch.autograd.gradgradcheck(function.apply, x, raise_exception=False),
        rounds,
    )
    verdict = check_function(function.apply, x).verdict
    return {
        "what": f"check of {function.__name__} 8x64 / gradgradcheck",
        "goal": f"<= {GOAL}",
        "ratio": round(ours / theirs, 4),
        "detail": f"{1e3 * ours:.1f} ms / {1e3 * theirs:.1f} ms, verdict {verdict}",
    }


def chain(length: int = 1000, elements: int = 1000) -> torch.Tensor:
    """A double backward through that many operations."""
    x = torch.ones(elements, requires_grad=True)
    y = x
    for _ in range(length // 2):
        y = (y * 1.001).sin()
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    return second


def recorded_chain() -> torch.Tensor:
    with record_torch(values="none"):
        return chain()


def recording_row(rounds: int) -> dict:
    """One line of the table: the same double backward recorded and not."""
    assert torch.equal(chain(), recorded_chain())
    ours, theirs = alternated(recorded_chain, chain, rounds)
    return {
        "what": "recording a double backward of 1000 ops / plain",
        "goal": "<= 2.5",
        "ratio": round(ours / theirs, 4),
        "detail": f"{1e3 * ours:.1f} ms / {1e3 * theirs:.1f} ms, values='none'",
    }


class Stage(torch.nn.Module):
    """A parameter, and a chain of operations that its gradient goes through."""

    def __init__(self, length: int):
        super().__init__()
        self.length, self.weight = length, torch.nn.Parameter(torch.ones(8))
        self.unused = torch.nn.Parameter(torch.ones(8))

    def forward(self, x):
        for _ in range(self.length // 2):
            x = (x * self.weight).sin()
        return x


def recorded_step(entries: int) -> Trace:
    """A step of 100 stages in a row, recorded with norms; its events made."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(Stage(entries // 100) for _ in range(100)))
    with record_torch(model, values="norm", limit=100 * entries) as trace:
        model(torch.ones(2, 8)).sum().backward()
    assert trace.events and len(trace.entries) >= entries
    return trace


def seconds(call: Callable) -> float:
    """Of this process's processor time: a busy machine tells the same."""
    start = time.process_time()
    call()
    return time.process_time() - start


def question_rows(entries: int) -> list[dict]:
    """What a person waits for once a trace is open: why, search, comparing with another run, saving."""
    trace, other = recorded_step(entries), recorded_step(entries)
    graph = graph_of(trace)
    opened = seconds(lambda: (trace.why("0.weight"), found(graph, "no such thing")))
    names = [f"{stage}.{name}" for stage in (0, 50, 99) for name in ("weight", "unused")]
    asked = max(seconds(lambda: trace.why(name)) for name in names)  # noqa: B023
    looked = max(seconds(lambda: found(graph, text)) for text in ("weight", "v", "sin", "no such thing"))  # noqa: B023
    with tempfile.TemporaryDirectory() as folder:
        saved = seconds(lambda: trace.save(Path(folder) / "step.trace"))
    result: list = []
    compared = seconds(lambda: result.append(compare(trace, other)) or len(result[0].layers))
    of = f"of {entries:,} entries"
    told = {"why? " + of: (0.05, asked), "search " + of: (0.1, looked), "two runs compared, " + of: (10.0, compared)}
    told["a step with norms saved, " + of] = (entries / 10_000, saved)
    detail = f"slowest of its kind; what is made once before the first question: {opened:.2f} s"
    return [{"what": f"{what}, s", "goal": goal, "value": t, "detail": detail} for what, (goal, t) in told.items()]


class Chain(torch.nn.Module):
    """The forward part of `chain`, for a recorder that wants a module."""

    def forward(self, x):
        for _ in range(500):
            x = (x * 1.001).sin()
        return x


def torchlens_rows(rounds: int) -> list[dict]:
    """For comparison, where torchlens is installed: it records forward passes, so that is what it is timed on."""
    try:
        import torchlens
    except ImportError:
        return []
    model, x = Chain(), torch.ones(1000, requires_grad=True)
    theirs, plain = alternated(lambda: torchlens.trace(model, x), lambda: model(x), rounds)
    detail = f"{1e3 * theirs:.1f} ms / {1e3 * plain:.1f} ms, torchlens {torchlens.__version__}, forward only"
    return [
        {"what": "torchlens.trace of 1000 ops / plain", "goal": "compare", "ratio": theirs / plain, "detail": detail}
    ]


def main(quick: bool = False) -> list[dict]:
    """The rows: what, goal, ratio, detail."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [row(function, 2 if quick else 7) for function in (LayerNormSaved, LayerNormRecomputed)]
        rows += question_rows(1_000 if quick else 100_000)
        return [*rows, recording_row(3 if quick else 15), *torchlens_rows(2 if quick else 3)]
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    from benchmarks.__main__ import printed

    printed(main())
