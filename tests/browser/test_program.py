"""The program beside its graph in a real Chromium: typing, errors as one types, undo, the palette, and old links."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from simplegrad.language import EXAMPLES, Program, pack, unpack

from .test_step import press, ready, step_of, steps_of

EDITOR = "[data-testid=editor]"
A = "a = rand(3, seed=1)\n"
OWN = f"{A}L0 = (a * a).sum()\ngrad(L0, [a])\n"


def open_program(page: Page, server, text: str | None = None, path: str = "step", **more) -> None:
    wanted = more if text is None else {"program": pack(text), **more}
    query = "&".join(f"{name}={said}" for name, said in wanted.items())
    page.goto(f"{server.url}/{path}?{query}")
    page.wait_for_selector(EDITOR)


def type_at_end(page: Page, text: str) -> None:
    page.click(EDITOR)
    page.keyboard.press("Control+End")
    page.keyboard.type(text)


LINES = "[...document.querySelectorAll('[data-testid=editor] .cm-line')].map((line) => line.textContent).join('\\n')"


def text_of(page: Page) -> str:
    return page.evaluate(LINES)


def has_text(page: Page, text: str) -> None:
    page.wait_for_function(f"(text) => {LINES} === text", arg=text)


def runs(page: Page, entries: int) -> None:
    """The program that is shown has so many entries on its tape."""
    ready(page)
    found = "(count) => [...simplegrad.players.values()][0].sides[0].entries.length === count"
    page.wait_for_function(found, arg=entries)


def test_an_error_is_marked_at_its_line_as_one_types(page, server):
    open_program(page, server, A)
    ready(page)
    type_at_end(page, "b = a.tanhh()")
    problem = page.get_by_test_id("problem")
    expect(problem).to_contain_text("line 2, column 7")
    expect(problem).to_contain_text("Did you mean 'tanh'?")
    expect(problem).to_contain_text("The graph shows the program as it ran last.")
    expect(page.locator(f"{EDITOR} [data-wrong=true]")).to_have_text("b = a.tanhh()")
    expect(page.locator(f"{EDITOR} .cm-lintRange-error")).to_have_text("tanhh")
    expect(page.locator(f"{EDITOR} .sg-told")).to_have_text("'.tanhh' is not known. Did you mean 'tanh'?")
    expect(page.locator(".cm-gutterElement.sg-wrong")).to_have_text("2")
    page.keyboard.press("Control+Home")
    page.keyboard.press("F8")
    assert page.evaluate("getSelection().toString()") == "tanhh"
    page.keyboard.press("Control+End")
    expect(page.locator(EDITOR)).to_have_attribute("aria-invalid", "true")
    has_text(page, f"{A}b = a.tanhh()")
    for _ in range(3):
        page.keyboard.press("Backspace")
    page.keyboard.type("()")
    expect(problem).to_be_empty()
    runs(page, entries=1)


def test_editing_keeps_the_step_near_where_it_was_and_makes_no_entry_in_the_history(page, server):
    page.goto("about:blank")
    open_program(page, server, OWN)
    ready(page)
    page.keyboard.press("End")
    page.wait_for_url(re.compile(f"step={steps_of(page) - 1}"))
    before = page.inner_text("[data-testid=event]")
    page.wait_for_timeout(800)  # the step is told to the server
    page.click(EDITOR)
    page.keyboard.press("Control+Home")
    page.keyboard.type("c = ones(2)\n")
    page.wait_for_function("() => document.querySelector('[data-testid=source] [data-current]')?.dataset.current")
    page.wait_for_function(
        "(steps) => document.querySelector('[data-testid=player]').dataset.steps > steps", arg=steps_of(page)
    )
    ready(page)
    assert page.inner_text("[data-testid=event]") == before
    expect(page.locator("[data-testid=source] [data-current=true]")).to_have_text("grad(L0, [a])")
    expect(
        page.locator(".sg-sheet .sg-name-text").filter(has_text=re.compile("^c$"))
    ).to_be_visible()  # the new picture
    expect(page.get_by_text("BidiComponent Error")).to_have_count(0)
    page.wait_for_url(re.compile(re.escape(pack("c = ones(2)\n" + OWN))))
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowDown")
    assert step_of(page) == steps_of(page) - 1, "keys in the editor are not the player's"
    page.go_back()  # to what stood there before it was edited
    has_text(page, OWN)
    page.go_forward()
    has_text(page, "c = ones(2)\n" + OWN)
    page.go_back()
    page.go_back()
    page.wait_for_url("about:blank")


def test_steps_that_are_taken_while_an_edit_runs_are_kept_and_undo_goes_back_to_them(page, server):
    open_program(page, server, path="step", program="gradient-of-gradient", step=30)
    ready(page)
    type_at_end(page, "\nz = da * 2.0")
    page.click("[data-action=last]")
    assert step_of(page) == 69
    expect(page.get_by_test_id("event")).to_contain_text("The pass of L1 ends")  # painted
    before = page.inner_text("[data-testid=event]")
    link = page.evaluate("[...simplegrad.players.values()][0].link()")
    (program,) = parse_qs(urlsplit(link).query)["program"]
    assert unpack(program) == text_of(page), "what is copied is what stands there"
    page.wait_for_function("document.querySelector('[data-testid=player]').dataset.steps > 70")
    expect(page.get_by_test_id("event")).to_have_text(" ".join(before.split()))  # painted
    page.wait_for_timeout(1000)  # the step is told to the server
    assert page.inner_text("[data-testid=event]") == before
    page.click(EDITOR)
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    expect(page.get_by_text("This program does nothing yet")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('[data-action=here]')).borderRadius") == "6px"
    page.keyboard.press("Control+z")
    ready(page)
    assert page.inner_text("[data-testid=event]") == before


def test_nothing_typed_is_lost_while_the_server_answers(page, server):
    open_program(page, server, A)
    lines = [f"b{i} = a * {i}.5\n" for i in range(8)]
    for line in lines:
        type_at_end(page, line)
    page.wait_for_timeout(1500)
    has_text(page, A + "".join(lines))
    runs(page, entries=8)


def test_an_empty_program_becomes_one_under_ones_hands(page, server):
    open_program(page, server, "")
    expect(page.get_by_text("This program does nothing yet")).to_be_visible()
    type_at_end(page, "a = ones(2)\n")
    runs(page, entries=0)
    page.keyboard.type("b = a * a\n")  # the editor is still the one that has the focus
    runs(page, entries=1)
    has_text(page, "a = ones(2)\nb = a * a\n")


def test_the_palette_inserts_behind_the_line_of_the_caret(page, server):
    open_program(page, server, "a = rand(3, seed=1)\nL0 = a.sum()\n")
    expect(page.locator("[data-insert=f]")).to_be_hidden()
    page.get_by_text("Insert a statement").click()
    page.click(EDITOR)
    page.keyboard.press("Control+Home")
    page.click("details[data-group=Aggregates] [data-insert=f]")
    assert re.fullmatch(r"a = rand\(3, seed=1\)\n\w+ = f\(a, a\)\nL0 = a\.sum\(\)\n", text_of(page))
    page.keyboard.press("Control+z")
    has_text(page, "a = rand(3, seed=1)\nL0 = a.sum()\n")


def test_an_old_link_opens_the_palette_and_inserts_an_aggregate_of_ones_own_that_runs(page, server):
    open_program(page, server, "a = rand(3, seed=1)\nb = a * a\n", path="compose")
    expect(page.get_by_role("link", name="Compose")).to_have_count(0)
    current = page.locator("[data-testid=stTopNavLink][aria-current=page]")
    expect(current).to_have_text("Step")
    page.set_viewport_size({"width": 390, "height": 844})
    expect(current).to_have_count(0)  # the menu is in the sidebar
    page.set_viewport_size({"width": 1440, "height": 900})
    expect(current).to_have_text("Step")  # another one
    page.click(EDITOR)
    page.keyboard.press("Control+End")
    page.click("details[data-group=Aggregates] [data-insert='an aggregate of your own']")
    runs(page, entries=2)
    expect(page.get_by_test_id("problem")).to_be_empty()
    page.get_by_label("a, 3").fill("[1, 2, 3]")
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => {LINES}.startsWith('a = tensor([1.0, 2.0, 3.0])')")


def test_what_is_wrong_is_kept_when_pages_are_switched(page, server):
    open_program(page, server, A)
    type_at_end(page, "b = (a *")
    expect(page.get_by_test_id("problem")).to_contain_text("line 2")
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_text("Line 2, column").first).to_be_visible()
    page.get_by_role("link", name="Step").click()
    page.wait_for_selector(EDITOR)
    has_text(page, f"{A}b = (a *")
    page.click(EDITOR)
    page.keyboard.press("Control+z")
    has_text(page, A)  # undo outlives the page


def test_what_was_typed_a_moment_before_switching_pages_is_kept(page, server):
    open_program(page, server, A)
    type_at_end(page, "b = a * 2")
    page.get_by_role("link", name="Compile").click()
    page.get_by_role("textbox", name="expression").wait_for()
    page.get_by_role("link", name="Step").click()
    page.wait_for_selector(EDITOR)
    has_text(page, f"{A}b = a * 2")


def test_keys_in_the_editor_are_its_own_and_escape_gives_them_to_the_player(page, server):
    open_program(page, server, OWN)
    ready(page)
    page.click(EDITOR)
    for key in ("Control+Home", "ArrowRight", "End", "b", "Space"):
        page.keyboard.press(key)
    assert step_of(page) == 0
    has_text(page, OWN.replace("seed=1)\n", "seed=1)b \n"))
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Enter")  # to the line of the caret
    page.keyboard.press("Escape")
    press(page, "ArrowRight")
    assert step_of(page) == 1
    for way in ("Escape", ""):
        page.focus(EDITOR)
        if way:
            page.keyboard.press(way)
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.textContent") == "Insert a statement"


def test_a_click_on_a_number_is_a_breakpoint(page, server):
    open_program(page, server, OWN)
    ready(page)
    page.locator(".cm-lineNumbers .cm-gutterElement").filter(has_text="3").click()
    page.wait_for_url(re.compile("break=l3"))
    expect(page.locator(f"{EDITOR} [data-break=true]")).to_have_text("grad(L0, [a])")
    press(page, "n")
    expect(page.locator("[data-testid=source] [data-current=true]")).to_have_text("grad(L0, [a])")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_off(page, server, theme):
    page.emulate_media(color_scheme=theme)
    open_program(page, server, path="compose")
    for width in (1440, 800):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), width
        assert page.evaluate(
            "() => [...document.querySelectorAll('.sg-item')].every(b => b.scrollWidth <= b.clientWidth + 1)"
        ), width


def test_numbers_stay_beside_their_lines_in_a_long_program(page, server):
    open_program(page, server, A + "".join(f"b{i} = a * {i}.5\n" for i in range(40)))
    type_at_end(page, "c = a + 1\nd = a + 2\n")
    beside = """() => {  // of what is in sight: the line of the caret is in the page wherever it is
      const { top, bottom } = document.querySelector(".cm-scroller").getBoundingClientRect();
      const tops = (found) => [...document.querySelectorAll(found)].filter((each) => each.style.visibility !== "hidden")
        .map((each) => Math.round(each.getBoundingClientRect().top))
        .filter((each) => each >= top && each < bottom).join();
      return tops(".cm-lineNumbers .cm-gutterElement") === tops("[data-testid=editor] .cm-line");
    }"""
    page.wait_for_function(beside)
    box = page.locator(".cm-scroller")
    assert box.evaluate("(box) => box.scrollTop") > 300, "the caret is in sight"
    box.hover()
    page.mouse.wheel(0, -3000)
    page.wait_for_function("() => document.querySelector('.cm-scroller').scrollTop === 0")
    first = page.locator(f"{EDITOR} .cm-line").first
    expect(first).to_have_text("a = rand(3, seed=1)")
    seen, inside = first.bounding_box(), box.bounding_box()
    assert inside["y"] <= seen["y"] < inside["y"] + inside["height"]
    page.wait_for_function(beside)


def choose(page: Page, name: str) -> None:
    page.get_by_role("combobox").first.click()
    page.get_by_role("option", name=name, exact=True).click()


def test_an_example_takes_ones_own_program_away_and_undo_brings_it_back(page, server):
    open_program(page, server, OWN)
    ready(page)
    choose(page, "A first gradient")
    has_text(page, EXAMPLES["first-gradient"].text)
    page.wait_for_url(re.compile("program=first-gradient"))  # its run has come, too
    page.click(EDITOR)
    page.keyboard.press("Control+z")
    has_text(page, OWN)
    runs(page, entries=len(Program.parse(OWN).run().entries))
    page.keyboard.press("Control+y")
    has_text(page, EXAMPLES["first-gradient"].text)
    page.wait_for_url(re.compile(pack(EXAMPLES["first-gradient"].text)))
    page.wait_for_timeout(1000)  # a menu that is open closes as the page is drawn
    choose(page, "A diamond")
    has_text(page, EXAMPLES["reuse"].text)
    page.wait_for_url(re.compile("program=reuse"))
    page.wait_for_timeout(1000)
    choose(page, "your own program")  # is in the menu, too
    has_text(page, EXAMPLES["first-gradient"].text)


def test_back_brings_text_and_run_back_and_a_key_goes_into_that_text(page, server):
    open_program(page, server, OWN)
    ready(page)
    choose(page, "A first gradient")
    has_text(page, EXAMPLES["first-gradient"].text)
    page.wait_for_url(re.compile("program=first-gradient"))
    page.go_back()
    has_text(page, OWN)
    runs(page, entries=len(Program.parse(OWN).run().entries))
    type_at_end(page, "c = a + a\n")
    runs(page, entries=len(Program.parse(f"{OWN}c = a + a").run().entries))
    has_text(page, f"{OWN}c = a + a\n")


def test_the_first_screen_of_a_laptop_has_program_graph_gradients_and_controls(page, server):
    page.set_viewport_size({"width": 1440, "height": 700})
    open_program(page, server, program="gradient-of-gradient")
    ready(page)
    controls = page.get_by_test_id("player").bounding_box()["y"]
    for part in ("event", "source", "gradients"):
        box = page.get_by_test_id(part).first.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= controls, part
    assert page.get_by_test_id("event").bounding_box()["y"] < page.get_by_test_id("source").bounding_box()["y"]


def test_a_script_fills_the_editor(page, server):
    """Playwright's fill, and what the clipboard or an input method would insert: the text as it is, indents too."""
    text = "def twice(a):  # <img src=x>\n    b = a + a\n\n    return b\n\nx = ones(2)\ny = twice(x)\n"
    open_program(page, server, A + "".join(f"b{i} = a * {i}.5\n" for i in range(120)))
    # what fill does, on a busy machine, where the browser tells of a selection late
    late = "addEventListener('selectionchange', (event) => event.isTrusted && event.stopImmediatePropagation(), true)"
    page.evaluate(late)
    page.evaluate("(text) => { text.focus(); getSelection().selectAllChildren(text); }", page.query_selector(EDITOR))
    page.wait_for_timeout(100)
    page.keyboard.insert_text(text)
    has_text(page, text)
    page.fill(EDITOR, text)
    has_text(page, text)
    assert page.locator(f"{EDITOR} img[src=x]").count() == 0
    runs(page, entries=len(Program.parse(text).run().entries))
    page.click(EDITOR)
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text.replace("twice", "double"))
    has_text(page, text.replace("twice", "double"))
