"""The HTML file, opened from a folder: it steps as the app does, and asks nothing of anybody."""

import time

import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from simplegrad import check, record_torch
from simplegrad.comparison.compare import compare
from simplegrad.language import EXAMPLES
from tests.view.test_foreign import run_of
from tests.view.test_html import long_run

PROGRAM = EXAMPLES["gradient-of-gradient"].program
EVIL = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 2'><a href='javascript:ran=3'>x</a>"


@pytest.fixture
def opened(browser: Browser, tmp_path):
    """Opens the file of something that shows itself; every request and every error of the page is noted."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})

    def open_it(shown, fragment: str = "", **options) -> Page:
        shown.to_html(tmp_path / "it.html", **options)
        page = context.new_page()
        page.asked, page.raised = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.raised.append(str(error)))
        page.on("console", lambda message: page.raised.append(message.text) if message.type == "error" else None)
        page.goto(f"file://{tmp_path}/it.html{fragment}")
        return page

    yield open_it
    context.close()


def until(page: Page, condition: str) -> None:
    """The file's policy forbids what Playwright's own waiting does in the page."""
    end = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def ready(page: Page) -> None:
    expect(page.get_by_test_id("player")).to_have_attribute("data-ready", "true", timeout=20_000)


def test_a_trace_opens_at_its_step_and_moves_by_keys(opened):
    page = opened(PROGRAM.run("simple_variable_wrong"), "#step=20")
    ready(page)
    expect(page.get_by_test_id("count")).to_have_text("step 20 of 69")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_test_id("count")).to_have_text("step 21 of 69")
    until(page, "location.hash === '#step=21'")
    page.keyboard.press("End")
    expect(page.get_by_test_id("count")).to_have_text("step 69 of 69")
    page.evaluate("location.hash = '#step=3'")
    expect(page.get_by_test_id("count")).to_have_text("step 3 of 69")
    page.set_viewport_size({"width": 390, "height": 844})
    until(page, "document.querySelector('.js-plotly-plot').clientWidth > 300")  # as wide as the phone
    until(page, "document.querySelector('.main-svg').clientWidth > 300")
    page.keyboard.press("b")
    page.keyboard.press("Home")
    page.keyboard.press("n")
    expect(page.get_by_test_id("count")).to_have_text("step 3 of 69")
    expect(page.get_by_role("button", name="copy link")).to_be_hidden()  # it would lead nobody else here
    page.evaluate("location.hash = '#step=999'")
    expect(page.get_by_test_id("wrong-step")).to_have_text(
        "The address says step=999, but this run has steps 0 to 69; the last one is shown."
    )
    expect(page.get_by_test_id("count")).to_have_text("step 69 of 69")
    assert len(page.query_selector_all(".sg-node")) > 20 and page.query_selector(".sg-ring")
    assert [url for url in page.asked if not url.startswith(("file://", "data:", "blob:"))] == []
    assert len([url for url in page.asked if url.startswith("file://")]) == 1
    assert page.raised == []


def test_the_theme_follows_the_system_and_can_be_chosen(opened):
    page = opened(PROGRAM.run())
    ready(page)
    theme = "document.documentElement.dataset.sgTheme"
    assert page.evaluate(theme) == "light"
    page.emulate_media(color_scheme="dark")
    until(page, f"{theme} === 'dark'")
    page.get_by_label("theme").select_option("light")
    assert page.evaluate(theme) == "light"
    assert page.raised == []


def test_two_runs_move_together_and_the_divergence_has_its_button(opened):
    page = opened(compare(PROGRAM.run("simple_variable_wrong"), PROGRAM.run("simple")))
    ready(page)
    at = page.get_by_test_id("first-divergence").get_attribute("data-step")
    expect(page.get_by_test_id("player")).to_have_attribute("data-step", at)
    page.keyboard.press("Home")
    page.get_by_role("button", name=f"Go to step {at}").click()
    expect(page.get_by_test_id("player")).to_have_attribute("data-step", at)
    until(page, "document.querySelectorAll('.js-plotly-plot').length === 2")
    assert page.raised == []


def test_a_report_shows_what_was_found_and_its_run(opened):
    page = opened(check("simple_variable_wrong"))
    ready(page)
    expect(page.get_by_test_id("verdict")).to_have_attribute("data-verdict", "escaped_temporary")
    assert page.get_by_test_id("marked-source").locator("[data-marks]").count() == 2
    assert page.raised == []


def test_hostile_names_are_shown_and_not_run(opened):
    page = opened(run_of("f", 2, 1, EVIL, torch.rand(2)), title=EVIL)
    ready(page)
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert page.evaluate("window.ran") is None
    assert page.locator("h1").inner_text() == EVIL
    assert page.query_selector("main img, main a, footer img, footer a, main script") is None
    assert page.raised == []


OPEN_A_GROUP = """() => {
  const player = simplegrad.players.get("player"), [painter] = player.painters.values();
  player.open(0, Object.keys(painter.drawing.groups)[0]);
}"""


def test_a_group_opens_from_the_files_own_pictures(opened):
    page = opened(long_run(700))
    ready(page)
    page.wait_for_selector(".js-plotly-plot")
    count = "document.querySelector('.js-plotly-plot')?.data.at(-1).x.length"
    until(page, "performance.getEntriesByName('simplegrad: chart').length && document.getElementById('sg-opened-0')")
    before = page.evaluate(count)
    page.evaluate(OPEN_A_GROUP)
    until(page, f"{count} !== {before}")
    until(page, f"simplegrad.players.get('player').painters.get('chart-0').drawing.nodes.length === {count}")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_test_id("player")).to_have_attribute("data-step", "1")
    assert page.raised == []


OF_A_PAINTER = "() => { const [it] = simplegrad.players.get('player').painters.values(); return %s; }"


def test_modules_open_by_key_and_by_a_click_and_close_by_their_title(opened):
    torch.manual_seed(0)
    blocks = (torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 4)) for _ in range(12))
    model = torch.nn.Sequential(*blocks)
    with record_torch(model, values="norm") as trace:
        model(torch.rand(2, 4)).sum().backward()
    page = opened(trace)
    ready(page)
    until(page, "document.getElementById('sg-opened-0') && performance.getEntriesByName('simplegrad: chart').length")
    frames = page.locator(".sg-frame-title")
    assert frames.count() == 0 and page.locator(".sg-kind-box").count() == 12
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("[data-action=box-here]")).to_have_text("open 0")
    page.keyboard.press("o")
    expect(frames).to_have_count(1)
    expect(page.locator("[data-action=box-here]")).to_have_text("open 0.0")
    frames.first.click()
    expect(frames).to_have_count(0)
    place = page.locator(".sg-kind-box").nth(5).bounding_box()
    page.mouse.move(place["x"] + 5, place["y"] + 9)
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    page.wait_for_timeout(200)  # Plotly looks what is under the pointer now and then
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    expect(frames).to_have_text(["5 ▾close 5"])
    page.locator("[data-action=boxes-open]").click()
    until(page, f"({OF_A_PAINTER % 'it.drawing.boxes.filter((box) => box[5]).length'})() > 12")
    page.locator("[data-action=boxes-close]").click()
    expect(frames).to_have_count(0)
    assert page.raised == []


def test_a_double_click_shows_the_whole_and_follow_goes_back(opened):
    page = opened(EXAMPLES["chain-200"].program.run("simple"))
    ready(page)
    until(page, "performance.getEntriesByName('simplegrad: chart').length")
    seen = f"({OF_A_PAINTER % '(it.chart.ranges.x[1] - it.chart.ranges.x[0]) / (it.drawing.x[1] - it.drawing.x[0])'})()"
    assert page.evaluate(seen) < 0.2
    page.locator(".js-plotly-plot").dblclick(position={"x": 500, "y": 150})
    until(page, f"Math.abs({seen} - 1) < 1e-6")
    page.wait_for_timeout(400)
    assert page.evaluate(seen) > 0.99
    page.locator("[data-action=follow]").click()
    until(page, f"{seen} < 0.2")
    assert page.raised == []
