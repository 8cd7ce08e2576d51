"""A step of a model of nanoGPT's size with six custom Functions, its calls judged: time and memory beside the step's.

`python -m benchmarks.calls` prints a table; `main()` returns its rows. 6 layers, 384 wide, 4 x 128 tokens, one thread;
times are CPU time of the process. The first judgement includes what Python imports for it.
"""

from __future__ import annotations

import resource
import statistics
import time

import torch

from benchmarks._gpt import FAULTY, Gpt, step
from simplegrad import check_calls

STEPS = 3


def memory() -> float:
    """The most that this process has taken so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main(quick: bool = False) -> list[dict]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Gpt(length=16, width=24, layers=2) if quick else Gpt()
    optimizer = torch.optim.AdamW(model.parameters())
    tokens = torch.randint(0, 65, (4, model.places.weight.shape[0] + 1))
    times = [timed(lambda: step(model, optimizer, tokens)) for _ in range(1 if quick else STEPS)]
    plain, before = statistics.median(times), memory()
    began = time.process_time()
    with check_calls(keep=None) as report:
        watched = timed(lambda: step(model, optimizer, tokens))
    taken = time.process_time() - began
    named = {each.name for each in report.results if each.report is None or each.report.faults}
    verdicts = f"{', '.join(sorted(named))} faulty" if named == FAULTY else f"MISJUDGED: {report.summary()}"
    return [
        {
            "what": "a step of nanoGPT's size with its calls judged / the step alone",
            "goal": "at most 10",
            "ratio": round(taken / plain, 1),
            "detail": f"{taken:.1f} s / {plain:.2f} s; {len(report.results)} distinct calls, {verdicts}",
        },
        {
            "what": "the same step while its calls are kept / the step alone",
            "goal": None,
            "ratio": round(watched / plain, 2),
            "detail": f"{watched:.2f} s / {plain:.2f} s",
        },
        {
            "what": "memory at the most, MB",
            "goal": "at most 1000",
            "value": round(memory()),
            "detail": f"{before:.0f} MB before the judgement",
        },
    ]


def timed(run) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


if __name__ == "__main__":
    from benchmarks.__main__ import printed

    printed(main())
