"""What mypy and an editor see of the public names; `mypy` (see pyproject.toml) reads this file, nothing runs it."""

from typing import assert_type

import torch

import simplegrad
from simplegrad import Aggregate, Report, Tape, TapeEntry, Trace, Variable, aggregate, check, grad, record, record_torch
from simplegrad.trace.events import Event

a = Variable.constant(torch.rand(4), name="a")
b = Variable(torch.rand(4))
assert_type(a, Variable)
assert_type(a.value, torch.Tensor)
assert_type(a.name, str)
assert_type(grad(a, [a, b]), list[Variable | None])
assert_type(2.0 * a + b, Variable)
assert_type((a @ b).tanh(), Variable)
assert_type(a.sum(dim=0, keepdim=True), Variable)
assert_type(a[0].reshape(1), Variable)
assert_type(a.split(2), tuple[Variable, ...])
a.nonsense()  # type: ignore[attr-defined]  # an error: mypy would say so if it were none
a.backward()  # type: ignore[attr-defined]

with Tape() as tape:
    assert_type(tape, Tape)
    assert_type(tape[0], TapeEntry)

with record() as trace:
    assert_type(trace, Trace)
with record_torch(values="norm", names={"a": a.value}) as torch_trace:
    assert_type(torch_trace, Trace)
assert_type(trace.transcript(), str)
trace.save("run.trace")
assert_type(Trace.load("run.trace"), Trace)
events: list[Event] = [trace[0], *trace[1:], *trace]


@aggregate(example=lambda: (torch.rand(2), torch.rand(2)))
def fused(x: Variable, y: Variable) -> Variable:
    return x


assert_type(fused, Aggregate)
report = check(fused, torch.rand(4), torch.rand(4), order=3)
assert_type(report, Report)
assert_type(report.ok, bool)
assert_type(report.verdict, str)
assert_type(report.findings[0].code, str)
assert_type(simplegrad.__version__, str)
compiled: Aggregate = simplegrad.compile_aggregate("a * b")
