"""The truth for a program: its text run as Python, on torch's own tensors. Programs here are written by the tests."""

import torch

from simplegrad.language.leaves import LEAVES, Leaves
from simplegrad.language.names import OPERATOR_FUNCTIONS
from simplegrad.trace.events import PassEnded


def torch_passes(text: str, none: str = "skip") -> list[list]:
    """What each `grad` of the program gives, by torch.autograd, with (a + b) * b for f."""
    passes = []

    def grad(L, wanted, none=none):
        wanted = [wanted] if isinstance(wanted, torch.Tensor) else wanted
        if L.requires_grad:
            found = torch.autograd.grad(L.sum(), wanted, create_graph=True, allow_unused=True)
        else:
            found = [None] * len(wanted)
        if none == "zeros":
            found = [torch.zeros_like(x) if g is None else g for g, x in zip(found, wanted)]
        passes.append(list(found))
        return list(found)

    leaves = Leaves()
    names = {name: leaf(getattr(leaves, name)) for name in LEAVES}
    names |= {name: function(name) for name in OPERATOR_FUNCTIONS}
    names |= {"torch": torch, "grad": grad, "f": lambda a, b: (a + b) * b, "add_optional": add_optional}
    exec(compile(text, "program", "exec"), names)
    return passes


def leaf(make):
    return lambda *sizes, **keywords: make(*sizes, **keywords).requires_grad_()


def function(name):
    return getattr(torch, name, None) or (lambda x, *arguments, **keywords: getattr(x, name)(*arguments, **keywords))


def add_optional(a, b):
    return b if a is None else a if b is None else a + b


def our_passes(trace) -> list[list]:
    return [
        [value and value.tensor for value in event.results] for event in trace.events if isinstance(event, PassEnded)
    ]


def assert_same_passes(ours: list[list], theirs: list[list]) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs):
        assert [g is None for g in mine] == [g is None for g in other]
        for g, h in zip(mine, other):
            if g is not None:
                torch.testing.assert_close(g, h.detach(), rtol=1e-9, atol=1e-9, equal_nan=True)
