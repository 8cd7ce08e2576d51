"""Tests of what the check does not say yet are marked from one list, `waiting.txt`, and fail as soon as they pass."""

from pathlib import Path

import pytest

LIST = Path(__file__).parent / "waiting.txt"


def pytest_collection_modifyitems(items):
    awaited = set(LIST.read_text().splitlines()) if LIST.exists() else set()
    for item in items:
        if item.nodeid in awaited:
            item.add_marker(pytest.mark.xfail(strict=True, reason="listed in tests/checks/waiting.txt: not built yet"))
