"""Two runs side by side: partners, steps, the first divergence, the missing pathway, results and costs."""

import pytest
import torch

from simplegrad import TapeEntry, Variable, gradient_tape
from simplegrad.aggregates import Aggregate
from simplegrad.comparison.compare import BOTH_ZERO, DIFFERENT, EQUAL, MISSING, NOT_REACHED, compare
from simplegrad.comparison.equal import Pool, difference, same
from simplegrad.language import EXAMPLES, Program
from simplegrad.trace.events import Value

torch.set_num_threads(1)
DOUBLE = EXAMPLES["gradient-of-gradient"].program
RIGHT = ("simple_recompute", "simple_variable", "simple_variable_almost")


def compared(left, right="simple", program=DOUBLE, **modes):
    return compare(program.run(aggregate=left, **modes), program.run(aggregate=right))


@pytest.fixture(scope="module")
def wrong():
    return compared("simple_variable_wrong")


def names(pairs):
    return {str(a): str(b) for a, b in pairs.items()}


# --- partners -----------------------------------------------------------------------------------------------------


def test_a_program_beside_itself_has_a_partner_for_everything():
    found = compared("simple_variable", "simple_variable")
    assert all(a is not None and b is not None and str(a) == str(b) for a, b in found.alignment.entries)
    assert all(a == b for a, b in found.steps)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "chain-200"])
def test_every_example_beside_itself_steps_together(name):
    program = EXAMPLES[name].program
    found = compared("simple", "simple", program)
    assert found.steps == [(k, k) for k in range(len(found.left))]
    assert found.divergence is None


def test_the_aggregate_is_the_partner_of_what_computes_the_same(wrong):
    (aggregate,) = [entry for entry in wrong.left.entries if entry.aggregate]
    assert wrong.partner_text(aggregate, "left") == "v1 = v0 * b"
    hidden = wrong.right.entries[0]
    assert wrong.partner_text(hidden, "right") == "inside v0 = simple_variable_wrong(a, b)"


def test_an_escaped_temporary_is_the_partner_of_the_value_that_the_reference_records(wrong):
    partners = names(wrong.alignment.left.partner)
    assert (partners["t"], partners["a"], partners["v19"]) == ("v0", "a", "v20")


def test_chance_does_not_make_partners():
    """The seed is ones, so `t * dL0` has the numbers of `a + b`: but it is another operation."""
    found = compared("simple_recompute")
    again = next(entry for entry in found.left.entries if entry.text == "a + b")
    assert found.partner_text(again, "left") == "no partner"
    assert names(found.alignment.left.partner)["v3"] == "v0"  # a value, all the same


@pytest.mark.parametrize("left", [*RIGHT, "simple_variable_wrong", "simple_type_error"])
@pytest.mark.parametrize("right", ["simple", "simple_variable"])
def test_steps_hold_every_event_of_both_sides_once_and_in_order(left, right):
    found = compared(left, right)
    for column, trace in enumerate((found.left, found.right)):
        assert [pair[column] for pair in found.steps if pair[column] is not None] == list(range(len(trace)))
    assert (None, None) not in found.steps


def test_both_sides_enter_and_leave_a_pass_together(wrong):
    kinds = [
        (wrong.left.events[a].kind, wrong.right.events[b].kind)
        for a, b in wrong.steps
        if a is not None and b is not None
    ]
    assert kinds.count(("PassBegun", "PassBegun")) == kinds.count(("PassEnded", "PassEnded")) == 2


# --- the first divergence -----------------------------------------------------------------------------------------


def test_wrong_parts_from_simple_in_the_pass_of_L1_at_the_gradient_of_t(wrong):
    found = wrong.divergence
    assert (found.kind, found.pass_.loss.name, found.variable, found.partner) == ("dead_end", "L1", "t", "v0")
    assert found.sentence == (
        "In the pass of L1, dL1/dt = v19 reaches the escaped temporary t on the left and goes nowhere: no entry has t "
        "as an output. On the right, the same gradient, dL1/dv0 = v20, goes on to a and b. In the end dL1/da is None "
        "on the left and v20 on the right."
    )
    assert found.left == "dL1/dt: v19 = [1.728, 3.366, 5.338, 2.409], which goes nowhere"
    assert found.right == "dL1/dv0: v20 = [1.728, 3.366, 5.338, 2.409], which goes on to a and b"


def test_its_events_are_those_that_bring_the_gradient(wrong):
    found = wrong.divergence
    left, right = wrong.left.events[found.left_event], wrong.right.events[found.right_event]
    assert (left.value.name, left.total.name) == ("t", "v19")
    assert (right.value.name, right.total.name) == ("v0", "v20")
    assert wrong.steps[found.step] == (found.left_event, found.right_event)


@pytest.mark.parametrize("left", RIGHT)
def test_right_variants_do_not_diverge(left):
    found = compared(left)
    assert found.divergence is None
    assert found.ghosts == []
    assert {result.verdict for result in found.results} == {EQUAL}


def test_from_the_other_side_it_is_the_same_divergence():
    found = compared("simple", "simple_variable_wrong").divergence
    assert (found.kind, found.variable, found.partner) == ("dead_end", "v0", "t")
    assert "goes nowhere" in found.right and "goes on to a and b" in found.left


def test_beside_an_aggregate_that_declares_the_temporary_its_output_is_the_partner():
    found = compared("simple_variable_wrong", "simple_variable")
    assert (found.divergence.variable, found.divergence.partner) == ("t", "t_v")
    assert "goes on to a and b" in found.divergence.sentence
    (ghost,) = found.ghosts
    assert [edge.input.name for edge in ghost.edges] == ["a", "b"]
    assert torch.allclose(ghost.dropped["a"], found.results[2].right.tensor)


def test_a_run_that_raises_diverges_where_it_raised():
    found = compared("simple_type_error")
    assert (found.divergence.kind, found.divergence.pass_.loss.name) == ("raised", "L0")
    assert found.divergence.left_event == len(found.left) - 1
    assert found.divergence.left.startswith("RawTensorError: ")
    assert {result.verdict for result in found.results} == {NOT_REACHED}


def hand_written(partials, forward=lambda a, b: (a + b) * b):
    """An aggregate of two inputs from its partials, which may be wrong."""

    def made(a, b):
        r = Variable(forward(a.value, b.value))

        def propagate(dL_doutputs):
            return partials(dL_doutputs[0], a, b)

        gradient_tape.append(TapeEntry([a.name, b.name], [r.name], propagate))
        return r

    return Aggregate(made, "made")


def test_a_wrong_partial_is_found_at_its_variable():
    found = compared(hand_written(lambda g, a, b: [g * b, g * (a + b)])).divergence  # lacks b's second use
    assert (found.kind, found.pass_.loss.name, found.variable) == ("gradient", "L0", "b")
    assert "on the left (from v0 = made(a, b)), and" in found.sentence


def test_a_gradient_that_never_comes_is_found_at_its_variable():
    found = compared(hand_written(lambda g, a, b: [None, g * (a + b + b)])).divergence
    assert (found.kind, found.variable, found.left) == ("gradient", "a", "dL0/da: None")


def test_another_forward_is_found_at_its_line():
    run = compared(hand_written(lambda g, a, b: [g, g], forward=lambda a, b: a - b))
    found = run.divergence
    assert (found.kind, found.variable, found.partner) == ("forward", "L0", "L0")
    assert run.left.events[found.left_event].entry.outputs[0].name == "L0"
    assert found.sentence.startswith("Line 3 of the program computes something else: L0")


def test_a_leaf_made_of_a_temporary_is_a_dead_end_too():
    def constant(a, b):
        t = a.value + b.value
        r = Variable(t * b.value)

        def propagate(dL_doutputs):
            g = dL_doutputs[0]
            return [g * b, g * b + g * Variable.constant(t)]

        gradient_tape.append(TapeEntry([a.name, b.name], [r.name], propagate))
        return r

    found = compared(Aggregate(constant, "constant"))
    assert (found.divergence.kind, found.divergence.partner) == ("dead_end", "v0")
    assert sorted(found.ghosts[0].dropped) == ["a", "b"]


def test_steps_at_which_a_gradient_differs(wrong):
    told = [wrong.left.events[wrong.steps[step][0]] for step in wrong.differing_steps]
    assert [(event.kind, getattr(event, "value", "a")) for event in told][-1] == ("PassEnded", "a")
    assert {event.value.name for event in told[:-1]} == {"b"}
    assert all(event.pass_id == 1 for event in told)
    assert compared("simple_variable_almost").differing_steps == []


# --- the missing pathway ------------------------------------------------------------------------------------------


def test_the_ghost_leads_from_t_to_a_and_b_with_the_dropped_gradient(wrong):
    (ghost,) = wrong.ghosts
    assert (ghost.side, ghost.value.name, ghost.pass_.loss.name, ghost.nodes) == ("left", "t", "L1", ())
    assert [(edge.input.name, edge.output.name, edge.text) for edge in ghost.edges] == [
        ("a", "t", "v0 = a + b"),
        ("b", "t", "v0 = a + b"),
    ]
    (lost_a, lost_b) = (right.right.tensor - (left.tensor if left else 0) for right, left in lost(wrong))
    assert ghost.exact
    assert torch.allclose(ghost.dropped["a"], lost_a) and torch.allclose(ghost.dropped["b"], lost_b)


def lost(found):
    return [(result, result.left) for result in found.results if result.title == "pass of L1"]


def test_where_the_reference_uses_the_value_otherwise_too_the_dropped_part_is_the_difference():
    found = compared("simple_variable_wrong", program=EXAMPLES["exercise"].program)
    (ghost,) = found.ghosts
    last = {result.variable: result for result in found.results}
    assert not ghost.exact
    assert torch.allclose(ghost.dropped["b"], last["b"].right.tensor - last["b"].left.tensor)
    assert "v0 has the entry that is missing here" in found.divergence.sentence


NORM = Program.parse(
    """x = tensor([0.3605, 0.9889, 0.8768, 0.5413])
w = tensor([0.2517, 0.3470, 0.8960, 0.3315])
L0 = f(x, w).sum()
dx, dw = grad(L0, [x, w])
L1 = (dx*dx).sum() + (dw*dw).sum()
grad(L1, [x, w])
"""
)


def rmsnorm(x, w):
    rms = (x * x).mean() ** -0.5
    return x * rms * w


def rmsnorm_wrong(x, w):
    rms = (x.value * x.value).mean() ** -0.5
    r = Variable(x.value * rms * w.value)
    saved = Variable(rms, name="saved")

    def propagate(dL_doutputs):
        gw = dL_doutputs[0] * w
        dx = gw * saved - x * saved**3 * (gw * x).mean()
        return [dx, dL_doutputs[0] * x * saved]

    gradient_tape.append(TapeEntry([x.name, w.name], [r.name], propagate))
    return r


def test_a_pathway_through_values_that_only_the_reference_has():
    found = compared(Aggregate(rmsnorm_wrong, "rmsnorm_wrong"), rmsnorm, NORM)
    assert (found.divergence.kind, found.divergence.variable) == ("dead_end", "saved")
    (ghost,) = found.ghosts
    assert [edge.text.split("= ")[1] for edge in ghost.edges] == ["v1 ** -0.5", "v0.mean()", "x * x", "x * x"]
    assert [str(edge.input) for edge in ghost.edges][-2:] == ["x", "x"]
    assert len(ghost.nodes) == 2
    missing = next(result for result in found.results if result.title == "pass of L1" and result.variable == "x")
    assert torch.allclose(ghost.dropped["x"], missing.right.tensor - missing.left.tensor, atol=1e-5)


def test_two_calls_of_one_aggregate_have_a_ghost_each():
    twice = Program.parse(DOUBLE.source.replace("f(a, b)", "f(f(a, b), b)"))
    found = compared("simple_variable_wrong", program=twice)
    assert sorted(ghost.value.name for ghost in found.ghosts) == ["t", "t_1"]


# --- results and costs --------------------------------------------------------------------------------------------


def test_the_results_name_what_is_missing(wrong):
    assert [(r.title, r.variable, r.verdict) for r in wrong.results] == [
        ("pass of L0", "a", EQUAL),
        ("pass of L0", "b", EQUAL),
        ("pass of L1", "a", MISSING),
        ("pass of L1", "b", DIFFERENT),
    ]
    assert wrong.results[2].difference == pytest.approx(5.3376, abs=1e-4)


def test_zeros_and_None_agree_and_say_so():
    program = EXAMPLES["zero-gradients"].program
    found = compare(program.run(none="zeros"), program.run())
    assert BOTH_ZERO in {result.verdict for result in found.results}
    assert found.divergence is None


def test_almost_pays_for_zeros():
    costs = {title: (left, right) for title, left, right in compared("simple_variable_almost").costs}
    left, right = costs["pass of L1"]
    assert (left.on_zeros, right.on_zeros) == (4, 0)
    assert left.operations > right.operations and left.elements > right.elements
    assert costs["in all"][0].on_zeros == 5


def test_branching_on_None_pays_for_none():
    costs = {title: (left, right) for title, left, right in compared("simple_variable").costs}
    assert costs["in all"][0].on_zeros == 0
    assert costs["in all"][0].operations == 25  # one entry for two, in the forward part
    assert costs["in all"][1].operations == 26


# --- equal in numbers ---------------------------------------------------------------------------------------------


def test_equal_up_to_rounding_and_not_beyond():
    a = torch.tensor([1.0, 1e6])
    assert same(a, a * (1 + 1e-6))
    assert not same(a, a * 1.01)
    assert same(None, torch.zeros(3)) and not same(None, torch.ones(3))
    assert not same(torch.zeros(2), torch.zeros(1, 2))
    nan = torch.tensor([float("nan"), 1.0])
    assert same(nan, nan.clone()) and not same(nan, torch.ones(2))
    infinite = torch.tensor([float("inf"), 1.0])
    assert difference(infinite, infinite.clone()) == 0 and not same(infinite, -infinite)


def test_the_pool_finds_equals_and_lets_go_of_what_is_taken():
    values = [Value(k, f"v{k}", (2,), torch.tensor([float(k // 2), 1.0])) for k in range(6)]
    pool = Pool(enumerate(values))
    assert list(pool.equals(values[2])) == [2, 3]
    pool.take(2)
    assert list(pool.equals(values[2])) == [3]
