"""Whatever text is compiled, it compiles, or one of two errors says what is wrong: those that the app shows."""

import builtins
import random

import pytest
import torch

from simplegrad import Tape, Variable, check, compile_aggregate, grad
from simplegrad.compiler import CompileError
from simplegrad.language import ProgramError

RIGHT = """
(a + b) * b; a[0]; a[:, 1:]; a[b > 0]; a.sum(dim=(0, 1)); a.permute(1, 0); a.reshape(2, -1); a.transpose(0, 1) @ b
cat([a, b], 1); stack([a, b]); where(a > 0, a, b); a.softmax(-1); a.max(dim=1)[0]; a.clamp(min=0); a ** b; a.t()
a.tril(1)
a.expand(2, 3); a.unsqueeze(0).squeeze(0); a.flatten(0, 1); a / b.sum(0); -a.norm(); a.roll(1, 0)
a.sum(0, keepdim=True)
"""
PIECES = "0 1 -1 2 9 1.5 1e9 10**9 None True 'x' a b (0,0) (1,) [0] [] : ::2 ::-1 ... a.shape a.shape[0] 0/0".split()


def several(texts: str) -> list[str]:
    return [each.strip() for each in texts.strip().replace("\n", ";").split(";")]


def mutated(chance: random.Random) -> str:
    """An expression with some of its numbers, names and signs put in the place of others, or gone."""
    text = list(chance.choice(several(RIGHT)))
    for _ in range(chance.randint(1, 2)):
        places = [i for i, each in enumerate(text) if each in "0123456789ab,[]().:"]
        place = chance.choice(places or [0])
        text[place] = chance.choice([*PIECES, "", ",", text[place] + chance.choice(PIECES)])
    return "".join(text)


@pytest.mark.parametrize("seed", range(4))
def test_a_text_compiles_or_says_what_is_wrong(seed):
    chance, compiled = random.Random(seed), 0
    for text in (mutated(chance) for _ in range(60)):
        try:
            aggregate = compile_aggregate(text)
            assert aggregate.source
            with Tape():
                inputs = [Variable.constant(torch.rand(2, 3)) for _ in aggregate.expression.inputs]
                results = aggregate(*inputs)
                for result in results if isinstance(results, tuple) else (results,):
                    grad(result.sum(), inputs)
            compiled += 1
        except (ProgramError, CompileError) as error:
            assert str(error).strip() and "Traceback" not in str(error), text
    assert compiled


@pytest.mark.parametrize("text", ["a[5]", "a.sum(7)", "a.permute(0, 0)", "a.reshape(7, 7)", "a @ a", "a[0, 0, 0]"])
def test_what_does_not_fit_the_shapes_is_the_same_error(text):
    with Tape(), pytest.raises(CompileError, match=r"^f: .*\. in f, at 'r = .*', with a of shape \(2, 3\)\.$"):
        compile_aggregate(text)(Variable.constant(torch.rand(2, 3)))


ESCAPED = "__import__('builtins').ESCAPED.append(1)"
TEXTS = """
a.tril({0}); a.triu(diagonal={0}); a.roll({0}, 0); a.roll(1, {0}); a.flatten({0}); a.polygamma({0}); a.pow({0}); a + {0}
softplus(a, {0}); a.div(a, rounding_mode={0}); a.sum({0}); a.sum(dim={0}); a.sum(name={0}); a.to({0}); a[{0}]; a[:{0}]
a.reshape({0}); a.expand(a.shape[{0}]); zeros({0}) * a; a.softmax({0}); a.clamp({0}); where(a > {0}, a, 1.0)
cat([a, {0}])
a.norm({0}); a.gelu(approximate={0}); a.masked_fill(a > 0, {0}); a.round(decimals={0}); a.std(correction={0})
"""


@pytest.mark.parametrize("text", several(TEXTS))
def test_text_within_an_expression_is_never_executed(text, monkeypatch):
    """Code is written of what was compiled, and run: a text that stands in the expression must not come into it."""
    ran = []
    monkeypatch.setattr(builtins, "ESCAPED", ran, raising=False)
    for quoted in (repr(ESCAPED), repr(f"0 or {ESCAPED}"), repr(f"x(), {ESCAPED}")):
        try:
            aggregate = compile_aggregate(text.format(quoted))
            assert aggregate.source
            with Tape():
                aggregate(*[Variable.constant(torch.rand(2, 3)) for _ in aggregate.expression.inputs])
        except (ProgramError, CompileError):
            pass
    assert not ran


@pytest.mark.parametrize("name", ["ﬁ", "ｔorch", "ｇradient_tape", "ｉf", "ｄL_dr", "x௰", "²"])
def test_a_name_is_told_apart_as_python_tells_it(name):
    """Python reads `ﬁ` as `fi`: what was not taken in the one form is in the other."""
    aggregate = compile_aggregate(f"t = (a * a).sum(0, name={name!r})\nfi = a * 2\nfi * t * t")
    assert check(aggregate, torch.rand(3, 3)).verdict == "correct"
    assert check(aggregate.to_torch_function(), torch.rand(3, 3).double().requires_grad_()).verdict == "correct"


@pytest.mark.parametrize(
    "name", ["tuple", "zip", "any", "next", "slice", "list", "BODIES", "staticmethod", "__name__", "ｔorch"]
)
def test_a_name_that_generated_code_says_is_refused(name):
    with pytest.raises(ValueError, match="expected a name as a function has one, that is not taken"):
        compile_aggregate("a * a", name=name)


def test_a_name_is_read_as_python_reads_it():
    assert compile_aggregate("a * a", name="ﬁ").to_torch_function().source.count("def fi(")


def test_an_input_may_be_called_as_the_function_is():
    function = compile_aggregate("t = FFunction * FFunction\nt * t.sum(0)").to_torch_function()
    assert check(function, torch.rand(3, 3).double().requires_grad_()).verdict == "correct"
