"""Boxes of modules: where their frames stand, what a file has pictures for, and what is open at first."""

import gzip
import json

import pytest
import torch
from torch import nn

import simplegrad
from simplegrad.graph import ALL_OPEN
from simplegrad.view.contract import BoxRow
from simplegrad.view.views import TraceView
from tests.view.test_html import packed


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.mlp = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))

    def forward(self, x):
        return x + self.mlp(self.norm(x))


@pytest.fixture(scope="module")
def trace():
    torch.manual_seed(0)
    model = nn.Sequential(*(Block() for _ in range(12)), nn.Linear(4, 1))
    with simplegrad.record_torch(model, values="norm") as trace:
        model(torch.rand(3, 2, 4)).sum().backward()
    return trace


def corners(box: BoxRow) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def is_in(inner, outer) -> bool:
    return inner[0] > outer[0] and inner[1] > outer[1] and inner[2] < outer[2] and inner[3] < outer[3]


def overlap(a, b) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def test_a_module_is_one_node_at_first(trace):
    view = TraceView(trace)
    boxes = [node for node in view.drawing.nodes if node.kind == "box"]
    assert [node.text for node in boxes][:12] == [str(number) for number in range(12)]
    assert len(view.drawing.nodes) < 20
    assert all(not box.open and box.count > 3 for box in view.drawing.boxes[:12])


def test_a_frame_holds_what_is_in_it_and_nothing_else(trace):
    view = TraceView(trace, (ALL_OPEN,))
    frames = {box.key: box for box in view.drawing.boxes if box.open}
    assert len(frames) > 10
    units = {frame.box.key: {view.graph.units[n].key for n in frame.units} for frame in view.graph.frames}
    places = {unit.key: view_place for unit, view_place in zip(view.graph.units, nodes_of(view))}
    for key, box in frames.items():
        inside = {name for name, (x, y) in places.items() if box.x0 < x < box.x1 and box.y0 < y < box.y1}
        assert inside == units[key], box.path


def nodes_of(view):
    """The place of each unit."""
    at = {f"{node.mark[0]}{node.id}": (node.x, node.y) for node in view.drawing.nodes}
    return [at[unit.key] for unit in view.graph.units]


def test_frames_stand_in_each_other_or_apart(trace):
    frames = [box for box in TraceView(trace, (ALL_OPEN,)).drawing.boxes if box.open]
    by_key = {box.key: box for box in frames}
    for box in frames:
        if box.outer in by_key:
            assert is_in(corners(box), corners(by_key[box.outer])), box.path
        for other in frames:
            related = box.path.startswith(f"{other.path}.") or other.path.startswith(f"{box.path}.") or other is box
            assert related or not overlap(corners(box), corners(other)), (box.path, other.path)


def test_what_holds_the_step_it_begins_with_is_open(trace):
    view = TraceView(trace)
    step = next(
        i for i, event in enumerate(trace.events) if getattr(event, "entry", None) and "2.mlp" in event.entry.group
    )
    opened = view.with_opened(view.opened_at(step))
    open_paths = {box.path for box in opened.drawing.boxes if box.open}
    assert {"2", "2.mlp"} <= open_paths and "1" not in open_paths
    assert view.opened_at(0) == ()


def test_a_file_has_a_picture_for_each_module(trace):
    more = json.loads(gzip.decompress(packed(trace.to_html(include_plotlyjs=False), "sg-opened-0")))
    view = TraceView(trace)
    assert {box.key for box in view.boxes} <= set(more["opened"])
    for box in view.boxes:
        rows = {row[0]: BoxRow(*row) for row in more["opened"][box.key]["drawing"]["boxes"]}
        assert rows[box.key].open
