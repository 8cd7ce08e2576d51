"""Lanes, columns and rows: who stands where, and that the work grows with the tape and not with its square."""

import pytest

from simplegrad.graph import NODE_BUDGET, picture
from simplegrad.language import EXAMPLES
from simplegrad.view import layout as layout_module
from simplegrad.view.figure import drawing, figure
from simplegrad.view.layout import layout

from .conftest import chain, example


def placed(trace, **options):
    graph = picture(trace, **options)
    return graph, layout(graph)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("prune", ["none", "ahead"])
def test_no_two_units_stand_at_one_place(name, prune):
    graph, places = placed(example(name, prune=prune))
    taken = {(unit.lane, *place) for unit, place in zip(graph.units, places.place, strict=True)}
    assert len(taken) == len(graph.units) > 3


@pytest.mark.parametrize("name", EXAMPLES)
def test_forward_runs_to_the_right(name):
    graph, places = placed(example(name))
    forward = [(source.number, target.number) for source, target in graph.edges() if source.lane == target.lane == 0]
    assert forward and all(places.place[source][0] < places.place[target][0] for source, target in forward)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "first-gradient"])  # there one records one entry
def test_what_one_visit_recorded_runs_to_the_left(name):
    graph, places = placed(example(name))
    within = [
        (source.number, target.number)
        for source, target in graph.edges()
        if source.lane and (source.lane, source.under) == (target.lane, target.under) and source.under is not None
    ]
    assert within and all(places.place[source][0] > places.place[target][0] for source, target in within)


def test_there_is_a_lane_for_forward_and_one_for_each_pass(wrong):
    graph, places = placed(wrong)
    assert graph.lanes == ["forward", "pass of L0", "pass of L1"]
    assert places.tops == sorted(places.tops) and len(places.tops) == 3


def test_an_entry_of_a_pass_stands_within_the_columns_of_the_entry_that_recorded_it(wrong):
    graph, places = placed(wrong)
    by_slot = {unit.key: slot for unit, (slot, _) in zip(graph.units, places.place)}
    f = graph.home_of(wrong.entries[0])
    under_f = [unit.key for unit in graph.units if unit.under == f and unit.kind != "hole"]
    assert len(under_f) == 4  # v3, t, v4, v5
    assert all(by_slot["v0"] < by_slot[key] < by_slot["e1"] for key in under_f)


def test_a_skipped_entry_is_a_hole_in_the_lane_of_the_pass(wrong):
    graph, places = placed(wrong)
    holes = [unit for unit in graph.units if unit.kind == "hole"]
    assert [(hole.entries[0].id, hole.lane) for hole in holes] == [(1, 2), (0, 2)]
    assert [places.place[hole.number][0] for hole in holes] == [
        places.place[graph.home_of(hole.entries[0])][0] for hole in holes
    ]


def test_an_escaped_temporary_has_an_edge_out_and_none_in(wrong):
    graph = picture(wrong)
    (escaped,) = (unit for unit in graph if unit.kind == "read")
    assert graph.in_degree(escaped) == 0
    assert graph.out_degree(escaped) == 2  # v4 = v2 * t, and the second pass's v18 = v13 * t


def test_a_right_aggregate_has_no_escaped_temporary():
    graph = picture(example("gradient-of-gradient", "simple_variable"))
    assert "read" not in {unit.kind for unit in graph}


def test_a_value_read_twice_by_one_entry_has_two_edges():
    graph = picture(example("zero-gradients"))  # a * a
    units = {unit.key: unit for unit in graph}
    assert graph.number_of_edges(units["v0"], units["e0"]) == 2


def test_a_long_tape_is_collapsed_and_opens_a_group_at_a_time():
    trace = chain(3000, passes=2)
    closed = picture(trace)
    assert len(trace.entries) > 2 * NODE_BUDGET
    assert len(closed.units) < 200
    assert set(closed.home) == set(trace.entries)
    group = next(unit for unit in closed.units if unit.kind == "group")
    opened = picture(trace, [group.key])
    assert {opened.home[entry].key for entry in group.entries} == {f"e{entry.id}" for entry in group.entries}
    assert group.key not in {unit.key for unit in opened.units}


def test_what_is_drawn_is_bounded_however_much_is_opened():
    trace = chain(12_000)
    groups = [unit.key for unit in picture(trace).units if unit.kind == "group"]
    graph, places = placed(trace, opened=groups)
    assert len(drawing(graph, places).nodes) <= NODE_BUDGET


def test_a_step_inside_of_a_group_finds_it():
    trace = chain(3000)
    graph = picture(trace)
    assert graph.home[trace.entries[1500]].kind == "group"


def test_finding_a_free_row_does_not_walk_over_the_taken_ones():
    taken = CountingDict()
    for _ in range(2000):
        layout_module._next_free(taken, 0, step=1)
    assert taken.looks < 2000 * 12


class CountingDict(dict):
    looks = 0

    def __contains__(self, key):
        CountingDict.looks += 1
        return super().__contains__(key)


def test_the_work_of_the_layout_grows_with_the_tape():
    """Twice the tape, twice the edges and units: every unit is placed once, every edge drawn once."""
    sizes = []
    for length in (200, 400):
        graph, places = placed(chain(length))
        drawn = drawing(graph, places)
        sizes.append((len(graph.units), graph.number_of_edges(), len(drawn.curves), sum(places.rows)))
    small, large = sizes
    assert all(b <= 2 * a for a, b in zip(small, large))


def test_names_of_values_read_from_afar_stand_at_the_entry():
    graph, places = placed(example("chain-200"))
    drawn = drawing(graph, places)
    assert len([1 for _, _, name in drawn.labels if name == "w"]) > 80


def test_the_figure_has_the_nodes_as_its_last_trace_and_no_step():
    trace = example("gradient-of-gradient")
    graph, places = placed(trace)
    drawn = drawing(graph, places)
    chart = figure(drawn)
    assert len(chart.data[-1].x) == len(drawn.nodes)
    assert [shape.type for shape in chart.layout.shapes] == ["rect"] * 3
    assert [note.text for note in chart.layout.annotations] == [
        "<b>forward →</b>",
        "<b>← pass of L0</b>",
        "<b>← pass of L1</b>",
    ]
