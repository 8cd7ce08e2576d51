"""A run of PyTorch is drawn by its modules: a box for each, which opens."""

import pytest
import torch
from torch import nn

from simplegrad import record_torch
from simplegrad.graph import ALL_CLOSED, ALL_OPEN, boxes_around, picture
from simplegrad.graph.boxes import ROOM
from simplegrad.view.views import TraceView
from tests.view.conftest import chain


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.mlp(self.norm(x))


class Model(nn.Module):
    def __init__(self, depth, width=4):
        super().__init__()
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def recorded(model, values="norm"):
    with record_torch(model, values=values) as trace:
        model(torch.ones(2, 4)).sum().backward()
    return trace


@pytest.fixture(scope="module")
def deep():
    return recorded(Model(12))


def closed(drawn):
    return {unit.box.path: unit for unit in drawn.units if unit.box is not None}


@pytest.mark.parametrize("values", ["norm", "none"])
def test_a_deep_model_is_drawn_as_one_box_a_block(values):
    drawn = picture(recorded(Model(12), values))
    assert set(closed(drawn)) == {*(f"blocks.{i}" for i in range(12)), "head"}
    assert len(drawn.units) < ROOM and not drawn.frames
    assert all(unit.box.title == path for path, unit in closed(drawn).items())  # a ModuleList is no box


def test_a_box_opens_and_holds_the_boxes_inside(deep):
    key = closed(picture(deep))["blocks.3"].key
    drawn = picture(deep, [key])
    (frame,) = drawn.frames
    assert frame.box.path == "blocks.3" and frame.lane == 0
    assert "blocks.3" not in closed(drawn) and closed(drawn)["blocks.3.mlp"].box.title == "mlp"
    inside = {drawn.units[number].key for number in frame.units}
    assert closed(drawn)["blocks.3.mlp"].key in inside and closed(drawn)["blocks.4"].key not in inside
    deeper = picture(deep, [key, closed(drawn)["blocks.3.mlp"].key])
    assert [frame.box.title for frame in deeper.frames] == ["blocks.3", "mlp"]
    assert set(deeper.frames[1].units) < set(deeper.frames[0].units)
    assert set(closed(picture(deep, []))) == set(closed(picture(deep)))


def test_a_small_model_is_open_altogether_and_closes(deep):
    trace = recorded(Model(1))
    drawn = picture(trace)
    assert not closed(drawn)
    assert [frame.box.path for frame in drawn.frames] == [
        "blocks.0",
        "blocks.0.mlp",
        "blocks.0.mlp.0",
        "blocks.0.mlp.2",
        "head",
    ]
    shut = picture(trace, [drawn.frames[1].box.key])
    assert set(closed(shut)) == {"blocks.0.mlp"}
    assert [frame.box.path for frame in shut.frames] == ["blocks.0", "head"]


def test_all_open_and_all_closed(deep):
    assert not closed(picture(deep, [ALL_OPEN]))
    assert len(picture(deep, [ALL_OPEN]).frames) == 12 * 4 + 1
    shut = picture(recorded(Model(1)), [ALL_CLOSED])
    assert set(closed(shut)) == {"blocks.0", "head"} and not shut.frames
    key = closed(shut)["head"].key
    assert [frame.box.path for frame in picture(recorded(Model(1)), [ALL_CLOSED, key]).frames] == ["head"]


def test_a_closed_box_hides_its_parameters_alone(deep):
    names = {value.name for unit in picture(deep).units if not unit.entries for value in unit.values}
    assert not any(name.startswith("blocks.") for name in names)


def test_every_entry_has_a_home_and_edges_join_the_boxes(deep):
    drawn = picture(deep)
    assert set(drawn.home) == set(deep.entries)
    boxes = closed(drawn)
    assert all(drawn.has_edge(boxes[f"blocks.{i}"], boxes[f"blocks.{i + 1}"]) for i in range(11))


def test_the_boxes_around_an_entry_are_told(deep):
    for entry in deep.entries:
        assert [box.path for box in boxes_around(deep, entry)][-1:] == ([entry.group] if entry.group else [])


def test_a_box_says_the_worst_gradient_below():
    model = Model(12)
    with record_torch(model) as trace:
        x = torch.ones(2, 4)
        for i, block in enumerate(model.blocks):
            x = block(x.detach() if i == 1 else x)
        (model.head(x) * 0 + x.sum()).sum().backward()
    worst = {path: unit.box.worst for path, unit in closed(picture(trace)).items()}
    assert worst["blocks.7"] == "" and worst["head"] == "zero"


def test_a_backward_that_is_recorded_has_boxes_of_its_own():
    model = Model(12)
    with record_torch(model) as trace:
        x = torch.ones(2, 4, requires_grad=True)
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        slope.pow(2).sum().backward()
    drawn = picture(trace)
    lanes = {unit.lane for unit in drawn.units if unit.box is not None and unit.box.path == "blocks.3"}
    assert lanes == {0, 1}


def test_a_module_with_more_than_there_is_room_for_is_grouped_inside():
    class Long(nn.Module):
        def forward(self, x):
            for _ in range(2000):
                x = x.sin()
            return x

    model = nn.Sequential(Long(), nn.Linear(4, 1))
    with record_torch(model, values="none") as trace:
        model(torch.ones(2, 4, requires_grad=True)).sum().backward()
    box = closed(picture(trace))["0"]
    opened = picture(trace, [box.key], budget=1000)
    groups = [unit for unit in opened.units if unit.kind == "group" and unit.box is None]
    assert groups and all(unit.within.path == "0" for unit in groups)
    assert len(opened.units) < 100


def test_a_tape_has_no_boxes_and_stepping_opens_no_module(deep):
    assert not picture(chain(30)).frames
    view = TraceView(deep)
    assert all(view.group_at(step) is None for step in range(0, len(deep.events), 25))
