"""Compile in a real Chromium: an expression typed, its code, its errors, and the ways out of the page."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlparse

from playwright.sync_api import Page, expect

from simplegrad.program import pack

READY = "[data-testid=player][data-ready=true]"


def open_compile(page: Page, url: str, expression: str = "(a + b) * b") -> None:
    page.goto(f"{url}/compile?expression={pack(expression)}")
    expect(code(page, "def f_general")).to_be_visible(timeout=30_000)


def code(page: Page, text: str):
    return page.get_by_test_id("stCode").filter(has_text=text).first


def type_expression(page: Page, text: str) -> None:
    area = page.get_by_label("Expression", exact=True)
    area.fill(text)
    area.press("Control+Enter")


def test_an_expression_is_typed_mended_and_stepped_through(page: Page, server):
    open_compile(page, server.url)
    expect(code(page, "def f_from_r")).to_contain_text("dL_dt = dL_dr * b")
    expect(page.get_by_text("3 operations; ran 1 time in this program")).to_be_visible()
    type_expression(page, "t = a + b\nt.tahn() * b")
    expect(page.get_by_text("there is no operator 'tahn'. Did you mean 'tanh'?")).to_be_visible()
    type_expression(page, "t = a + b\nt.tanh() * b")
    expect(code(page, "def f_general")).to_contain_text("tanh_backward")
    page.get_by_role("button", name="Open in Step").click()
    page.wait_for_selector(READY)
    assert urlparse(page.url).path == "/"
    assert parse_qs(urlparse(page.url).query)["aggregate"][0].startswith("compiled_f_")
    page.keyboard.press("End")
    expect(page.get_by_test_id("gradients")).to_contain_text("a")


def test_it_is_compared_with_its_recorded_operations(page: Page, server):
    open_compile(page, server.url)
    page.get_by_role("button", name="Open in Compare").click()
    page.wait_for_selector(READY)
    expect(page.get_by_test_id("verdict")).to_have_attribute("data-verdict", "correct")


def test_the_torch_function_is_downloaded(page: Page, server):
    open_compile(page, server.url)
    with page.expect_download() as started:
        page.get_by_role("button", name="torch Function").click()
    text = started.value.path().read_text()
    assert started.value.suggested_filename == "f.py"
    assert re.search(r"class FFunction\(torch\.autograd\.Function\):", text)
