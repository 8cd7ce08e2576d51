"""A recording is a guest: what it cannot see is a notice, and the run goes as it goes without."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.func import grad, hessian, jacrev, vjp, vmap

from simplegrad import record_torch
from simplegrad.trace.events import Failed


@pytest.fixture(params=["none", "norm", "full"])
def values(request):
    return request.param


def of_square(x):
    return (x.sin() * x).sum()


@pytest.mark.parametrize("transform", [jacrev, hessian, lambda f: vmap(grad(f)), lambda f: jacrev(vmap(grad(f)))])
def test_transforms_run_as_they_do_without(values, transform):
    x = torch.randn(4, 3)
    expected = transform(of_square)(x)
    with record_torch(values=values) as trace:
        found = transform(of_square)(x)
        leaf = torch.ones(2, requires_grad=True)
        (leaf * 2).sum().backward()
    assert torch.equal(found, expected)
    assert any("torch.func" in notice for notice in trace.notices)
    assert len(trace.passes) == 1
    assert not [notice for notice in trace.notices if "could not" in notice]


def of_vjp():
    x = torch.rand(3)
    vjp(torch.sin, x)[1](x)


def of_nested_tensors():
    parts = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], requires_grad=True)
    (parts * 2).to_padded_tensor(0).sum().backward()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("runs", [of_vjp, of_nested_tensors])
def test_the_trace_of_a_pass_that_could_not_be_noted_can_be_read(values, runs, tmp_path):
    with record_torch(values=values) as trace:
        leaf = torch.ones(2, requires_grad=True)
        runs()
        (leaf * 2).sum().backward()
    assert len(trace) == len(trace.events) > 0
    assert [run.loss.dtype for run in trace.passes] == ["float32"]
    assert any("A pass could not be noted" in notice for notice in trace.notices)
    assert not [notice for notice in trace.notices if "state of the modules" in notice]
    trace.save(tmp_path / "a.trace")


def test_what_cannot_be_told_is_a_notice(monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("a fault of the teller's own")

    monkeypatch.setattr("simplegrad.torch_bridge.tell.Teller.visited", broken)
    monkeypatch.setattr("simplegrad.torch_bridge.tell.Teller._look_ahead", broken)
    with record_torch() as trace:
        leaf = torch.ones(2, requires_grad=True)
        (leaf * 2).sum().backward()
    assert len(trace) == len(trace.events) > 0
    assert trace.transcript()
    assert any("could not be told: ZeroDivisionError: a fault of the teller's own" in n for n in trace.notices)


def test_what_goes_wrong_in_the_recorder_is_a_notice(monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("a fault of the recorder's own")

    monkeypatch.setattr("simplegrad.torch_bridge.record.measure", broken)
    monkeypatch.setattr("simplegrad.torch_bridge.operations.measure", broken)
    layer = nn.Linear(3, 2)
    with record_torch(layer) as trace:
        layer(torch.ones(1, 3)).sum().backward()
    assert layer.weight.grad is not None
    assert any("a fault of the recorder's own" in notice for notice in trace.notices)


def test_the_hosts_cyclic_garbage_is_collected_while_it_records(values):
    class Ring:
        def __init__(self):
            self.ring, self.tensor = self, torch.ones(50_000)

    alive, frozen = [], gc.get_freeze_count()
    x = torch.ones(3, requires_grad=True)
    for _ in range(400):
        with record_torch(values=values):
            (x * 2).sum().backward()
        alive.append(weakref.ref(Ring()))
    gc.collect(1)
    assert sum(ring() is not None for ring in alive) < 350
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


@pytest.mark.parametrize("kind", ["meta", "sparse", "inference", "subclass", "int", "empty"])
def test_tensors_of_all_kinds_pass_through(values, kind):
    made = {
        "meta": lambda: torch.ones(3, device="meta"),
        "sparse": lambda: torch.eye(3).to_sparse(),
        "inference": inference_tensor,
        "subclass": lambda: torch.ones(3).as_subclass(Own),
        "int": lambda: torch.arange(3),
        "empty": lambda: torch.ones(0, 3),
    }[kind]
    with record_torch(values=values) as trace:
        x = made()
        y = x + x
    assert type(y) is type(x)
    assert not [notice for notice in trace.notices if "could not" in notice]


class Own(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return super().__torch_function__(func, types, args, kwargs or {})


def inference_tensor():
    with torch.inference_mode():
        return torch.ones(3)


def test_a_module_that_raises_keeps_what_came_before():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 2)

        def forward(self, x):
            h = self.first(x)
            return h @ torch.ones(3, 1)

    model = Broken()
    with pytest.raises(RuntimeError), record_torch(model) as trace:
        model(torch.ones(1, 2))
    assert isinstance(trace.events[-1], Failed)
    assert [call.name for call in trace.calls if call.inputs][0] == "linear"
    assert trace.events[-1].source[0] == __file__


def test_an_in_place_version_error_names_the_tensor_and_the_statement_that_changed_it():
    w = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="inplace"), record_torch() as trace:
        y = torch.sigmoid(w)
        loss = (y * 2).sum()
        y.mul_(3)  # the change
        loss = loss + y.sum()
        loss.backward()
    failed = trace.events[-1]
    changed = line_of("the change")
    assert f"line {changed}" in failed.message
    assert "mul_" in failed.message


def test_a_derivative_that_is_not_implemented_names_the_forward_line():
    x = torch.rand(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="not implemented"), record_torch() as trace:
        y = torch.igamma(x, torch.rand(3))  # no derivative
        y.sum().backward()
    assert f"line {line_of('no derivative')}" in trace.events[-1].message


def line_of(text):
    with open(__file__) as file:
        return next(i for i, line in enumerate(file, 1) if line.rstrip().endswith(f"# {text}"))


def test_a_recording_that_nobody_keeps_leaves_no_cycles(values):
    layer = nn.Linear(3, 2)

    def recorded(is_read):
        with record_torch(layer, values=values) as trace:
            layer(torch.ones(1, 3)).sum().backward()
        if is_read:
            assert trace.events
        return weakref.ref(trace)

    gc.collect()
    gc.disable()
    try:
        assert [recorded(is_read)() for is_read in (False, True)] == [None, None]
        recorder = [each for each in gc.get_objects() if type(each).__name__ == "TorchRecorder"]
        assert recorder == []
    finally:
        gc.enable()


def test_what_was_counted_can_be_resized_afterwards():
    """`tensor.numpy()` marks memory as shared, for ever."""
    layer = nn.Linear(100, 100)
    with record_torch(layer):
        layer(torch.ones(1, 100)).sum().backward()
    assert layer.weight.grad.untyped_storage().resizable()
