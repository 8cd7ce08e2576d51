"""Visitors of a server, and of two behind nginx: what one costs the others, what a crowd waits, what a crash costs.

They are simulated over websockets, in this process, on the processors of the servers.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from simplegrad.language import pack

from ._visitors import Visitor
from .browser import percentile, server

COOKIE = "simplegrad_server=server{}"


def heavy(number: int) -> str:
    """A program as long as the limits allow; another one for each number, so that none was run before."""
    return f"a = rand({4 + number % 7}, seed={number})\nL = (a*a).sum()\n" + "grad(L,[a])\n" * 998


def at_once(count: int, do: Callable[[int], object]) -> list:
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(do, range(count)))


# --- one visitor's program, and the others ----------------------------------------------------------------------


def stalled(seconds: float, loads: int) -> list[dict]:
    """Page loads and answers, alone and while another visitor runs one long program after the other."""
    with server() as running:
        load(running.url, 0)
        alone = [load(running.url, number) for number in range(loads)]
        over, runs = threading.Event(), []

        def busy() -> None:
            while not over.is_set():
                with Visitor(running.url, program=pack(heavy(random.randrange(10**6)))) as visitor:
                    runs.append(visitor.load())

        other = threading.Thread(target=busy)
        other.start()
        time.sleep(min(1.0, seconds))
        end, beside = time.monotonic() + seconds, []
        while time.monotonic() < end or len(beside) < loads:
            beside.append(load(running.url, len(beside)))
        over.set()
        other.join()
    rows = []
    for what, place in (("page load", 0), ("answer", 1)):
        before, after = (percentile([each[place] for each in times], 0.95) for times in (alone, beside))
        detail = f"p95 {before:.2f} alone, {after:.2f} beside; the other's programs took {max(runs):.1f} s at most"
        what = f"{what} while another visitor's programs run, seconds more than alone, p95"
        rows.append({"what": what, "goal": 1.0, "value": after - before, "detail": detail})
    return rows


def load(url: str, number: int) -> tuple[float, float]:
    """Seconds of a page's load, and of the answer to a choice in its menu."""
    with Visitor(url, program=("reuse", "first-gradient", "broadcasting")[number % 3]) as visitor:
        return visitor.load(), visitor.choose("Program", number)


# --- a crowd over one server, and twice the crowd over two ------------------------------------------------------


def crowd(url: str, people: int, seconds: float, answers: int) -> tuple[list[float], list[float]]:
    """They come within some seconds, open a page each, and choose something now and then."""
    draw = random.Random(0)
    comes = [draw.uniform(0, seconds) for _ in range(people)]

    def visit(number: int) -> tuple[float, list[float]]:
        time.sleep(comes[number])
        with Visitor(url, "step", cookie=COOKIE.format(number % 2)) as visitor:
            loaded, times = visitor.load(), []
            for each in range(answers):
                time.sleep(draw.uniform(0.5, 1.5))
                times.append(visitor.choose("Program", number + each))
            return loaded, times

    found = at_once(people, visit)
    return [loaded for loaded, _ in found], [each for _, times in found for each in times]


def crowds(people: int, seconds: float, answers: int) -> list[dict]:
    from docs.replicas import Replicas

    with server() as one:
        at_once(2, lambda number: load(one.url, number))
        single = crowd(one.url, people, seconds, answers)
    with Replicas() as two:
        for port in two.ports:
            load(f"http://127.0.0.1:{port}", 0)
        double = crowd(two.url, 2 * people, seconds, answers)
        rows = [crash(two, people // 3)]
    for what, before, after in zip(("page load", "answer"), single, double):
        one, two = percentile(before, 0.95), percentile(after, 0.95)
        detail = f"p95 {two:.2f} s of {2 * people} over two servers, {one:.2f} s of {people} on one, the same 2 cores"
        rows.append({"what": f"{what}, twice the visitors over two servers", "ratio": two / one, "detail": detail})
    return rows


def crash(replicas, people: int) -> dict:
    """One server is killed while people have its pages open: until each page stands again on the other."""
    url, cookie = replicas.url, COOKIE.format(0)
    visitors = [Visitor(url, cookie=cookie, program="reuse", step=number) for number in range(people)]
    for visitor in visitors:
        visitor.load()
    start = time.monotonic()
    replicas.kill(0)

    def back(number: int) -> float:
        with Visitor(url, cookie=cookie, program="reuse", step=number) as again:
            again.load()
            assert f"step={number}" in again.query
        return time.monotonic() - start

    times = at_once(people, back)
    detail = f"{people} pages at once; their browsers wait half a second or so before they try"
    return {
        "what": "a server is killed: until its pages stand on the other, seconds, p95",
        "goal": 5.0,
        "value": percentile(times, 0.95),
        "detail": detail,
    }


def main(quick: bool = False) -> list[dict]:
    from docs import replicas

    rows = stalled(2.0 if quick else 10.0, 3 if quick else 20)
    try:
        replicas.nginx()
    except RuntimeError as missing:
        return [*rows, {"what": "two servers behind nginx: not measured", "detail": str(missing)}]
    return rows + (crowds(4, 1.0, 1) if quick else crowds(30, 10.0, 4))


if __name__ == "__main__":
    from benchmarks.__main__ import printed

    printed(main())
