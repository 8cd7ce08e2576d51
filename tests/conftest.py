"""What folders of tests share."""

from __future__ import annotations

import gc
import random
import sys

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("simplegrad", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("simplegrad")


def pytest_collection_finish():
    """What is there before the first test stays: the collector need not go through all of it again for each of them."""
    gc.collect()
    gc.freeze()


def seeded():
    """What a test draws, or its module as it is imported, is the same each time: alone, after others, in any worker."""
    random.seed(0)
    for library, seed in (("numpy.random", "seed"), ("torch", "manual_seed")):
        if library in sys.modules:
            getattr(sys.modules[library], seed)(0)


def pytest_collectstart(collector):
    seeded()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    seeded()


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all that drive one: Playwright allows no second in a process."""
    from playwright.sync_api import expect, sync_playwright  # the core's tests run without it

    from tests.browser.conftest import CHROMIUM_FLAGS, chromium

    expect.set_options(timeout=20_000)  # five seconds are few where a machine is shared
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        yield running
        running.close()
