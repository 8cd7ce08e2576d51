"""What a page offers to put into a program: operations in groups, and the aggregates that are registered."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..aggregates import Aggregate, registry
from ..ops import TABLE
from .leaves import LEAVES
from .names import F, is_reserved


@dataclass(frozen=True)
class Item:
    """One thing to insert. `label`: for a button; `sentence`: what it does; `pattern`: a statement with places in
    braces: {y} for a new name, {x} and {w} for values that are there, {L} for a loss, {leaves} and {gradients}."""

    label: str
    pattern: str
    sentence: str

    @property
    def snippet(self) -> str:
        """The statement as one reads it in a list: `y = x.tanh()`."""
        name = new_name(self.pattern, ()).replace("y0", "y")
        return self.pattern.format(y=name, x="x", w="w", L="L0", leaves="a, b", gradients="da, db")

    def insert(self, text: str) -> str:
        """The text with this statement at its end, written with the names that are there (see `names_in`).

        Where there is nothing yet to compute with, a leaf is put before it.
        """
        names, lines = names_in(text), [text.rstrip()]
        if not names and any(place in self.pattern for place in ("{x}", "{leaves}")):
            lines.append("a = rand(4, seed=1)")
            names = {"a": True}
        lines.append(self.statement(names))
        return "\n".join(filter(None, lines)) + "\n"

    def statement(self, names: dict[str, bool]) -> str:
        """The statement, computing with the last names and with the last loss, its result under a new name."""
        losses = [name for name in names if name.startswith("L") or name == "loss"]
        last = [name for name in names if name not in losses] or losses or [""]
        losses = losses or last
        leaves = [name for name, leaf in names.items() if leaf] or last[:1]
        gradients = [f"d{leaf}" for leaf in leaves]
        return self.pattern.format(
            y=new_name(self.pattern, names),
            x=last[-1],
            w=last[-2] if len(last) > 1 else last[-1],
            L=losses[-1],
            leaves=", ".join(leaves),
            gradients=", ".join(gradients) + "," * (len(gradients) == 1),
        )


@dataclass(frozen=True)
class Template(Item):
    """A function to write further, and a call of it: {name} stands for a name that no function has."""

    @property
    def snippet(self) -> str:
        return self.filled("mine", "y", "x", "w")

    def insert(self, text: str) -> str:
        return "\n".join(filter(None, (text.rstrip(), self.statement(names_in(text), text)))) + "\n"

    def statement(self, names: dict[str, bool], text: str = "") -> str:
        """`text`: whose functions have names that are taken."""
        taken = {*names, *_DEFINED.findall(text)}
        free = (name for name in itertools.chain(["mine"], (f"mine{n}" for n in itertools.count(2))))
        name, last = next(each for each in free if each not in taken), [*names] or ["a"]
        leaf = "" if names else "a = rand(4, seed=1)\n\n"
        return leaf + self.filled(name, new_name("= ", names), last[-1], last[-2:][0])

    def filled(self, name: str, y: str, x: str, w: str) -> str:
        return self.pattern.format(name=name, y=y, x=x, w=w)


@dataclass(frozen=True)
class Group:
    """Items under a heading."""

    title: str
    items: tuple[Item, ...]


def _group(title: str, *items: tuple[str, str, str]) -> Group:
    return Group(title, tuple(Item(*item) for item in items))


PALETTE: tuple[Group, ...] = (
    _group(
        "Inputs",
        ("tensor", "{y} = tensor([1.0, 2.0, 3.0, 4.0])", "a leaf with the numbers that you write"),
        ("rand", "{y} = rand(4, seed=1)", "a leaf of random numbers from 0 to 1, the same ones each time"),
        ("randn", "{y} = randn(4, seed=1)", "a leaf of random numbers around 0, the same ones each time"),
        ("zeros", "{y} = zeros(4)", "a leaf of zeros"),
        ("ones", "{y} = ones(4)", "a leaf of ones"),
        ("arange", "{y} = arange(4)", "a leaf that counts: 0, 1, 2, 3"),
        ("eye", "{y} = eye(4)", "a leaf with ones on its diagonal and zeros elsewhere"),
    ),
    _group(
        "Arithmetic",
        ("x + w", "{y} = {x} + {w}", "adds, elementwise"),
        ("x - w", "{y} = {x} - {w}", "subtracts, elementwise"),
        ("x * w", "{y} = {x} * {w}", "multiplies, elementwise"),
        ("x / w", "{y} = {x} / {w}", "divides, elementwise"),
        ("x ** 2", "{y} = {x} ** 2", "raises to a power, elementwise"),
        ("-x", "{y} = -{x}", "changes the sign"),
        ("x @ w", "{y} = {x} @ {w}", "multiplies matrices, or two vectors to a number"),
    ),
    _group(
        "Functions",
        ("exp", "{y} = {x}.exp()", "e to the power of each element"),
        ("log", "{y} = {x}.log()", "the natural logarithm of each element"),
        ("sqrt", "{y} = {x}.sqrt()", "the square root of each element"),
        ("sin", "{y} = {x}.sin()", "the sine of each element"),
        ("cos", "{y} = {x}.cos()", "the cosine of each element"),
        ("tanh", "{y} = {x}.tanh()", "squeezes each element into -1 to 1"),
        ("sigmoid", "{y} = {x}.sigmoid()", "squeezes each element into 0 to 1"),
        ("relu", "{y} = {x}.relu()", "replaces what is below 0 by 0"),
        ("abs", "{y} = {x}.abs()", "takes the signs away"),
        ("maximum", "{y} = maximum({x}, {w})", "the larger of two, elementwise"),
        ("minimum", "{y} = minimum({x}, {w})", "the smaller of two, elementwise"),
        ("where", "{y} = where({x} > 0, {x}, 0.0)", "chooses between two, elementwise, by a condition"),
    ),
    _group(
        "Reductions",
        ("sum", "{y} = {x}.sum()", "the sum of all elements, or along dim=0"),
        ("mean", "{y} = {x}.mean()", "the mean of all elements, or along dim=0"),
        ("amax", "{y} = {x}.amax()", "the largest element, or the largest along dim=0"),
        ("logsumexp", "{y} = {x}.logsumexp(dim=-1)", "log of the sum of exp along a dimension, without overflow"),
        ("softmax", "{y} = {x}.softmax(dim=-1)", "positive numbers that add up to 1 along a dimension"),
    ),
    _group(
        "Shapes",
        ("reshape", "{y} = {x}.reshape(2, -1)", "the same elements in another shape"),
        ("expand", "{y} = {x}.expand(2, -1)", "repeats along a new first dimension, without copying"),
        ("transpose", "{y} = {x}.transpose(0, -1)", "exchanges two dimensions"),
        ("permute", "{y} = {x}.reshape(1, 2, -1).permute(2, 0, 1)", "puts the dimensions in another order"),
        ("x[1:]", "{y} = {x}[1:]", "takes a part: all but the first"),
        ("cat", "{y} = cat([{x}, {w}], dim=0)", "one behind the other, along a dimension that is there"),
        ("stack", "{y} = stack([{x}, {w}], dim=0)", "one behind the other, along a new dimension"),
    ),
    _group(
        "Gradients",
        ("grad", "{gradients} = grad({L}, [{leaves}])", "one backward pass: the gradients of the loss by the inputs"),
        (
            "squared length",
            "{y} = ({x} * {x}).sum()",
            "a squared length: of a gradient, it makes a second pass worth while",
        ),
    ),
)


def of_table(offered: str) -> Group:
    """What the table has besides for each element, by the names that torch has for it."""
    names = [op.name for op in TABLE.values() if op.pointwise and op.text == f"{{}}.{op.name}()"]
    items = [(name, f"{{y}} = {{x}}.{name}()", f"torch.{name} of each element") for name in names]
    return _group("More functions", *(item for item in items if f".{item[0]}()" not in offered))


PALETTE = (*PALETTE[:-1], of_table(" ".join(item.pattern for group in PALETTE for item in group.items)), PALETTE[-1])


OWN = Template(
    "an aggregate of your own",
    """def {name}(a, b):
    r = Variable(a.value - b.value)  # what it computes, on tensors

    def propagate(dL_doutputs):
        (dL_dr,) = dL_doutputs
        return [dL_dr, -dL_dr]  # a gradient for each input, on Variables

    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name], propagate=propagate))
    return r

{y} = {name}({x}, {w})""",
    "a function with a propagate to change, and a call of it",
)


def palette() -> tuple[Group, ...]:
    """PALETTE, and after it the aggregates: the chosen one, `f`, one to write, and those registered right now."""
    chosen = Item(F, "{y} = f({x}, {w})", "the aggregate that is chosen on the page")
    return (*PALETTE, Group("Aggregates", (chosen, OWN, *(aggregate_item(each) for each in registry.values()))))


def aggregate_item(aggregate: Aggregate) -> Item:
    operands = ["{x}", *["{w}"] * (inputs(aggregate) - 1)]
    return Item(aggregate.name, f"{{y}} = {aggregate.name}({', '.join(operands)})", aggregate.summary)


def inputs(aggregate: Aggregate) -> int:
    """How many inputs it must be given: settings with a value of their own, `eps=1e-5`, are left to it."""
    parameters = inspect.signature(aggregate.function).parameters.values()
    return max(
        sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters), 1
    )


_DEFINED = re.compile(r"^def[ \t]+(\w+)", re.MULTILINE)
_ASSIGNMENT = re.compile(r"^\(?(\w+(?:[ \t]*,[ \t]*\w+)*)[ \t]*,?\)?[ \t]*=(?!=)(.*)", re.MULTILINE)
_CALLED = re.compile(r"\s*(?:torch\.)?(\w+)\(")


def names_in(text: str) -> dict[str, bool]:
    """The names that a text assigns outside of its functions, in the order in which they were last assigned, and
    whether each is a leaf.

    Read line by line, so that a text that is no program yet, since one is typing in it, gives its names too.
    """
    names: dict[str, bool] = {}
    for targets, right in _ASSIGNMENT.findall(text):
        for name in filter(str.isidentifier, re.findall(r"\w+", targets)):
            names.pop(name, None)
            if not is_reserved(name):
                names[name] = is_leaf(right)
    return names


def is_leaf(right: str) -> bool:
    """Whether the right side of an assignment makes a leaf."""
    called = _CALLED.match(right)
    return called is not None and called[1] in LEAVES


def new_name(pattern: str, taken: Iterable[str]) -> str:
    """A name for a statement's result: a, b, … for a leaf, L0, L1, … for a loss, y0, y1, … for others."""
    right = pattern.split("=", 1)[1]
    letters = (letter for letter in "abcdeghijklmnopqrstuvwxyz" if is_leaf(right))
    kind = "L" if right.endswith(".sum()") else "x" if is_leaf(right) else "y"
    numbered = (f"{kind}{number}" for number in itertools.count())
    return next(name for name in itertools.chain(letters, numbered) if name not in taken)
