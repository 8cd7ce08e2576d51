"""What things are called in the code: each by a name of its own, which Python reads and nothing there has yet."""

from __future__ import annotations

import builtins
import keyword
import unicodedata

from ..ops import TABLE
from .graph import VALUE, Expression, needed_for
from .run import namespace

SAID = frozenset("BODIES any float list next slice staticmethod super tuple zip".split())  # in generated modules
RESERVED = {*namespace(), *keyword.kwlist, *dir(builtins), "propagate", "body", "bodies", "dL_doutputs", "compiled"}
RESERVED |= {"ctx", "pattern", "like", "pairs", "g", "shape", "BODIES", "_", "compute"}


class Taken(set):
    """Names that are given out, and of each plain one the last number behind it."""

    def __init__(self, names=()):
        super().__init__(names)
        self.numbers: dict[str, int] = {}


def identifier(text: str, taken: Taken) -> str:
    """The text as a name that nothing else has, in the form that Python gives it: `ﬁ` is `fi` to Python."""
    plain = unicodedata.normalize("NFKC", text)
    name = "".join(c if f"x{c}".isidentifier() else "_" for c in plain) or "x"
    name = name if name.isidentifier() else f"x{name}"
    if name.startswith(("dL_d", "_given")):  # as gradients are called, and captured tensors
        name = f"v_{name}"
    if name in RESERVED or name.endswith("_shape"):  # a saved shape is x_shape
        name += "_"
    if name in TABLE and TABLE[name].by_name:  # an operator that somebody added
        name += "_"
    plain, number = name, taken.numbers.get(name, 1)
    while name in taken:
        number += 1
        name = f"{plain}_{number}"
    taken.numbers[plain] = number
    taken.add(name)
    return name


def function_name(name: str) -> str:
    """Of the torch.autograd.Function that an aggregate becomes."""
    return "".join(part.capitalize() for part in name.split("_")) + "Function"


def name_nodes(expression: Expression) -> None:
    """Give every node a name of its own: the source's where it says one, else r, t, t1, t2, …"""
    taken = Taken()
    inputs, results = expression.inputs, expression.results
    needed = [n for n in needed_for(results) if n not in inputs and not n.is_size and not n.is_by_name]
    told = {*inputs, *needed}
    rest = [n for n in expression.graph.nodes if n not in told]
    for node in (*inputs, *(n for n in (*needed, *rest) if n.chosen)):
        node.name = identifier(node.name, taken)
    unnamed = [n for n in dict.fromkeys(results) if not n.chosen]
    for i, node in enumerate(unnamed):
        node.name = identifier("r" if len(unnamed) == 1 else f"r{i + 1}", taken)
    needed = [n for n in needed if not n.chosen and n not in unnamed]
    values = {n: number for number, n in enumerate((n for n in needed if n.kind == VALUE), 1)}
    for node in needed:
        plain = "c" if node.kind != VALUE else "t" if len(values) == 1 else f"t{values[node]}"
        node.name = identifier(plain, taken)
    for node in rest:  # nothing of forward needs these, but a reverse part may
        if not node.chosen:
            node.name = identifier("u", taken)


def checked_name(name: str) -> str:
    """As Python reads it, which writes some letters in another form."""
    known = unicodedata.normalize("NFKC", name)
    if not known.isidentifier() or is_taken(known):
        raise ValueError(
            f"compile_aggregate(…, name={name!r}): expected a name as a function has one, that is not taken."
        )
    return known


def free_name(name: str) -> str:
    """What a function is called that may be called as one that generated code calls: `cat_`."""
    known = unicodedata.normalize("NFKC", name)
    return f"{known.lstrip('_') or 'f'}_" if is_taken(known) else known


def is_taken(name: str) -> bool:
    return keyword.iskeyword(name) or name.startswith("__") or name in {*namespace(), *SAID}
