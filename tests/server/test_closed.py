"""A program whose page was closed is not run to its end."""

from __future__ import annotations

import os
import time

from benchmarks._visitors import Visitor
from benchmarks.hosting import heavy
from simplegrad.language import pack


def worked(process: int) -> float:
    """Seconds of processor time so far."""
    with open(f"/proc/{process}/stat") as stat:
        user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_a_closed_page_costs_nothing_more(fresh, monkeypatch):
    monkeypatch.setenv("SIMPLEGRAD_RUN_SECONDS", "60")
    server = fresh()
    with Visitor(server.url, "step") as visitor:  # Learn would go on importing behind the page
        visitor.load()
    before = worked(server.process.pid)
    for number in range(3):
        visitor = Visitor(server.url, program=pack(heavy(number)))
        visitor.ask()
        while worked(server.process.pid) < before + 0.5 * (number + 1):  # it runs
            time.sleep(0.05)
        visitor.leave()
    time.sleep(1)
    after = worked(server.process.pid)
    time.sleep(1)
    assert worked(server.process.pid) < after + 0.3
