"""Compile in a real Chromium: an expression typed, its code, its errors, and the ways out of the page."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

from simplegrad.language import pack

READY = "[data-testid=player][data-ready=true]"


def open_compile(page: Page, url: str, expression: str = "(a + b) * b") -> None:
    page.goto(f"{url}/compile?expression={pack(expression)}")
    expect(code(page, "def f_general")).to_be_visible(timeout=30_000)


def code(page: Page, text: str):
    return page.get_by_test_id("stCode").filter(has_text=text).first


def type_expression(page: Page, text: str) -> None:
    """By keys: what a script selects is lost where the editor draws an error between that and the typing."""
    page.get_by_role("textbox", name="expression").press("ControlOrMeta+a")
    page.keyboard.insert_text(text)


def test_an_expression_is_typed_mended_and_stepped_through(page: Page, server):
    open_compile(page, server.url)
    expect(code(page, "def f_from_r")).to_contain_text("dL_dt = dL_dr * b")
    expect(page.get_by_text("3 operations; ran 1 time in this program")).to_be_visible()
    type_expression(page, "t = a + b\nt.tahn() * b")
    line = page.locator(".cm-line[data-wrong=true]")
    expect(line).to_have_text("t.tahn() * b")
    expect(page.locator(".sg-told")).to_have_text("'.tahn' is not known. Did you mean 'tanh'?")
    assert page.locator(".sg-told").bounding_box()["y"] == pytest.approx(line.bounding_box()["y"] + 20, abs=2)
    expect(code(page, "def f_general")).to_be_visible()  # of the expression before
    type_expression(page, "t = a + b\nt.tanh() * b")
    expect(code(page, "def f_general")).to_contain_text("tanh_backward")
    page.get_by_role("button", name="Open in Step").click()
    page.wait_for_selector(READY)
    assert urlparse(page.url).path == "/step"
    assert parse_qs(urlparse(page.url).query)["aggregate"][0].startswith("f = t = a + b")
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


# The texts, and their contrast with what is behind them, of those below what WCAG 2 asks for (4.5).
HARD_TO_READ = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const over = (top, below) => below.map((x, i) => top[i] * (top[3] ?? 1) + x * (1 - (top[3] ?? 1)));
  const light = (colour) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const c = colour[i] / 255;
    return sum + weight * (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  }, 0);
  const ancestors = (element) => element ? [element, ...ancestors(element.parentElement)] : [];
  return [...document.querySelectorAll('.token, button[kind=primary] p')].map((element) => {
    const around = ancestors(element).map((each) => parse(getComputedStyle(each).backgroundColor)).reverse();
    const behind = around.reduce((below, top) => over(top, below), [255, 255, 255]);
    const both = [light(over(parse(getComputedStyle(element).color), behind)), light(behind)].sort((a, b) => b - a);
    return [element.textContent, (both[0] + 0.05) / (both[1] + 0.05)];
  }).filter(([text, contrast]) => text.trim() && contrast < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_code_and_buttons_can_be_read(page: Page, server, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{server.url}/compile")
    page.locator(".st-key-codes .token.boolean").first.wait_for()
    page.get_by_text("Open in Step").wait_for()
    assert page.evaluate(HARD_TO_READ) == []
