"""The compiled form of somebody's own forward: what `check` offers instead of an escaped temporary."""

import linecache

import pytest
import torch

import simplegrad
from simplegrad import Aggregate, TapeEntry, Variable, check, gradient_tape, registry
from simplegrad.compiler import compile_aggregate, fix_for

from .cases import assert_same, climbed, inputs_of


def rmsnorm(x, w):
    """Keeps rstd in a Variable that is no output."""
    ms = x.value.square().mean(dim=-1, keepdim=True)
    rstd = torch.rsqrt(ms + 1e-6)
    n_v = Variable(x.value * rstd, name="n")
    y = simplegrad.Variable(n_v.value * w.value)

    def propagate(dL_doutputs):
        raise AssertionError("the fix is made of forward alone")

    simplegrad.gradient_tape.append(TapeEntry(inputs=[x.name, w.name], outputs=[y.name], propagate=propagate))
    return y


def cross_entropy(x, p):
    logp = torch.log_softmax(x.value, dim=-1)
    r = Variable(-(logp * p.value).sum(-1).mean())
    gradient_tape.append(TapeEntry([x.name, p.name], [r.name], lambda dL: [None, None]))
    return r


def recomputed(x):
    with torch.no_grad():
        y = Variable(torch.where(x.value > 0.5, x.value, 0.1 * x.value).clone())
    gradient_tape.append(TapeEntry([x.name], [y.name], lambda dL: [None]))
    return y


def loops(x):
    value = x.value
    while value.sum() > 1:
        value = value / 2
    return Variable(value)


def numpys(x):
    return Variable(torch.from_numpy(x.value.numpy()))


def defined(source: str, name: str):
    """The function of a text, as somebody who pasted it has it."""
    import types

    filename = f"<pasted {name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    code = next(c for c in compile(source, filename, "exec").co_consts if isinstance(c, types.CodeType))
    names = {"__builtins__": __builtins__, "torch": torch, **{n: getattr(simplegrad, n) for n in simplegrad.__all__}}
    return types.FunctionType(code, names)


@pytest.mark.parametrize(
    "function, reference, shapes",
    [
        (rmsnorm, lambda x, w: x * ((x * x).mean(-1, keepdim=True) + 1e-6) ** -0.5 * w, [(3, 4), (4,)]),
        (cross_entropy, lambda x, p: -((x - x.logsumexp(-1, keepdim=True)) * p).sum(-1).mean(), [(3, 4), (3, 4)]),
        (recomputed, lambda x: simplegrad.where(x > 0.5, x, x * 0.1), [(3, 4)]),
        (registry["simple_variable_wrong"], registry["simple"], [(4,), (4,)]),
        (registry["simple_type_error"], registry["simple"], [(4,), (4,)]),
    ],
)
def test_the_fix_is_right_when_pasted(function, reference, shapes):
    fix = fix_for(function)
    pasted = defined(fix, "pasted")
    inputs = inputs_of(shapes)
    assert_same(climbed(pasted, inputs, 3), climbed(reference, inputs, 3))
    report = check(Aggregate(pasted, "pasted", reference=reference), *inputs, order=3)
    assert report.ok, str(report)


def test_the_fix_says_names_as_people_write_them():
    fix = fix_for(rmsnorm)
    assert "TapeEntry([x.name, w.name], [y.name, " in fix
    assert "rstd = Variable(" in fix and "n = Variable(" in fix


@pytest.mark.parametrize("function", [loops, numpys, compile_aggregate("a * b")])
def test_what_cannot_be_traced_has_no_fix(function):
    assert fix_for(function) is None


def test_check_suggests_it():
    report = check("simple_variable_wrong")
    finding = next(each for each in report.findings if each.code == "escaped_temporary")
    assert "[r.name, t.name]" in finding.fix and "dL_dr, dL_dt = dL_doutputs" in finding.fix


@pytest.mark.parametrize("name", ["simple", "simple_variable_wrong", "simple_variable"])
def test_an_aggregate_is_compiled_by_its_forward(name):
    compiled, inputs = compile_aggregate(registry[name], "again"), inputs_of([(4,), (4,)])
    assert compiled.outputs == ("r", "t")
    assert_same(climbed(compiled, inputs, 3), climbed(registry["simple"], inputs, 3))
