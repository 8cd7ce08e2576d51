"""A real server, and visitors that speak to it without a browser."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks._visitors import Visitor
from tests.browser.conftest import Server


@pytest.fixture
def fresh():
    """Starts servers of the app that nobody has opened yet; options of Streamlit, and files, as on the command line."""
    running: list[Server] = []

    def start(*files: str, waits: bool = True) -> Server:
        running.append(Server(*files))
        return running[-1].wait() if waits else running[-1].reached()

    yield start
    for each in running:
        each.stop()


def at_once(visitors: list[Visitor], do: Callable[[Visitor], object] = Visitor.load) -> list:
    """What each gives, all of them at the same moment."""
    with ThreadPoolExecutor(len(visitors)) as threads:
        return list(threads.map(do, visitors))
