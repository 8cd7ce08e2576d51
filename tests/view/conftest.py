"""Traces to show: the gradient of a gradient, and long chains; and what a page's components were given."""

from __future__ import annotations

import gzip
import json

import pytest
import torch

from simplegrad import Tape, Trace, Variable, grad, record
from simplegrad.language import EXAMPLES


def example(name: str, aggregate: str = "simple_variable_wrong", **modes) -> Trace:
    return EXAMPLES[name].program.run(aggregate=aggregate, **modes)


def chain(length: int, passes: int = 1) -> Trace:
    """sin after sin, and one pass or two over it."""
    with Tape(), record() as trace:
        x = z = Variable.constant(torch.full((3,), 0.5), name="x")
        for _ in range(length):
            z = z.sin()
        L = z.sum()
        for _ in range(passes):
            (dx,) = grad(L, [x], prune="ahead")
            L = dx.sum()
    return trace


def components(page) -> list[dict]:
    """The data of each component that the page mounts, unpacked."""
    found = []
    for element in page.get("bidi_component"):
        proto = element.proto
        data = proto.json or (gzip.decompress(proto.bytes) if proto.bytes[0] == 0x1F else proto.bytes).decode()
        found.append(json.loads(json.loads(data) if data.startswith('"') else data))
    return found


def player_of(page) -> dict:
    """What the player was given, and its traces as `views`."""
    given = components(page)
    traces = {data["id"]: data for data in given if data.get("role") == "trace"}
    player = next(data for data in given if data.get("role") == "player")
    return {**player, "views": [traces[name] for name in player["traces"]]}


@pytest.fixture(scope="session")
def wrong() -> Trace:
    return example("gradient-of-gradient")
