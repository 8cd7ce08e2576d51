"""What a URL asks for, and that a wrong one is told and shows something nevertheless."""

from dataclasses import replace

import pytest

from simplegrad import registry
from simplegrad.language import EXAMPLES, ProgramError, pack
from simplegrad.view.compare_view import Sides, sides_from_query
from simplegrad.view.compile_view import compiled
from simplegrad.view.offered import offered
from simplegrad.view.session import Shown, clamped, from_query, trace_of, view_of

QUERY = {
    "program": "gradient-of-gradient",
    "aggregate": "simple_variable",
    "none": "zeros",
    "prune": "ahead",
    "step": "12",
}


def test_a_url_and_back():
    shown = from_query(QUERY)
    assert shown.query() == QUERY and not shown.problems


def test_a_program_of_ones_own_is_packed():
    shown = from_query({"program": pack("a = rand(2)")})
    assert (shown.program, shown.source) == ("text", "a = rand(2)")
    assert from_query(shown.query()) == shown


def test_nothing_said_is_the_default():
    assert from_query({}) == Shown() and not from_query({}).problems


@pytest.mark.parametrize(
    "wrong, part",
    [
        ({"aggregate": "simple_varible"}, "Did you mean 'simple_variable'"),
        ({"none": "nope"}, "says none=nope"),
        ({"prune": "<script>"}, "says prune=<script>"),
        ({"step": "-1"}, "says step=-1"),
        ({"step": "9" * 400}, "which is not a step"),
        ({"step": "٣"}, "which is not a step"),
        ({"program": "gradient-of-gradien"}, "Did you mean 'gradient-of-gradient'"),
        ({"program": "x" * 5000}, "The address asks for the program"),
        ({"program": "file:run.trace"}, "which is not loaded"),
    ],
)
def test_a_wrong_value_is_told_and_the_rest_is_kept(wrong, part):
    shown = from_query({**QUERY, **wrong})
    assert len(shown.problems) == 1 and part in shown.problems[0]
    assert shown.source in {example.text for example in EXAMPLES.values()}


def test_a_step_past_the_end_is_the_last_one():
    trace = trace_of(Shown())
    shown = clamped(Shown(step=1000), trace)
    assert shown.step == len(trace.events) - 1
    assert "steps 0 to 69" in shown.problems[0]


def test_a_run_is_made_once_and_its_view_too():
    assert trace_of(Shown()) is trace_of(Shown(step=5))
    assert view_of(trace_of(Shown())) is view_of(trace_of(Shown()))


def test_another_version_of_the_files_is_another_run():
    assert trace_of(Shown(), (1,)) is not trace_of(Shown(), (2,))


def test_a_text_that_is_no_program_raises_its_own_error():
    with pytest.raises(ProgramError):
        trace_of(Shown(program="text", text="for x in y"))


def test_step_stops_where_a_gradient_differs_from_the_reference():
    from simplegrad.view.player.program import Ran
    from simplegrad.view.player.step import differing

    wrong = Shown(program="gradient-of-gradient", aggregate="simple_variable_wrong")
    trace = trace_of(wrong)
    kinds = [trace.events[k].kind for k in differing(Ran(trace, wrong), ())]
    assert kinds == ["Accumulated", "PassEnded"]  # dL1/dt goes nowhere; da comes out as None
    right = Shown(program="gradient-of-gradient", aggregate="simple_variable")
    assert differing(Ran(trace_of(right), right), ()) == []


def test_step_stops_where_it_differs_from_a_reference_that_is_a_function():
    from simplegrad.view.player.program import Ran
    from simplegrad.view.player.step import differing

    wrong = registry["simple_variable_wrong"]
    registry.add(replace(wrong, name="by_function", reference=lambda a, b: (a + b) * b, origin="test"))
    try:
        shown = Shown(program="gradient-of-gradient", aggregate="by_function")
        named = Shown(program="gradient-of-gradient", aggregate="simple_variable_wrong")
        one, other = Ran(trace_of(shown), shown), Ran(trace_of(named), named)
        assert differing(one, ()) == differing(other, ()) != []
    finally:
        registry.discard("test")


# --- links of compiled aggregates ---------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(monkeypatch):
    """The URL of a compiled aggregate, with a server that never compiled it."""
    made = compiled("x * sigmoid(x)", "swish")
    query = Shown(program="text", text="x = rand(3)\nL = f(x).sum()\ngrad(L, [x])", aggregate=made.name).query()
    anew(monkeypatch)
    return query


def anew(monkeypatch) -> None:
    """Another visitor, of another server."""
    own = {}
    monkeypatch.setattr(offered, "own", lambda: own)


def test_a_link_carries_what_was_compiled(elsewhere):
    assert elsewhere["aggregate"] == "swish = x * sigmoid(x)" and elsewhere["aggregate"] not in offered
    shown = from_query(elsewhere)
    assert shown.problems == () and shown.aggregate == elsewhere["aggregate"]
    assert offered[shown.aggregate].written == "swish"
    assert trace_of(shown).error is None
    assert shown.query() == elsewhere


def test_a_link_of_compare_carries_both(elsewhere, monkeypatch):
    left = from_query(elsewhere).aggregate
    right = compiled("x * x", "square").name
    query = Sides(Shown(), left, right).query()
    anew(monkeypatch)
    assert sides_from_query(query).problems == ()
    assert left in offered and right in offered


@pytest.mark.parametrize("said", ["nonsense", "eNo", pack("f\n__import__('os')"), pack("f\nx +"), "." * 50, pack("")])
def test_a_link_that_holds_no_expression_is_told(elsewhere, said):
    shown = from_query({**elsewhere, "compiled": said})
    assert shown.aggregate == "simple_variable_wrong"
    assert "says aggregate=swish = x" in shown.problems[-1]
    assert said == "." * 50 or "The address says compiled=" in shown.problems[0]


def test_other_aggregates_need_nothing_in_a_link():
    assert "compiled" not in Shown().query() and "compiled" not in Sides().query()


def test_an_address_of_compare_may_name_the_aggregate_as_step_does():
    sides = sides_from_query({"aggregate": "simple_recompute"})
    assert (sides.left, sides.problems) == ("simple_recompute", ())
    assert sides_from_query({"aggregate": "simple_recompute", "left": "simple"}).left == "simple"
    assert "says aggregate=nonsense" in sides_from_query({"aggregate": "nonsense"}).problems[0]
