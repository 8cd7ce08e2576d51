"""How time and memory grow with the length of a run, from 1,000 to 100,000 entries on the tape.

Engine, recording, replay, graph and layout (of every entry, none collapsed) and the file of a trace are linear if an
entry costs in one run of 100,000 what it costs in 100 runs of 1,000. All 100 are kept until the clock stops, as the
long run keeps its own: both sides fill the same memory, so that what differs is what the length of a tape costs, and
not that a short one fits into the processor's cache. (From a trace to its first figure: view.py.)
`trace.at(k)` must not depend on the length at all; what a step looks up of a state is part of what is measured.
"""

from __future__ import annotations

import gc
import io
import random
import sys
import time
from collections.abc import Callable
from statistics import median

import torch

from simplegrad import Tape, Trace, Variable, grad, record
from simplegrad.graph import Picture, picture
from simplegrad.trace import store
from simplegrad.trace.replay import Replay
from simplegrad.view.collector import collector_paused
from simplegrad.view.layout import Layout, layout

SHORT, LONG = 1_000, 100_000
MOST_GROWTH, MOST_MILLISECONDS, MOST_BYTES, MOST_SECONDS = 1.3, 1.0, 600, 5.0


def run(entries: int) -> None:
    """Products and sines in a chain, and a pass over it: `entries` on the tape, five of seven from the pass."""
    x = Variable.constant(torch.full((4,), 0.5))
    z = x
    for _ in range(entries // 7):
        z = (z * x).sin()
    grad(z.sum(), [x], prune="ahead")


def engine(entries: int) -> Tape:
    with Tape() as tape:
        run(entries)
    return tape


def recorded(entries: int) -> Trace:
    with Tape(), record() as trace:
        run(entries)
    assert len(trace.events) > entries
    return trace


def graphed(trace: Trace) -> Picture:
    with collector_paused():  # as in TraceView
        return picture(trace, budget=10 * len(trace))  # nothing is collapsed


def laid_out(graph: Picture) -> Layout:
    with collector_paused():
        return layout(graph)


def saved(trace: Trace) -> bytes:
    file = io.BytesIO()
    store.save(trace, file)
    return file.getvalue()


def opened(content: bytes) -> Trace:
    return store.load(io.BytesIO(content))


def seconds(call: Callable, arguments: list) -> float:
    """Of the processor, for one call after another with all results kept."""
    gc.collect()
    start = time.thread_time()
    kept = [call(argument) for argument in arguments]
    seconds = time.thread_time() - start
    assert len(kept) == len(arguments)
    return seconds


def growth(call: Callable, short: list, long: list, runs: int) -> tuple[float, list[float]]:
    """Median seconds of both sides, taken in turn, as long over short, and the two."""
    times = [(seconds(call, short), seconds(call, long)) for _ in range(runs)]
    both = [median(side) for side in zip(*times)]
    return both[1] / both[0], both


def lookups(trace: Trace, count: int) -> float:
    """Milliseconds for the state at a random k, with what a step of the player looks up in it."""
    trace.at(0)
    draw, times = random.Random(0), []
    for _ in range(count):
        k, value, entry = draw.randint(1, len(trace)), draw.choice(trace.values), draw.choice(trace.entries)
        start = time.perf_counter()
        state = trace.at(k)
        found = (
            state.event,
            state.run,
            state.line,
            state.gradient(value),
            state.entry_state(entry),
            len(state.entries),
        )
        state.gradients[value.name]
        times.append((time.perf_counter() - start) * 1e3)
        assert found[0] == trace.events[k - 1]
    return sorted(times)[int(0.95 * count)]


def size_of(*roots: object) -> int:
    """Bytes of everything that is reached from here; tensors, types and modules aside."""
    aside = (torch.Tensor, torch.dtype, type, type(sys), type(run))
    seen, found, size = set(), list(roots), 0
    while found:
        thing = found.pop()
        if id(thing) not in seen and not isinstance(thing, aside):
            seen.add(id(thing))
            size += sys.getsizeof(thing)
            found += gc.get_referents(thing)
    return size


def bytes_per_event(trace: Trace) -> float:
    trace.at(0)  # its replay is a part of it
    return size_of(trace) / len(trace)


def main(quick: bool = False) -> list[dict]:
    torch.set_num_threads(1)
    small, large, runs = (200, 2_000, 1) if quick else (SHORT, LONG, 5)
    short, long = [small] * (large // small), [large]
    rows, of_long = [], {}

    def measure(what: str, call: Callable, *sides: list) -> None:
        ratio, both = growth(call, *sides, runs)
        of_long[what] = both[1]
        first, second = (side / large * 1e6 for side in both)
        detail = f"{second:.2f} µs an entry in one run of {large:,}, {first:.2f} in {len(short)} of {small:,}"
        rows.append(row(f"{what}, time per entry", MOST_GROWTH, ratio=ratio, detail=detail))

    # What was imported is put out of the way of Python's collector, as app.py does: a long run would have it walk over
    # all of that, which is no growth. And what a part works on is made just before, not to be walked over earlier.
    gc.collect()
    gc.freeze()
    measure("engine", engine, short, long)
    measure("recording", recorded, short, long)
    traces = [recorded(small) for _ in short], [recorded(large)]
    measure("replay", lambda trace: Replay(trace.events, trace.value_named), *traces)
    measure("graph", graphed, *traces)
    measure("layout", laid_out, *[[graphed(trace) for trace in side] for side in traces])
    measure("saving", saved, *traces)
    measure("opening", opened, *[[saved(trace) for trace in side] for side in traces])
    gc.unfreeze()
    (longest,) = traces[1]
    count = f"{len(longest):,} events, {len(longest.entries):,} entries"
    at = lookups(longest, 100 if quick else 2_000)
    for what in ("saving", "opening"):
        rows.append(row(f"{what} a trace, seconds", MOST_SECONDS, value=of_long[what], detail=count))
    return [
        *rows,
        row("trace.at(k), milliseconds at p95", MOST_MILLISECONDS, value=at, detail=f"random k of {count}"),
        row("bytes for an event, tensors aside", MOST_BYTES, value=bytes_per_event(longest), detail="all of a trace"),
    ]


def row(what: str, goal: float, **measured: float | str) -> dict:
    return {"what": what, "goal": goal, **measured}


if __name__ == "__main__":
    from benchmarks.__main__ import printed

    printed(main())
