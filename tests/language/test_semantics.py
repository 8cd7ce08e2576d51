"""What a program means is what Python means by it: the same events and the same print, with the package imported.

Programs here are written by the tests, which run them as Python too.
"""

import contextlib
import io
from typing import Optional
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simplegrad import Program, Tape, TapeEntry, Variable, add_optional, grad, gradient_tape, record, reset_tape
from simplegrad.language import Limits
from simplegrad.language.limits import Guard
from simplegrad.trace.transcript import transcript

NAMES = {"torch": torch, "Variable": Variable, "TapeEntry": TapeEntry, "add_optional": add_optional, "grad": grad}
NAMES |= {"gradient_tape": gradient_tape, "reset_tape": reset_tape, "List": list, "Optional": Optional}


def as_python(text: str) -> tuple[list[str], list[str], str]:
    """What it prints, the transcript of its run, and the class of the error that ended it."""
    output, error = io.StringIO(), ""
    shown = mock.patch.object(Variable, "__repr__", lambda self: repr(self.value))  # as the notebook has it
    with Tape(), record() as trace, contextlib.redirect_stdout(output), shown:
        try:
            exec(compile(text, "program", "exec"), dict(NAMES))
        except Exception as raised:
            error = type(raised).__name__
        len(trace)
    return output.getvalue().splitlines(), told(trace.events), error


def as_program(text: str) -> tuple[list[str], list[str], str]:
    trace = Program.parse(text).run()
    error = trace.error.error if trace.error is not None else ""
    lines = told(trace.events)[: -1 if error else None]  # of which the last says that the run failed
    return "\n".join(line for _, _, line in trace.printed).splitlines(), lines, error


def told(events) -> list[str]:
    """The transcript; of a pass that failed, that it did: a program knows its line, Python its file."""
    return [line.split(" failed at ")[0] for line in transcript(events).splitlines()]


def assert_the_same(text: str) -> None:
    assert as_program(text) == as_python(text), text


AGGREGATE = (
    """
def {name}(x, y, n=2):
    """
    + '"""Two outputs, and a number."""'
    + """
    t = Variable(x.value * y.value, name="t")
    r = Variable(t.value.exp() + n)

    def propagate(dL_doutputs):
        dL_dr, dL_dt = dL_doutputs
        if dL_dr is not None:
            dL_dt = add_optional(dL_dt, dL_dr * t.exp())
        return [dL_dt * y, dL_dt * x]

    gradient_tape.append(TapeEntry(inputs=[x.name, y.name], outputs=[r.name, t.name], propagate=propagate))
    return r
"""
)
LEAVES = """
p = Variable.constant(torch.tensor([0.5, -1.0]), name="p")
q = Variable.constant(torch.tensor([2.0, 0.25]), name="q")
"""
PROGRAMS = {
    "an aggregate, twice": AGGREGATE.format(name="both")
    + LEAVES
    + """
r = both(both(p, q), q)
dp, dq = grad(r.sum(name="L0"), [p, q])
print(grad((dp * dq).sum(name="L1"), [p, q]), r.name)
""",
    "functions of functions": LEAVES
    + """
def square(x):
    return x * x

def apply(fn, x, times=2):
    for i in range(times):
        x = fn(x)
    return x

def choose(n):
    if n == 0:
        return square
    elif n < 2:
        return half
    return None

def half(x):
    return 0.5 * x

print(apply(square, p), apply(choose(1), p, times=1), choose(5))
""",
    "None in and out": LEAVES
    + """
def plus(x, y):
    if x is None or y is None:
        return y if x is None else x
    return x + y

nothing, dp = grad(p * p, [q, p])
print(plus(nothing, dp), plus(nothing, None), plus(dp, p), nothing is None and dp is not None)
""",
    "a closure sees what its names mean when it runs": LEAVES
    + """
def scaled(x):
    k = 2.0
    r = Variable(x.value * k)
    def propagate(dL_doutputs):
        (dL_dr,) = dL_doutputs
        return [dL_dr * k]
    k = k + 3.0
    gradient_tape.append(TapeEntry([x], [r], propagate))
    return r

print(grad(scaled(p), [p]))
k = 7.0
def reads(x):
    return x * k
k = 9.0
print(reads(p))
""",
    "loops, lists and numbers": LEAVES
    + """
found = []
total: float = 0.0
for a, b in [[1, 2], (3, 4)]:
    total += a * b
    for i in range(4, 0, -2):
        total -= i
        if not (i > 2 and total < 9) or i == 2:
            found = [total, found]
print(total, found, 7 // 2, 7 % 4, 2 ** -1, -3 // 2, (1,), [True, None])
y = p
for x in [p, q]:
    y = y * x + i
print(y, y.shape, p.size(0), p.ndim)
""",
    "raw tensors": LEAVES
    + """
t = torch.tanh(p.value @ q.value) + torch.zeros(2) + torch.ones_like(p.value)
print(t, t.shape, (p.value > 0) & (t > 1), torch.where(t > 1, t, 0.0), t[0], torch.cat([t, p.value])[1:3])
print(Variable(t) * p, p.value.sum(dim=0, keepdim=True))
""",
    "the tape anew": LEAVES
    + """
z = p * q
reset_tape()
p = Variable.constant(torch.tensor([3.0]), name="p")
for i in range(2):
    p = (p * p).tanh()
    print(p.name, p)
""",
    "a mistake in propagate": LEAVES
    + """
def broken(x):
    t = x.value * 2.0
    r = Variable(t)
    def propagate(dL_doutputs):
        (dL_dr,) = dL_doutputs
        print("here")
        return [dL_dr * t]
    gradient_tape.append(TapeEntry(inputs=[x.name], outputs=[r.name], propagate=propagate))
    return r
grad(broken(p), [p])
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_means_what_python_means(name):
    assert_the_same(PROGRAMS[name])


# --- programs at random ----------------------------------------------------------------------------------------------

VARIABLES, NUMBERS = ["p", "q", "u", "w"], ["m", "n"]
VALUE = ["({v} + {w})", "{v} * {w}", "({v} - 0.5)", "{v}.tanh()", "one({v})", "two({v}, {w})", "both({v}, {w})", "-{v}"]
VALUE += ["({v} if {c} else {w})", "[{v}, {w}][{k}]", "two({v}, {w}, again=False)", "{v} * {n}", "sum_of([{v}, {w}])"]
NUMBER = ["({n} + {m})", "{n} * 2", "{n} % 3", "{n} - 1", "({n} if {c} else {m})", "{n} // 2"]
CONDITION = [
    "{n} > {m}",
    "{n} == 0",
    "not {n}",
    "{n} and {m}",
    "({n} > 1 or {m} < 3)",
    "None is None",
    "{v} is not None",
]
DEFINITIONS = (
    AGGREGATE.format(name="both")
    + """
def one(x):
    return x * x.exp()

def two(x, y, again=True):
    if again:
        return two(y, x, again=False) * 0.5
    return one(x) + y

def sum_of(parts):
    total = None
    for part in parts:
        total = add_optional(total, part)
    return total
"""
)


@st.composite
def programs(draw) -> str:
    def fill(pattern: str) -> str:
        parts = {"v": VARIABLES, "w": VARIABLES, "n": NUMBERS, "m": NUMBERS, "k": ["0", "1", "-1"]}
        chosen = {key: draw(st.sampled_from(values)) for key, values in parts.items() if f"{{{key}}}" in pattern}
        if "{c}" in pattern:
            chosen["c"] = fill(draw(st.sampled_from(CONDITION)))
        return pattern.format(**chosen)

    def block(depth: int, indent: str) -> list[str]:
        return [line for _ in range(draw(st.integers(1, 3))) for line in statement(depth, indent)]

    def statement(depth: int, indent: str) -> list[str]:
        kind = draw(st.sampled_from(["value"] * 3 + ["number", "print", "pair"] + ["if", "for", "grad"] * (depth < 2)))
        if kind == "value":
            return [f"{indent}{draw(st.sampled_from(VARIABLES))} = {fill(draw(st.sampled_from(VALUE)))}"]
        if kind == "number":
            return [f"{indent}{draw(st.sampled_from(NUMBERS))} = {fill(draw(st.sampled_from(NUMBER)))}"]
        if kind == "pair":
            return [f"{indent}{fill('{v}')}, {fill('{w}')} = {fill('{w}')}, {fill('{v}')}"]
        if kind == "print":
            return [f"{indent}print({fill('{n}')}, {fill('{v}')}.name, {fill('[{v}, {m}]')})"]
        if kind == "grad":
            wanted = draw(st.sampled_from(["[p, q]", "[q]", "[p, u]"]))
            return [f"{indent}found = grad({fill('{v}')}.sum(), {wanted})", f"{indent}print(found, found[0] is None)"]
        if kind == "if":
            other = [f"{indent}else:", *block(depth + 1, indent + "    ")] if draw(st.booleans()) else []
            return [f"{indent}if {fill(draw(st.sampled_from(CONDITION)))}:", *block(depth + 1, indent + "    "), *other]
        head = draw(st.sampled_from(["for m in range({n} % 3):", "for u in [{v}, {w}]:", "for i in range(2):"]))
        return [f"{indent}{fill(head)}", *block(depth + 1, indent + "    ")]

    begin = [*LEAVES.split("\n"), "u, w = p * q, p + 1.0", "m, n = 1, 2"]
    return "\n".join([*DEFINITIONS.split("\n"), *begin, *block(0, ""), *block(0, ""), ""])


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(programs())
def test_programs_of_the_grammar_mean_what_python_means(text):
    assert_the_same(text)


# --- hostile texts ---------------------------------------------------------------------------------------------------

HOLDER = "x = rand(2)\nv = Variable(torch.rand(2))\ndef g(y):\n    return y\ny = {}"


@pytest.mark.parametrize(
    "of", ["x", "x.value", "g", "Variable", "torch", "gradient_tape", "[x]", "1", "x.shape", "print"]
)
@pytest.mark.parametrize(
    "name",
    [
        "__class__",
        "__globals__",
        "__builtins__",
        "__code__",
        "__closure__",
        "_given",
        "__init__",
        "__reduce__",
        "gi_frame",
    ]
    + [
        "data",
        "key",
        "entries",
        "observers",
        "register_hook",
        "numpy",
        "storage",
        "load",
        "set_",
        "apply_",
        "map_",
        "format",
    ]
    + [
        "tolist",
        "item",
        "is_shared",
        "untyped_storage",
        "backward",
        "__torch_function__",
        "append",
        "func_globals",
        "tape",
    ],
)
def test_no_other_attribute_is_reached(of, name):
    for form in (f"{of}.{name}", f"{of}.{name}()", f"{of}.{name}(1)", f"{of}[0].{name}"):
        refused(HOLDER.format(form))


@pytest.mark.parametrize(
    "text",
    [
        "_at(1)",
        "_machine",
        "y = _function(0, 'tensor', (), {}, None, True)",
        "_binary = 1",
        "def _at(line):\n    return line",
        "def g(_at):\n    return _at",
        "for _at in [1]:\n    pass",
        "g(_machine=1)",
        "__builtins__",
        "ﬁ = 1\n_ﬁ = 2",
        "﹍at(1)",
        "print('{0.__class__}'.format(x))",
        "print(f'{x.__class__}')",
        "print('%s' % x)",
        "y = 'a' + 'b'",
        "import os",
        "from os import system",
        "from . import x",
        "import torch as t",
        "import torch.utils",
        "y = (lambda: 1)()",
        "y = [z for z in [1]]",
        "y = {1: 2}",
        "y = {1}",
        "y = (z := 1)",
        "try:\n    y = 1\nexcept:\n    y = 2",
        "with x:\n    pass",
        "class A:\n    pass",
        "async def g():\n    pass",
        "def g():\n    yield 1",
        "del x",
        "assert x",
        "raise x",
        "match x:\n    case 1:\n        pass",
        "global x",
        "x: __import__('os').system('true') = 1",
        "def g(y: print('here') = 1):\n    return y",
        "def g(y=print):\n    return y",
        "@print\ndef g(y):\n    return y",
        "x.value[0] = 1",
        "x.name = 'b'",
        "torch.load('/etc/passwd')",
        "torch.save(x, 'f')",
        "torch.ops.load_library('f')",
        "torch.hub.load('a', 'b')",
        "torch.tensor.__class__",
        "open('f')",
        "eval('1')",
        "exec('1')",
        "getattr(x, 'value')",
        "type(x)",
        "vars()",
    ],
)
def test_hostile_texts_are_refused(text):
    refused(f"x = rand(2)\n{text}")


def refused(text: str) -> None:
    """It is no program, or the step is an event: in no case is there a traceback, or anything done."""
    try:
        trace = Program.parse(text).run()
    except ValueError as error:
        assert type(error).__name__ == "ProgramError"
    else:
        assert trace.error is not None, text


def test_a_private_keyword_reaches_a_function_of_the_program_alone():
    trace = Program.parse("def g(x):\n    return x\ny = g(__class__=1)").run()
    assert "unexpected keyword argument" in trace.error.message


def test_what_runs_sees_no_builtins():
    machine = Program.parse("def g(x):\n    return x\ny = g(rand(2))").machine(Guard(Limits()))
    with Tape():
        machine.run()
    assert machine.namespace["__builtins__"] == {}
    assert machine.namespace["g"].__builtins__ == {}


def test_one_of_several_results_is_had_by_its_name():
    trace = Program.parse("x = tensor([[1.0, 3.0], [4.0, 2.0]])\nm = x.max(dim=1).values\ni = x.max(1).indices").run()
    assert trace.error is None
    assert trace.values[-1].tensor.tolist() == [3, 4]
    wrong = Program.parse("x = rand(3)\nm = x.max().values").run()
    assert "this is one tensor. Along a dimension there are values and indices" in wrong.error.message
