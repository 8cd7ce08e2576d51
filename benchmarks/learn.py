"""A class of learners on one server: how long each waits for the reply to an answer, and what one sees of the others.

Thirty learners have a lesson open and check an answer every twenty seconds, each another text; they are simulated over
websockets, in this process, on the processors of the server. Meanwhile one real Chromium steps through a lesson.
"""

from __future__ import annotations

import json
import random
import statistics
import threading
import time

from streamlit.proto.WidgetStates_pb2 import WidgetState

from simplegrad.lessons import course, judge
from simplegrad.lessons.facts import warm

from ._visitors import PATIENCE, Visitor
from .browser import FLAGS, WATCH, chromium, key_times, new_page, percentile, row, server

LESSONS = [lesson.number for lesson in course() if lesson.number != 16]  # of a Function there is no second answer here


class Learner(Visitor):
    """One who has a lesson open. `right`: whether the last answer was."""

    def __init__(self, url: str, number: int):
        super().__init__(url, "learn", lesson=number)
        self.exercise = course()[number - 1].exercises[0]
        self.answers = 0
        self.fragment = ""

    def hear(self, message) -> None:
        super().hear(message)
        if message.WhichOneof("type") != "delta":
            return
        found = message.delta.new_element.bidi_component
        if found.component_name.endswith("simplegrad_learn"):
            self.component, self.fragment = found.id, message.delta.fragment_id
            self.reply = json.loads(found.json or "{}").get("replies", {}).get(self.exercise.id)

    def check(self) -> float:
        """Seconds until the reply to another answer is here: wrong and right ones in turn."""
        self.answers += 1
        is_right = self.answers % 2 == 0
        text = (self.exercise.model if is_right else self.exercise.start) + "\n" * self.answers + f"# {id(self)}"
        told = {"id": self.exercise.id, "text": text, "n": f"{id(self)}-{self.answers}"}
        self.widgets[self.component] = WidgetState(id=self.component, json_value=json.dumps({"check": told}))
        start = time.perf_counter()
        self.ask(self.fragment)
        for _ in self.messages():
            if self.reply is not None and self.reply["solved"] == is_right:
                return time.perf_counter() - start
        raise TimeoutError(f"no reply within {PATIENCE} seconds")


def judged(rounds: int) -> list[dict]:
    """Seconds of one answer by itself, of all exercises, wrong and right."""
    warm()
    texts = [(e.id, text) for lesson in course() for e in lesson.exercises for text in (e.start, e.model)]
    for each in texts:
        judge(*each)
    times, own = [], []
    for each in texts * rounds:
        start, began = time.perf_counter(), time.thread_time()
        judge(*each)
        times.append(time.perf_counter() - start)
        own.append(time.thread_time() - began)
    detail = f"of {len(times)} answers to 18 exercises; {statistics.median(own):.3f} of it computed, p95 "
    detail += f"{percentile(own, 0.95):.2f}: the rest is what others on the machine took"
    return [row("an answer judged, seconds, median", 0.1, statistics.median(times), detail)]


def visit(url: str, number: int, rounds: int, every: float, times: list[float]) -> None:
    draw = random.Random(number)
    with Learner(url, LESSONS[number % len(LESSONS)]) as learner:
        learner.load()
        time.sleep(draw.uniform(0, every))
        for _ in range(rounds):
            times.append(learner.check())
            time.sleep(max(0.0, every - times[-1]))


def a_class(people: int, rounds: int, every: float, presses: int) -> list[dict]:
    from playwright.sync_api import sync_playwright

    times: list[float] = []
    with server() as running, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = new_page(browser, f"{running.url}/learn?lesson=8")
        page.get_by_test_id("skip").click()
        answers = [answered(page, number) for number in range(6)][1:]
        threads = [
            threading.Thread(target=visit, args=(running.url, number, rounds, every, times)) for number in range(people)
        ]
        for thread in threads:
            thread.start()
        time.sleep(every)
        page.keyboard.press("Home")
        page.evaluate(WATCH)
        painted = key_times(page, presses)
        for thread in threads:
            thread.join()
        browser.close()
    crowd = f"{people} learners on one server, each checking every {every:g} s"
    shown = f"{len(times)} answers, median {statistics.median(times):.2f}"
    return [
        row("click to the answer on the page, alone, seconds, median", 0.5, statistics.median(answers), "exercise 8"),
        row(f"reply to an answer, {crowd}, seconds, p95", 1.5, percentile(times, 0.95), shown),
        row(
            f"key to painted beside {crowd}, ms, p95", 50, percentile(painted, 0.95), f"{len(painted)} keys in lesson 8"
        ),
    ]


def answered(page, number: int) -> float:
    """Seconds from the click on Check until the reply stands: wrong and right answers in turn."""
    exercise = course()[7].exercises[0]
    is_right = number % 2 == 1
    page.get_by_test_id("exercise").fill((exercise.model if is_right else exercise.start) + f"\n# {number}")
    start = time.perf_counter()
    page.get_by_test_id("check-answer").click()
    page.wait_for_selector(f'[data-testid=reply][data-solved="{str(is_right).lower()}"]')
    return time.perf_counter() - start


def main(quick: bool = False) -> list[dict]:
    if quick:
        return [*judged(1), *a_class(3, 2, 2.0, 10)]
    return [*judged(3), *a_class(30, 4, 20.0, 60)]
