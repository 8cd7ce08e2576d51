"""A newcomer's way through the course, in a real browser: read, predict, step, write it wrongly, see why, mend it."""

import re

import pytest
from playwright.sync_api import Page, expect

from simplegrad.lessons import exercise

from .conftest import Server

READY = '[data-testid=player][data-ready="true"]'
WRONG = exercise("2").start.replace("return [None, None]", "return [dL_dr * a, dL_dr * b]")


def open_lesson(page: Page, server: Server, path: str) -> None:
    page.goto(server.url + path)
    page.wait_for_selector("[data-testid=lesson]", timeout=60_000)
    page.wait_for_selector(READY, timeout=60_000)


def step(page: Page) -> int:
    return int(page.get_by_test_id("player").get_attribute("data-step"))


@pytest.mark.parametrize("size", [(1440, 700), (390, 844)])
def test_a_newcomers_path(page: Page, server, size):
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_viewport_size({"width": size[0], "height": size[1]})
    open_lesson(page, server, "/")
    lesson = page.get_by_test_id("lesson")
    expect(lesson).to_have_attribute("data-lesson", "1")
    expect(lesson).to_have_attribute("data-solved", "false")
    assert step(page) > 0, "the first lesson begins at a step that shows something"

    asked = page.get_by_test_id("prediction")
    asked.get_by_role("button").nth(0).click()
    expect(asked.get_by_role("status")).to_contain_text("No.")
    expect(page.get_by_test_id("player")).to_have_attribute("data-step", "2")

    page.get_by_role("button", name="Lesson 2: A first gradient").first.click()
    expect(lesson).to_have_attribute("data-lesson", "2")
    expect(page).to_have_url(re.compile("lesson=2"))
    page.wait_for_selector(READY)
    page.get_by_test_id("exercise").fill(WRONG)
    page.get_by_test_id("check-answer").click()
    reply = page.get_by_test_id("reply")
    expect(reply).to_have_attribute("data-solved", "false")
    expect(reply).to_contain_text("stand in each other's place")
    expect(reply).to_contain_text("return [dL_dr * a, dL_dr * b]")
    page.get_by_test_id("show-step").click()
    expect(page.get_by_text("The run of your answer to exercise 2")).to_be_visible()
    page.wait_for_selector(READY)

    page.get_by_test_id("exercise").fill(WRONG.replace("dL_dr * a, dL_dr * b", "dL_dr * b, dL_dr * a"))
    page.get_by_test_id("check-answer").click()
    expect(reply).to_have_attribute("data-solved", "true")
    expect(lesson).to_have_attribute("data-solved", "true")
    page.get_by_test_id("next-lesson").click()
    expect(lesson).to_have_attribute("data-lesson", "3")
    assert errors == []


def test_what_is_solved_and_written_is_kept_by_the_browser(page: Page, server):
    open_lesson(page, server, "/learn?lesson=15")
    page.get_by_test_id("exercise").fill("a + b - a + b")
    page.get_by_test_id("check-answer").click()
    expect(page.get_by_test_id("reply")).to_have_attribute("data-solved", "true")
    open_lesson(page, server, "/learn?lesson=15")
    expect(page.get_by_test_id("lesson")).to_have_attribute("data-solved", "true")
    expect(page.get_by_test_id("exercise")).to_have_value("a + b - a + b")


def test_a_lesson_by_keyboard_alone(page: Page, server):
    open_lesson(page, server, "/learn?lesson=15")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.testid") == "exercise":
            break
    page.keyboard.press("Control+a")
    page.keyboard.type("(a + b) * b + a")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_test_id("reply")).to_have_attribute("data-solved", "false")
    expect(page.get_by_test_id("reply")).to_contain_text("becomes an output")
    at = step(page)
    page.keyboard.press("ArrowLeft")
    assert step(page) == at, "keys that are pressed in an answer are not the player's"


def test_hint_and_solution_are_closed_until_they_are_asked_for(page: Page, server):
    open_lesson(page, server, "/learn?lesson=9")
    solution = page.get_by_test_id("solution").first
    expect(solution.locator("pre")).not_to_be_visible()
    page.get_by_text("A hint").first.click()
    expect(solution.locator("pre")).not_to_be_visible()
    solution.get_by_text("A solution").click()
    expect(solution.locator("pre")).to_be_visible()


@pytest.mark.parametrize("path", ["/?program=first-gradient&aggregate=simple", "/step?program=first-gradient"])
def test_links_of_before_open_step(page: Page, server, path):
    page.goto(server.url + path)
    page.wait_for_selector(READY, timeout=60_000)
    expect(page.get_by_test_id("lesson")).to_have_count(0)


def test_an_answer_that_is_no_program_and_markup_stay_text(page: Page, server):
    open_lesson(page, server, "/learn?lesson=2")
    page.get_by_test_id("exercise").fill("<img src=x onerror=alert(1)>")
    page.get_by_test_id("check-answer").click()
    reply = page.get_by_test_id("reply")
    expect(reply).to_have_attribute("data-solved", "false")
    expect(reply).to_contain_text("<img src=x")
    assert reply.locator("img").count() == 0
