"""What a training step costs while it is recorded, beside the same step alone; and what saving its trace takes.

`python -m benchmarks.recording` prints a table; `main()` returns its rows. They are CPU time of the thread, medians of
steps that take turns, so that a busy machine slows all of them. Beside ours stands what it costs that Python is only
called, and notes nothing: a recorder in Python that sees as much takes no less.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.autograd import graph
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode

from simplegrad import record_torch

GOALS = {"none": 1.2, "norm": 1.5, "full": 2.5}
SAVED = 10_000  # entries


def mlp() -> tuple[nn.Module, torch.Tensor]:
    """10 layers of 64, batch 32."""
    layers = [layer for _ in range(10) for layer in (nn.Linear(64, 64), nn.Tanh())]
    return nn.Sequential(*layers), torch.randn(32, 64)


def cnn() -> tuple[nn.Module, torch.Tensor]:
    """8 convolutions of 16 channels with batch norm, 8x3x32x32."""
    layers: list[nn.Module] = []
    for channels in [3] + [16] * 7:
        layers += [nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*layers), torch.randn(8, 3, 32, 32)


class Block(nn.Module):
    """Attention and a feed-forward part, written out."""

    def __init__(self, width: int = 128, heads: int = 4) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow, self.heads = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.qkv(self.before(x)).chunk(3, -1)
        q, k, v = [part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts]
        weights = (q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))
        return x + self.narrow(nn.functional.gelu(self.wide(self.between(x))))


def transformer() -> tuple[nn.Module, torch.Tensor]:
    """4 layers of width 128, 4x32 tokens."""
    return nn.Sequential(*[Block() for _ in range(4)]), torch.randn(4, 32, 128)


def step(model: nn.Module, x: torch.Tensor, penalty: bool) -> None:
    """Gradients cleared, forward, backward; with a gradient penalty, a double backward."""
    model.zero_grad()
    if not penalty:
        model(x).pow(2).mean().backward()
        return
    x = x.clone().requires_grad_()
    loss = model(x).pow(2).mean()
    (g,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + (g * g).sum()).backward()


def recorded(model: nn.Module, x: torch.Tensor, penalty: bool, values: str) -> None:
    with record_torch(model, values=values):
        step(model, x, penalty)


class Empty(TorchFunctionMode):
    """Called for each operation."""

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        return func(*args, **kwargs) if kwargs else func(*args)


def nothing(*_: object) -> None:
    """A hook."""


def hooked(tensors: tuple) -> list:
    """Handles of hooks on all nodes that a pass from these tensors reaches, leaves apart."""
    todo, seen, handles = [graph.get_gradient_edge(tensor).node for tensor in tensors], set(), []
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += [following for following, _ in node.next_functions if following is not None]
            if not node.name().endswith("AccumulateGrad"):
                handles.append(node.register_hook(nothing))
    return handles


@contextlib.contextmanager
def hooks_alone() -> Iterator[None]:
    """Something empty for each operation, call of a module and node of a pass; put in and taken out as a recorder's."""
    plain, handles = graph._engine_run_backward, []

    def run(tensors: tuple, *args: object, **kwargs: object) -> object:
        handles.extend(hooked(tensors))
        return plain(tensors, *args, **kwargs)

    handles.append(module_hooks.register_module_forward_pre_hook(nothing))
    handles.append(module_hooks.register_module_forward_hook(nothing))
    graph._engine_run_backward = torch.autograd._engine_run_backward = run
    try:
        with Empty():
            yield
    finally:
        graph._engine_run_backward = torch.autograd._engine_run_backward = plain
        for handle in handles:
            handle.remove()


def called_alone(model: nn.Module, x: torch.Tensor, penalty: bool) -> None:
    with hooks_alone():
        step(model, x, penalty)


def in_turns(runs: list[Callable[[], None]], rounds: int) -> list[float]:
    """Median CPU seconds of each, in an order drawn anew each round: each finds the caches as another left them."""
    taken: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
    turns, drawn = list(zip(runs, taken, strict=True)), random.Random(0)
    for _ in range(rounds):
        drawn.shuffle(turns)
        for run, times in turns:
            start = time.thread_time()
            run()
            times.append(time.thread_time() - start)
    return [statistics.median(times) for times in taken]


def rows_of(make: Callable, penalty: bool, rounds: int) -> list[dict]:
    torch.manual_seed(0)
    model, x = make()
    runs = [lambda: step(model, x, penalty)]
    runs += [lambda values=values: recorded(model, x, penalty, values) for values in GOALS]
    runs += [lambda: called_alone(model, x, penalty)]
    plain, *taken, alone = in_turns(runs, rounds)
    what = f"{make.__name__}{' with a gradient penalty' if penalty else ''}"
    found = [(f"values='{values}'", f"<= {goal}", t) for (values, goal), t in zip(GOALS.items(), taken, strict=True)]
    return [
        {
            "what": f"a step of the {what}, {how} / plain",
            "goal": goal,
            "ratio": round(time_taken / plain, 2),
            "detail": f"{1e3 * time_taken:.2f} ms / {1e3 * plain:.2f} ms",
        }
        for how, goal, time_taken in [*found, ("empty hooks of Python's alone", "", alone)]
    ]


def saving_row() -> dict:
    """Seconds that trace.save takes for a step with norms and 10,000 entries."""
    x = torch.ones(64, requires_grad=True)
    with record_torch() as trace:
        y = x
        for _ in range(SAVED // 2):
            y = (y * 1.0001).sin()
        y.sum().backward()
    entries = len(trace.entries)
    with tempfile.TemporaryDirectory() as folder:
        start = time.thread_time()
        trace.save(Path(folder) / "step.trace")
        taken = time.thread_time() - start
    detail = f"{entries:,} entries, {taken:.2f} s"
    return {
        "what": "trace.save of a step with norms, seconds",
        "goal": "<= 1",
        "ratio": round(taken, 2),
        "detail": detail,
    }


def main(quick: bool = False) -> list[dict]:
    """The rows: what, goal, ratio, detail."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = 5 if quick else 25
        rows = [row for make in (cnn, transformer, mlp) for p in (False, True) for row in rows_of(make, p, rounds)]
        return [*rows, saving_row()]
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    for line in main():
        print("{what:68} goal {goal:8} ratio {ratio:<8} {detail}".format(**line))
