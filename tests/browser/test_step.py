"""The Step page in a real Chromium: what one sees, where keys and clicks go, and what the address says."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from simplegrad.language import EXAMPLES, Program, pack

from .conftest import Window

URL = "/?program={program}&aggregate={aggregate}&none={none}&prune={prune}&step={step}"


def open_step(page: Page, server, program="gradient-of-gradient", aggregate="simple_variable_wrong", **more) -> None:
    settings = {"none": "skip", "prune": "none", "step": 0, **more}
    page.goto(server.url + URL.format(program=program, aggregate=aggregate, **settings))
    ready(page)


@pytest.fixture
def wrong_one(kept: Window, server, request):
    """A gradient of a gradient of the wrong variant, in a page that others have stepped through."""
    wanted = "program=gradient-of-gradient&aggregate=simple_variable_wrong"
    yield from kept.stays(request.session, f"{server.url}/?{wanted}")


def ready(page: Page) -> None:
    page.wait_for_selector("[data-testid=player][data-ready=true]")


def step_of(page: Page) -> int:
    return int(page.get_attribute("[data-testid=player]", "data-step"))


def steps_of(page: Page) -> int:
    return int(page.get_attribute("[data-testid=player]", "data-steps"))


MARKS = """["tape", "gradients"].map(kind => Object.fromEntries(
    [...document.querySelectorAll(`[data-testid=${kind}] [data-state]`)]
    .map(row => [row.dataset.entry ?? row.dataset.name, row.dataset.state])))"""
PAINTED = "new Promise(done => requestAnimationFrame(() => setTimeout(done)))"  # the frame that was asked for before
STEP = "Number(document.querySelector('[data-testid=player]').dataset.step)"


def marks(page: Page) -> tuple[dict, dict]:
    """The states that the tape list and the gradient table show."""
    return tuple(page.evaluate(MARKS))


def shown(page: Page) -> tuple[int, tuple[dict, dict]]:
    """The step, and these states once they are painted."""
    step, marks = page.evaluate(f"async () => {{ await {PAINTED}; return [{STEP}, {MARKS}]; }}")
    return step, tuple(marks)


def expected(state) -> tuple[dict, dict]:
    """The same from the trace."""
    tape = {str(entry.id): state.entry_state(entry) for entry in state.entries}
    return tape, {name: gradient.state for name, gradient in state.gradients.items()}


def press(page: Page, key: str, times: int = 1) -> None:
    for _ in range(times):
        page.keyboard.press(key)


def painted(page: Page) -> None:
    page.evaluate(PAINTED)


@pytest.mark.parametrize(
    "program, aggregate, modes",
    [
        ("gradient-of-gradient", "simple_variable_wrong", {}),
        ("exercise", "simple_variable", {}),
        ("gradient-of-gradient", "simple_variable", {"prune": "ahead"}),
        ("gradient-of-gradient", "simple_type_error", {}),
        ("third-order", "simple", {"none": "zeros"}),
    ],
)
def test_every_step_shows_the_state_of_the_trace(page, server, program, aggregate, modes):
    trace = EXAMPLES[program].program.run(aggregate=aggregate, **modes)
    open_step(page, server, program, aggregate, **modes)
    assert steps_of(page) == len(trace.events)
    for step in range(len(trace.events)):
        assert shown(page) == (step, expected(trace.at(step + 1)))
        press(page, "ArrowRight")


def test_going_back_shows_the_same_states(wrong_one):
    trace = EXAMPLES["gradient-of-gradient"].program.run(aggregate="simple_variable_wrong")
    page = wrong_one
    press(page, "End")
    for step in range(69, 40, -1):
        assert shown(page) == (step, expected(trace.at(step + 1)))
        press(page, "ArrowLeft")


def test_to_the_end_of_the_second_pass_of_the_wrong_variant(wrong_one):
    page = wrong_one
    skipped, last = [], steps_of(page) - 1
    while step_of(page) < last:
        press(page, "ArrowRight")
        painted(page)
        sentence = page.inner_text("[data-testid=event]")
        if "is skipped" in sentence:
            skipped.append(sentence.split(",")[0])
    assert skipped == ["Entry 1", "Entry 0"]
    expect(page.locator("[data-testid=gradients] [data-name=a]")).to_have_attribute("data-state", "none")
    expect(page.locator("[data-testid=gradients] [data-name=b]")).to_have_attribute("data-state", "value")
    expect(page.locator("[data-testid=event]")).to_contain_text("dL1/da = None: nothing came")


def test_an_address_shows_the_same_step_in_a_fresh_browser(page, browser, server):
    open_step(page, server, step=12)
    press(page, "ArrowRight", 20)
    page.wait_for_url(re.compile(r"step=32"))
    painted(page)
    seen, address = (page.inner_text("[data-testid=event]"), marks(page)), page.url
    other = browser.new_context().new_page()
    other.goto(address)
    ready(other)
    assert step_of(other) == 32
    assert (other.inner_text("[data-testid=event]"), marks(other)) == seen
    other.context.close()


def test_a_program_of_ones_own_comes_from_the_address(page, server):
    text = "p = tensor([2.0])\nq = p * p\ngrad(q, [p])"
    open_step(page, server, program=pack(text), step=4)
    expect(page.locator("[data-testid=source] [data-current=true]")).to_have_text("grad(q, [p])")
    assert steps_of(page) == len(Program.parse(text).run().events)


@pytest.mark.parametrize(
    "query, message",
    [
        ("program=no-such-program", "The address asks for the program"),
        ("aggregate=simple_varible", "Did you mean 'simple_variable'"),
        ("none=perhaps", "says none=perhaps"),
        ("step=100000", "the last one is shown"),
        ("step=abc", "which is not a step"),
        ("program=" + "A" * 3000, "The address asks for the program"),
    ],
)
def test_a_wrong_address_is_told_and_the_page_works(page, server, query, message):
    page.goto(f"{server.url}/?{query}")
    ready(page)
    expect(page.get_by_text(message).first).to_be_visible()
    assert "Traceback" not in page.inner_text("body")
    press(page, "Home")
    press(page, "ArrowRight")
    assert step_of(page) == 1


def test_no_key_is_lost_in_sixty_rapid_ones(wrong_one):
    page = wrong_one
    press(page, "ArrowRight", 60)
    assert step_of(page) == 60
    press(page, "ArrowLeft", 60)
    assert step_of(page) == 0


def test_no_key_is_lost_on_the_longest_example(page, server):
    open_step(page, server, program="chain-200", step=600)
    press(page, "ArrowRight", 60)
    assert step_of(page) == 660
    page.wait_for_url(re.compile(r"step=660"))


def test_keys_over_out_home_and_end(wrong_one):
    trace = EXAMPLES["gradient-of-gradient"].program.run(aggregate="simple_variable_wrong")
    kinds = [event.kind for event in trace.events]
    page = wrong_one
    press(page, "ArrowRight", kinds.index("PassBegun"))
    press(page, "Shift+ArrowRight")
    press(page, "Shift+ArrowRight")
    assert kinds[step_of(page)] == "VisitBegun" and kinds[: step_of(page)].count("VisitBegun") == 1
    press(page, "Shift+ArrowLeft")
    assert kinds[step_of(page)] == "VisitBegun" and kinds[: step_of(page)].count("VisitBegun") == 0
    press(page, "Control+ArrowRight")
    assert step_of(page) == kinds.index("PassEnded")
    press(page, "Control+ArrowLeft")
    press(page, "Control+ArrowLeft")
    assert step_of(page) <= kinds.index("PassBegun")
    press(page, "End")
    assert step_of(page) == len(kinds) - 1
    press(page, "Home")
    assert step_of(page) == 0


def test_space_plays_and_pauses(page, server):
    open_step(page, server)
    page.select_option("select[aria-label=speed]", "20")
    page.locator("[data-testid=event]").click()
    press(page, "Space")
    page.wait_for_function("() => Number(document.querySelector('[data-testid=player]').dataset.step) > 3")
    press(page, "Space")
    stopped = step_of(page)
    page.wait_for_timeout(300)
    assert step_of(page) == stopped


def test_the_question_mark_opens_and_closes_the_help(wrong_one):
    page = wrong_one
    press(page, "?")
    expect(page.get_by_test_id("help")).to_be_visible()
    press(page, "Escape")
    expect(page.get_by_test_id("help")).to_be_hidden()


def test_keys_do_nothing_while_a_field_has_the_focus(page, server):
    open_step(page, server, step=5)
    page.get_by_label("go to entry or name").click()
    page.keyboard.type(" b?")
    press(page, "ArrowLeft")
    press(page, "Home")
    assert step_of(page) == 5
    page.keyboard.press("Escape")
    page.get_by_role("combobox").first.click()
    press(page, "ArrowRight")
    press(page, "End")
    assert step_of(page) == 5


def test_keys_do_nothing_in_any_kind_of_field(wrong_one):
    page = wrong_one
    press(page, "ArrowRight", 5)
    for field in ("<input id=probe0>", "<textarea id=probe1></textarea>", "<p id=probe2 contenteditable>x</p>"):
        page.evaluate("field => document.body.insertAdjacentHTML('afterbegin', field)", field)
    for number in range(3):
        page.focus(f"#probe{number}")
        press(page, "ArrowRight", 3)
        assert step_of(page) == 5, number
    page.evaluate("document.querySelectorAll('[id^=probe]').forEach((field) => field.remove())")


def test_zoom_and_pan_survive_stepping(page, server):
    open_step(page, server)
    chart = "document.querySelector('.js-plotly-plot')"
    page.evaluate(f"() => Plotly.relayout({chart}, {{'xaxis.range': [1.5, 6.5], 'yaxis.range': [4, 0]}})")
    press(page, "ArrowRight", 40)
    page.wait_for_url(re.compile("step=40"))
    page.wait_for_timeout(500)
    ranges = page.evaluate(f"() => ['xaxis', 'yaxis'].map(axis => {chart}.layout[axis].range)")
    assert ranges == [[1.5, 6.5], [4, 0]]
    assert page.locator(".js-plotly-plot .sg-entry-propagated").count() > 0


def test_the_chart_is_not_drawn_anew_by_a_step(wrong_one):
    page = wrong_one
    page.evaluate("() => { document.querySelector('.js-plotly-plot').marked = true }")
    press(page, "ArrowRight", 10)
    page.wait_for_url(re.compile("step=10"))
    assert page.evaluate("() => document.querySelector('.js-plotly-plot').marked === true")


def node_place(page: Page, key: str) -> tuple[float, float]:
    return tuple(
        page.evaluate(
            """key => {
              const painter = [...simplegrad.players.values()][0].painters.get('tape');
              const box = painter.sheet.shapes.get(painter.nodeOf.get(key)).getBoundingClientRect();
              return [box.x + box.width / 2, box.y + box.height / 2];
            }""",
            key,
        )
    )


def test_a_click_on_a_node_shows_what_is_known_of_it_and_time_stands_still(wrong_one):
    trace = EXAMPLES["gradient-of-gradient"].program.run(aggregate="simple_variable_wrong")
    touching = [e.index for e in trace.events if getattr(e, "entry", None) is trace.entries[0]]
    page = wrong_one
    page.mouse.click(*node_place(page, "e0"))
    card = page.get_by_test_id("card")
    expect(card).to_contain_text(trace.entries[0].statement)
    assert step_of(page) == 0
    seen = []
    for _ in range(len(touching) + 1):
        card.locator("[data-action=card-next]").click()
        painted(page)
        seen.append(step_of(page))
    assert seen == [*touching, touching[0]]
    press(page, "Escape")
    expect(card).to_be_hidden()


def test_hovering_shows_value_gradient_and_who_made_it(page, server):
    open_step(page, server, program="first-gradient", step=12)
    page.mouse.move(*node_place(page, "v2"))
    card = page.get_by_test_id("card")
    expect(card).to_contain_text("made byentry 0: v0 = a + b")
    expect(card).to_contain_text("dv1/dv0v3 = [0.2517, 0.3470, 0.8960, 0.3315]")
    assert step_of(page) == 12


def test_the_wheel_scrolls_the_page_and_zooms_with_control(page, server):
    open_step(page, server)
    span = "() => { const [a, b] = document.querySelector('.js-plotly-plot').layout.xaxis.range; return b - a; }"
    before = page.evaluate(span)
    page.mouse.move(*node_place(page, "e0"))
    page.mouse.wheel(0, 200)
    page.wait_for_function("() => document.querySelector('.stMain').scrollTop > 0")
    assert page.evaluate(span) == before
    page.evaluate("() => document.querySelector('.stMain').scrollTo({ top: 0, behavior: 'instant' })")
    page.mouse.move(*node_place(page, "e0"))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    page.wait_for_function(f"() => ({span})() < {before} - 0.1")


def test_the_search_lists_what_may_be_meant(page, server):
    open_step(page, server)
    press(page, "/")
    page.keyboard.type("dL0/dv0")
    expect(page.get_by_test_id("found").get_by_role("option").first).to_have_text("v0")
    press(page, "Enter")
    painted(page)
    first = step_of(page)
    assert first > 0
    press(page, "Enter")
    painted(page)
    assert step_of(page) > first
    press(page, "Escape")
    expect(page.get_by_test_id("found")).to_be_hidden()
    press(page, "Home")
    assert step_of(page) == 0


def test_back_leaves_the_page_and_the_address_has_the_step(page, server):
    page.goto("about:blank")
    open_step(page, server)
    press(page, "ArrowRight", 9)
    page.wait_for_url(re.compile("step=9"))
    page.wait_for_timeout(1500)
    page.go_back()
    page.wait_for_url("about:blank")


def test_the_first_screen_of_a_laptop_shows_all_that_is_needed(page, server):
    page.set_viewport_size({"width": 1440, "height": 700})
    open_step(page, server, program="first-gradient", step=9)
    for part in ("event", "source", "gradients", "player"):
        box = page.get_by_test_id(part).first.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 700, part
    box = page.locator(".js-plotly-plot").bounding_box()
    assert box["y"] + box["height"] <= page.get_by_test_id("player").bounding_box()["y"]


@pytest.mark.parametrize("width", [390, 800])
def test_on_a_narrow_screen_the_graph_comes_first_and_nothing_is_wider_than_the_screen(page, server, width):
    page.set_viewport_size({"width": width, "height": 844})
    open_step(page, server, program="first-gradient", step=9)
    graph, tabs = page.locator(".js-plotly-plot").bounding_box(), page.get_by_role("tablist", name="texts")
    assert graph["y"] < tabs.bounding_box()["y"]
    expect(page.get_by_test_id("source")).to_be_hidden()
    tabs.get_by_role("tab", name="program").click()
    expect(page.get_by_test_id("source")).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_a_click_on_the_tape_and_on_a_gradient_goes_to_what_touches_them(wrong_one):
    page = wrong_one
    press(page, "End")
    page.click("[data-testid=tape] [data-entry='4']")
    painted(page)
    assert "entry 4" in page.inner_text("[data-testid=event]").lower()
    page.click("[data-testid=gradients] [data-name='b']")
    painted(page)
    assert re.search(r"\bb\b", page.inner_text("[data-testid=event]"))


def test_the_timeline_and_the_slider_go_to_a_step(wrong_one):
    page = wrong_one
    box = page.get_by_test_id("timeline").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    assert abs(step_of(page) - 35) <= 1
    page.locator("input.sg-slider").fill("7")
    assert step_of(page) == 7
    page.locator("input.sg-slider").focus()
    press(page, "ArrowRight")
    assert step_of(page) == 8


def test_the_search_goes_to_an_entry_by_name(wrong_one):
    page = wrong_one
    page.get_by_label("go to entry or name").fill("v17")
    page.keyboard.press("Enter")
    painted(page)
    assert "v17" in page.inner_text("[data-testid=event]")


def test_a_run_that_raised_shows_its_error_at_its_step(page, server):
    open_step(page, server, aggregate="simple_type_error")
    press(page, "End")
    painted(page)
    expect(page.locator("[data-testid=event]")).to_contain_text("RawTensorError")
    expect(page.locator("[data-testid=source] [data-current=true]")).to_contain_text("grad(L0")


def test_another_aggregate_begins_anew_and_is_in_the_address(page, server):
    open_step(page, server, step=30)
    page.get_by_role("combobox").nth(1).click()
    page.get_by_role("option", name="f: simple_variable (right)", exact=True).click()
    page.wait_for_url(re.compile("aggregate=simple_variable&"))
    page.wait_for_function("() => document.querySelector('[data-testid=player]').dataset.step === '0'")
    page.keyboard.press("Escape")
    page.locator("[data-testid=event]").click()
    press(page, "End")
    painted(page)
    expect(page.locator("[data-testid=gradients] [data-name=a]")).to_have_attribute("data-state", "value")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes(page, server, theme):
    page.emulate_media(color_scheme=theme)
    open_step(page, server, step=69)
    assert page.evaluate("() => document.documentElement.dataset.sgTheme") == theme
    fill = page.evaluate("() => getComputedStyle(document.querySelector('.js-plotly-plot .sg-entry-propagated')).fill")
    ink = page.evaluate("() => getComputedStyle(document.querySelector('[data-testid=event]')).color")
    assert {"light": "rgb(0, 128, 93)", "dark": "rgb(47, 199, 155)"}[theme] == fill
    assert (sum(map(int, re.findall(r"\d+", ink)[:3])) > 380) == (theme == "dark")


@pytest.mark.parametrize("width", [1440, 800])
def test_nothing_is_wider_than_the_window(page, server, width):
    page.set_viewport_size({"width": width, "height": 900})
    open_step(page, server, step=20)
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    cut = page.evaluate(
        "() => [...document.querySelectorAll('.sg-bar button')].filter(b => b.scrollWidth > b.clientWidth + 1).length"
    )
    assert cut == 0


def test_states_are_told_by_letters_too(wrong_one):
    page = wrong_one
    press(page, "End")
    painted(page)
    chips = page.locator("[data-testid=gradients] .sg-chip")
    letters = chips.all_inner_texts()
    assert set(letters) == {"N", "V"}
    page.click("[data-action=legend]")
    for word in (
        "pending",
        "active",
        "propagated",
        "partial",
        "skipped",
        "pruned",
        "unreached",
        "zero",
        "hole",
        "escaped",
    ):
        expect(page.get_by_test_id("legend").get_by_text(word, exact=True).first).to_be_visible()
    press(page, "Escape")
    expect(page.get_by_test_id("legend")).to_be_hidden()


def test_nothing_is_asked_of_the_internet(browser, server):
    context = browser.new_context()
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    open_step(page, server)
    outside = [
        url for url in asked if not url.startswith((server.url, server.url.replace("http", "ws"), "data:", "blob:"))
    ]
    assert outside == []
    context.close()


def test_breakpoints_by_key_button_and_address(page, server):
    trace = EXAMPLES["gradient-of-gradient"].program.run(aggregate="simple_variable_wrong")
    reached = [
        event.index
        for event in trace.events
        if getattr(event, "entry", None) is trace.entries[4] and event.kind in ("Recorded", "VisitBegun")
    ]
    open_step(page, server, step=reached[0])
    press(page, "b")
    press(page, "n")
    assert step_of(page) == reached[1]
    press(page, "p")
    assert step_of(page) == reached[0]
    page.wait_for_url(re.compile("break=e4"))
    expect(page.locator("[data-testid=tape] [data-entry='4']")).to_have_attribute("data-break", "true")
    page.goto(page.url.replace(f"step={reached[0]}", "step=0"))
    ready(page)
    page.click("[data-action=nextbreak]")
    assert step_of(page) == reached[0]


@pytest.mark.parametrize(
    "breakpoint, kind",
    [("none", "PassEnded"), ("d:t", "Accumulated"), ("l5", "Recorded"), ("large:5", "Accumulated")],
)
def test_what_a_breakpoint_stops_at(page, server, breakpoint, kind):
    trace = EXAMPLES["gradient-of-gradient"].program.run(aggregate="simple_variable_wrong")
    page.goto(f"{server.url}/?program=gradient-of-gradient&break={breakpoint}&step=0")
    ready(page)
    press(page, "n")
    event = trace.events[step_of(page)]
    assert step_of(page) > 0 and event.kind == kind
    if breakpoint == "d:t":
        assert event.value.name == "t"
    if breakpoint == "large:5":
        assert event.total.tensor.abs().max() > 5


def test_a_watched_gradient_stays_in_sight(page, server):
    page.goto(f"{server.url}/?program=gradient-of-gradient&watch=a,b&step=0")
    ready(page)
    watched = page.locator("[data-testid=watches] [data-name=a]")
    expect(watched).to_have_attribute("data-state", "unreached")
    press(page, "End")
    expect(watched).to_have_attribute("data-state", "none")
    expect(page.locator("[data-testid=watches] [data-name=b]")).to_have_attribute("data-state", "value")


def test_a_trace_that_the_browser_cannot_open_is_told(own_page, server):
    own_page.add_init_script("delete window.DecompressionStream")
    own_page.goto(server.url + URL.format(program="exercise", aggregate="simple", none="skip", prune="none", step=0))
    told = own_page.get_by_role("alert").filter(has_text="could not open the trace")
    expect(told).to_be_visible(timeout=20_000)
    expect(told).to_contain_text("Reload the page")
    assert told.bounding_box()["height"] > 10


def test_what_print_said_is_shown_as_it_is_printed(page: Page, server):
    text = "a = tensor([1.0])\nprint('first', a)\nb = a * 2.0\nc = b * b\nprint('last', c)\n"
    open_step(page, server, pack(text), "simple")
    printed = page.get_by_test_id("printed")
    expect(printed).to_have_text("first tensor([1.])")
    press(page, "End")
    expect(printed).to_have_text("first tensor([1.])\nlast tensor([4.])")
    press(page, "Home")
    expect(printed).to_have_text("first tensor([1.])")


def test_the_first_step_says_what_the_program_is_about(page: Page, server):
    open_step(page, server, "zero-gradients", "simple")
    expect(page.get_by_test_id("event")).to_contain_text("The loss does not depend on b: its gradient is a known zero")


def test_tab_comes_to_one_row_of_a_list_and_arrows_to_the_others_in_sight(page, server):
    page.set_viewport_size({"width": 1440, "height": 700})
    open_step(page, server, "gradient-of-gradient", "simple_variable_wrong", step=40)
    for name in ("gradients", "tape", "python"):
        assert page.evaluate(f"document.querySelectorAll('[data-testid={name}] [tabindex=\"0\"]').length") == 1
    page.locator("[data-testid=tape] [tabindex='0']").focus()
    before = page.evaluate("document.activeElement.dataset.entry")
    press(page, "ArrowUp", 2)
    assert page.evaluate("document.activeElement.dataset.entry") == str(int(before) - 2)
    hidden = """document.activeElement.getBoundingClientRect().bottom
        > document.querySelector('.sg-player').parentElement.getBoundingClientRect().top"""
    assert not page.evaluate(hidden)
    assert step_of(page) == 40
    page.set_viewport_size({"width": 720, "height": 450})  # as of 1440 × 900 that somebody enlarges twice
    page.wait_for_function("document.querySelector('.sg-player').offsetHeight < 110")
