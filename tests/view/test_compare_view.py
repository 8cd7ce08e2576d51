"""What the Compare page shows, as data."""

import pytest
import torch

from simplegrad import TapeEntry, Variable, gradient_tape
from simplegrad.aggregates import Aggregate, registry
from simplegrad.checks.check import check
from simplegrad.language import pack
from simplegrad.view.compare_view import (
    REFERENCE,
    comparison_of,
    cost_rows,
    default_right,
    facts,
    ghosts,
    partner_rows,
    result_rows,
    right_title,
    rights,
    rows,
    sides_from_query,
    trace_of_side,
    verdict_of,
)
from simplegrad.view.views import TraceView

torch.set_num_threads(1)


def compared(**query):
    sides = sides_from_query(query)
    return sides, comparison_of(trace_of_side(sides, "left"), trace_of_side(sides, "right"))


@pytest.fixture(scope="module")
def wrong():
    return compared()


@pytest.fixture
def with_function_as_reference():
    def product(a, b):
        return (a + b) * b

    def fused(a, b):
        saved = Variable(a.value + b.value, name="saved")
        r = Variable(saved.value * b.value)
        gradient_tape.append(TapeEntry([a.name, b.name], [r.name], lambda g: [g[0] * b, g[0] * b + g[0] * saved]))
        return r

    registry.add(Aggregate(fused, "fused_here", reference=product, origin="this test"))
    yield
    registry.discard("this test")


# --- the address --------------------------------------------------------------------------------------------------


def test_without_an_address_the_wrong_variant_is_held_against_its_reference(wrong):
    assert (wrong[0].left, wrong[0].right, wrong[0].problems) == ("simple_variable_wrong", "simple", ())


def test_an_address_comes_back_as_it_was_written():
    query = {"program": pack("a = rand(2)\ngrad(f(a, a), [a])\n"), "none": "zeros", "prune": "ahead"}
    query |= {"left": "simple_variable", "right": "simple_recompute", "step": "7"}
    sides = sides_from_query(query)
    assert sides.problems == ()
    assert sides.query() == query


@pytest.mark.parametrize("query, said", [
    ({"left": "simple_variabel"}, "says left=simple_variabel, which is not known"),
    ({"right": "nothing"}, "says right=nothing, which is not known; simple is shown instead."),
    ({"step": "-1"}, "says step=-1"),
    ({"program": "file:run.trace"}, "there is nothing to compare it with"),
])  # fmt: skip
def test_a_wrong_address_is_told_and_the_default_shown(query, said):
    sides = sides_from_query(query, traces=["run.trace"])
    assert any(said in problem for problem in sides.problems)
    assert trace_of_side(sides, "left").error is None


def test_a_reference_that_is_a_function_is_a_choice_of_its_own(with_function_as_reference):
    assert default_right("fused_here") == REFERENCE
    assert rights("fused_here")[0] == REFERENCE and REFERENCE not in rights("simple_variable")
    assert right_title("fused_here", REFERENCE) == "the reference: product"
    _, comparison = compared(left="fused_here")
    assert comparison.divergence.variable == "saved"


# --- what is shown ------------------------------------------------------------------------------------------------


def test_steps_for_the_player_keep_the_event_of_a_side_that_waits(wrong):
    _, comparison = wrong
    found = rows(comparison)
    assert len(found) == len(comparison.steps)
    assert found[1:4] == [[1, 1], [1, 2], [2, 3]]
    assert found[-1] == [len(comparison.left) - 1, len(comparison.right) - 1]
    assert all(a <= c and b <= d for (a, b), (c, d) in zip(found, found[1:]))


def test_the_facts_name_verdict_pass_variable_and_step(wrong):
    sides, comparison = wrong
    told, verdict = facts(sides, comparison), verdict_of(sides.left, check)
    assert verdict.code == "escaped_temporary" and not verdict.ok
    assert verdict.report.startswith("simple_variable_wrong: escaped_temporary")
    assert (told["divergence"]["title"], told["divergence"]["variable"]) == ("pass of L1", "t")
    assert comparison.steps[told["divergence"]["step"]] == (
        comparison.divergence.left_event,
        comparison.divergence.right_event,
    )
    assert told["ghosts"] == [
        "Missing on the left: the pathway from t back (v0 = a + b on the other side). Dropped gradient of a: "
        "[1.728, 3.366, 5.338, 2.409]; of b: [1.728, 3.366, 5.338, 2.409]."
    ]


def test_a_right_variant_says_what_it_pays_for_zeros():
    sides, comparison = compared(left="simple_variable_almost")
    told = facts(sides, comparison)
    assert told["divergence"] is None and verdict_of(sides.left, check).ok
    assert told["same"] == (
        "No divergence: every line and 4 wanted gradients agree on both sides. The left computes 5 operations on "
        "zeros, the right none."
    )


def test_an_aggregate_without_example_inputs_is_unchecked(with_function_as_reference):
    verdict = verdict_of("fused_here", check)
    assert verdict.code == "unchecked" and not verdict.ok
    assert "no example inputs" in verdict.text


def test_a_check_that_raises_leaves_the_page_usable():
    def failing(target):
        raise OSError("no disk")

    assert verdict_of("simple_recompute", failing, "once").text == (
        "simple_recompute could not be checked: OSError: no disk"
    )


def test_the_ghosts_are_drawn_in_the_buggy_graph_only(wrong):
    _, comparison = wrong
    by_name = {value.name: f"v{value.id}" for value in comparison.left.values}
    assert [(ghost.source, ghost.target, ghost.text) for ghost in ghosts(comparison, "left")] == [
        (by_name["t"], by_name["a"], "a misses 1.73, 3.37, 5.34, 2.41"),
        (by_name["t"], by_name["b"], "b misses 1.73, 3.37, 5.34, 2.41"),
    ]
    assert ghosts(comparison, "right") == ()


def test_the_figure_has_a_dotted_line_for_each_and_its_text(wrong):
    _, comparison = wrong
    figure = TraceView(comparison.left, (), ghosts(comparison, "left")).figure
    (lines,) = [trace for trace in figure.data if trace.name == "ghosts"]
    assert lines.line.dash == "dot"
    assert list(lines.x).count(None) == 2
    assert [a.text for a in figure.layout.annotations if "misses" in a.text] == [
        "a misses 1.73, 3.37, 5.34, 2.41",
        "b misses 1.73, 3.37, 5.34, 2.41",
    ]


def test_the_tables_hold_every_wanted_gradient_and_every_pass(wrong):
    _, comparison = wrong
    results = result_rows(comparison.results)
    assert [(row["gradient"], row["verdict"]) for row in results] == [
        ("dL0/da", "equal"),
        ("dL0/db", "equal"),
        ("dL1/da", "missing"),
        ("dL1/db", "different"),
    ]
    assert (results[2]["left"], results[2]["right"]) == ("None", "v20 = [1.728, 3.366, 5.338, 2.409]")
    costs = cost_rows(comparison.costs)
    assert [row["pass"] for row in costs] == ["forward", "pass of L0", "pass of L1", "in all"]
    assert costs[2]["operations"] == (14, 15)


def test_a_run_that_raised_leaves_its_side_of_the_tables_empty():
    _, comparison = compared(left="simple_type_error")
    assert {row["verdict"] for row in result_rows(comparison.results)} == {"not reached"}
    assert {row["left"] for row in result_rows(comparison.results)} == {""}
    assert cost_rows(comparison.costs)[2]["operations"] == (None, 15)


def test_entries_without_a_partner_say_where_their_work_is_done(wrong):
    _, comparison = wrong
    assert partner_rows(comparison)[:2] == [
        ("inside v0 = simple_variable_wrong(a, b)", "v0 = a + b", "right only"),
        ("v0 = simple_variable_wrong(a, b)", "v1 = v0 * b", "partners"),
    ]
