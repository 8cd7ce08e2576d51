"""Two traces that say the same: what tests hold one against the other with."""

from inspect import signature

import torch

from simplegrad import Trace
from simplegrad.trace.events import Entry, Table, Value
from simplegrad.trace.rows import Events


def as_data(x):
    """A trace, or a part of one, without identities: equal for two traces that say the same."""
    if isinstance(x, Value):
        return ("value", x.id, x.name, x.shape, x.dtype, x.leaf, x.note, as_data(x.tensor))
    if isinstance(x, torch.Tensor):
        return (str(x.dtype), tuple(x.shape), x.stride() if 0 in x.stride() else None, str(x.tolist()))
    if isinstance(x, Entry) or hasattr(x, "__dataclass_fields__"):
        return (type(x).__name__, *(as_data(getattr(x, name)) for name in signature(type(x)).parameters))
    if isinstance(x, (list, tuple, Events, Table)):
        return [as_data(each) for each in x]
    return x


ABOUT = ("title", "program", "aggregate", "kind", "notices", "bindings", "printed", "pass_count")


def assert_same(trace: Trace, other: Trace):
    assert as_data(trace.values) == as_data(other.values)
    assert as_data(trace.entries) == as_data(other.entries)
    assert as_data(trace.events) == as_data(other.events)
    assert as_data(trace.passes) == as_data(other.passes)
    assert [getattr(trace, name) for name in ABOUT] == [getattr(other, name) for name in ABOUT]
