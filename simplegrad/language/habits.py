"""What people write by habit and a program has not: why, and what to write instead."""

from __future__ import annotations

from ..ops.refused import reason_of
from .names import LEFT_OUT

MODULES_OF_OTHERS = ("np", "numpy", "math", "nn", "jnp", "tf", "scipy", "plt", "random", "os", "sys")


def _of(said: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, said)


INSTEAD: dict[str, str] = {
    **_of("gradients are results here: da, db = grad(L, [a, b])", "backward", "grad"),
    **_of("it is not needed: whatever is computed has a gradient", "requires_grad", "requires_grad_", "retain_grad"),
    **_of("the tensor is x.value, and print(x) shows it", "data", "numpy", "tolist"),
    **_of("a program runs on the CPU", "cuda", "cpu", "device"),
    **_of("all tensors here hold floats, and places may be floats that are whole", "long", "int", "bool"),
    **_of("write tensor([1.0, 2.0])", "Tensor", "FloatTensor", "as_tensor", "array"),
    **_of("write a leaf, w = rand(4, 2), and what is computed with it", "Parameter", "Module", "Linear"),
    **_of("a value never changes: make a new one, zeros(3)", "zero_", "fill_", "copy_"),
    **_of("each leaf has a seed of its own: rand(4, seed=1)", "manual_seed", "seed"),
    **_of("write the loop out, for x in […]: …", "map", "filter", "apply", "vmap", "zip", "enumerate"),
    **_of("leaves are rand, randn, zeros, ones and arange", "randint", "randperm", "empty", "rand_like", "randn_like"),
    **_of("every operation is recorded; x.detach() is a constant", "no_grad", "enable_grad"),
    **_of("write x.shape[0] for how many rows x has", "len"),
    **_of("write grad(L, [a, b])", "autograd_grad", "autograd_backward"),
    **_of("write a step out: w = w - 0.1 * dw", "SGD", "Adam", "optim_SGD", "optim_Adam", "optim_AdamW"),
    **_of("x.item() is the number in x", "float", "str", "repr"),
}
KEYWORDS: dict[str, str] = {
    **_of(
        "is not needed: what a pass computes is always recorded, and a gradient that nothing came to is None",
        *("create_graph", "retain_graph", "allow_unused"),
    ),
    "requires_grad": "is not needed: grad(L, [x]) says of what gradients are wanted",
    "dtype": "is not there for leaves: they hold floats. x.double() is x in float64",
    "device": "is not there: a program runs on the CPU",
    "generator": "is not there: seed=1 gives the same numbers each time",
    "out": "is not there: a value never changes, and y = … gives the result a name",
}


def why_not(name: str) -> str:
    """Of a name that torch has: why a program has not."""
    said = INSTEAD.get(name) or LEFT_OUT.get(name) or reason_of(name)
    return said or "torch has it, but there is no such operator here"
