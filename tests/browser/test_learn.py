"""A newcomer's way through the course, in a real browser: read, predict, step, write it wrongly, see why, mend it."""

import re

import pytest
from playwright.sync_api import Page, expect

from simplegrad.lessons import exercise

from .conftest import SIZE, Server

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
    expect(reply).to_contain_text("are swapped")
    expect(reply).to_contain_text("return [dL_dr * a, dL_dr * b]")
    wrong = page.locator("[data-testid=exercise] [data-wrong=true]")
    expect(wrong).to_contain_text("return [dL_dr * a, dL_dr * b]")
    page.get_by_test_id("show-step").click()
    expect(page.get_by_text("The run of your answer to exercise 2")).to_be_visible()
    page.wait_for_selector(READY)

    page.get_by_test_id("exercise").fill(WRONG.replace("dL_dr * a, dL_dr * b", "dL_dr * b, dL_dr * a"))
    expect(reply).to_contain_text("About an earlier text")
    expect(wrong).to_have_count(0)
    page.get_by_test_id("check-answer").click()
    expect(reply).to_have_attribute("data-solved", "true")
    expect(reply).not_to_contain_text("earlier text")
    expect(lesson).to_have_attribute("data-solved", "true")
    expect(page.get_by_test_id("source")).to_have_count(1)  # the run of the answer before has left
    expect(page.get_by_test_id("source")).to_contain_text("return [dL_dr * b, dL_dr * a]")  # the run of this answer
    page.get_by_test_id("next-lesson").click()
    expect(lesson).to_have_attribute("data-lesson", "3")
    assert page.raised == []


def tab_to(page: Page, holds: str) -> None:
    """Tab until what has the focus is meant: `holds` is JavaScript about `it`."""
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate(f"(it => Boolean({holds}))(document.activeElement)"):
            return
    raise AssertionError(f"no Tab leads to {holds}")


@pytest.mark.parametrize("size", [(1440, 700), (390, 844)])
def test_a_newcomers_path_by_keyboard_alone(page: Page, server, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    open_lesson(page, server, "/")
    lesson, player, reply = (page.get_by_test_id(name) for name in ("lesson", "player", "reply"))
    begin = step(page)
    page.keyboard.press("End")
    expect(player).to_have_attribute("data-step", str(begin))
    on_the_question = "document.activeElement.dataset.testid === 'prediction'"
    asked = page.get_by_test_id("prediction")
    assert page.evaluate(on_the_question), "on an answer, Space would choose it"
    expect(asked).to_have_attribute("aria-label", re.compile("^Before step 2: "))
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    expect(asked).not_to_have_attribute("data-answered", "true")
    page.keyboard.press("Home")
    expect(player).to_have_attribute("data-step", "0")
    assert page.evaluate("document.activeElement.closest('[data-testid=player]') !== null")
    expect(asked.get_by_role("status")).to_have_text("")
    page.keyboard.press("End")
    assert page.evaluate(on_the_question)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the second answer
    expect(page.get_by_test_id("prediction").get_by_role("status")).to_contain_text("Yes.")
    expect(player).to_have_attribute("data-step", "2")
    page.keyboard.press("ArrowRight")
    expect(player).to_have_attribute("data-step", "3")

    tab_to(page, "it.dataset.testid === 'next-lesson'")
    page.keyboard.press("Enter")
    expect(lesson).to_have_attribute("data-lesson", "2")
    page.wait_for_selector(READY)
    tab_to(page, "it.dataset.testid === 'exercise'")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(WRONG)
    tab_to(page, "it.dataset.testid === 'check-answer'")
    page.keyboard.press("Enter")
    expect(reply).to_have_attribute("data-solved", "false")
    expect(reply).to_contain_text("are swapped")
    tab_to(page, "it.dataset.testid === 'show-step'")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The run of your answer to exercise 2")).to_be_visible()
    page.wait_for_selector(READY)
    tab_to(page, "it.dataset.testid === 'exercise'")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(WRONG.replace("dL_dr * a, dL_dr * b", "dL_dr * b, dL_dr * a"))
    page.keyboard.press("Control+Enter")
    expect(reply).to_have_attribute("data-solved", "true")
    tab_to(page, "it.dataset.testid === 'next-lesson'")
    page.keyboard.press("Enter")
    expect(lesson).to_have_attribute("data-lesson", "3")


def test_the_figure_waits_until_the_question_is_answered(page: Page, server):
    open_lesson(page, server, "/learn?lesson=2")
    player, asked = page.get_by_test_id("player"), page.get_by_test_id("prediction")
    remark = page.get_by_role("button", name="step 12")
    expect(remark).not_to_be_visible()  # what it says would answer the question
    for key in ("ArrowRight", "Shift+ArrowRight", "Control+ArrowRight", "End"):
        page.keyboard.press(key)
    for name in ("last event", "one event on", "pass of r: steps 4 to 16"):
        page.get_by_role("button", name=name).first.click()
    page.get_by_role("slider", name="step").fill("9")
    expect(player).to_have_attribute("data-step", "4")
    expect(page.get_by_role("slider", name="step")).to_have_value("4")
    expect(asked.get_by_role("status")).to_contain_text("The figure waits here")
    expect(page.get_by_test_id("held")).to_contain_text("answer the question")
    page.get_by_role("button", name="one event back").click()
    expect(player).to_have_attribute("data-step", "3")
    asked.get_by_test_id("skip").click()
    expect(player).to_have_attribute("data-step", "5")
    expect(remark).to_be_visible()
    page.keyboard.press("End")
    expect(player).to_have_attribute("data-step", "16")
    page.reload()  # what was answered, or skipped, is not asked again
    page.wait_for_selector(READY, timeout=60_000)
    expect(asked.get_by_role("status")).to_contain_text("Skipped")
    page.keyboard.press("End")
    expect(player).to_have_attribute("data-step", "16")


def test_the_runs_of_a_lesson_are_chosen_by_name(page: Page, server):
    open_lesson(page, server, "/learn?lesson=16")
    expect(page.get_by_test_id("event")).to_have_count(2)  # the tape, and PyTorch beside it
    expect(page.get_by_test_id("event").nth(1)).to_contain_text("z = Exp(")
    page.get_by_test_id("scene").nth(1).click()
    expect(page.get_by_test_id("scene").nth(1)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_test_id("event")).to_have_count(1)
    page.wait_for_selector(READY)
    page.keyboard.press("End")
    expect(page.get_by_test_id("event")).to_contain_text("is at version 1; expected version 0")
    expect(page.get_by_test_id("source")).to_contain_text("y.mul_(x)")
    page.locator('[data-scene="4"][data-step="61"]').click()
    expect(page.get_by_test_id("event")).to_contain_text("[0.5211, -1.1752, 3.6269]")


def test_the_lane_that_a_lesson_begins_in_is_in_sight(page: Page, server):
    """All of it, in a low window too: of this lesson, the third."""
    page.set_viewport_size({"width": 1440, "height": 700})
    open_lesson(page, server, "/learn?lesson=11")
    below = """() => {
      const end = document.querySelector("[class*='-tape-frame'] .js-plotly-plot").getBoundingClientRect().bottom;
      const ends = [...document.querySelectorAll(".sg-node")].map((node) => node.getBoundingClientRect().bottom);
      return ends.filter((each) => each > end).length;
    }"""
    assert page.evaluate(below) == 0


def test_the_menu_of_pages_marks_what_the_bare_address_shows(page: Page, server):
    open_lesson(page, server, "/")
    current = page.locator('[data-testid=stTopNavLink][aria-current="page"]')
    expect(current).to_have_text("Learn")
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_test_id("stExpandSidebarButton").click()
    expect(page.locator('[data-testid=stSidebarNavLink][aria-current="page"]')).to_have_text("Learn")
    page.set_viewport_size(SIZE)
    expect(current).to_have_text("Learn")
    page.get_by_role("link", name="Compile").click()
    expect(page.get_by_test_id("lesson")).to_have_count(0)
    expect(current).to_have_text("Compile")


def test_what_is_solved_and_written_is_kept_by_the_browser(page: Page, server):
    open_lesson(page, server, "/learn?lesson=15")
    page.get_by_test_id("exercise").fill("a + b - a + b")
    page.get_by_test_id("check-answer").click()
    expect(page.get_by_test_id("reply")).to_have_attribute("data-solved", "true")
    open_lesson(page, server, "/learn?lesson=15")
    expect(page.get_by_test_id("lesson")).to_have_attribute("data-solved", "true")
    answer = page.get_by_test_id("exercise")
    expect(answer).to_have_text("a + b - a + b")
    expect(page.get_by_test_id("reply")).to_have_text("Solved. ")
    page.get_by_role("button", name="Start over").click()
    expect(answer).not_to_have_text("a + b - a + b")
    answer.press("Control+z")
    expect(answer).to_have_text("a + b - a + b")


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


def test_a_lesson_that_there_is_not_is_not_left_in_the_address(page: Page, server):
    open_lesson(page, server, "/?lesson=99")
    expect(page.get_by_test_id("lesson")).to_have_attribute("data-lesson", "1")
    expect(page).to_have_url(re.compile("lesson=1$"))
    expect(page.get_by_text("The address says lesson=99")).to_be_visible()
