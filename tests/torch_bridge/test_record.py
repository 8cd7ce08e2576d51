"""A real PyTorch run as a Trace."""

import contextlib
import gc
import threading
import warnings

import pytest
import torch
import torch.utils.checkpoint
from torch.autograd import Function

from simplegrad import Trace, check, diagnose
from simplegrad.torch_bridge.record import record_torch
from simplegrad.trace.events import (
    Accumulated,
    Failed,
    Leaf,
    LimitReached,
    PassBegun,
    PassEnded,
    PassFailed,
    Recorded,
    VisitBegun,
    Visited,
)


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        slope = 3 * x**2
        return slope * g


class Raises(Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, g):
        raise ValueError("boom")


def vector():
    return torch.tensor([0.5, -1.0, 2.0], dtype=torch.double, requires_grad=True)


def of(trace, kind):
    return [event for event in trace.events if isinstance(event, kind)]


def penalty(x):
    y = Cube.apply(x) * x
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    loss = (g**2).sum()
    loss.backward()
    return loss


@pytest.mark.parametrize("values", ["none", "norm", "full"])
def test_results_are_bit_equal_with_and_without_recording(values):
    plain, recorded = vector(), vector()
    penalty(plain)
    with record_torch(values):
        penalty(recorded)
    assert torch.equal(plain.grad, recorded.grad)


def test_two_passes_with_names_from_the_code():
    x = vector()
    with record_torch() as trace:
        y = Cube.apply(x)
        L = y.sum()
        (g,) = torch.autograd.grad(L, x, create_graph=True)
        loss = (g * g).sum()
        loss.backward()
    assert [run.title for run in trace.passes] == ["pass of L", "pass of loss"]
    assert [value.name for value in trace.passes[0].wanted] == ["x"]
    assert [event.value.name for event in of(trace, Leaf)] == ["x"]
    assert [entry.statement for entry in trace.entries[:2]] == ["y = Cube(x)", "L = Sum(y)"]
    assert trace.kind == "torch"


def test_entries_know_their_lines_and_who_made_them():
    x = vector()
    with record_torch() as trace:
        torch.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)
    cube = trace.entries[0]
    assert cube.aggregate
    assert cube.source[0] == __file__
    assert cube.propagate_source[0] == __file__
    made = [entry for entry in trace.entries if entry.made_by == cube.id]
    lines = {entry.source[1] - cube.propagate_source[1] for entry in made}
    assert [entry.operator for entry in made] == ["Pow", "Mul", "Mul"]
    assert lines == {3, 4}  # counted from the decorator


def test_recorded_entries_stand_inside_the_visit_that_made_them():
    x = vector()
    with record_torch() as trace:
        torch.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)
    (visit,) = [e for e in of(trace, VisitBegun) if e.entry.operator == "Cube"]
    inside = [e for e in of(trace, Recorded) if e.parent == visit.index]
    assert len(inside) == 3


def test_incoming_gradients_are_the_sums_of_what_came():
    x = vector()
    with record_torch("full") as trace:
        h = x.sin()
        torch.autograd.grad((h * h + h.exp() + h).sum(), x)
    came = {}
    for event in of(trace, Accumulated):
        if event.contribution is not None:
            came[event.value] = came.get(event.value, 0) + event.contribution.tensor
    checked = 0
    for event in of(trace, Visited):
        for value, gradient in zip(event.entry.outputs, event.incoming, strict=True):
            if value in came:
                assert torch.equal(gradient.tensor, came[value])
                checked += 1
    assert checked >= 5
    assert trace.at(len(trace)).gradients["x"].state == "value"


def changed(trace):
    return [notice.partition(" changed in place")[0] for notice in trace.notices if "changed in place" in notice]


@pytest.mark.parametrize("values", ["norm", "full"])
@pytest.mark.parametrize("when", ["inside", "after", "after it was read", "never"])
def test_a_leaf_that_a_step_changed_later_is_a_notice(values, when):
    w = vector()
    optimizer = torch.optim.SGD([w], 0.1)
    with record_torch(values) as trace:
        (w * w).sum().backward()
        if when == "inside":
            optimizer.step()
    if when == "after it was read":
        assert changed(trace) == []
    if when.startswith("after"):
        optimizer.step()
    assert changed(trace) == (["w was"] if values == "full" and when != "never" else [])


def test_a_gradient_that_is_changed_after_its_pass_is_a_notice():
    w = vector()
    with record_torch("full") as trace:
        w.exp().sum().backward()
        w.grad.zero_()
    (zeroed,) = [value for value in trace.values if value.tensor is not None and not value.tensor.any()]
    assert changed(trace) == [f"{zeroed.name} was"]


def test_what_changed_before_the_pass_saw_it_is_no_notice():
    w = vector()
    with record_torch("full") as trace:
        with torch.no_grad():
            w.mul_(2)
        y = w * 3
        y.add_(1)
        y.sum().backward()
    assert changed(trace) == []
    assert torch.equal(trace.value_named("w").tensor, w)


def test_values_norm_keeps_no_tensor():
    x = vector()
    with record_torch("norm") as trace:
        (x * x).sum().backward()
    seen = of(trace, Visited)[-1].incoming[0]
    assert seen.tensor is None
    assert seen.note.startswith("norm ")


def test_nodes_that_lead_to_nothing_wanted_are_pruned():
    x, w = vector(), vector()
    with record_torch() as trace:
        torch.autograd.grad((x.sin() * w.cos()).sum(), x)
    states = {event.entry.operator: event.state for event in of(trace, Visited)}
    assert states["Cos"] == "pruned"
    assert states["Sin"] == "propagated"


def test_nodes_that_run_with_nothing_but_none_are_skipped():
    class Nothing(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return None

    x = vector()
    with record_torch() as trace:
        Nothing.apply(x.sin()).sum().backward()
    states = {event.entry.operator: event.state for event in of(trace, Visited)}
    assert states["Sin"] == "skipped"
    assert x.grad is None or not x.grad.any()


def test_a_pass_inside_a_backward_is_nested():
    class Inner(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            with torch.enable_grad():
                leaf = ctx.saved_tensors[0].detach().requires_grad_()
                return torch.autograd.grad(leaf.sin(), leaf, g)[0]

    x = vector()
    with record_torch() as trace:
        Inner.apply(x).sum().backward()
    outer, inner = of(trace, PassBegun)
    (visit,) = [e for e in of(trace, VisitBegun) if e.entry.operator == "Inner"]
    assert (outer.parent, inner.parent) == (None, visit.index)


def test_a_run_that_raises_keeps_what_came_before():
    x = vector()
    with pytest.raises(RuntimeError), record_torch() as trace:
        y = (x * x).sum()
        y.backward()
        y.backward()
    assert isinstance(trace.events[-1], Failed)
    assert len(trace.passes) == 2


def raises_in_backward(x):
    Raises.apply(x * 3).sum().backward()


def raises_in_a_hook(x):
    y = x * 3
    y.register_hook(lambda g: 1 / 0)
    y.sum().backward()


def raises_for_a_freed_graph(x):
    y = (x * x).sum()
    y.backward()
    y.backward()


def raises_for_a_change_in_place(x):
    y = x.exp()
    loss = (y * y).sum()
    y.mul_(2)
    loss.backward()


@pytest.mark.parametrize("values", ["none", "norm", "full"])
@pytest.mark.parametrize(
    "raises", [raises_in_backward, raises_in_a_hook, raises_for_a_freed_graph, raises_for_a_change_in_place]
)
def test_a_pass_whose_error_is_caught_has_failed_and_what_follows_belongs_to_none(raises, values):
    x = vector()
    with record_torch(values) as trace:
        with pytest.raises((RuntimeError, ValueError, ZeroDivisionError)) as caught:
            raises(x)
        z = x * 2
        z.sum().backward()
    (failed,) = of(trace, PassFailed)
    assert (failed.error, failed.entry is not None) == (caught.type.__name__, raises is raises_in_backward)
    assert failed.message.startswith(str(caught.value))
    assert failed.source[0] == __file__
    assert f"failed at test_record.py:{failed.source[1]}: {failed.error}" in trace.transcript()
    assert trace.error is None and isinstance(trace.events[-1], PassEnded)
    after = [event for event in trace.events[failed.index + 1 :] if isinstance(event, Recorded)]
    assert [(event.entry.operator, event.pass_id) for event in after] == [("Mul", None), ("Sum", None)]
    assert of(trace, PassBegun)[-1].parent is None
    assert f"The {failed.pass_.title} failed: {failed.error}" in str(diagnose(trace))


def test_a_caught_error_of_a_pass_says_which_tensor_was_changed():
    with record_torch() as trace, contextlib.suppress(RuntimeError):
        raises_for_a_change_in_place(vector())
    (failed,) = of(trace, PassFailed)
    assert "was changed by mul_ (test_record.py, line" in failed.message


def test_a_pass_that_failed_within_another_leaves_that_one_open():
    class Tries(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            with torch.enable_grad(), contextlib.suppress(ValueError):
                raises_in_backward(vector())
            return g

    x = vector()
    with record_torch() as trace:
        Tries.apply(x * 2).sum().backward()
    outer, inner = [event.pass_ for event in of(trace, PassBegun)]
    assert [event.pass_ for event in of(trace, PassFailed)] == [inner]
    assert [event.pass_ for event in of(trace, PassEnded)] == [outer]


def test_a_limit_is_the_last_event_and_the_run_goes_on():
    x = vector()
    with record_torch(limit=3) as trace:
        y = x
        for _ in range(10):
            y = y.sin()
        y.sum().backward()
    assert x.grad is not None
    assert isinstance(trace.events[-1], LimitReached)


def test_hooks_are_gone_afterwards():
    x = vector()
    with record_torch() as trace:
        y = (x * x).sum()
        y.backward(retain_graph=True)
    count = len(trace)
    y.backward()
    assert len(trace.events) == count


def test_the_graph_does_not_live_on_in_the_trace():
    import weakref

    x = vector()
    with record_torch() as trace:
        y = Cube.apply(x)
        y.sum().backward()
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is None
    assert trace.entries


def test_an_unknown_values_is_an_error():
    with pytest.raises(ValueError, match="expected one of 'none', 'norm', 'full'"), record_torch("some"):
        pass


def compiled_in_part():
    torch.manual_seed(0)
    middle = torch.compile(torch.nn.Sequential(torch.nn.GELU(), torch.nn.Linear(4, 4)), backend="aot_eager")
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), middle, torch.nn.Linear(4, 1))
    model.spare = torch.nn.Linear(1, 1)
    return model


def test_compiled_code_runs_as_it_does_without_and_is_one_entry():
    """Compiled within the recording and before it: the compiler sees neither our mode nor our hooks."""
    from torch._dynamo.utils import counters

    model = compiled_in_part()
    x = torch.ones(2, 3)
    model[2](model[1](model[0](x))).sum().backward()
    expected, graphs = [p.grad.clone() for p in model[:3].parameters()], counters["stats"]["unique_graphs"]
    model.zero_grad()
    with warnings.catch_warnings(), record_torch(model) as trace:
        warnings.simplefilter("error")
        model[2](model[1](model[0](x))).sum().backward()
    assert all(torch.equal(p.grad, g) for p, g in zip(model[:3].parameters(), expected, strict=True))
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]
    assert [entry.operator for entry in trace.entries].count("CompiledFunction") == 1
    assert any("torch.compile" in notice for notice in trace.notices)
    assert trace.why("0.weight").state == "value"
    assert trace.why("spare.weight").cause == ""  # it may have been read where nobody saw it
    assert not torch.nn.modules.module._has_any_global_hook()


def test_code_that_is_compiled_within_a_recording():
    def doubled(x):
        return x.sin() * 2

    w = torch.ones(2, requires_grad=True)
    with record_torch() as trace:
        torch.compile(doubled, backend="aot_eager")(w).sum().backward()
        w.cos().sum().backward()
    assert [entry.operator for entry in trace.entries] == ["CompiledFunction", "Sum", "Cos", "Sum"]
    assert {entry.source[1] for entry in trace.entries[:2]} == {trace.entries[2].source[1] - 1}
    assert [call.name for call in trace.calls if call.kind == "operation"] == ["sum", "cos", "sum"]


def test_recordings_of_modules_name_their_parameters():
    layer = torch.nn.Linear(3, 2)
    with record_torch() as trace:
        layer(torch.ones(1, 3)).sum().backward()
    assert {event.value.name for event in of(trace, Leaf)} == {"layer.weight", "layer.bias"}


def test_a_recording_within_a_recording():
    x = torch.ones(2, requires_grad=True)
    with record_torch() as outer:
        with record_torch() as inner:
            Cube.apply(x).sum().backward()
        assert check(Cube.apply, x).ok
        Cube.apply(x).sum().backward()
    assert [entry.text for entry in inner.entries] == [entry.text for entry in outer.entries][:2]
    assert sum("Cube" in entry.text for entry in outer.entries) > sum("Cube" in entry.text for entry in inner.entries)
    assert "apply" not in vars(torch.autograd.function._SingleLevelFunction)


@pytest.mark.parametrize("run", [lambda x: x.sum().backward(), lambda x: torch.autograd.grad((x * w).sum(), x)])
def test_what_the_engine_refuses_it_refuses_in_its_own_words(run):
    said = []
    for watch in (record_torch, contextlib.nullcontext):
        with pytest.raises(RuntimeError) as caught, watch():
            run(torch.ones(2))
        said.append(str(caught.value))
    assert said[0] == said[1]


w = torch.ones(2, requires_grad=True)


def test_a_transcript_says_what_is_known_of_a_leaf_that_was_not_kept():
    x = vector()
    with record_torch() as trace:
        penalty(x)
    assert trace.transcript().splitlines()[0] == "x = a float64 tensor of shape (3,)"


def with_little_stack(run):
    """What it returns, in a thread whose stack has half a megabyte; falling one within the other, nodes end it."""
    done, size = [], threading.stack_size(1 << 19)
    try:
        thread = threading.Thread(target=lambda: done.append(run()))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    return done[0]


def long_chain(entries=8000):
    x, w = (torch.ones(2, requires_grad=True) for _ in range(2))
    with record_torch(values="none") as trace:
        y = x
        for _ in range(entries // 2):
            y = (y * w).sin()
        loss = y.sum()
        loss.backward()
    return trace, y, loss


def test_a_long_graph_of_which_nothing_is_left_is_let_go_of_with_little_stack():
    """Its nodes are held by the recorder alone."""

    def run():
        x, w = (torch.ones(2, requires_grad=True) for _ in range(2))
        with record_torch(values="none") as trace:
            y = x
            for _ in range(4000):
                y = (y * w).sin()
            y.sum().backward()
            del y
        return len(trace.entries)

    assert with_little_stack(run) == 8001


def test_a_long_graph_whose_results_the_program_drops_later_falls_with_little_stack():
    """In either order, and nothing of it is left when the collector was there."""

    def sines():
        return sum(type(each).__name__ == "SinBackward0" for each in gc.get_objects())

    def run(*order):
        gc.collect()
        before, results = sines(), dict(zip(("y", "loss"), long_chain()[1:]))
        for name in order:
            del results[name]
            gc.collect()
        gc.collect()  # the list of the one dropped first held the other
        return sines() - before

    assert with_little_stack(lambda: run("loss", "y")) == 0
    assert with_little_stack(lambda: run("y", "loss")) == 0


def test_a_short_graph_is_left_as_it_was():
    x = torch.ones(2, requires_grad=True)
    with record_torch():
        loss = x.sin().sum()
        loss.backward()
    assert loss.grad_fn.metadata == {}


def test_what_stands_in_memory_that_nobody_has_written_to_is_no_result():
    x = vector()
    with record_torch(values="norm") as trace:
        room = torch.full((3,), 7.0, dtype=torch.double).new_empty(3)
        room.copy_(x.detach())
        (x * room).sum().backward()
    (made,) = [call for call in trace.calls if call.name == "new_empty"]
    (written,) = [call for call in trace.calls if call.name == "copy_"]
    assert made.outputs[0].norm is None
    assert written.outputs[0].norm == pytest.approx(x.detach().norm().item())


def test_what_a_checkpoint_computes_again_can_be_read_from_a_file(tmp_path):
    x = vector()
    with record_torch(values="norm") as trace:
        torch.utils.checkpoint.checkpoint(lambda x: x.sin().exp(), x, use_reentrant=False).sum().backward()
    assert [call.name for call in trace.calls if call.within == "recomputed" and call.kind == "operation"] == ["sin"]
    trace.save(tmp_path / "step.trace")
    again = Trace.load(tmp_path / "step.trace")
    assert again.transcript() == trace.transcript()
    assert [call.within for call in again.calls] == [call.within for call in trace.calls]


@torch.library.custom_op("simplegrad_test_record::cubed", mutates_args=())
def cubed(x: torch.Tensor) -> torch.Tensor:
    return x**3


def keep_x(ctx, inputs, output):
    ctx.save_for_backward(inputs[0])


def backward_of_cubed(ctx, g):
    (x,) = ctx.saved_tensors
    return 3 * x**2 * g


cubed.register_autograd(backward_of_cubed, setup_context=keep_x)


def test_an_operators_backward_stands_where_somebody_wrote_it():
    """Not where torch calls it from."""
    x = vector()
    with record_torch() as trace:
        cubed(x).sum().backward()
    (entry,) = [each for each in trace.entries if each.aggregate]
    assert entry.operator == "simplegrad_test_record::cubed"
    assert [call.name for call in trace.calls if call.kind == "function"] == ["simplegrad_test_record::cubed"]
    first = backward_of_cubed.__code__.co_firstlineno
    assert entry.propagate_source == (__file__, first) and entry.returns_at == (__file__, first + 2)
    visits = [event for event in trace if isinstance(event, (VisitBegun, Visited)) and event.entry is entry]
    assert [event.source for event in visits] == [(__file__, first)] * 2


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.again(self.again(x))

    def again(self, x):
        return self.inner(x).sin()


def test_a_call_has_all_own_lines_through_modules_within_each_other():
    first = Twice.forward.__code__.co_firstlineno
    model = torch.nn.Sequential(Twice())
    with record_torch(model) as trace:
        model(torch.ones(1, 2)).sum().backward()
    linear = next(call for call in trace.calls if call.name == "linear")
    sin = next(call for call in trace.calls if call.name == "sin")
    assert [line - first for _, line in linear.stack[:2]] == [4, 1]
    assert [line - first for _, line in sin.stack[:2]] == [4, 1]
    assert len(linear.stack) == len(sin.stack) >= 3
    assert (linear.module, sin.module) == ("0.inner", "0")
    assert "linear.forward" in linear.via and not sin.via


class Wrapping:
    """Begins a recording for somebody else's block."""

    def __init__(self, inner):
        self.inner = inner

    def __enter__(self):
        return self.inner.__enter__()

    def __exit__(self, *error):
        return self.inner.__exit__(*error)


@contextlib.contextmanager
def yielding(inner):
    with inner as trace:
        yield trace


@pytest.mark.parametrize("around", [lambda inner: inner, Wrapping, yielding])
def test_the_lines_of_a_block_are_kept_whoever_began_its_recording(around):
    with around(record_torch()) as trace:
        x = vector()
        x.square().sum().backward()
    begun = of(trace, PassBegun)[0].source
    calls = [call for call in trace.calls if call.name in ("square", "sum")]
    assert [call.source for call in calls] == [begun, begun]
    assert begun[0] == __file__


def test_hooks_of_a_module_belong_to_it():
    layer = torch.nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda module, given, gave: None)
    model = torch.nn.Sequential(layer)
    with record_torch(model) as trace:
        model(torch.ones(1, 2, requires_grad=True)).sum().backward()
    groups = {entry.group for entry in trace.entries if entry.operator == "BackwardHookFunction"}
    assert groups == {"0"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("size", [8, 20_000])
def test_the_share_of_zeros_of_a_gradient(dtype, size):
    layer = torch.nn.Module()
    layer.w = torch.nn.Parameter(torch.ones(size, dtype=dtype))
    with record_torch(layer) as trace:
        layer.w.grad = torch.tensor([0, 0, 1, float("nan")], dtype=dtype).repeat(size // 4)
        layer.w.grad[3::4] = 2
    assert trace.held[0].zeros == 0.5


def plain_layers():
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.LayerNorm(2))


def with_a_hook():
    model = plain_layers()
    model[1].register_forward_hook(lambda module, args, output: output * 2)
    return model


def with_a_parametrized_weight():
    model = plain_layers()
    torch.nn.utils.parametrizations.orthogonal(model[0])
    return model


def with_another_forward():
    model = plain_layers()
    model[1].forward = lambda x: x.sin() * x
    return model


@pytest.mark.parametrize("make", [plain_layers, with_a_hook, with_a_parametrized_weight, with_another_forward])
def test_modules_that_are_told_as_one_have_the_same_lines_and_paths(make):
    told = []
    for values in ("none", "norm"):
        torch.manual_seed(0)
        model = make()
        with record_torch(model, values=values) as trace:
            model(torch.ones(1, 2)).sum().backward()
        told.append([(entry.operator, entry.group, entry.source) for entry in trace.entries])
    assert told[0] == told[1]
    assert ("Tanh", "1") in [each[:2] for each in told[0]] or make is with_another_forward


def test_rows_of_visits_are_left_alone_by_pythons_collector():
    """It would walk through all of them, again and again, while a long run goes on."""
    x = vector()
    with record_torch(values="norm") as trace:
        y = x
        for _ in range(10):
            y = (y * 2).sin()
        y.sum().backward()
        rows = [row for row in trace._builder.recorder.log if row[0] == "visited"]
        gc.collect()
        gc.collect()
        assert len(rows) > 20 and not any(map(gc.is_tracked, rows))
    assert len([event for event in trace if isinstance(event, Visited)]) == len(rows)


def test_a_nested_tensors_ragged_dimension_has_no_size_and_the_trace_can_be_saved(tmp_path):
    layer = torch.nn.Linear(4, 4)
    with record_torch(layer) as trace:
        rows = torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)], layout=torch.jagged)
        torch.nested.to_padded_tensor(layer(rows), 0.0).sum().backward()
    trace.save(tmp_path / "nested.trace")
    assert (2, 0, 4) in {value.shape for value in Trace.load(tmp_path / "nested.trace").values}


def test_lazy_parameters_and_those_without_memory_leave_no_notice():
    with record_torch() as trace:
        lazy = torch.nn.LazyLinear(2)
        lazy(torch.ones(3, 4)).sum().backward()
        with torch.device("meta"):
            torch.nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward()
    assert not [notice for notice in trace.notices if "could not" in notice]


def test_what_is_changed_through_data_is_measured_anew():
    x, p = torch.ones(2), torch.nn.Parameter(torch.ones(2))
    with record_torch() as trace:
        (p[:] * x).sum().backward()
        p.data.mul_(3)
        p.grad.data.mul_(5)
        (p[:] * x).sum().backward()
    read = [call.outputs[0].norm for call in trace.calls if call.name == "__getitem__"]
    assert read == pytest.approx([2**0.5, 3 * 2**0.5])
    assert trace.filled[-1].before == pytest.approx(5 * 2**0.5)


def test_an_average_of_the_weights_is_no_finding():
    model = torch.nn.Linear(3, 1)
    average, optimizer = torch.optim.swa_utils.AveragedModel(model), torch.optim.SGD(model.parameters(), lr=0.1)
    with record_torch(model, average) as trace:
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
            average.update_parameters(model)
    assert diagnose(trace).findings == ()
