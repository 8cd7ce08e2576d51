"""Bodies that compute on tensors, for a pass that is deferred: the same bits as the recorded ones."""

import pytest
import torch

import simplegrad.compiler.fused as fused_module
from simplegrad import Tape, TapeEntry, Variable, compile_aggregate, grad, gradient_tape
from simplegrad.engine import ChangedInPlaceError, Observer
from simplegrad.engine.deferred import put_off_on

from .cases import CASES, inputs_of


def second(function, inputs, watched: bool) -> tuple[Tape, list[Variable | None]]:
    """A double backward; its second pass is deferred, unless somebody watches."""
    with Tape() as tape:
        tape.observers = (Observer(),) if watched else ()
        variables = [Variable.constant(x) for x in inputs]
        r = function(*variables)
        gradients = [g for g in grad((r * r.sin()).sum(), variables) if g is not None]
        parts = [(g * g * g).sum() for g in gradients]
        if not parts:
            return tape, []
        results = grad(sum(parts[1:], parts[0]), variables)
        assert (put_off_on(tape) is None) == watched
    return tape, results


def bits(x: Variable | None):
    return None if x is None else (x.value.dtype, tuple(x.shape), x.value.flatten().tolist())


def named(tape: Tape, results: list) -> tuple:
    with tape:
        return [None if x is None else x.name for x in results], str(gradient_tape)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("fused", [False, True], ids=["recorded bodies", "fused"])
@pytest.mark.parametrize("text, shapes", CASES)
def test_deferred_and_recorded_agree_to_the_bit(text, shapes, fused, dtype, monkeypatch):
    monkeypatch.setattr(fused_module, "FEWEST", 1)
    inputs = [x.to(dtype) for x in inputs_of(shapes)]
    compiled = compile_aggregate(text, fused=fused)
    deferred, recorded = (second(compiled, inputs, watched) for watched in (False, True))
    assert [bits(x) for x in deferred[1]] == [bits(x) for x in recorded[1]]
    assert named(*deferred) == named(*recorded)


def test_a_pass_through_an_entry_without_a_twin_is_recorded():
    def doubled(x):
        r = Variable(x.value * 2)
        gradient_tape.append(TapeEntry([x.name], [r.name], lambda dL_doutputs: [dL_doutputs[0] * 2]))
        return r

    compiled = compile_aggregate("x.sin() * x")
    for function, deferred in ((compiled, True), (lambda x: doubled(compiled(x)), False)):
        with Tape() as tape:
            x = Variable.constant(torch.rand(3))
            (g,) = grad(function(x).sum(), [x])
            grad((g * g).sum(), [x])
            assert (put_off_on(tape) is not None) == deferred


def test_a_twin_computes_only_the_gradients_that_are_needed():
    compiled = compile_aggregate("a * b.sin()", "f")
    with Tape():
        a, b = Variable.constant(torch.rand(3)), Variable.constant(torch.rand(3))
        (g,) = grad(compiled(a, b).sum(), [a])
        assert torch.equal(g.value, b.value.sin())
    code, pattern = compiled.case.code, compiled.case.first
    assert "dL_da" in code.twin_text(pattern, (True, False)) and "cos" not in code.twin_text(pattern, (True, False))
    assert "cos" in code.twin_text(pattern, (True, True))


@pytest.mark.parametrize("watched", [False, True], ids=["alone", "watched"])
@pytest.mark.parametrize("fused", [False, True], ids=["recorded bodies", "fused"])
def test_what_is_changed_in_place_before_its_pass_is_an_error(fused, watched, monkeypatch):
    """Of inputs, results, and results that are views of inputs, at first and at second order."""
    monkeypatch.setattr(fused_module, "FEWEST", 1)
    for text, changed in [
        ("x.sin() * x", lambda x, r: x.value),
        ("x.exp()", lambda x, r: r.value),
        ("y = x.reshape(3, 1)\nz = y * y\ny, z", lambda x, r: x.value),
    ]:
        compiled = compile_aggregate(text, fused=fused)
        for order in (1, 2):
            with Tape() as tape:
                tape.observers = (Observer(),) if watched else ()
                x = Variable.constant(torch.rand(3) + 1)
                results = compiled(x)
                r = results[-1] if isinstance(results, tuple) else results
                (g,) = grad((r * r).sum(), [x]) if order == 2 else (x,)
                changed(x, r).add_(1)
                with pytest.raises(ChangedInPlaceError, match="was changed in place"):
                    grad((g * g).sum() if order == 2 else (r * r).sum(), [x])


def test_whatever_is_wanted_its_pass_is_deferred():
    """Also where more of them were wanted than there are bodies for."""
    product = compile_aggregate(lambda a, b, c, d, e: a * b * c * d * e)
    for number in range(1, 32):
        with Tape() as tape:
            inputs = [Variable.constant(torch.rand(3)) for _ in range(5)]
            wanted = [x for place, x in enumerate(inputs) if number >> place & 1]
            L = product(*inputs).sum()
            for _ in range(2):
                grad(L, wanted)
            assert put_off_on(tape) is not None, number
