"""A tape of 10,000 entries in a real Chromium: what is in the page is bounded, and stepping into a group opens it."""

from __future__ import annotations

import pytest
import torch
from playwright.sync_api import Page, expect

from simplegrad import Tape, Variable, grad, record

from .conftest import Server, Window

PLAYER = "[data-testid=player]"
# The ring around the current node, and that node itself, as they stand on the screen.
PLACES = """() => {
  const player = [...simplegrad.players.values()][0], painter = [...player.painters.values()][0];
  const middle = (element) => {
    const box = element?.getBoundingClientRect();
    return box ? box.x + box.width / 2 : NaN;
  };
  const about = painter.about(player.sides[0].events[player.step]).map((key) => painter.nodeOf.get(key));
  const frame = painter.chart.element.getBoundingClientRect(), { sheet } = painter;
  return { ring: middle(sheet.layers.rings.querySelector(".sg-ring")), left: frame.left, right: frame.right,
           shift: painter.chart.ranges.x[0], node: middle(sheet.shapes.get(about.find((each) => each !== undefined))) };
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("traces") / "long.trace"
    with Tape(), record() as trace:
        x = z = Variable.constant(torch.full((4,), 0.5), name="x")
        for _ in range(10_000 // 7):
            z = (z * x).sin()
        grad(z.sum(), [x], prune="ahead")
    trace.save(path)
    running = Server(str(path)).wait()
    yield f"{running.url}/?program=file:long.trace"
    running.stop()


@pytest.fixture
def long_one(kept: Window, address: str, request):
    """In a page that others have stepped through."""
    yield from kept.stays(request.session, address)


def opened(page: Page, address: str) -> Page:
    page.goto(address)
    page.wait_for_selector(f"{PLAYER}[data-ready=true]")
    return page


def test_what_is_in_the_page_is_bounded(long_one: Page):
    page = long_one
    page.keyboard.press("End")
    expect(page.locator(PLAYER)).to_have_attribute("data-step", "19999")
    assert page.locator("[data-testid=tape] [data-entry]").count() < 80
    assert page.locator("[data-testid=gradients] [data-name]").count() < 80
    assert page.evaluate("() => document.querySelectorAll('*').length") < 6000


def test_stepping_into_a_group_opens_it_and_search_goes_to_an_entry_by_name(long_one: Page):
    page = long_one
    page.fill(".sg-find", "v5000")
    page.press(".sg-find", "Enter")
    expect(page.get_by_test_id("event")).to_contain_text("v5000 = ")
    names = page.locator(".sg-sheet .sg-name-text").filter(has_text="v5000")
    expect(names).to_have_count(1)


def test_a_trace_is_sent_once(own_page: Page, address):
    received, page = [], own_page
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(len(frame))))
    opened(page, address)
    trace = max(received)
    assert 200_000 < trace < 2_000_000
    received.clear()
    page.fill(".sg-find", "v5000")
    page.press(".sg-find", "Enter")
    expect(page.locator(".sg-sheet .sg-name-text").filter(has_text="v5000")).to_have_count(1)
    assert 0 < sum(received) < trace


def test_what_is_out_of_sight_is_not_drawn(page: Page, address):
    opened(page, address.replace("file:long.trace", "chain-200"))
    drawn, all_of_them = page.evaluate("""() => {
      const [painter] = [...simplegrad.players.values()][0].painters.values();
      return [document.querySelectorAll(".sg-sheet .sg-node").length, painter.drawing.nodes.length];
    }""")
    assert all_of_them > 600 and 20 < drawn < 0.3 * all_of_them


def test_no_row_is_a_layer_of_its_own(long_one: Page):
    """Each positioned or see-through element would be walked through in every frame."""
    page = long_one
    page.locator("input.sg-slider").fill("8000")
    layers = page.evaluate("""() => [".sg-list *", ".sg-source *", ".sg-part-inspector *"]
      .flatMap((those) => [...document.querySelectorAll(those)]).map((each) => getComputedStyle(each))
      .filter((style) => style.position !== "static" || style.opacity !== "1").length""")
    assert layers == 0


def test_no_key_is_lost(long_one: Page):
    page = long_one
    page.locator("input.sg-slider").fill("8000")
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    expect(page.locator(PLAYER)).to_have_attribute("data-step", "8060")


def test_the_picture_follows_and_is_panned_without_being_drawn_anew(page: Page, address):
    opened(page, address.replace("file:long.trace", "chain-200"))
    before = page.evaluate(f"() => ({PLACES})().shift")
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        f"() => {{ const at = ({PLACES})(); return at.shift > {before} && at.left < at.ring && at.ring < at.right; }}"
    )
    places = page.evaluate(PLACES)
    assert abs(places["ring"] - places["node"]) < 1.5
    kept, moved, told = page.evaluate("""async () => {
      const [painter] = [...simplegrad.players.values()][0].painters.values(), { chart, sheet } = painter;
      const node = sheet.shapes.values().next().value, before = node.getBoundingClientRect().x;
      chart.show({ x: chart.ranges.x.map((end) => end - 2) });
      const moved = (node.getBoundingClientRect().x - before) / sheet.slot;
      for (let waited = 0; chart.ours && waited < 100; waited++) await new Promise((later) => setTimeout(later, 50));
      const kept = node.isConnected && sheet.shapes.values().next().value === node;
      return [kept, moved, chart.element.layout.xaxis.range[0] - chart.ranges.x[0]];
    }""")
    assert kept and abs(moved - 2) < 0.1 and abs(told) < 1e-6


def test_a_click_after_the_picture_has_followed_hits_what_is_under_it(page: Page, address):
    opened(page, address.replace("file:long.trace", "chain-200"))
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        f"() => {{ const at = ({PLACES})(); return at.shift > 0 && at.left < at.ring && at.ring < at.right; }}"
    )
    place = page.evaluate("""() => {
      const painter = [...[...simplegrad.players.values()][0].painters.values()][0];
      const box = painter.sheet.shapes.get(painter.nodeOf.get("e40")).getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2];
    }""")
    page.mouse.move(place[0] - 3, place[1])
    page.mouse.move(*place)
    page.mouse.click(*place)
    expect(page.get_by_test_id("card")).to_contain_text("entry 40")
