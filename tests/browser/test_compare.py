"""Compare in a real Chromium: the first divergence, stepping of both sides, a file of one's own that is saved again."""

from __future__ import annotations

import re
import textwrap
from urllib.parse import parse_qs, urlparse

import pytest
import torch
from playwright.sync_api import Page, expect
from torch import nn

from simplegrad import record_torch

from .conftest import Server, Window

READY = "[data-testid=player][data-ready=true]"
PLAYER = "[data-testid=player]"


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, activation in (("a", nn.GELU()), ("b", nn.ReLU())):
        torch.manual_seed(0)
        model, x = nn.Sequential(nn.Linear(4, 4), activation, nn.Linear(4, 2)), torch.randn(3, 4)
        with record_torch(model, values="norm") as trace:
            model(x).square().mean().backward()
        trace.save(folder / f"{name}.trace")
    running = Server(str(folder / "a.trace"), str(folder / "b.trace")).wait()
    yield running
    running.stop()


@pytest.fixture
def both(kept: Window, server, request):
    """What the bare address shows, in a page that others have stepped through."""
    yield from kept.stays(request.session, f"{server.url}/compare")


def open_compare(page: Page, url: str, query: str = "") -> None:
    page.goto(f"{url}/compare{query}")
    page.wait_for_selector(READY, timeout=60_000)


def step(page: Page) -> int:
    return int(page.get_attribute(PLAYER, "data-step"))


def event(page: Page, side: int):
    return page.locator(f"[data-testid=event][data-side='{side}']")


def gradient(page: Page, side: int, name: str):
    return page.locator(f"[data-testid=gradients][data-side='{side}'] [data-name='{name}']")


def test_verdict_first_divergence_and_ghost_of_the_wrong_variant(page: Page, server):
    open_compare(page, server.url, "?program=gradient-of-gradient&left=simple_variable_wrong&right=simple")
    expect(page.get_by_test_id("verdict")).to_have_attribute("data-verdict", "escaped_temporary")
    found = page.get_by_test_id("first-divergence")
    expect(found).to_contain_text("pass of L1")
    expect(found).to_contain_text("dL1/dt = v19 reaches the escaped temporary t")
    expect(found).to_contain_text("goes nowhere")
    expect(page.get_by_test_id("ghost")).to_contain_text("Dropped gradient of a: [1.728, 3.366, 5.338, 2.409]")
    charts = page.locator(".js-plotly-plot")
    assert charts.count() == 2
    dotted = "gd => gd.data.filter(t => t.name === 'ghosts' && t.line.dash === 'dot' && t.x.length).length"
    assert [charts.nth(side).evaluate(dotted) for side in (0, 1)] == [1, 0]
    expect(charts.nth(0).get_by_text("a misses 1.73, 3.37, 5.34, 2.41")).to_be_visible()


def test_the_button_goes_to_the_first_divergence_on_both_sides(both: Page):
    page = both
    page.locator("[data-testid=first-divergence] button").click()
    expect(page.locator(PLAYER)).to_have_attribute("data-step", "62")
    expect(event(page, 0)).to_contain_text("dL1/dt = v19")
    expect(event(page, 1)).to_contain_text("dL1/dv0 = v20")
    expect(gradient(page, 0, "t")).to_have_attribute("data-state", "value")
    page.wait_for_url(re.compile(r"[?&]step=62"))


def test_at_the_end_the_left_has_none_where_the_right_has_a_value(both: Page):
    page = both
    page.keyboard.press("End")
    expect(gradient(page, 0, "a")).to_have_attribute("data-state", "none")
    expect(gradient(page, 1, "a")).to_have_attribute("data-state", "value")
    row = page.locator("[data-testid=results] tr[data-verdict=missing]")
    expect(row).to_contain_text("dL1/da")


def test_one_key_moves_both_and_a_side_without_a_partner_waits(both: Page):
    page = both
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(page.locator(PLAYER)).to_have_attribute("data-step", "2")
    expect(event(page, 0)).to_have_attribute("data-waits", "true")
    expect(event(page, 0)).to_contain_text("Waits")
    expect(event(page, 1)).to_have_attribute("data-waits", "false")
    page.keyboard.press("ArrowRight")
    expect(event(page, 0)).to_have_attribute("data-waits", "false")


def test_no_key_is_lost(both: Page):
    page = both
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    expect(page.locator(PLAYER)).to_have_attribute("data-step", "60")


def test_the_address_shows_the_same_in_a_fresh_browser(page: Page, server):
    query = "?program=exercise&left=simple_variable_almost&right=simple_variable&none=skip&prune=ahead&step=17"
    open_compare(page, server.url, query)
    assert step(page) == 17
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile(r"[?&]step=18"))
    said = {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}
    assert said == {
        "program": "exercise", "left": "simple_variable_almost", "right": "simple_variable", "none": "skip",
        "prune": "ahead", "step": "18",
    }  # fmt: skip


def test_a_breakpoint_where_a_gradient_differs_from_the_reference(page: Page, server):
    open_compare(page, server.url, "?left=simple_variable_wrong&right=simple&break=differs")
    page.keyboard.press("n")
    page.wait_for_function("document.querySelector('[data-testid=player]').dataset.step !== '0'")
    first = step(page)
    expect(event(page, 0)).to_contain_text("dL1/d")
    page.keyboard.press("n")
    page.wait_for_function(f"document.querySelector('[data-testid=player]').dataset.step !== '{first}'")
    assert step(page) > first
    page.wait_for_url(re.compile(r"[?&]break=differs"))
    page.keyboard.press("p")
    expect(page.locator(PLAYER)).to_have_attribute("data-step", str(first))


def test_the_legend_explains_the_ghost(both: Page):
    page = both
    page.locator("[data-action=legend]").click()
    expect(page.get_by_test_id("legend")).to_contain_text("a missing pathway, which the reference has")
    page.keyboard.press("Escape")


OPS = """
    import torch
    import simplegrad
    from simplegrad import TapeEntry, Variable, gradient_tape

    @simplegrad.aggregate(example=lambda: (torch.rand(4), torch.rand(4)), reference="simple")
    def mine(a, b):
        t = Variable(a.value + b.value, name="t")
        r = Variable(t.value * b.value)

        def propagate(dL_doutputs):
            (dL_dr,) = dL_doutputs
            return [dL_dr * b, dL_dr * b + dL_dr * {t}]

        gradient_tape.append(TapeEntry([a.name, b.name], [r.name], propagate))
        return r
"""


def save(path, t: str) -> None:
    path.write_text(textwrap.dedent(OPS).format(t=t))


@pytest.fixture
def with_file(server, tmp_path):
    """A server of its own, with a file behind `--`."""
    path = tmp_path / "my_ops.py"
    save(path, "t")
    running = type(server)(str(path)).wait()
    yield running, path
    running.stop()


def test_saving_the_file_reloads_it_and_the_page_keeps_program_and_step(page: Page, with_file):
    server, path = with_file
    open_compare(page, server.url, "?program=exercise&left=mine&right=simple&step=20")
    expect(page.get_by_test_id("verdict")).to_have_attribute("data-verdict", "escaped_temporary")
    expect(page.get_by_test_id("first-divergence")).to_have_attribute("data-variable", "t")

    save(path, "(a + b)")  # mended
    expect(page.get_by_test_id("verdict")).to_have_attribute("data-verdict", "correct")
    expect(page.get_by_test_id("first-divergence")).to_have_attribute("data-kind", "none")
    page.wait_for_selector(READY)
    assert step(page) == 20
    assert "program=exercise" in page.url and "left=mine" in page.url

    path.write_text(path.read_text().replace("return r", "return r +"))  # broken: the line is shown, the rest works
    expect(page.get_by_test_id("stAlert")).to_contain_text("my_ops.py:16: SyntaxError: invalid syntax")
    expect(page.get_by_test_id("stCode").first).to_contain_text("return r +")
    expect(page.get_by_test_id("verdict")).to_have_attribute("data-verdict", "correct")

    save(path, "t")
    expect(page.get_by_test_id("verdict")).to_have_attribute("data-verdict", "escaped_temporary")
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


NAMES_ON_NODES = """(sheet) => {
  const box = (element) => element.getBoundingClientRect(), points = [...sheet.querySelectorAll('.sg-node')].map(box);
  const over = (a, b) => Math.min(Math.min(a.right, b.right) - Math.max(a.left, b.left),
                                  Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
  return [...sheet.querySelectorAll('.sg-name-text')].filter((text) => /^v[0-9]+$/.test(text.textContent))
    .filter((text) => points.some((point) => over(box(text), point) > 2)).map((text) => text.textContent);
}"""


def test_names_stand_clear_of_the_nodes_beside_them(both: Page):
    for chart in ("chart-left", "chart-right"):
        drawn = both.locator(f".st-key-{chart} .sg-sheet")
        drawn.locator("text", has_text="v10").wait_for()
        assert drawn.evaluate(NAMES_ON_NODES) == []


def test_two_saved_runs_step_together_and_part_where_the_page_says(page: Page, two_runs):
    open_compare(page, two_runs.url)
    found = page.get_by_test_id("first-divergence")
    expect(found).to_contain_text("relu is computed in another way")
    found.locator("button").click()
    expect(event(page, 0)).to_contain_text("Gelu")
    expect(event(page, 1)).to_contain_text("Relu")
    page.wait_for_url(re.compile(r"left=file%3Aa\.trace&right=file%3Ab\.trace.*step=[1-9]"))
    expect(page.locator("[data-testid=layers] tr.sg-differs[data-layer='1']")).to_be_visible()
    page.keyboard.press("End")
    expect(event(page, 1)).to_contain_text("pass")
