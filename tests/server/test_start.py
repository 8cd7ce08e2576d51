"""A server that nobody has opened yet, and many who open it at the same moment."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks._visitors import Visitor

from .conftest import at_once

PAGES = ["", "step", "compose", "compare", "compile", "pytorch", "", "step"]


def failures(visitor: Visitor) -> list[str]:
    return [told for told in visitor.told if "stopped" in told or "has encountered an error" in told]


def stands(visitor: Visitor) -> bool:
    """Whether the page shows what is its own: menus, or the controls below a lesson."""
    parts = [each.bidi_component.component_name for each in visitor.shown("bidi_component")]
    return bool(visitor.shown("selectbox")) or any("simplegrad_player" in name for name in parts)


def test_no_page_fails_where_eight_open_a_fresh_server_at_once(fresh):
    server = fresh(waits=False)
    visitors = [Visitor(server.url, page) for page in PAGES]
    at_once(visitors)
    for visitor in visitors:
        assert failures(visitor) == [], visitor.name
        assert stands(visitor), visitor.name
        visitor.leave()


def test_no_page_fails_whatever_is_being_imported_when_it_is_opened(fresh):
    """One visitor after the other, a tenth of a second apart: as long as imports take."""
    server = fresh(waits=False)

    def visit(number: int) -> list[str]:
        time.sleep(0.1 * number)
        with Visitor(server.url) as visitor:
            visitor.load()
            return failures(visitor)

    with ThreadPoolExecutor(30) as threads:
        assert [told for told in threads.map(visit, range(30)) if told] == []
