"""`python -m benchmarks [NAME…] [--quick]`: every benchmark of this folder, in one table.

Each module's `main(quick)` returns rows {what, goal, ratio or value, detail}. A goal is a number (the most that is
allowed) or a text such as "at least 1.3". `--quick` takes small sizes, to see that they run; its numbers mean little.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def number(row: dict) -> float | None:
    """What was measured; None for a row that only tells something."""
    return row.get("ratio", row.get("value"))


def bound(goal: object) -> tuple[str, float] | None:
    """("most", 1.3) of 1.3, "at most 1.3" and "<= 1.3"; ("least", 1.3) of "at least 1.3" and ">= 1.3"."""
    found = re.search(r"[0-9][0-9,]*(\.[0-9]+)?", str(goal))
    if found is None:
        return None
    return "least" if re.search("least|>", str(goal)) else "most", float(found.group().replace(",", ""))


def met(row: dict) -> bool | None:
    """None for a row that has no goal."""
    measured, goal = number(row), bound(row.get("goal"))
    if measured is None or goal is None:
        return None
    return measured <= goal[1] if goal[0] == "most" else measured >= goal[1]


def line(row: dict) -> str:
    measured, goal = number(row), bound(row.get("goal"))
    first = "" if measured is None else f"{measured:.2f}"
    second = "" if goal is None else f"at {goal[0]} {goal[1]:g}"
    mark = {True: "ok", False: "MISSED", None: ""}[met(row)]
    return f"{first:>9}  {second:<13} {mark:<6}  {row['what']}; {row.get('detail', '')}"


def printed(rows: list[dict]) -> None:
    print(f"{'measured':>9}  {'goal':<13}")
    for row in rows:
        print(line(row))


def alone(name: str, quick: bool) -> list[dict]:
    """The rows of one benchmark, from a process of its own: what one leaves in memory must not weigh on the next."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(importlib.import_module(f"benchmarks.{name}").main, quick).result()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    rows, names = [], given.names or NAMES
    # where numbers mean little, they may be taken while others are
    with ThreadPoolExecutor(os.cpu_count() if given.quick else 1) as turns:
        for name, found in zip(names, turns.map(partial(alone, quick=given.quick), names), strict=True):
            print(f"{name}: done", file=sys.stderr, flush=True)
            rows += found
    if given.quick:  # a verdict on numbers that mean little would only mislead
        rows = [{**row, "goal": None} for row in rows]
    printed(rows)
    return 0 if all(met(row) is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
