"""Functions of torch.autograd and aggregates at random do what Python does with the same text; hostile ones do not."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simplegrad import Program, ProgramError
from simplegrad.language import RunError
from simplegrad.trace import LimitError

from .test_semantics import LEAVES, as_program, as_python, assert_the_same

RAW = ["{v} * {w}", "{v} + {w}", "({v} - {w}) * 0.5", "torch.tanh({v})", "torch.exp(-{v} * {v})", "{v}.sin()", "-{v}"]
RAW += ["torch.where({v} > {w}, {v}, {w})", "{v} * {n}", "({v} if {n} > 1 else {w})", "[{v}, {w}][{i}]", "{v}.abs()"]
RAW += ["{v}.detach() * {w}", "torch.sigmoid({v}) / ({n} + 2.0)", "{v}.clone()", "helper({v}, {w})"]
TAPED = ["{v} * {w}", "{v} + {w}", "({v} - 0.5) * {w}", "{v}.tanh()", "-{v}", "{v} * {n}", "{v}.exp()", "{v} / 2.0"]
HELPER = """
def helper(a, b, by=0.5):
    for i in range(2):
        a = a * by + b
    return a
"""


class Lines:
    """Random lines of a body, over the names that have a value there."""

    def __init__(self, draw, patterns: list[str], known: list[str]):
        self.draw, self.patterns, self.known = draw, patterns, list(known)

    def value(self) -> str:
        parts = {"v": self.known, "w": self.known, "n": ["1", "3", "0.25"], "i": ["0", "1", "-1"]}
        pattern = self.draw(st.sampled_from(self.patterns))
        return pattern.format(**{key: self.draw(st.sampled_from(values)) for key, values in parts.items()})

    def body(self, names: list[str], indent: str) -> list[str]:
        lines = []
        for name in names:
            kind = self.draw(st.sampled_from(["is", "is", "is", "if", "for", "adds"]))
            if kind == "if":
                lines += [f"{indent}if {self.draw(st.sampled_from(['1 > 2', 'not 0', 'True and 3']))}:"]
                lines += [
                    f"{indent}    {name} = {self.value()}",
                    f"{indent}else:",
                    f"{indent}    {name} = {self.value()}",
                ]
            else:
                lines.append(f"{indent}{name} = {self.value()}")
                if kind == "for":
                    lines += [f"{indent}for k in range(2):", f"{indent}    {name} = {name} * 0.5 + {self.value()}"]
                if kind == "adds":
                    lines.append(f"{indent}{name} = {name} + {self.value()}")
            self.known.append(name)
        return lines


@st.composite
def functions(draw) -> str:
    """A class of one or two outputs, whose backward need not be right: what it gives is compared, not judged."""
    forward = Lines(draw, RAW, ["x", "y"])
    lines = forward.body(["s", "t"][: draw(st.integers(1, 2))], " " * 8)
    two = draw(st.booleans())
    saved = draw(st.lists(st.sampled_from(forward.known), min_size=1, max_size=3, unique=True))
    kept = draw(st.sampled_from(forward.known))
    asks, undefined = draw(st.booleans()), draw(st.booleans())
    lines += [
        f"        ctx.save_for_backward({', '.join(saved)})",
        f"        ctx.kept = {kept}",
    ]
    lines += ["        ctx.by = 0.5", "        made = " + forward.value(), "        more = " + forward.value()]
    lines += ["        ctx.set_materialize_grads(False)"] if undefined else []
    lines += ["        ctx.mark_non_differentiable(more)"] if two and draw(st.integers(0, 4)) == 0 else []
    lines += [
        "        return made * 1.0, more * 1.0" if two and "mark" not in lines[-1] else "        return made * 1.0"
    ]
    two = lines[-1].endswith("more * 1.0")
    given = ["g", "h"] if two else ["g"]
    backward = Lines(draw, RAW, ["g", *[f"saved_{name}" for name in saved]])
    then = [f"        {', '.join(f'saved_{name}' for name in saved)}, = ctx.saved_tensors"]
    then += [f"        {each} = torch.zeros(2) if {each} is None else {each}" for each in given] if undefined else []
    backward.known += ["ctx.kept", *given[1:]]
    inside = backward.body(["u", "v"][: draw(st.integers(1, 2))], " " * 8)
    cut = draw(st.integers(0, 3)) == 0
    then += ["        with torch.no_grad():", *["    " + line for line in inside]] if cut else inside
    first, second = f"g * {backward.value()} * ctx.by", draw(st.sampled_from(["None", backward.value(), "g + g"]))
    then += [f"        second = {second}"]
    then += ["        if not ctx.needs_input_grad[1]:", "            second = None"] if asks else []
    then += [f"        return {first}, second"]
    once = draw(st.integers(0, 5)) == 0
    base = draw(st.sampled_from(["torch.autograd.Function", "Function"]))
    head = [
        "import torch",
        "from torch.autograd import Function",
        "from torch.autograd.function import once_differentiable",
    ]
    return "\n".join(
        [*head, HELPER, f"class Made({base}):", "    @staticmethod", "    def forward(ctx, x, y):", *lines, ""]
        + [
            "    @staticmethod",
            *["    @once_differentiable"] * once,
            f"    def backward(ctx, {', '.join(given)}):",
            *then,
        ]
        + ["", "def used(x, y):", f"    return {'Made.apply(x, y)[0]' if two else 'Made.apply(x, y)'}", ""]
    )


def derivatives(function, wanted: tuple[bool, bool]) -> list:
    """Its value, first and second gradients; and the kind of the error that ends this, if one does."""
    xs = [torch.tensor([0.5, -1.0], requires_grad=wanted[0]), torch.tensor([2.0, 0.75], requires_grad=wanted[1])]
    leaves = [x for x in xs if x.requires_grad]
    found: list = []
    try:
        y = function(*xs)
        found.append(y.detach())
        first = torch.autograd.grad((y * y).sum(), leaves, create_graph=True, allow_unused=True)
        found += [d if d is None else d.detach() for d in first]
        total = sum((d * d).sum() for d in first if d is not None)
        found += torch.autograd.grad(total, leaves, allow_unused=True)
    except Exception:
        found.append("an error")
    return found


def equal(ours, pythons) -> bool:
    if isinstance(ours, torch.Tensor) and isinstance(pythons, torch.Tensor):
        return torch.equal(ours.nan_to_num(7.0), pythons.nan_to_num(7.0))
    return ours is pythons


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(functions(), st.sampled_from([(True, True), (True, False), (False, True)]))
def test_a_function_at_random_computes_what_python_computes(text, wanted):
    namespace: dict = {}
    exec(text, namespace)  # of this file
    pythons = derivatives(namespace["used"], wanted)
    ours = derivatives(Program.parse(text).defined()["used"].function, wanted)
    assert len(ours) == len(pythons) and all(map(equal, ours, pythons)), (text, ours, pythons)


@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(functions())
def test_a_function_at_random_runs_on_raw_tensors_of_a_program(text):
    more = LEAVES + "\nr = used(p.value, q.value)\nprint(r)\nz = Variable.constant(r) * p\nprint(grad(z, [p, q]))\n"
    assert_the_same(text + more)


@st.composite
def aggregates(draw) -> str:
    """An aggregate of one to three outputs, whose propagate asks for None, and need not be right."""
    forward = Lines(draw, RAW[:7], ["x.value", "y.value"])
    names = ["s", "t"][: draw(st.integers(1, 2))]
    lines = [f"    {name} = Variable({forward.value()}, name={name!r})" for name in names]
    forward.known += [f"{name}.value" for name in names]
    declared = draw(st.permutations(["r", *draw(st.lists(st.sampled_from(names), max_size=2, unique=True))]))
    incoming = [f"d{name}" for name in declared]
    then = [f"        {', '.join(incoming)}, = dL_doutputs"]
    then += [f"        g = add_optional({incoming[0]}, {incoming[-1]})"]
    taped = Lines(draw, TAPED, ["x", "y", "g", "r", *names])
    then += ["        if g is None:", f"            return [None, {draw(st.sampled_from(['None', 'x']))}]"]
    then += taped.body(["u"], " " * 8)
    second = draw(st.sampled_from(["None", taped.value(), f"add_optional(u, {taped.value()})"]))
    then += [f"        return [g * {taped.value()}, {second}]"]
    inputs, outputs = draw(st.sampled_from(["[x.name, y.name]", "[x, y]"])), ", ".join(f"{n}.name" for n in declared)
    return "\n".join(
        [HELPER, "def made(x, y):", *lines, f"    r = Variable({forward.value()})", "    def propagate(dL_doutputs):"]
        + [*then, f"    gradient_tape.append(TapeEntry(inputs={inputs}, outputs=[{outputs}], propagate=propagate))"]
        + [f"    return {draw(st.sampled_from(['r', '[r, ' + names[0] + ']']))}", ""]
    )


USES = """
first = made(p, q)
r = first[0] if {listed} else first
z = made(r, p)
z = z[0] if {listed} else z
L0 = (z * {factor}).sum(name="L0")
dp, dq = grad(L0, [p, q])
print(dp, dq)
total = add_optional(dp, dq)
if total is not None:
    print(grad((total * total).sum(name="L1"), [p, q]))
"""


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(aggregates(), st.sampled_from(["z", "1.0", "r"]))
def test_an_aggregate_at_random_means_what_python_means(text, factor):
    listed = "return [r" in text.splitlines()[-1]
    program = text + LEAVES + USES.format(listed=listed, factor=factor)
    (lines, events, error), (theirs, pythons, raised) = as_program(program), as_python(program)
    assert (lines, events) == (theirs, pythons), program
    assert bool(error) == bool(raised), program


HOSTILE = [
    "import os",
    "global x",
    "x.add_(1.0)",
    "x.data = y",
    "del x",
    "ctx.__class__ = 1",
    "ctx._raw = 1",
    "eval('1')",
]
HOSTILE += [
    "z = ctx.__dict__",
    "z = x.__class__",
    "z = torch.load('f')",
    "z = torch.ops",
    "z = (lambda: x)()",
    "yield x",
]
HOSTILE += ["z = [a for a in [x]]", "z = f'{x.__class__}'", "x[0] = 1.0", "torch.manual_seed = x", "z = x.data_ptr()"]
HOSTILE += [
    "with open('f') as z:\n            pass",
    "class In(Function):\n            pass",
    "z = x.numpy()",
    "nonlocal x",
]
HOSTILE += [
    "ctx.mark_dirty(x)",
    "z = ctx.to_save",
    "z = super()",
    "z = Made.__globals__",
    "z = Made.forward(ctx, x, y)",
]
HOSTILE += [
    "torch.autograd.Function.apply = x",
    "z = torch.autograd.grad(x, y)",
    "raise x",
    "z = x.register_hook(helper)",
]
HOSTILE += [
    "z = getattr(x, 'data')",
    "z = '{0.__class__}'.format(x)",
    "z = x.grad_fn",
    "z = __import__('os')",
    "assert x",
]


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(functions(), st.sampled_from(HOSTILE), st.data())
def test_a_hostile_line_anywhere_in_a_function_is_refused(text, line, data):
    """By the reader, or when it is reached; no text that has one runs to its end."""
    lines = text.splitlines()
    places = [i for i, each in enumerate(lines) if each.startswith("    def ")]
    place = data.draw(st.sampled_from(places))
    named = "(ctx, x, y)" if place == places[0] else "(ctx, g"
    assert named in lines[place]
    line = line if place == places[0] else line.replace("x", "g") if line in ("del x", "x.add_(1.0)") else line
    hostile = "\n".join([*lines[: place + 1], "        " + line, *lines[place + 1 :], ""])
    with pytest.raises((ProgramError, RunError, LimitError, RuntimeError, NameError, TypeError)):
        used = Program.parse(hostile).defined()["used"].function
        xs = [torch.tensor([0.5, -1.0], requires_grad=True), torch.tensor([2.0, 0.75], requires_grad=True)]
        used(*xs).sum().backward()
