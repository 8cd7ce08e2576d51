"""A real server and a real Chromium. A missing browser is a failure, not a skip."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parents[2]
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def chromium() -> str:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "no Chromium found: install it (Debian: apt install chromium) or say where it is in CHROMIUM=…"
    return path


class Server:
    """`streamlit run app.py` on a free port of this machine; `files` go behind `--`."""

    def __init__(self, *files: str):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        options = [f"--server.port={self.port}", "--server.address=127.0.0.1", "--server.headless=true"]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                "app.py",
                *options,
                "--server.fileWatcherType=none",
                "--",
                *files,
            ],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def wait(self) -> Server:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self.process.poll() is None, "streamlit ended before it was up"
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1)
                return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError("streamlit was not up after 60 seconds")

    def reached(self) -> Server:
        """As soon as it takes connections."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self.process.poll() is None, "streamlit ended before it was up"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.005)
        raise AssertionError("streamlit was not up after 60 seconds")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def server():
    running = Server().wait()
    yield running
    running.stop()


SIZE = {"width": 1440, "height": 900}


class Window:
    """One page for many tests: what a browser has fetched and compiled once it has not to fetch and compile again."""

    def __init__(self, browser: Browser, **options) -> None:
        self.browser, self.options = browser, options
        self.context: BrowserContext | None = None
        self.kept: Page | None = None

    def page(self) -> Page:
        """The page, as one of a profile that nobody has used. `page.raised`: what its scripts raise."""
        if self.context is None:
            self.context = self.browser.new_context(viewport=SIZE, **self.options)
            made = self.context.new_page()
            made.set_default_timeout(40_000)
            made.on("pageerror", lambda error: made.raised.append(str(error)))
        self.context.pages[0].raised = []
        return self.context.pages[0]

    def clear(self) -> None:
        page = self.context.pages[0]
        origin = page.evaluate("location.origin")
        if origin.startswith("http"):
            page.evaluate("sessionStorage.clear()")
        page.goto("about:blank")
        if origin.startswith("http"):
            kept = {"origin": origin, "storageTypes": "local_storage,cookies,indexeddb"}
            session = self.context.new_cdp_session(page)
            session.send("Storage.clearDataForOrigin", kept)
            session.detach()
        page.mouse.move(0, 0)
        page.set_viewport_size(SIZE)
        page.emulate_media(color_scheme="light")

    def close(self) -> None:
        if self.context is not None:
            self.context.close()
            self.context = None

    def stays(self, session: pytest.Session, address: str) -> Iterator[Page]:
        """A page with a player for one test after another, at its first step: each leaves it at another, no more."""
        failed = session.testsfailed
        self.page()
        if self.kept is None or self.kept.is_closed():
            self.kept = self.context.new_page()
            self.kept.set_default_timeout(40_000)
            self.kept.goto(address)
            self.kept.wait_for_selector("[data-testid=player][data-ready=true]")
        self.kept.bring_to_front()
        self.kept.mouse.move(0, 0)
        self.kept.keyboard.press("Escape")
        self.kept.evaluate("document.activeElement.blur()")
        self.kept.keyboard.press("Home")
        yield self.kept
        if session.testsfailed > failed:
            self.leave()
        self.page().bring_to_front()

    def leave(self) -> None:
        """The page that stays is of no more use."""
        if self.kept is not None:
            self.kept.close()
            self.kept = None

    def lent(self, session: pytest.Session) -> Iterator[Page]:
        """For one test; another one gets a new page where this one left who knows what."""
        failed = session.testsfailed
        yield self.page()
        if session.testsfailed > failed:
            self.close()
        else:
            self.clear()


@pytest.fixture(scope="session")
def window(browser: Browser):
    made = Window(browser)
    yield made
    made.close()


@pytest.fixture(scope="module")
def kept(window: Window):
    """For a page that tests of one module share (`Window.stays`)."""
    yield window
    window.leave()


@pytest.fixture
def page(window: Window, request: pytest.FixtureRequest):
    """As of a fresh browser profile, 1440 × 900; `page.raised` holds what its scripts raise."""
    yield from window.lent(request.session)


@pytest.fixture
def own_page(window: Window, page: Page):
    """Another page beside it, for a test that listens to one, or changes what runs in it."""
    made = window.context.new_page()
    made.set_default_timeout(40_000)
    yield made
    made.close()
