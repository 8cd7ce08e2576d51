"""What a trace from somebody else may hold is shown as it stands: names are no markup, paths are not opened."""

import gzip
import json
from dataclasses import replace
from itertools import count

import pytest
import torch

from simplegrad import Trace
from simplegrad.trace.events import (
    Accumulated,
    Entry,
    Leaf,
    Pass,
    PassBegun,
    PassEnded,
    Recorded,
    Value,
    VisitBegun,
    Visited,
)
from simplegrad.view.deltas import payload
from simplegrad.view.player.page import as_it_stands
from simplegrad.view.pytorch_view import Case, facts
from simplegrad.view.sentences import FORMULAS, value_text
from simplegrad.view.views import TraceView, bytes_of

NAMES = ["<a href='https://evil.example'>x</a>", "<b>x</b>", "\ud800", "\0", "&lt;", "a|b", "{g}", "{0}", "%{x}", ""]


def run_of(operator: str, inputs: int, outputs: int, name: str = "x", tensor=None) -> Trace:
    """A pass through one entry, all of whose names are the same."""
    made = count()
    shape = () if tensor is None else tuple(tensor.shape)

    def new() -> Value:
        return Value(next(made), name, shape, tensor)

    ins, outs = tuple(new() for _ in range(inputs)), tuple(new() for _ in range(outputs))
    entry = Entry(0, operator, name, ins, outs, aggregate=operator == "f")
    loss, seed, g = new(), new(), new()
    pass_ = Pass(0, loss, seed, ins)
    into, out = (g,) * outputs, (g,) * inputs
    come = [{"slot": 0, "value": x, "contribution": g, "total": g, "first": True} for x in ins]
    rows = [
        *((Leaf, {"value": x}) for x in ins),
        (Recorded, {"entry": entry}),
        (PassBegun, {"pass_": pass_, "pass_id": 0}),
        (VisitBegun, {"entry": entry, "incoming": into, "pass_id": 0}),
        (Visited, {"entry": entry, "state": "partial", "incoming": into, "outgoing": out, "pass_id": 0}),
        *((Accumulated, {"entry": entry, "pass_id": 0, **each}) for each in come),
        (PassEnded, {"pass_": pass_, "table": ((loss, seed),), "results": out, "pass_id": 0}),
    ]
    usual = dict.fromkeys(("parent", "pass_id", "line", "source"))
    events = [kind(index=number, **usual | fields) for number, (kind, fields) in enumerate(rows)]
    trace = Trace(events, [entry], [*ins, *outs, loss, seed, g])
    trace.title = trace.program = name
    return trace


def shown(trace: Trace) -> dict:
    """What the browser gets: the player's data, and the figure's."""
    view = TraceView(trace)
    return {**json.loads(gzip.decompress(view.payload)), "figure": view.figure.to_json(), "drawing": view.drawing_json}


@pytest.mark.parametrize("outputs", [0, 1, 2])
@pytest.mark.parametrize("inputs", [0, 1, 3])
def test_an_entry_may_have_any_number_of_inputs_and_outputs(inputs, outputs):
    for operator in [*FORMULAS, "f", "unheard of"]:
        assert all(shown(run_of(operator, inputs, outputs))["sentences"])


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_text(name):
    trace = run_of("mul", 2, 1, name)
    told = shown(trace)
    texts = json.loads(told["figure"])
    found = [each for part in texts["data"] for key in ("text", "hovertext") for each in part.get(key) or ()]
    assert not any("<" in (each or "") for each in found)
    assert not any("<a" in each["text"] or "<b>x" in each["text"] for each in texts["layout"]["annotations"])
    assert told["values"][0][0] == name.encode("utf-8", "replace").decode()


def test_a_sentence_names_no_more_than_somebody_reads():
    trace = run_of("cat", 5_000, 1)
    assert max(map(len, shown(trace)["sentences"])) < 10_000
    assert "and 4960 more" in shown(trace)["sentences"][-1]


DTYPES = [torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [2, 3, 20])
def test_numbers_of_every_dtype_are_shown(dtype, size):
    tensor = torch.tensor([0, 1] + [0] * (size - 2)).to(dtype)
    text = value_text(Value(0, "x", (size,), tensor))
    assert text.startswith("[0") and "1" in text
    assert shown(run_of("mul", 2, 1, tensor=tensor))["values"][0][2] == text


def test_what_nobody_can_read_is_not_shown():
    value = Value(0, "x", (1,) * 70, torch.zeros([1] * 70), note="")
    assert value_text(value) == ""
    assert payload(Trace([Leaf(0, None, None, None, None, value)], [], [value]))["values"][0][3:] == (0, 0, -1)


def test_repeated_numbers_cost_what_they_take():
    huge = Value(0, "x", (2**16, 2**16), torch.tensor(2.0).expand(2**16, 2**16))
    trace = Trace([Leaf(0, None, None, None, None, huge)], [], [huge])
    assert bytes_of(trace) < 10_000
    assert payload(trace)["values"][0][2] == "[2.0000, 2.0000, 2.0000, 2.0000, …; norm 1.311e+05]"


def test_no_file_that_a_trace_names_is_shown(tmp_path, monkeypatch):
    secret = tmp_path / "secret.py"
    secret.write_text("def password():\n    return 7\n" * 10)
    opened = []
    monkeypatch.setattr("linecache.getlines", lambda file, *_: opened.append(file) or [])
    trace = run_of("mul", 2, 1)
    trace.texts = {}
    for event in trace.events:
        object.__setattr__(event, "source", (str(secret), 2))
    object.__setattr__(trace.entries[0], "source", (str(secret), 2))
    object.__setattr__(trace.entries[0], "propagate_source", (str(secret), 4))
    assert "password" not in json.dumps(payload(trace)["sources"])
    assert facts(Case("trace:x", "x"), trace, "unchecked")["sources"] == []
    assert opened == []


def test_the_text_that_came_with_a_trace_is_shown(tmp_path):
    trace = run_of("mul", 2, 1)
    trace.texts = {"/elsewhere/ops.py": [(11, ["def f(a, b):", "    return a * b"])]}
    for event in trace.events:
        trace.events.replace(replace(event, source=("/elsewhere/ops.py", 12)))
    trace.program = ""
    assert payload(trace)["sources"] == [("ops.py", 11, ["def f(a, b):", "    return a * b"])]


ADDRESSES = ["https://evil.example/x", "HTTP://evil.example", "www.evil.example", "me@evil.example"]
MARKDOWN = ["- one", "+ one", "1. one", "===", "# one", "a\n\n---", "> one", "`a`", "$a$", ":red[a]"]


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_in_a_message_is_no_link(text):
    said = as_it_stands(f"see {text} and (b)")
    assert text not in said and said.replace("\u2060", "").replace("\\", "") == f"see {text} and (b)"


def test_what_turns_the_direction_of_a_text_turns_no_sentence():
    assert (
        as_it_stands("program '\u202eabc\u2066', which is not loaded")
        == "program 'U+202EabcU+2066', which is not loaded"
    )


@pytest.mark.parametrize("text", MARKDOWN)
def test_a_message_is_no_markdown(text):
    assert as_it_stands(text) != text and as_it_stands(text).replace("\\", "") == text


def test_a_message_keeps_what_means_nothing():
    for text in ("a @ b", "x - y", "-5 is negative", "1.5 is more", "f(a, b)"):
        assert as_it_stands(text) == text
    assert as_it_stands("\ud800") == "?"
