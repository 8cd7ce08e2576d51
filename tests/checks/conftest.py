"""Tests of what the check does not say yet are marked from one list, `waiting.txt`, and fail as soon as they pass."""

from pathlib import Path

import pytest

from simplegrad.checks.causes import repair, suspects

LIST = Path(__file__).parent / "waiting.txt"


def pytest_collection_modifyitems(items):
    awaited = set(LIST.read_text().splitlines()) if LIST.exists() else set()
    for item in items:
        if item.nodeid in awaited:
            item.add_marker(pytest.mark.xfail(strict=True, reason="listed in tests/checks/waiting.txt: not built yet"))


@pytest.fixture
def without_search(monkeypatch):
    """For a test of whether a fault is found, not in which line: nothing is searched for."""
    for search in (suspects, repair):
        monkeypatch.setattr(search, "LONGEST", 0.0)


@pytest.fixture
def long_search(monkeypatch):
    """What is found does not hang on how fast a machine is."""
    for search in (suspects, repair):
        monkeypatch.setattr(search, "LONGEST", 120.0)
