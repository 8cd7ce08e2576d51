"""torch.autograd.Functions in programs: they do what Python would do with the same text, and no more is let through."""

import ast

import pytest
import torch

from simplegrad import Program, ProgramError
from simplegrad.checks.check import check
from simplegrad.language import Limits, RunError
from simplegrad.trace import LimitError

MENDED = """
import torch
from torch.autograd import Function


class Scaled(Function):
    \"\"\"exp(x) * k\"\"\"

    @staticmethod
    def forward(ctx, x, k):
        e = torch.exp(x)
        ctx.save_for_backward(e, k)
        ctx.times = 2.0
        return e * k, e

    @staticmethod
    def backward(ctx, dL_dy, dL_de):
        e, k = ctx.saved_tensors
        if ctx.needs_input_grad[0]:
            dL_dx = (dL_dy * k + dL_de) * e
        else:
            dL_dx = None
        return dL_dx, dL_dy * e * (ctx.times / 2.0)


def scaled(x, k):
    y, e = Scaled.apply(x, k)
    return y
"""
KEPT = MENDED.replace("return e * k, e", "return e * k").replace("dL_dy, dL_de)", "dL_dy)").replace(" + dL_de", "")
KEPT = KEPT.replace("y, e = Scaled", "y = Scaled")
CUT = KEPT.replace("            dL_dx = (", "            with torch.no_grad():\n                dL_dx = (")


def both(text: str):
    """The function as the language makes it, and as Python does."""
    namespace: dict = {}
    exec(text, namespace)  # of this file
    return Program.parse(text).defined()["scaled"].function, namespace["scaled"]


def derivatives(function) -> list[torch.Tensor]:
    xs = [torch.tensor([0.5, -1.0], requires_grad=True), torch.tensor([2.0, 3.0], requires_grad=True)]
    w = torch.tensor([0.3, 0.7], requires_grad=True)
    first = torch.autograd.grad((function(*xs) * w).sum(), xs, create_graph=True)
    total = sum(d.sum() for d in first)
    return [*first, *torch.autograd.grad(total, [*xs, w], allow_unused=True, materialize_grads=True)]


@pytest.mark.parametrize("text", [MENDED, KEPT, CUT])
def test_it_computes_what_python_computes(text):
    for ours, pythons in zip(*map(derivatives, both(text)), strict=True):
        assert torch.equal(ours, pythons)


@pytest.mark.parametrize("text, code", [(MENDED, "correct"), (KEPT, "escaped_temporary")])
def test_check_says_of_it_what_it_says_of_pythons_and_finds_the_lines(text, code):
    xs = [torch.rand(2, requires_grad=True), torch.rand(2, requires_grad=True)]
    ours, pythons = (check(each, *xs) for each in both(text))
    assert ours.verdict == pythons.verdict == code
    for finding in ours.findings:
        assert finding.read_at.file.startswith("<program ")
        assert "dL_dx = (dL_dy * k) * e" in text.splitlines()[finding.read_at.first - 1] or finding.code != code


def test_what_is_written_has_no_attribute_and_no_class_in_it():
    for node in ast.walk(Program.parse(CUT).parsed.written):
        assert not isinstance(node, ast.Attribute | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Lambda)
        if isinstance(node, ast.withitem):
            assert ast.unparse(node) == "_no_grad()"


def changed(old: str, new: str) -> str:
    assert old in MENDED
    return MENDED.replace(old, new)


REFUSED = [
    ("class Mine:\n    pass", "classes cannot be defined here, but for a torch.autograd.Function"),
    (changed("(Function)", "(torch.nn.Module)"), "classes cannot be defined here"),
    (changed("(Function)", "(Function, metaclass=Scaled)"), "classes cannot be defined here"),
    (changed("(Function)", "(Function, object)"), "classes cannot be defined here"),
    (changed("class Scaled", "@staticmethod\nclass Scaled"), "without decorators"),
    (changed("    @staticmethod\n    def forward", "    def forward"), "write @staticmethod above it"),
    (
        changed("    @staticmethod\n    def forward", "    @classmethod\n    def forward"),
        "write @staticmethod above it",
    ),
    (changed("def backward", "def helper"), "a Function has static methods here"),
    (changed('    """exp(x) * k"""', "    k = 3"), "a Function has static methods here"),
    ("class Half(Function):\n    @staticmethod\n    def forward(ctx, x):\n        return x", "needs a backward"),
    ("def g(x):\n    class In(Function):\n        pass\n    return x", "at the top"),
    (changed("ctx.times = 2.0", "ctx._times = 2.0"), "names that begin with '_'"),
    (changed("ctx.times = 2.0", "ctx.__class__ = 2.0"), "names that begin with '_'"),
    (changed("ctx.times = 2.0", "ctx.times, ctx.more = 2.0, 1.0"), "only names can be assigned to"),
    (changed("ctx.times = 2.0", "x.times = 2.0"), "values never change"),
    (changed("ctx.times = 2.0", "ctx.mark_dirty(x)"), "of ctx there are"),
    (changed("ctx.times = 2.0", "ctx.save_for_forward(x)"), "of ctx there are"),
    (changed("ctx.times = 2.0", "e.mul_(2.0)"), "changes a value in place"),
    (changed("(ctx.times / 2.0)", "ctx.__dict__"), "names that begin with '_'"),
    (changed("e = torch.exp(x)", "with open(x):\n            e = x"), "there is no 'with' here"),
    (changed("e = torch.exp(x)", "with torch.no_grad() as g:\n            e = x"), "there is no 'with' here"),
    (changed("e = torch.exp(x)", "with torch.enable_grad():\n            e = x"), "there is no 'with' here"),
    ("a = rand(2)\nwith torch.no_grad():\n    b = a * a", "there is no 'with' here"),
    (changed("y, e = Scaled.apply(x, k)", "y, e = Scaled.forward(x, k)"), "'.forward' is not known"),
    (changed("y, e = Scaled.apply(x, k)", "y = Scaled(x, k)"), "Scaled is"),
    ("from torch.nn import Module", "nothing is imported"),
]


@pytest.mark.parametrize("text, said", REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(text, said):
    with pytest.raises((ProgramError, RunError), match=said.replace("(", "\\(").replace(".", "\\.")):
        scaled = Program.parse(text).defined()["scaled"].function
        scaled(torch.rand(2), torch.rand(2))


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("ctx.times = 2.0", "ctx.saved_tensors = x", "ctx has a saved_tensors of its own"),
        ("ctx.times = 2.0", "ctx.to_save = x", "ctx has a to_save of its own"),
        ("ctx.times = 2.0", "ctx.apply = x", "ctx has a apply of its own"),
        ("ctx.times = 2.0", "ctx = x\n        ctx.times = 2.0", "not ctx"),
        ("ctx.times = 2.0", "k = ctx.name", "nothing was kept under this name"),
        ("ctx.times = 2.0", "k = ctx.next_functions", "nothing was kept under this name"),
        ("Scaled.apply(x, k)", "Scaled.apply(x)", "missing 1 required positional argument"),
        ("Scaled.apply(x, k)", "Scaled.apply(x, k=k)", "by position"),
        ("y, e = Scaled.apply(x, k)", "Scaled = x\n    y, e = Scaled.apply(x, k)", "is not a Function of this program"),
    ],
)
def test_what_ends_a_run(old, new, said):
    scaled = Program.parse(changed(old, new)).defined()["scaled"].function
    with pytest.raises((RunError, RuntimeError, NameError), match=said):
        scaled(torch.rand(2, requires_grad=True), torch.rand(2))


def test_a_variable_is_not_applied_to():
    trace = Program.parse(f"{MENDED}\na = rand(2)\nb = rand(2)\nc = scaled(a, b)").run()
    assert "apply takes raw tensors" in trace.error.message


@pytest.mark.parametrize("lines", ["for i in range(10 ** 9):\n            pass", "e = x.expand(10 ** 6, 2).sum(0)"])
def test_its_lines_count_into_the_limits(lines):
    text = changed("e = torch.exp(x)", lines + "\n        e = torch.exp(x)")
    trace = Program.parse(f"{text}\na = rand(2)\nc = scaled(a.value, a.value)").run(limits=Limits(seconds=2.0))
    assert trace.error.kind == "LimitReached"
    with pytest.raises((LimitError, RunError)):
        Program.parse(f"{text}\nc = scaled(rand(2).value, rand(2).value)").defined(Limits(seconds=2.0))
