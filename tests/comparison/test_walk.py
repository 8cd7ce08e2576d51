"""Two PyTorch runs in one player: every event of both once, partners side by side, and the step where they part."""

import pytest
import torch
from torch import nn

from simplegrad import compare, record_torch
from simplegrad.comparison.walk import walked
from simplegrad.trace.events import PassBegun, Recorded, Visited


def run(activation, passes=1, values="norm"):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), activation, nn.Linear(4, 2))
    x = torch.randn(3, 4)
    with record_torch(model, values=values) as trace:
        for _ in range(passes):
            model(x).square().mean().backward()
    return trace


def walk(left, right):
    return compare(left, right), compare(left, right).steps


@pytest.mark.parametrize(
    ("left", "right"),
    [(nn.Tanh(), nn.Tanh()), (nn.GELU(), nn.ReLU()), (nn.Softmax(-1), nn.Sequential(nn.Tanh(), nn.Hardswish()))],
)
def test_every_event_of_both_comes_once_and_in_order(left, right):
    comparison, steps = walk(run(left), run(right, passes=2))
    for side, trace in enumerate((comparison.left, comparison.right)):
        assert [pair[side] for pair in steps if pair[side] is not None] == list(range(len(trace.events)))
    assert (None, None) not in steps


def test_passes_begin_together():
    comparison, steps = walk(run(nn.Tanh(), 2), run(nn.Sequential(nn.Tanh(), nn.Hardswish()), 2))
    begun = [
        [e.index for e in trace.events if isinstance(e, PassBegun)] for trace in (comparison.left, comparison.right)
    ]
    assert len(begun[0]) == 2 and set(zip(*begun)) <= set(steps)


def test_the_first_step_shows_both_operations_that_part():
    comparison, steps = walk(run(nn.GELU()), run(nn.ReLU()))
    left, right = steps[comparison.first_step]
    found = comparison.left.events[left], comparison.right.events[right]
    assert [type(event) for event in found] == [Recorded, Recorded]
    assert [event.entry.operator for event in found] == ["Gelu", "Relu"]


def test_what_differs_begins_where_the_runs_part_and_goes_on_into_the_pass():
    comparison, steps = walk(run(nn.GELU()), run(nn.GELU(approximate="tanh")))
    differing = comparison.differing_steps
    assert differing and differing[0] == comparison.first_step
    assert any(isinstance(comparison.left.events[steps[n][0]], Visited) for n in differing)


def test_equal_runs_differ_nowhere():
    comparison, _ = walk(run(nn.GELU()), run(nn.GELU()))
    assert comparison.agrees and comparison.differing_steps == [] and comparison.first_step is None
    assert not any(layer.differs for layer in comparison.layers)


def test_layers_say_which_differ():
    comparison, _ = walk(run(nn.GELU()), run(nn.ReLU()))
    assert {layer.module: layer.differs for layer in comparison.layers}["2"]


def test_partners_that_cross_wait_for_nobody():
    assert walked([(0, 2), (1, 0), (2, 3)], 3, 4) == [(None, 0), (None, 1), (0, 2), (1, None), (2, 3)]
    assert walked([(5, 5)], 1, 2) == [(0, 0), (None, 1)]
    assert walked([], 0, 0) == []
