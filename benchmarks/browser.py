"""What a person waits for, in a real Chromium: a key until it is painted, a page, a cold start, a crowd of others.

Key to painted is the time from the key's own timestamp, given by the browser's input queue, over the change of the
player's step, to the beginning of the frame after the one that showed it. The server and the browser run on this
machine and share its processors; so does the crowd, which is 20 real pages in a second Chromium.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from simplegrad.graph import node_count
from simplegrad.language import Program, pack
from simplegrad.trace.trace import Trace

ROOT = Path(__file__).parent.parent
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS = [*FLAGS.split(), "--disable-component-update", "--disable-sync"]
READY, PLAYER = "[data-testid=player][data-ready=true]", "[data-testid=player]"
WRONG, RIGHT = "simple_variable_wrong", "simple"
SECONDS = 60  # at most, for anything that is waited for
FEW = 4  # presses, to see that it runs: nothing need be calm before them

# A key's timestamp; then, once the step has changed, the next frame (which paints) and the beginning of the one after.
WATCH = """() => {
  window.keyTimes = [];
  let pressed = null;
  window.addEventListener("keydown", (event) => { pressed = event.timeStamp; }, true);
  new MutationObserver(() => {
    if (pressed === null) return;
    const from = pressed;
    pressed = null;
    requestAnimationFrame(() => requestAnimationFrame(() => window.keyTimes.push(performance.now() - from)));
  }).observe(document.querySelector("[data-testid=player]"), { attributes: true, attributeFilter: ["data-step"] });
}"""
# The steps of one of the crowd, each at its own time within the half second.
STEPPING = """(wait) => setTimeout(() => setInterval(() => {
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true, cancelable: true }));
}, 500), wait)"""


# --- what is shown ------------------------------------------------------------------------------------------------


def text_of(repeats: int) -> str:
    steps = ["x = f(x, w).tanh()"] * repeats
    return "\n".join(["x = rand(4, seed=1)", "w = full(4, 0.5)", "x0 = x", *steps, "grad(x.sum(), [x0, w])"])


def program_of(nodes: int, aggregate: str) -> tuple[str, Trace]:
    """The longest program of `text_of` with at most so many nodes in its graph, and its trace."""
    few, many = (Program.parse(text_of(n)).run(aggregate=aggregate) for n in (1, 2))
    repeats = 1 + (nodes - node_count(few)) // (node_count(many) - node_count(few))
    text = text_of(repeats)
    trace = Program.parse(text).run(aggregate=aggregate)
    assert 0.8 * nodes < node_count(trace) <= nodes
    return text, trace


def address_of(nodes: int, aggregates: tuple[str, ...]) -> str:
    """The path and query of a page with a graph of so many nodes for each aggregate, in the middle of its steps."""
    text, trace = program_of(nodes, RIGHT)
    where = f"program={pack(text)}&step={len(trace) * 2 // 3}"
    if len(aggregates) == 1:
        return f"/?{where}&aggregate={aggregates[0]}"
    return f"/compare?{where}&left={aggregates[0]}&right={aggregates[1]}"


# --- the server and the browser -----------------------------------------------------------------------------------


class Server:
    """`streamlit run app.py` on a free port of this machine, with an own empty home."""

    def __init__(self, *files: str):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        options = [f"--server.port={self.port}", "--server.address=127.0.0.1", "--server.headless=true"]
        command = [sys.executable, "-m", "streamlit", "run", "app.py", *options, "--", *files]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, **quiet)

    def wait(self) -> None:
        """Until it takes connections."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"streamlit did not come up in {SECONDS} seconds (exit code {self.process.poll()})")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def server(*files: str) -> Iterator[Server]:
    running = Server(*files)
    try:
        running.wait()
        yield running
    finally:
        running.stop()


def chromium() -> str:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        raise RuntimeError("no Chromium found: install it (Debian: apt install chromium), or say where in CHROMIUM=…")
    return path


def new_page(browser, address: str):
    """A page of a fresh profile, ready to be stepped."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(SECONDS * 1000)
    page.goto(address)
    page.wait_for_selector(READY)
    return page


# --- keys ---------------------------------------------------------------------------------------------------------


def step_of(page) -> int:
    return int(page.get_attribute(PLAYER, "data-step"))


def key_times(page, presses: int) -> list[float]:
    """Milliseconds from key to painted for each press, at a reading pace that is never in step with the frames."""
    page.wait_for_timeout(1000 if presses > FEW else 100)
    page.evaluate(WATCH)
    draw, before = random.Random(0), step_of(page)
    for number in range(presses):
        page.keyboard.press("ArrowLeft" if number % 10 > 7 else "ArrowRight")
        page.wait_for_timeout(draw.uniform(120, 280))
    page.wait_for_function("count => window.keyTimes.length >= count", arg=presses)
    assert step_of(page) == before + sum(-1 if number % 10 > 7 else 1 for number in range(presses))
    return page.evaluate("() => window.keyTimes")


def lost(page, presses: int) -> int:
    """Presses as fast as they can be sent, and how many of them did not become a step."""
    page.keyboard.press("Home")
    page.wait_for_function("() => document.querySelector('[data-testid=player]').dataset.step === '0'")
    for _ in range(presses):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(1000)
    return presses - step_of(page)


def main_thread(session) -> float:
    """Milliseconds that the page's main thread has worked, of processor time: a busy machine tells the same."""
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return metrics["TaskDuration"] * 1000


def percentile(times: list[float], part: float) -> float:
    return sorted(times)[min(len(times) - 1, int(part * len(times)))]


def keys(browser, running: Server, what: str, nodes: int, aggregates: tuple[str, ...], goal: int, presses: int) -> list:
    page = new_page(browser, running.url + address_of(nodes, aggregates))
    page.wait_for_timeout(2000 if presses > FEW else 0)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    busy = main_thread(session)
    times = key_times(page, presses)
    each = (main_thread(session) - busy) / presses
    missing = lost(page, presses)
    page.context.close()
    detail = (
        f"median {percentile(times, 0.5):.0f}, {presses} presses; the page's main thread works {each:.1f} ms for each"
    )
    return [
        row(f"key to painted, {what} of {nodes:,} nodes, ms at p95", goal, percentile(times, 0.95), detail),
        row(f"keys lost of {presses} rapid ones, {what} of {nodes:,} nodes", 0, missing, ""),
    ]


# --- a crowd ------------------------------------------------------------------------------------------------------


def crowd(launch, running: Server, nodes: int, people: int, presses: int) -> list[dict]:
    """A person's keys and a page's load while others step, two steps a second each, in a browser of their own."""
    address = running.url + address_of(nodes, (RIGHT,))
    theirs, mine = launch(), launch()
    pages = [new_page(theirs, running.url + "/") for _ in range(people)]
    alone = key_times(new_page(mine, address), presses)
    person = new_page(mine, address)
    for number, page in enumerate(pages):
        page.evaluate(STEPPING, 500 * number / people)
    times = key_times(person, presses)
    start = time.perf_counter()
    new_page(mine, running.url + "/?program=first-gradient").context.close()
    load = time.perf_counter() - start
    moved = sum(step_of(page) > 0 for page in pages)
    assert moved == people, f"only {moved} of {people} pages of the crowd did step"
    theirs.close()
    mine.close()
    detail = f"median {percentile(times, 0.5):.0f}; p95 while nobody stepped {percentile(alone, 0.95):.0f}"
    detail += f"; all {people + 1} browsers' pages on the server's own {os.cpu_count()} processors"
    return [
        row(
            f"key to painted while {people} others step, {nodes} nodes, ms at p95", 32, percentile(times, 0.95), detail
        ),
        row(f"a page load while {people} others step, seconds", 6, load, "a fresh profile, to a player that is ready"),
    ]


# --- start and size -----------------------------------------------------------------------------------------------


def cold_start(browser, runs: int) -> list[dict]:
    """A new process each time; the browser runs already, with a fresh profile."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        with server() as running:
            page = new_page(browser, running.url)
            times.append(time.perf_counter() - start)
            page.context.close()
    told = ", ".join(f"{seconds:.1f}" for seconds in times)
    detail = f"median of {told}; processes ready when the player is"
    return [
        row("cold start of streamlit run app.py to the first picture, seconds", 3.5, percentile(times, 0.5), detail)
    ]


def long_tape(browser, entries: int, presses: int) -> list[dict]:
    """A saved trace, opened, stepped through, and jumped about in."""
    from .growth import recorded

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.trace"
        recorded(entries).save(path)
        with server(str(path)) as running:
            new_page(browser, running.url).context.close()  # imports, the file
            start = time.perf_counter()
            page = new_page(browser, f"{running.url}/?program=file:long.trace")
            seconds = time.perf_counter() - start
            times = key_times(page, presses)
            size = page.evaluate("() => document.querySelectorAll('*').length")
            memory = page.evaluate("() => performance.memory.usedJSHeapSize") / 1e6
            page.context.close()
    what = f"saved trace of {entries:,} entries"
    detail = f"median {percentile(times, 0.5):.0f}; {size:,} elements in the page, {memory:.0f} MB of its JavaScript"
    return [
        row(f"{what}: page to a player that is ready, seconds", 6, seconds, "the server has read the file"),
        row(f"{what}: key to painted, ms at p95", 50, percentile(times, 0.95), detail),
    ]


def row(what: str, goal: float, value: float, detail: str) -> dict:
    return {"what": what, "goal": goal, "value": value, "detail": detail}


def main(quick: bool = False) -> list[dict]:
    from playwright.sync_api import sync_playwright

    torch.set_num_threads(1)
    presses, people, small, large = (FEW, 1, 60, 300) if quick else (60, 20, 300, 3000)
    one, two = (RIGHT,), (WRONG, RIGHT)
    shown = [("one graph", small, one, 32), ("one graph", large, one, 50), ("two graphs", small, two, 32)]
    shown += [("two graphs", large, two, 64)]
    with sync_playwright() as playwright:

        def launch():
            return playwright.chromium.launch(executable_path=chromium(), args=FLAGS)

        browser = launch()
        rows = cold_start(browser, 1 if quick else 3)
        with server() as running:
            new_page(browser, running.url).context.close()
            for what, nodes, aggregates, goal in shown[::3] if quick else shown:
                rows += keys(browser, running, what, nodes, aggregates, goal, presses)
            rows += crowd(launch, running, small, people, presses)
        for entries in (1_000,) if quick else (10_000, 100_000):
            rows += long_tape(browser, entries, presses)
        browser.close()
    return rows


if __name__ == "__main__":
    from benchmarks.__main__ import printed

    printed(main())
