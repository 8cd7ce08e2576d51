"""A trace as one networkx graph: what is drawn, grouped, searched and asked reads it."""

import gc
import math
import weakref

import networkx as nx
import pytest
import torch

from simplegrad import Tape, Variable, grad, record, record_torch
from simplegrad.graph import found, graph_of, groups_of, picture
from simplegrad.graph.search import likeness, modules_of
from simplegrad.reasons.run import run_of
from simplegrad.trace.calls import Call
from simplegrad.trace.events import Entry, Value, Visited
from simplegrad.view.views import TraceView
from tests.view.conftest import chain, example


def named(graph, name):
    return next(node for node in graph if getattr(node, "name", None) == name)


@pytest.fixture(scope="module")
def trained():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    with record_torch(model, values="norm") as trace:
        hidden = model[1](model[0](torch.ones(2, 3)))
        model[2](hidden.detach()).sum().backward()
    return trace


def test_a_value_leads_to_its_readers_and_an_entry_to_what_it_makes():
    trace = example("first-gradient")
    graph = graph_of(trace)
    for entry in trace.entries:
        assert set(graph.pred[entry]) == set(entry.inputs) and set(graph.succ[entry]) == set(entry.outputs)
        assert all(graph.makers[value] is entry for value in entry.outputs)
    assert nx.is_directed_acyclic_graph(graph)
    assert graph.readers(named(graph, "a")) == [entry for entry in trace.entries if named(graph, "a") in entry.inputs]


def test_what_no_entry_made_says_what_it_is():
    graph = graph_of(example("gradient-of-gradient"))
    kinds = {node.name: facts["kind"] for node, facts in graph.nodes(data=True) if facts}
    assert {name: kinds[name] for name in ("a", "b", "t")} == {"a": "leaf", "b": "leaf", "t": "read"}
    assert list(kinds.values()).count("seed") == 2


def test_a_skipped_entry_is_a_node_of_its_own():
    graph = graph_of(example("gradient-of-gradient"))
    holes = [node for node in graph if isinstance(node, Visited)]
    assert [(hole.state, hole.entry.id) for hole in holes] == [("skipped", 1), ("skipped", 0)]
    assert not any(graph.degree(hole) for hole in holes)


def test_an_escaped_temporary_does_not_lead_back():
    trace = example("gradient-of-gradient")
    graph = graph_of(trace)
    a, b, t, loss = (named(graph, name) for name in ("a", "b", "t", "L1"))
    assert t in nx.ancestors(graph, loss) and not graph.pred[t]
    assert nx.has_path(graph, b, loss) and not nx.has_path(graph, a, loss)  # t was made of a, out of sight


def test_all_who_look_at_a_trace_read_the_same_graph():
    trace = example("chain-200")
    view = TraceView(trace)
    assert view.graph.units
    assert graph_of(trace) is view._whole is run_of(trace).graph


def test_a_graph_that_nobody_reads_is_gone():
    trace = example("first-gradient")
    graph = graph_of(trace)
    nodes, gone = [*graph], weakref.ref(graph)
    del graph
    gc.collect()
    assert gone() is None
    assert [*graph_of(trace)] == nodes


def test_a_trace_that_grew_has_another_graph():
    with Tape(), record() as trace:
        x = Variable.constant(torch.ones(2), name="x")
        first = graph_of(trace)
        x * x
        grown = graph_of(trace)
    assert first is not grown
    assert [len(first), len(grown)] == [1, 3]


def test_calls_say_what_flowed_where_autograd_did_not_follow(trained):
    graph = graph_of(trained)
    weight, loss = trained.value_named("0.weight"), trained.passes[-1].loss
    assert not nx.has_path(graph.tape, weight, loss)
    assert nx.has_path(graph.flow, weight, loss)
    on_the_way = nx.descendants(graph.flow, weight) & nx.ancestors(graph.flow, loss)
    assert "detach" in {node.name for node in on_the_way if isinstance(node, Call)}
    assert not any(isinstance(node, Entry) for node in graph.flow)
    assert not any(isinstance(node, Call) for node in graph.tape)


def test_why_is_asked_of_it(trained):
    assert trained.why("0.weight").cause == "detach"


def test_edges_carry_nothing_of_their_own():
    graph = graph_of(chain(200))
    assert len({id(facts) for _, _, facts in graph.edges(data=True)}) == 1
    assert sum(bool(facts) for _, facts in graph.nodes(data=True)) < 10


def test_networkx_reads_it_like_any_other_graph():
    graph = graph_of(example("first-gradient"))
    copy = nx.DiGraph(graph)
    copy.remove_node(next(iter(copy)))
    assert len(copy) == len(graph) - 1
    order = {node: place for place, node in enumerate(nx.topological_sort(graph))}
    assert all(order[a] < order[b] for a, b in graph.edges)


def test_groups_hold_every_entry_once():
    trace = chain(3000)
    groups = groups_of(graph_of(trace).entries, trace.passes)
    assert [entry for group in groups for entry in group.entries] == trace.entries
    assert {unit.key for unit in picture(trace).groups} <= {group.key for group in groups}


# -- search ------------------------------------------------------------------------------------------------------------


def test_search_finds_variables_and_entries_the_likeliest_first():
    graph = graph_of(example("gradient-of-gradient"))
    assert found(graph, "L1")[0] is named(graph, "L1")
    assert found(graph, "4")[0] is graph.entries[4]
    assert all("sum" in getattr(node, "statement", "sum") for node in found(graph, "sum"))
    assert found(graph, "no such thing") == []


def test_search_finds_modules(trained):
    graph = graph_of(trained)
    modules = modules_of(graph.entries)
    assert modules and all(len({entry.group for entry in module.entries}) == 1 for module in modules)
    assert modules[0].title in {getattr(node, "title", "") for node in found(graph, modules[0].title)}


def test_a_name_that_is_no_tensors_is_told_what_it_may_mean():
    with Tape(), record() as trace:
        weight = Variable.constant(torch.ones(2), name="in_proj_weight")
        grad((weight * weight).sum(), [weight])
    graph = graph_of(trace)
    assert found(graph, "proj")[0] is named(graph, "in_proj_weight")


@pytest.mark.parametrize("wanted", ["v1", "12", "sin", "SIN(V3)", "1 = s", "s v", "x", "v", "=(", "nothing", "  "])
def test_looking_through_all_labels_at_once_finds_what_each_label_says(wanted):
    graph = graph_of(chain(60))
    ranked = []
    for node in graph if wanted.strip() else ():
        if type(node) is Value:
            ranked.append((likeness(node.name, wanted.strip()), node))
        elif type(node) is Entry:
            is_it = str(node.id) == wanted.strip()
            ranked.append((0 if is_it else 1 + likeness(node.statement, wanted.strip()), node))
    ranked.sort(key=lambda each: each[0])
    assert found(graph, wanted) == [node for rank, node in ranked if rank < math.inf][:12]


def test_what_leads_to_a_value_is_what_networkx_says():
    x = torch.ones(3, requires_grad=True)
    with record_torch(values="norm") as trace:
        y = (x * 2).sin()
        (y.detach() + y).sum().backward()
    graph = graph_of(trace)
    for node in graph.flow:
        assert set(graph.before(node)) == nx.ancestors(graph.flow, node) | {node}
        assert set(graph.after(node)) == nx.descendants(graph.flow, node) | {node}
