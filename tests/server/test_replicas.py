"""Two servers behind nginx: an address shows the same on either, and a page outlives the server that it came from."""

from __future__ import annotations

import gzip
import json
import urllib.request

import pytest

from benchmarks._visitors import Visitor
from docs import replicas
from simplegrad.language import pack

try:
    replicas.nginx()
except RuntimeError as missing:
    pytest.skip(str(missing), allow_module_level=True)

OWN = pack("x = rand(3, seed=1)\nL = (f(x, x) * 2).sum()\ndx, = grad(L, [x])\n")
COMPILED = {"compiled": pack("swish\nx * sigmoid(x)")}
LINKS = {
    "an example": ("", {"program": "reuse", "aggregate": "simple", "step": 7}),
    "an own program": ("", {"program": OWN, "aggregate": "simple_variable", "none": "zeros", "step": 3}),
    "two sides": ("compare", {"program": OWN, "left": "simple_variable_wrong", "right": "simple", "step": 9}),
    "a compiled one": ("", {"program": OWN.replace("x, x", "x"), "aggregate": "swish = x * sigmoid(x)", **COMPILED}),
    "an expression": ("compile", {"expression": pack("tanh(x @ w + b)"), "name": "layer"}),
    "a Function": ("pytorch", {"case": "swish", "step": 5}),
    "a text that is being written": ("compose", {"program": OWN}),
}


@pytest.fixture(scope="module")
def running():
    with replicas.Replicas(path="/sub/path") as started:
        yield started


def shown(url: str, name: str, query: dict) -> list:
    """All that a page shows, numbers of the process aside."""
    with Visitor(url, name, **query) as visitor:
        visitor.load()
        return sorted(filter(None, (_plain(each) for each in visitor.elements.values())))


def _plain(element) -> str:
    kind = element.WhichOneof("type")
    if kind == "bidi_component":
        data = element.bidi_component.bytes or element.bidi_component.json.encode()
        data = gzip.decompress(data) if data[:1] == b"\x1f" else data
        try:
            told = json.loads(data)
            told = json.loads(told) if isinstance(told, str) else told
        except ValueError:
            return ""
        return json.dumps({k: v for k, v in told.items() if k not in ("id", "traces", "of", "draft")}, sort_keys=True)
    if kind == "empty":  # where a page said that it works, if it had to
        return ""
    if kind in ("alert", "code", "markdown"):
        return str(element)
    return kind


@pytest.mark.parametrize("link", LINKS)
def test_a_link_shows_the_same_on_either_server(running, link):
    name, query = LINKS[link]
    pages = [shown(f"http://127.0.0.1:{port}{running.path}", name, query) for port in running.ports]
    assert pages[0] == pages[1]
    assert shown(running.url, name, query) == pages[0]


def test_health_is_that_of_the_servers(running):
    assert urllib.request.urlopen(f"{running.url}/_stcore/health").read() == b"ok"


def test_a_page_goes_on_at_its_step_on_the_other_server(running, browser):
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{running.url}/?program={OWN}&aggregate=simple_variable&step=3")
    page.wait_for_selector("[data-testid=player][data-ready=true]")
    (name,) = (each["value"] for each in context.cookies() if each["name"] == "simplegrad_server")
    number = int(name.removeprefix("server"))
    try:
        with page.expect_websocket():  # to the other server
            running.kill(number)
            for step in range(4, 8):  # the browser steps by itself
                page.keyboard.press("ArrowRight")
                assert page.get_attribute("[data-testid=player]", "data-step") == str(step)
        page.wait_for_timeout(1500)  # the page runs there
        assert page.get_attribute("[data-testid=player]", "data-step") == "7"
        page.keyboard.press("ArrowRight")
        page.wait_for_function("location.search.includes('step=8')")
        page.get_by_role("link", name="Compare").click()  # which is asked for over the new connection
        page.wait_for_selector("[data-testid=first-divergence], [data-testid=side-left]")
        page.wait_for_function(f"location.search.includes('program={OWN}')")
    finally:
        context.close()
        running.again(number)


def test_a_text_typed_while_the_server_was_away_is_told_to_the_other(running, browser):
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{running.url}/step?program={OWN}")
    editor = page.get_by_test_id("editor")
    page.wait_for_selector("[data-testid=player][data-ready=true]")
    page.wait_for_timeout(1000)
    (name,) = (each["value"] for each in context.cookies() if each["name"] == "simplegrad_server")
    number = int(name.removeprefix("server"))
    try:
        with page.expect_websocket():
            running.kill(number)
            editor.press("Control+End")
            page.keyboard.type("last = dx * 7")
        computed = "[...simplegrad.players.values()][0]?.sides[0].entries"  # by the server; none while it mounts
        page.wait_for_function(f"() => {computed}?.some(([statement]) => statement.includes('* 7'))")
        assert editor.locator(".cm-line").last.inner_text() == "last = dx * 7"
    finally:
        context.close()
        running.again(number)
