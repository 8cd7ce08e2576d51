"""The player's JSON holds every event and every text, small and readable by anybody who has JSON."""

import gzip
import json

from simplegrad.language import EXAMPLES, Program
from simplegrad.view.bounded import Bounded
from simplegrad.view.deltas import as_json, payload
from simplegrad.view.views import TraceView

from .conftest import chain, example


def test_there_is_an_event_and_a_sentence_for_each_step(wrong):
    data = payload(wrong)
    assert len(data["events"]) == len(data["sentences"]) == len(wrong.events) == 70
    assert [row[0] for row in data["events"][:6]] == ["leaf", "leaf", "recorded", "recorded", "begun", "visit"]


def test_it_is_plain_json_with_a_none_for_minus_one(wrong):
    data = json.loads(as_json(payload(wrong)))
    skipped = [row for row in data["events"] if row[0] == "skipped"]
    assert [row[6:] for row in skipped] == [[1, [-1], []], [0, [-1], []]]


def test_values_carry_their_shape_numbers_and_whether_they_are_zero():
    trace = Program.parse("a = tensor([1.0, 2.0])\nb = a * 0.0\nL0 = (b * b).sum()\ngrad(L0, [a])").run()
    rows = {row[0]: row for row in payload(trace)["values"]}
    assert list(rows["a"][1:]) == ["2", "[1.0000, 2.0000]", 0, 1, 2.0]
    assert list(rows["b"][1:]) == ["2", "[0, 0]", 1, 0, 0.0]


def test_only_lines_that_people_wrote_are_shown(wrong):
    sources = payload(wrong)["sources"]
    assert [name for name, _, _ in sources] == ["aggregates.py"]
    first, lines = sources[0][1:]
    assert lines[0].startswith("@aggregate") and first > 100
    assert any("def simple_variable_wrong" in line for line in lines)


def test_the_program_line_of_every_event_is_there(wrong):
    lines = [row[3] for row in payload(wrong)["events"]]
    assert lines[0] == 1 and lines[-1] == 6 and 0 not in lines


def test_a_failed_run_says_so_in_its_last_event():
    data = payload(example("gradient-of-gradient", "simple_type_error"))
    assert data["error"] and data["events"][-1][0] == "failed"
    assert "RawTensorError" in data["sentences"][-1]


def test_its_size_grows_with_the_trace():
    short, long = (len(as_json(payload(chain(length)))) for length in (500, 1000))
    assert long < 2.2 * short


def test_it_is_sent_packed_and_says_whose_it_is(wrong):
    view = TraceView(wrong)
    sent = json.loads(gzip.decompress(view.payload))
    assert sent == json.loads(as_json({"role": "trace", "id": view.id, **payload(wrong)}))
    assert 4 * len(TraceView(chain(1000)).payload) < len(as_json(payload(chain(1000))))


def test_every_example_can_be_shown():
    for name in EXAMPLES:
        view = TraceView(example(name))
        assert view.payload and view.drawing_json and view.figure.data and name


def test_opening_a_group_keeps_the_players_data():
    view = TraceView(chain(2500))
    opened = view.with_opened(["g0"])
    assert opened.id == view.id and opened.payload is view.payload
    assert len(opened.drawing.nodes) > len(view.drawing.nodes)


def test_the_group_of_a_step_is_known():
    view = TraceView(chain(2500))
    step = next(
        i for i, event in enumerate(view.trace.events) if getattr(event, "entry", None) is view.trace.entries[700]
    )
    assert view.group_at(step) in view.drawing.groups
    assert TraceView(example("reuse")).group_at(3) is None


def test_the_cache_is_bounded_in_number_and_in_cost():
    kept = Bounded(count=3, cost=100)
    for number in range(10):
        kept.get(number, lambda number=number: number * "x", len)
    assert len(kept) == 3
    kept.get("large", lambda: 99 * "x", len)
    assert kept.total <= 100


def test_the_cache_keeps_what_was_used_last():
    kept = Bounded(count=2, cost=100)
    for key in ("a", "b", "a", "c"):
        kept.get(key, lambda key=key: [key])
    made = []
    kept.get("a", lambda: made.append("again"))
    assert not made


def test_the_first_step_says_what_the_program_is_about():
    from simplegrad.view.session import Shown

    shown = payload(Shown(program="zero-gradients", aggregate="simple").run())["sentences"]
    assert (
        shown[0].startswith("The loss does not depend on b: its gradient is a known zero") and "is a leaf" in shown[0]
    )
    own = payload(Shown(program="text", text="# Squares, twice\na = rand(2)\nb = a * a").run())["sentences"]
    assert own[0].startswith("Squares, twice. a = [")
    assert payload(Program.parse("a = rand(2)").run())["sentences"][0].startswith("a = [")
