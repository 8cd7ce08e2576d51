"""From a recorded trace to its first figure, and how that grows with the length of the tape.

Measured is what the server does when a page is asked to show a trace that nobody has looked at yet: the recorder's log
made into events, the graph of units (long tapes collapsed into groups), their places, the plotly figure as JSON, and
the player's own JSON. Seconds are of this process's processor time, so that a busy machine tells the same.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median

import torch

from simplegrad import Trace
from simplegrad.view.figure import Drawing
from simplegrad.view.views import TraceView

from .growth import LONG, SHORT, recorded


def parts(trace: Trace) -> dict[str, float]:
    """Seconds for each part of the way to the first figure."""
    view = TraceView(trace)
    steps: dict[str, Callable] = {
        "events": lambda: trace.events,
        "graph and layout": lambda: view.drawing,
        "figure": lambda: view.figure.to_json(),
        "deltas JSON": lambda: (view.drawing_json, view.payload),
    }
    return {name: seconds(step) for name, step in steps.items()}


def seconds(call: Callable) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def first_figure(entries: int, goal: float, runs: int) -> dict:
    times = []
    for _ in range(runs):
        trace = recorded_only(entries)
        gc.collect()
        times.append(parts(trace))
    middle = sorted(times, key=lambda each: sum(each.values()))[len(times) // 2]
    size = len(TraceView(trace).payload) / 1e6
    told = ", ".join(f"{name} {value:.2f}" for name, value in middle.items())
    detail = f"{told}; {len(trace):,} events, {size:.1f} MB of deltas"
    return row(f"trace to first figure, {entries:,} entries, seconds", goal, value=sum(middle.values()), detail=detail)


def recorded_only(entries: int) -> Trace:
    """A trace whose events nobody has asked for."""
    from simplegrad import Tape, record

    from .growth import run

    with Tape(), record() as trace:
        run(entries)
    return trace


def growth(what: str, call: Callable, short: list, long: list, runs: int, entries: int) -> dict:
    """One long tape beside as many short ones as make up its length, in turn."""
    times: tuple[list, list] = ([], [])
    for _ in range(runs):
        for side, arguments in zip(times, (short, long)):
            gc.collect()
            side.append(seconds(lambda: [call(each) for each in arguments]))  # noqa: B023
    first, second = (median(side) / entries * 1e6 for side in times)
    detail = f"{second:.2f} µs an entry in one of {entries:,}, {first:.2f} in {len(short)} shorter ones"
    return row(f"{what}, time per entry", 1.3, ratio=second / first, detail=detail)


def drawn(trace: Trace) -> Drawing:
    return TraceView(trace).drawing


def main(quick: bool = False) -> list[dict]:
    torch.set_num_threads(1)
    small, large, runs = (200, 2_000, 1) if quick else (SHORT, LONG, 3)
    first_figure(small, 1, 1)  # imports, and plotly's first figure
    rows = [first_figure(large // 10, 1.0, runs), first_figure(large, 10.0, runs)]
    short, long = [recorded(small) for _ in range(large // small)], [recorded(large)]
    rows.append(growth("graph and layout as shown, long tapes collapsed", drawn, short, long, runs, large))
    return rows


def row(what: str, goal: float, **measured: float | str) -> dict:
    return {"what": what, "goal": goal, **measured}


if __name__ == "__main__":
    from benchmarks.__main__ import printed

    printed(main())
