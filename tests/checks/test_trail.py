"""The trail of a backward: what it computes, where, and what moves with it."""

import numpy as np
import torch

from simplegrad.checks.causes import owner
from simplegrad.checks.causes.owner import Owner
from simplegrad.checks.causes.trail import followed


def doubled(x):
    return x + x  # a helper's line


def backward(g, scale):
    torch.tensor(3.0)  # goes nowhere
    a = g * scale
    b = doubled(a)
    b += 1
    factor = 2.0 * len(g.shape)
    return b * factor


def run(changes=None):
    code = backward.__code__
    return followed(lambda: backward(torch.ones(2), torch.tensor([2.0, 5.0])), {code}, Owner(code), changes)


def line(note):
    return note.site.statement.text.split("  #")[0].strip()


def test_each_operation_is_noted_with_its_own_statement():
    noted = [(note.operation, line(note)) for note in run().notes if not note.site.name]
    assert noted == [
        ("tensor", "torch.tensor(3.0)"),
        ("mul", "a = g * scale"),
        ("add", "return x + x"),
        ("add_", "b += 1"),
        ("mul", "return b * factor"),
    ]


def test_the_calls_that_lead_to_a_helper_are_kept():
    note = next(note for note in run().notes if note.operation == "add")
    assert [note.site.statement_of(i).text.split("  #")[0].strip() for i in range(2)] == [
        "b = doubled(a)",
        "return x + x",
    ]


def test_a_result_is_replaced_where_it_was_computed():
    site = next(note.site for note in run().notes if note.operation == "add")
    assert run({site: lambda value: 10 * value}).returned.tolist() == [82.0, 202.0]


def test_a_change_in_place_stays_one():
    site = next(note.site for note in run().notes if note.operation == "add_")
    assert run({site: lambda value: value * 0}).returned.tolist() == [0.0, 0.0]


def test_a_number_bound_to_a_name_is_noted_and_replaced():
    site = next(note.site for note in run().notes if note.site.name == "factor")
    assert run({site: lambda value: value + 1}).returned.tolist() == [15.0, 33.0]


def by_numpy(g):
    array = np.exp(g.numpy())
    twice = array * 2
    return torch.from_numpy(twice)


def test_arrays_are_seen_where_they_are_bound():
    code = by_numpy.__code__
    ran = followed(lambda: by_numpy(torch.zeros(2)), {code}, Owner(code))
    assert [(n.site.name, n.value.tolist()) for n in ran.notes if n.site.name] == [("array", [1, 1]), ("twice", [2, 2])]


def test_the_statement_that_returned_is_known():
    assert run().returned_at.text.strip() == "return b * factor"
    assert run().bound["factor"].text.strip() == "factor = 2.0 * len(g.shape)"


def test_a_tracer_that_was_there_goes_on():
    import sys

    seen = []

    def tracer(frame, event, arg):
        if frame.f_code is backward.__code__:
            seen.append(event)
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        run()
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert seen.count("line") == 6 and "return" in seen


def test_torch_is_a_library_wherever_it_is_installed(monkeypatch, tmp_path):
    """In the user's own site-packages, or reached by a .pth file: nothing of sysconfig names that folder."""
    elsewhere = dict.fromkeys(owner.sysconfig.get_paths(), str(tmp_path))
    monkeypatch.setattr(owner.sysconfig, "get_paths", lambda: elsewhere)
    monkeypatch.setattr(owner.site, "getsitepackages", lambda: [str(tmp_path)])
    for cache in (owner._libraries, owner.package_of):
        cache.cache_clear()
    try:
        mine = Owner(by_numpy.__code__)
        assert mine.has(by_numpy.__code__) and not mine.has(torch.nn.functional.softmax.__code__)
    finally:
        for cache in (owner._libraries, owner.package_of):
            cache.cache_clear()
