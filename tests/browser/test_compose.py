"""The Compose page in a real Chromium: typing, errors as one types, the palette, and the way to Step and back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from simplegrad.language import pack

EDITOR = "[data-testid=editor]"


def open_compose(page: Page, server, text: str | None = None) -> None:
    page.goto(f"{server.url}/compose" + (f"?program={pack(text)}" if text is not None else ""))
    page.wait_for_selector(EDITOR)


def type_at_end(page: Page, text: str) -> None:
    page.click(EDITOR)
    page.keyboard.press("Control+End")
    page.keyboard.type(text)


def test_an_error_is_marked_at_its_line_as_one_types(page, server):
    open_compose(page, server, "a = rand(3, seed=1)\n")
    type_at_end(page, "b = a.tanhh()")
    problem = page.get_by_test_id("problem")
    expect(problem).to_contain_text("line 2, column 7")
    expect(problem).to_contain_text("Did you mean 'tanh'?")
    expect(page.locator(".sg-gutter .sg-wrong")).to_have_text("2")
    assert page.input_value(EDITOR) == "a = rand(3, seed=1)\nb = a.tanhh()"
    for _ in range(3):
        page.keyboard.press("Backspace")
    page.keyboard.type("()")
    expect(problem).to_have_text("")
    expect(page.get_by_text("1 entry").or_(page.get_by_text("1 entries")).first).to_be_visible()


def test_nothing_typed_is_lost_while_the_server_answers(page, server):
    open_compose(page, server, "a = rand(3, seed=1)\n")
    lines = [f"b{i} = a * {i}.5\n" for i in range(12)]
    for line in lines:
        type_at_end(page, line)
    page.wait_for_timeout(1500)
    assert page.input_value(EDITOR) == "a = rand(3, seed=1)\n" + "".join(lines)


def test_the_palette_inserts_behind_the_line_of_the_caret(page, server):
    open_compose(page, server, "a = rand(3, seed=1)\nL0 = a.sum()\n")
    page.click(EDITOR)
    page.keyboard.press("Control+Home")
    page.click("details[data-group=Aggregates] [data-insert=f]")
    assert re.fullmatch(r"a = rand\(3, seed=1\)\n\w+ = f\(a, a\)\nL0 = a\.sum\(\)\n", page.input_value(EDITOR))


def test_the_palette_inserts_an_aggregate_of_ones_own_that_runs(page, server):
    open_compose(page, server, "a = rand(3, seed=1)\nb = a * a\n")
    page.click(EDITOR)
    page.keyboard.press("Control+End")
    page.click("details[data-group=Aggregates] [data-insert='an aggregate of your own']")
    assert "def mine(a, b):" in page.input_value(EDITOR) and "y0 = mine(b, a)" in page.input_value(EDITOR)
    expect(page.get_by_text("2 entries, 0 passes")).to_be_visible()
    expect(page.get_by_test_id("problem")).to_be_empty()


def test_what_is_wrong_is_kept_when_pages_are_switched(page, server):
    open_compose(page, server, "a = rand(3, seed=1)\n")
    type_at_end(page, "b = (a *")
    expect(page.get_by_test_id("problem")).to_contain_text("line 2")
    page.get_by_role("link", name="Step").click()
    expect(page.get_by_text("Line 2, column").first).to_be_visible()
    page.get_by_role("link", name="Compose").click()
    page.wait_for_selector(EDITOR)
    expect(page.locator(EDITOR)).to_have_value("a = rand(3, seed=1)\nb = (a *")


def test_what_was_typed_a_moment_before_switching_pages_is_kept(page, server):
    open_compose(page, server, "a = rand(3, seed=1)\n")
    type_at_end(page, "b = a * 2")
    page.get_by_role("link", name="Step").click()
    page.wait_for_selector("[data-testid=player]")
    page.get_by_role("link", name="Compose").click()
    page.wait_for_selector(EDITOR)
    expect(page.locator(EDITOR)).to_have_value("a = rand(3, seed=1)\nb = a * 2")


def test_a_way_to_step_and_an_address_that_says_it(page, server):
    open_compose(page, server, "a = rand(3, seed=1)\n")
    type_at_end(page, "L0 = (a * a).sum()\ngrad(L0, [a])")
    expect(page.get_by_text("1 pass,", exact=False).first).to_be_visible()
    leads = page.get_by_role("button", name="Step through it")
    leads.click()
    expect(leads).to_have_count(0)  # the player of Compose is ready, too
    page.wait_for_selector("[data-testid=player][data-ready=true]")
    page.keyboard.press("End")
    expect(page.locator("[data-testid=source] [data-current=true]")).to_have_text("grad(L0, [a])")
    assert "program=" in page.url


def test_arrow_keys_move_the_caret(page, server):
    open_compose(page, server, "abc = rand(3)\n")
    page.click(EDITOR)
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(f"() => document.querySelector('{EDITOR}').selectionStart") == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_off(browser, server, theme):
    context = browser.new_context(color_scheme=theme)
    page = context.new_page()
    open_compose(page, server)
    for width in (1440, 800):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), width
        assert page.evaluate(
            "() => [...document.querySelectorAll('.sg-item')].every(b => b.scrollWidth <= b.clientWidth + 1)"
        ), width
    context.close()


def test_numbers_stay_beside_their_lines_in_a_long_program(page, server):
    open_compose(page, server, "a = rand(3, seed=1)\n" + "".join(f"b{i} = a * {i}.5\n" for i in range(30)))
    type_at_end(page, "c = a + 1\nd = a + 2\n")
    tops = page.evaluate("""() => {
      const top = (found) => document.querySelector(found).getBoundingClientRect().top;
      const scrolled = (found) => document.querySelector(found).scrollTop;
      return [top(".sg-text"), top(".sg-gutter"), scrolled(".sg-page"), scrolled(".sg-editor")];
    }""")
    assert tops[0] == tops[1] and tops[2] == 0 and tops[3] > 0
    page.mouse.move(*[page.locator(EDITOR).bounding_box()[side] + 60 for side in ("x", "y")])
    page.locator(".sg-editor").hover()
    page.mouse.wheel(0, -2000)
    page.wait_for_function("() => document.querySelector('.sg-editor').scrollTop === 0")


def test_an_example_does_not_take_ones_own_program_away(page, server):
    open_compose(page, server, "mine = rand(3, seed=1)\n")
    page.get_by_role("combobox").first.click()
    page.get_by_role("option", name="A first gradient").click()
    expect(page.locator(EDITOR)).to_have_value(re.compile("grad"))
    page.get_by_role("combobox").first.click()
    page.get_by_role("option", name="your own program").click()
    expect(page.locator(EDITOR)).to_have_value("mine = rand(3, seed=1)\n")


def test_back_brings_the_text_back_into_the_editor(page, server):
    open_compose(page, server, "mine = rand(3, seed=1)\n")
    page.get_by_role("combobox").first.click()
    page.get_by_role("option", name="A first gradient").click()
    expect(page.locator(EDITOR)).to_have_value(re.compile("grad"))
    page.wait_for_url(re.compile("program=first-gradient"))
    page.go_back()
    expect(page.locator(EDITOR)).to_have_value("mine = rand(3, seed=1)\n")
