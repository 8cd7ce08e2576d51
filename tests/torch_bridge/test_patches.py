"""Several at once: what watches a run sees that run alone, and leaves torch as it was."""

import ast
import asyncio
import gc
import linecache
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.autograd import Function
from torch.autograd import function as autograd_function
from torch.autograd import graph as autograd_graph
from torch.nn.modules import module as module_hooks
from torch.optim import optimizer as optimizer_hooks
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

import simplegrad
from simplegrad import check, record_torch
from simplegrad.torch_bridge import patches
from simplegrad.torch_bridge.calls import recorded_calls
from simplegrad.torch_bridge.patches import Watcher, current, is_watching, watched_by

BACK, SINGLE = autograd_function.BackwardCFunction, autograd_function._SingleLevelFunction


def torchs_own():
    spots = [(autograd_graph, "_engine_run_backward"), (torch.autograd, "_engine_run_backward"), (SINGLE, "apply")]
    spots += [(BACK, "apply"), (BACK, "apply_boxed")]
    return [vars(holder).get(name) for holder, name in spots] + [len(_get_current_function_mode_stack())]


@pytest.fixture(autouse=True)
def torch_is_left_as_it_was():
    before = torchs_own()
    yield
    gc.collect()
    assert torchs_own() == before


@pytest.fixture
def deep_recursion():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10 * limit)
    yield
    sys.setrecursionlimit(limit)


class Square(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g


class Forgets(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.t = x.exp()
        return ctx.t * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return ctx.t * (1 + x) * g


def one_pass(x=None):
    x = torch.ones(3, requires_grad=True) if x is None else x
    Square.apply(x).sum().backward()


def shape_of(trace):
    return [event.kind for event in trace.events], [entry.statement for entry in trace.entries]


def alone():
    with record_torch() as trace:
        one_pass()
    return shape_of(trace)


# -- threads -----------------------------------------------------------------------------------------------------------


def test_six_threads_that_check_get_the_verdicts_of_one():
    def verdicts(_):
        return [check(f.apply, point()).verdict for f in (Square, Forgets)]

    def point():
        return torch.tensor([0.3, 0.8, 1.7], dtype=torch.double, requires_grad=True)

    expected = verdicts(0)
    assert expected[1] == "escaped_temporary"
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(verdicts, range(12))) == [expected] * 12


def test_six_threads_that_record_get_the_trace_of_one():
    expected = alone()
    together = threading.Barrier(6)

    def recorded(_):
        together.wait()
        return [alone() for _ in range(15)]

    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(recorded, range(6)):
            assert found == [expected] * 15


def test_two_overlapping_recordings_that_end_in_the_order_in_which_they_began():
    first_is_on, second_is_on, first_is_over = (threading.Event() for _ in range(3))
    traces = {}

    def first():
        with record_torch() as traces["first"]:
            first_is_on.set()
            second_is_on.wait()
            one_pass()
        first_is_over.set()

    def second():
        first_is_on.wait()
        with record_torch() as traces["second"]:
            second_is_on.set()
            first_is_over.wait()
            one_pass()
            one_pass()

    in_threads(first, second)
    assert [len(traces[name].passes) for name in ("first", "second")] == [1, 2]


def test_a_backward_of_another_thread_does_not_enter_a_recording():
    x = torch.ones(3, requires_grad=True)
    shared = Square.apply(x).sum()
    with record_torch("norm") as trace:
        shared.backward(retain_graph=True)  # its nodes carry hooks from now on
        in_threads(one_pass, lambda: shared.backward(retain_graph=True))
    assert len(trace.passes) == 1
    assert len([event for event in trace.events if event.kind == "Visited"]) == 2


def test_the_engines_own_threads_belong_to_the_pass_that_they_work_for(deep_recursion):
    """From 60 passes within each other on, the engine takes a thread of its own for the next."""

    class Deep(Function):
        @staticmethod
        def forward(ctx, x, levels):
            ctx.levels = levels
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            threads.add(threading.get_ident())
            if ctx.levels:
                with torch.enable_grad():
                    leaf = torch.ones(1, requires_grad=True)
                    Deep.apply(leaf, ctx.levels - 1).sum().backward()
            return g, None

    threads = set()
    with record_torch() as trace, recorded_calls(within=True) as recording:
        Deep.apply(torch.ones(1, requires_grad=True), 70).sum().backward()
    assert len(threads) > 1
    assert len(trace.passes) == 71
    assert len(recording.calls) == 71
    assert all(call.has_run for call in recording.calls)


# -- contexts within one thread ----------------------------------------------------------------------------------------


def test_generators_closed_in_the_order_in_which_they_were_opened():
    def recording():
        with record_torch() as trace:
            yield trace

    generators = [recording() for _ in range(3)]
    traces = [next(each) for each in generators]
    for each in generators:
        one_pass()
        each.close()
    assert [len(trace.passes) for trace in traces] == [1, 2, 3]


def test_a_generator_that_another_thread_closes():
    def recording():
        with record_torch() as trace:
            yield trace

    generator = recording()
    trace = next(generator)
    one_pass()
    in_threads(generator.close)
    one_pass()
    assert len(trace.passes) == 1
    with record_torch():
        pass  # the thread that opened it takes its mode away now


def test_a_mode_of_the_users_own_stays_on_the_stack():
    class Counting(TorchFunctionMode):
        count = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.count += 1
            return func(*args, **(kwargs or {}))

    def recording():
        with record_torch() as trace:
            yield trace

    generator = recording()
    next(generator)
    with Counting() as counting:
        generator.close()
        torch.ones(2).sin()
    assert counting.count >= 2


def finished(tasks):
    """What a coroutine gives, in a thread of its own: a browser of another test has a loop in this one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, tasks).result()


def test_asyncio_tasks_record_what_is_theirs():
    async def task(passes):
        with record_torch() as trace:
            for _ in range(passes):
                await asyncio.sleep(0)
                one_pass()
                await asyncio.sleep(0)
        return trace

    async def all_of_them():
        return await asyncio.gather(*[task(passes) for passes in range(1, 10)])

    assert [len(trace.passes) for trace in finished(all_of_them())] == list(range(1, 10))


def test_a_task_that_outlives_the_recording_is_not_in_it():
    async def later(go):
        await go.wait()
        one_pass()

    async def main():
        go = asyncio.Event()
        with record_torch() as trace:
            task = asyncio.ensure_future(later(go))
            await asyncio.sleep(0)
            one_pass()
        go.set()
        await task
        return trace

    assert len(finished(main()).passes) == 1


def test_watchers_within_each_other_are_told_inner_one_first():
    class Noting(Watcher):
        sees_operations = True

        def __init__(self, name):
            self.name = name

        def run_backward(self, plain, outputs, args, kwargs):
            told.append(f"{self.name} before")
            result = plain(outputs, *args, **kwargs)
            told.append(f"{self.name} after")
            return result

        def operation(self, plain, func, args, kwargs):
            operations.append((self.name, func.__name__))
            return plain(*args, **kwargs)

    told, operations, x = [], [], torch.ones(1, requires_grad=True)
    outer, inner = Noting("outer"), Noting("inner")
    with watched_by(outer), watched_by(inner):
        assert current() == (outer, inner)
        assert is_watching(outer)
        x.sin().backward()
    assert told == ["inner before", "outer before", "outer after", "inner after"]
    assert operations[:2] == [("inner", "sin"), ("outer", "sin")]
    assert current() == ()
    assert not is_watching(outer)


# -- others who replace the same names ---------------------------------------------------------------------------------


def test_what_somebody_else_put_there_meanwhile_stays(monkeypatch):
    calls = []
    with record_torch() as trace:
        held = autograd_graph._engine_run_backward

        def theirs(*args, **kwargs):
            calls.append(1)
            return held(*args, **kwargs)

        monkeypatch.setattr(torch.autograd, "_engine_run_backward", theirs)
        one_pass()
    assert torch.autograd._engine_run_backward is theirs
    one_pass()
    assert len(trace.passes) == 1
    with record_torch() as again:
        one_pass()
    monkeypatch.undo()
    torch.autograd._engine_run_backward = autograd_graph._engine_run_backward
    assert len(calls) == 3
    assert len(again.passes) == 1


# -- the rule ----------------------------------------------------------------------------------------------------------


def test_no_other_file_assigns_to_a_name_of_torch():
    for path in sorted(Path(simplegrad.__file__).parent.rglob("*.py")):
        if path.name != "patches.py":
            assert assigned_of_torch(ast.parse(path.read_text())) == [], path


def test_the_rule_sees_assignments():
    text = """
import torch
from torch.autograd import graph as g, function
def f():
    torch.autograd.grad = 1
    g._engine, x.y = 2, 3
    back = function.BackwardCFunction
    back.apply = 3
    setattr(torch.nn.Module, "forward", 4)
    del function.BackwardCFunction.apply
"""
    assert len(assigned_of_torch(ast.parse(text))) == 5


def assigned_of_torch(tree):
    """Lines that assign to, or delete, an attribute of something that was imported from torch or taken from there."""
    names = {"torch"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.asname for a in node.names if a.asname and a.name.split(".")[0] == "torch"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute) and root(node.value) in names:
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    found = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del) and root(node) in names
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            found += [node.lineno] * (root(node.args[0]) in names)
    return found


def root(node):
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def in_threads(*functions):
    errors = []

    def run(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []


def interrupted_at(number):
    """A tracer that raises as Ctrl-C does, before the line of this number of patches.py; but at no `with` or `try:`,
    where Python looks for no signal: between a block and what closes it, nothing is called."""
    lines, texts = 0, linecache.getlines(patches.__file__)

    def line(frame, event, arg):
        nonlocal lines
        lines += event == "line" and not texts[frame.f_lineno - 1].lstrip().startswith(("with ", "try:"))
        if lines == number:
            lines += 1
            raise KeyboardInterrupt
        return line

    return lambda frame, event, arg: line if frame.f_code.co_filename == patches.__file__ else None


def hooks_of_all():
    """How many hooks there are for all modules and optimizers."""
    kinds = "forward_pre_hooks forward_hooks parameter_registration_hooks module_registration_hooks"
    found = [len(getattr(module_hooks, f"_global_{kind}")) for kind in kinds.split()]
    return found + [len(optimizer_hooks._global_optimizer_pre_hooks), len(optimizer_hooks._global_optimizer_post_hooks)]


def names_of_modules():
    holders = torch.nn.Parameter, torch.inference_mode, torch.nn.Module, torch.optim.Optimizer
    return [vars(holder).get(name) for holder in holders for name in ("__new__", "__enter__", "zero_grad", "train")]


def test_nothing_is_left_wherever_it_is_interrupted():
    before, number, done = (torchs_own(), hooks_of_all(), names_of_modules()), 0, False
    tracer = sys.gettrace()
    while not done:
        number += 1
        sys.settrace(interrupted_at(number))
        try:
            with watched_by(Watcher()):
                pass
            done = True  # all its lines have run
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(tracer)
        assert (torchs_own(), hooks_of_all(), names_of_modules()) == before, number
        assert patches.current() == () and not patches._mine(), number
    assert number > 50
