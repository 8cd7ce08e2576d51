"""axe-core looks at every page, and at the HTML file: no serious and no critical fault.

axe-core comes from npm, once, into pytest's cache; AXE=/path/to/axe.min.js says where another one lies.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from simplegrad import check, record_torch
from simplegrad.comparison.compare import compare
from simplegrad.language import EXAMPLES

from .conftest import Server, Window
from .npm import fetched

AXE = "axe-core@4.14.1"
PROGRAM = EXAMPLES["gradient-of-gradient"].program
WRONG = "program=gradient-of-gradient&aggregate=simple_variable_wrong"
PLAYER, EXPRESSION = "[data-testid=player][data-ready=true]", "role=textbox[name='expression']"
TABLE, AT_REST = "table", "[data-testid=stApp][data-test-script-state=notRunning]"
PAGES = {  # where, and what has to be there
    "learn": ("/learn", PLAYER),
    "step": (f"/step?{WRONG}&step=55", PLAYER),
    "compose": ("/compose", PLAYER),
    "compare": (f"/compare?{WRONG}", PLAYER),
    "compile": ("/compile", EXPRESSION),
    "pytorch": ("/pytorch", PLAYER),
    "an address that is wrong": ("/step?program=nonsense&step=9999", PLAYER),
}
FAULTS = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .filter(({ impact }) => impact === "serious" || impact === "critical")
  .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ html }) => html.slice(0, 160)).join(" | ")}`)"""


SHOWS = """theme => {  // our parts and Streamlit's
  const app = document.querySelector("[data-testid=stApp]"), { sgTheme } = document.documentElement.dataset;
  return (sgTheme ?? theme) === theme && (!app || getComputedStyle(app).colorScheme === theme);
}"""


@pytest.fixture(scope="session")
def axe(request) -> str:
    """Its script."""
    if os.environ.get("AXE"):
        return Path(os.environ["AXE"]).read_text()
    return (fetched(request.config, AXE) / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def still(browser: Browser):
    """A window in which nothing moves, and scripts of ours run in any page."""
    made = Window(browser, reduced_motion="reduce", bypass_csp=True)
    yield made
    made.close()


@pytest.fixture
def looked_at(still: Window, request: pytest.FixtureRequest):
    yield from still.lent(request.session)


def faults(page: Page, axe: str, themes: str = "light") -> dict[str, list[str]]:
    """Those of each theme that has some."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(axe)
    found = {}
    for theme in themes.split():
        page.emulate_media(color_scheme=theme)
        page.wait_for_function(SHOWS, arg=theme)
        found[theme] = page.evaluate(FAULTS)
    return {theme: said for theme, said in found.items() if said}


def ready(page: Page, what: str = PLAYER) -> None:
    """It is there, and of a page of the app all else, too."""
    page.wait_for_selector(what, timeout=60_000)
    if page.url.startswith("http"):
        page.wait_for_selector(AT_REST, timeout=60_000)
        for unfinished in ("stSpinner", "stStatusWidget"):
            page.wait_for_selector(f"[data-testid={unfinished}]", state="detached", timeout=60_000)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_serious_fault(looked_at: Page, server, axe, name):
    address, what = PAGES[name]
    looked_at.goto(server.url + address)
    ready(looked_at, what)
    assert faults(looked_at, axe, "light dark" if name in ("step", "pytorch") else "light") == {}


def test_what_opens_over_a_page_has_no_serious_fault(looked_at: Page, server, axe):
    looked_at.goto(f"{server.url}/step?{WRONG}&step=55")
    ready(looked_at)
    found = {}
    for button in ("legend", "breakpoints", "help: keys"):
        looked_at.get_by_role("button", name=button, exact=True).click()
        found[button] = faults(looked_at, axe, "light dark")
        looked_at.keyboard.press("Escape")
    looked_at.keyboard.press("/")
    looked_at.keyboard.type("v")
    expect(looked_at.get_by_test_id("found").get_by_role("option").first).to_be_visible()
    found["go to"] = faults(looked_at, axe, "light dark")
    assert {what: said for what, said in found.items() if said} == {}


SHOWN = {
    "trace": ("light dark", lambda: PROGRAM.run("simple_variable_wrong")),
    "comparison": ("light", lambda: compare(PROGRAM.run("simple_variable_wrong"), PROGRAM.run("simple"))),
    "report": ("dark", lambda: check("simple_variable_wrong")),
}


@pytest.mark.parametrize("what", SHOWN)
def test_the_file_has_no_serious_fault(looked_at: Page, axe, tmp_path, what):
    themes, make = SHOWN[what]
    make().to_html(tmp_path / "it.html", step=20)
    looked_at.goto(f"file://{tmp_path}/it.html")
    ready(looked_at)
    assert faults(looked_at, axe, themes) == {}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A server with the saved runs of two ranks; their model has modules in modules."""
    folder = tmp_path_factory.mktemp("saved")
    for rank, activation in enumerate((torch.nn.GELU(), torch.nn.ReLU())):
        torch.manual_seed(0)
        blocks = (torch.nn.Sequential(torch.nn.Linear(4, 4), activation) for _ in range(3))
        model = torch.nn.Sequential(*blocks, torch.nn.Linear(4, 1))
        with record_torch(model, values="norm") as trace:
            model(torch.rand(2, 4)).mean().backward()
        trace.rank, trace.world = rank, 2
        trace.save(folder / f"run.{rank}.trace")
    running = Server(*(str(folder / f"run.{rank}.trace") for rank in range(2))).wait()
    yield running
    running.stop()


@pytest.mark.parametrize(("address", "themes"), [("ranks", "light dark"), ("compare", "light"), ("pytorch", "dark")])
def test_a_page_of_saved_runs_has_no_serious_fault(looked_at: Page, saved, axe, address, themes):
    looked_at.goto(f"{saved.url}/{address}")
    ready(looked_at, TABLE if address == "ranks" else PLAYER)
    assert faults(looked_at, axe, themes) == {}
