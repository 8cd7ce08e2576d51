"""The pictures of the README: `python -m docs.screenshots [NAME…]` writes docs/NAME.png, in a real Chromium.

Needs what the tests need: `pip install -r requirements-dev.txt`, and a Chromium.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from simplegrad.language import EXAMPLES, Program
from simplegrad.trace.events import Visited
from tests.browser.conftest import CHROMIUM_FLAGS, Server, chromium

FOLDER = Path(__file__).parent
WRONG = "program=gradient-of-gradient&aggregate=simple_variable_wrong"


def where_f_is_skipped() -> int:
    """The step at which the second pass comes to f, and passes over it: no gradient has reached what f declares."""
    events = Program.parse(EXAMPLES["gradient-of-gradient"].text).run(aggregate="simple_variable_wrong").events
    return [event.index for event in events if isinstance(event, Visited) and event.entry.aggregate][-1]


def pictures() -> dict[str, tuple[str, str]]:
    """name -> (address, theme)."""
    step = where_f_is_skipped()
    return {
        "step": (f"/?{WRONG}&step={step}", "light"),
        "step-dark": (f"/?{WRONG}&step={step}", "dark"),
        "compare": (f"/compare?{WRONG}", "light"),
        "pytorch": ("/pytorch", "light"),
    }


def settled(page: Page) -> None:
    """Wait until the page stands still: nothing runs, fonts are there, and so is the player."""
    page.wait_for_selector("[data-testid=stAppViewContainer]")
    page.wait_for_selector("[data-testid=player][data-ready=true]", timeout=30_000)
    page.wait_for_selector("[data-testid=stStatusWidget]", state="detached", timeout=30_000)
    page.evaluate("document.fonts.ready")
    page.wait_for_timeout(1500)


def main(names: list[str]) -> None:
    wanted = {name: picture for name, picture in pictures().items() if not names or name in names}
    running = Server().wait()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
            for name, (address, theme) in wanted.items():
                page = browser.new_page(viewport={"width": 1440, "height": 1180}, color_scheme=theme)
                page.goto(running.url + address)
                settled(page)
                if name == "compare":
                    page.get_by_role("button", name="Go to step").click()
                    page.wait_for_timeout(1000)
                page.screenshot(path=FOLDER / f"{name}.png")
                print(FOLDER / f"{name}.png")
                page.close()
    finally:
        running.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
