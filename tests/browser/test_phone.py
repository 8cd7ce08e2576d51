"""Each page on the screen of a phone: nothing is wider than it, menus can be read, one column below the other."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .conftest import Server

READY = "[data-testid=player][data-ready=true]"
PAGES = {"step": READY, "compose": "[data-testid=editor]", "compare": "[data-testid=verdict]", "pytorch": READY}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_phone(page: Page, server: Server, name):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{server.url}/{name}")
    page.wait_for_selector(PAGES[name], timeout=60_000)
    expect(page.locator(".stSpinner")).to_have_count(0)
    assert page.evaluate("document.querySelector('.stMain').scrollWidth") <= 390
    widths = "(columns) => columns.map((each) => each.getBoundingClientRect().width)"
    assert min(page.locator(".st-key-menus .stColumn").evaluate_all(widths), default=90) >= 90
    assert min(page.locator(".st-key-texts .stColumn").evaluate_all(widths), default=370) >= 360
    assert page.raised == []
