"""A trace and an address from somebody else, in a real browser: their texts are texts, no links and no elements."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.view.test_foreign import run_of

from .conftest import Server

READY = "[data-testid=player][data-ready=true]"
NAME = "<a href='https://evil.example'>x</a><img src=x onerror=document.title=1>"
OURS = "!a.href.startsWith(location.origin) && !a.href.startsWith('#')"


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    path = tmp_path_factory.mktemp("foreign") / "run.trace"
    trace = run_of("mul", 2, 1, NAME)
    trace.notices.append(f"see https://evil.example and www.evil.example {NAME}")
    trace.save(path)
    running = Server(str(path)).wait()
    yield running
    running.stop()


@pytest.mark.parametrize("address", ["/?program=file:run.trace", "/pytorch?case=trace:run.trace"])
def test_names_of_a_trace_are_texts(page, foreign, address):
    page.goto(foreign.url + address)
    page.wait_for_selector(READY)
    assert "<a href=" in page.inner_text("body")
    assert page.evaluate(f"[...document.links].filter(a => {OURS}).map(a => a.href)") == []
    assert page.locator("svg a[href*=evil], img[src=x]").count() == 0 and page.title() != "1"


def test_what_an_address_says_is_no_link(page, foreign):
    said = {"none": "https://evil.example/x", "prune": "www.evil.example", "aggregate": NAME}
    page.goto(f"{foreign.url}/?{urlencode(said)}")
    page.wait_for_selector(READY)
    assert "evil.example/x" in page.inner_text("body")
    assert page.evaluate(f"[...document.links].filter(a => {OURS}).map(a => a.href)") == []
