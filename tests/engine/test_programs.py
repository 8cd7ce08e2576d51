"""Random programs over all operators agree with torch.autograd in float64 at orders 1, 2, 3, in every mode.

A program is data: a list of steps, each an operator and the places of its operands among the values so far. Operators
are wrapped where that keeps values tame (a logarithm of something positive, an exponential of something small), so
that a difference is a wrong rule and not a rounding error of 1e30.
"""

from dataclasses import dataclass

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simplegrad import Tape, Variable, registry
from tests.engine.cases import values
from tests.engine.test_operators import MODES, ShapesAreTrue, assert_same_orders, our_orders, torch_orders

INPUT_SHAPES = [(), (3,), (1,), (2, 3), (2, 1), (1, 3), (2, 2, 3)]

ONE = {
    "exp": lambda x: (x * 0.3).tanh().exp(),
    "log": lambda x: (x * x + 0.7).log(),
    "sqrt": lambda x: (x * x + 0.6).sqrt(),
    "sin": torch.sin,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "abs": torch.abs,
    "neg": lambda x: -x,
    "number + x": lambda x: 0.3 + x,
    "x - number": lambda x: x - 2,
    "number - x": lambda x: 1 - x,
    "x * number": lambda x: x * 0.7,
    "x / number": lambda x: x / 3,
    "number / x": lambda x: 2 / (x * x + 1),
    "x ** 2": lambda x: x.tanh() ** 2,
    "x ** 3": lambda x: x.sin() ** 3,
    "x ** -0.5": lambda x: (x * x + 0.9) ** -0.5,
    "number ** x": lambda x: 1.5 ** x.tanh(),
    "where with a number": lambda x: torch.where(x > 0.1, x, 0.5),
    "reshape": lambda x: x.reshape(-1),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "flatten": lambda x: x.flatten(),
    "squeeze": lambda x: x.squeeze(),
    "expand": lambda x: x.expand(2, *x.shape),
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(),
    "amax": lambda x: x.amax(),
    "x[None]": lambda x: x[None],
    "x[...]": lambda x: x[...],
    "x - x": lambda x: x - x,
    "x + x": lambda x: x + x,
}
OVER_A_DIM = {
    "sum": lambda x, dim, keepdim: x.sum(dim=dim, keepdim=keepdim),
    "mean": lambda x, dim, keepdim: x.mean(dim=dim, keepdim=keepdim),
    "amax": lambda x, dim, keepdim: x.amax(dim=dim, keepdim=keepdim),
    "logsumexp": lambda x, dim, keepdim: x.logsumexp(dim=dim, keepdim=keepdim),
    "softmax": lambda x, dim, keepdim: x.softmax(dim=dim),
    "transpose": lambda x, dim, keepdim: x.transpose(dim, -1),
    "slices": lambda x, dim, keepdim: x.transpose(0, dim)[1 if keepdim else 0 :],
    "step": lambda x, dim, keepdim: x.transpose(0, dim)[:: 2 if keepdim else 1],
    "int": lambda x, dim, keepdim: x.transpose(0, dim)[-1],
    "places": lambda x, dim, keepdim: x.transpose(0, dim)[torch.tensor([0, -1, 0])],
    "words": lambda x, dim, keepdim: x[x > 0] if keepdim else x.transpose(0, dim)[torch.ones(x.shape[dim]).bool()],
    "cat": lambda x, dim, keepdim: torch.cat([x, x * 0.5] if keepdim else [x, x, x], dim=dim),
    "stack": lambda x, dim, keepdim: torch.stack([x, -x], dim=dim),
    "permute": lambda x, dim, keepdim: x.permute(*reversed(range(x.ndim))),
    "product with itself": lambda x, dim, keepdim: x.transpose(-1, -2) @ x if x.ndim > 1 else x @ x,
    "matrix and vector": lambda x, dim, keepdim: x @ x.reshape(-1, x.shape[-1])[-1],
    "vector and matrix": lambda x, dim, keepdim: x[..., -1].flatten()[: x.shape[-2]] @ x if x.ndim > 1 else x @ x,
}
TWO = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a * b": lambda a, b: a * b,
    "a / b": lambda a, b: a / (b * b + 0.8),
    "a ** b": lambda a, b: (a * a + 0.5) ** b.tanh(),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": lambda a, b: torch.where(a > b, a, b * 2),
}


@dataclass(frozen=True)
class Step:
    table: str
    operator: str
    a: int
    b: int = 0
    dim: int = 0
    keepdim: bool = False


STEPS = st.one_of(
    st.builds(Step, st.just("one"), st.sampled_from(sorted(ONE)), st.integers(0, 99)),
    st.builds(Step, st.just("two"), st.sampled_from(sorted(TWO)), st.integers(0, 99), st.integers(0, 99)),
    st.builds(Step, st.just("two"), st.sampled_from(sorted(TWO)), st.integers(0, 99), st.integers(0, 99)),
    st.builds(
        Step,
        st.just("dim"),
        st.sampled_from(sorted(OVER_A_DIM)),
        st.integers(0, 99),
        dim=st.integers(-3, 2),
        keepdim=st.booleans(),
    ),
    st.builds(Step, st.just("aggregate"), st.sampled_from(["simple_variable", "simple_recompute"]), st.integers(0, 99)),
)


@dataclass(frozen=True)
class RandomProgram:
    shapes: tuple
    steps: tuple
    seed: int

    def __call__(self, *inputs):
        """The last value of all; runs on tensors and on Variables. Steps that do not fit their operands do nothing."""
        known = list(inputs)
        for step in self.steps:
            r = self.applied(step, known)
            if r is not None and 0 < r.numel() <= 200:
                known.append(r)
        return known[-1]

    def applied(self, step: Step, known: list):
        a, b = known[-1 - step.a % len(known)], known[-1 - step.b % len(known)]
        if step.table == "one":
            return ONE[step.operator](a)
        if step.table == "aggregate":
            b = a.cos()
            return registry[step.operator](a, b) if isinstance(a, Variable) else (a + b) * b
        if step.table == "dim":
            return OVER_A_DIM[step.operator](a, step.dim % a.ndim, step.keepdim) if a.ndim else None
        fits = all(m == n or 1 in (m, n) for m, n in zip(reversed(a.shape), reversed(b.shape)))
        return TWO[step.operator](a, b) if fits else None


PROGRAMS = st.builds(
    RandomProgram,
    st.lists(st.sampled_from(INPUT_SHAPES), min_size=1, max_size=3).map(tuple),
    st.lists(STEPS, min_size=1, max_size=7).map(tuple),
    st.integers(0, 20),
)


@settings(max_examples=250, deadline=None)
@given(PROGRAMS)
def test_random_programs_agree_with_torch_in_every_mode(program):
    tensors = values(program.shapes, seed=program.seed)
    theirs = torch_orders(program, tensors)
    for none, prune in MODES:
        with Tape() as tape:
            tape.observers = (ShapesAreTrue(),)
            ours = our_orders(program, tensors, none, prune)
        assert_same_orders(ours, theirs)


@settings(max_examples=50, deadline=None)
@given(PROGRAMS)
def test_modes_differ_in_nothing_but_none(program):
    """What one mode returns as None, another returns as zeros; what both compute is equal to the bit or to rounding."""
    tensors = values(program.shapes, seed=program.seed)
    results = []
    for none, prune in MODES:
        with Tape():
            results.append(our_orders(program, tensors, none, prune, orders=2))
    for other in results[1:]:
        assert_same_orders(results[0], other)
