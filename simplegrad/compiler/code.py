"""The code of a compiled aggregate: forward, propagate and a body for each pattern, as text."""

from __future__ import annotations

import builtins
import itertools
import keyword
import unicodedata
from collections.abc import Sequence

from simplegrad.locks import cached_property

from ..language.limits import check_time
from .graph import VALUE, Node, needed_for, operation
from .reverse import Body, Differentiated
from .run import namespace
from .tracing import Expression
from .write import Writer

MOST_BODIES = 16  # for one kind of shapes; a pattern that comes later goes through the general body
SAID = frozenset("BODIES any float list next slice staticmethod super tuple zip".split())  # in generated modules
_RESERVED = {*namespace(), *keyword.kwlist, *dir(builtins), "propagate", "body", "bodies", "dL_doutputs", "compiled"}
_RESERVED |= {"ctx", "pattern", "like", "pairs", "g", "shape", "BODIES", "_", "compute"}


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
    if name in _RESERVED:
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


class Code:
    """Texts for one differentiated graph. `name`: of the aggregate; `what`: what it computes, in a line.

    `tensor`: code for torch, which computes on tensors all along; else forward does, and the bodies do on Variables.
    """

    def __init__(self, name: str, what: str, made: Differentiated, tensor: bool = False):
        self.tensor = tensor
        self.made = made
        self.name = name
        self.what = what
        self.names: dict[Node, str] = {}
        taken = Taken([name, function_name(name)])
        for node in [*made.inputs, *made.forward]:
            if not node.is_size and not node.is_by_name and node not in self.names:
                self.names[node] = identifier(node.name, taken)
        self.boxed = set() if tensor else {n for n in (*made.inputs, *made.outputs) if n.kind == VALUE}
        self.at_hand = {*made.inputs, *made.outputs, *made.kept}
        self.kept_shapes: dict[Node, None] = {}  # what bodies need only the shape of
        self.asked_shapes: dict[Node, None] = {}
        self.full = self.written(made.body((True,) * len(made.outputs)))

    # --- forward ---------------------------------------------------------------------------------------------------

    @property
    def captured(self) -> list[str]:
        """What forward hands to a body, apart from the gradients."""
        reads = self.made.body((True,) * len(self.made.outputs)).reads
        nodes = {*reads, *self.asked_shapes}
        if 2 ** len(self.made.outputs) > MOST_BODIES and not self.tensor:
            nodes.update(self.made.outputs)  # to make zeros of their shapes
        nodes = sorted(nodes, key=self.place)
        return [self.names[n] for n in nodes] + [f"{self.names[n]}_shape" for n in self.kept_shapes]

    def place(self, node: Node) -> tuple:
        return (0, self.made.inputs.index(node)) if node in self.made.inputs else (1, node.number)

    @property
    def incoming(self) -> list[str]:
        return [f"dL_d{self.names[n]}" for n in self.made.outputs]

    @property
    def parameters(self) -> str:
        return ", ".join([*self.incoming, *self.captured])

    def forward_lines(self, fast: bool = False) -> list[str]:
        """One line an operation. What is declared is a Variable from the start."""
        writer = Writer(self.names, True, set(self.made.forward), self.boxed, fast)
        lines = []
        for node in self.made.forward:
            if node in self.made.inputs or node not in self.names:
                continue
            text, name = writer.expression(node), self.names[node]
            if node in self.boxed:
                said = f', name="{name}"' if node.chosen and node in self.made.temporaries else ""
                told = "" if operation(node.op).pointwise else f", {tuple_text(self.input_names)}"
                text = f"_boxed({text}{told}{said})" if fast else f"Variable({text}{said})"
            lines.append(f"{name} = {text}")
        return lines + [f"{self.names[n]}_shape = {self.names[n]}.shape" for n in self.kept_shapes]

    def forward_text(self, by_name: bool = False) -> str:
        """`by_name`: the entry says names, as people write it; the tape takes Variables too, which is quicker."""
        inputs, outputs = self.input_names, self.output_names
        if by_name:
            inputs, outputs = ([f"{name}.name" for name in each] for each in (inputs, outputs))
        said = [f'"""{self.what}"""'] if self.what else []
        return lines_of(
            self.forward_head,
            [*said, *self.forward_lines(), "", *self.dispatch_lines(), ""],
            [f"gradient_tape.append(TapeEntry([{', '.join(inputs)}], [{', '.join(outputs)}], propagate))"],
            [self.forward_return],
        )

    def fast_forward_text(self) -> str:
        """The same, not to be read: it puts the entry on the tape by a shorter way, see engine/compiled.py."""
        put = f"_append({tuple_text(self.input_names)}, {tuple_text(self.output_names)}, propagate, _on_tensors)"
        lines = [*self.forward_lines(fast=True), *self.dispatch_lines(fast=True), put, self.forward_return]
        return lines_of(self.forward_head, lines)

    @property
    def forward_head(self) -> str:
        return f"def {self.name}({', '.join(self.names[n] for n in self.made.inputs)}):"

    @property
    def forward_return(self) -> str:
        return f"return {', '.join(self.names[n] for n in self.made.results)}"

    @property
    def input_names(self) -> list[str]:
        """Those that gradients flow to."""
        return [self.names[n] for n in self.made.inputs if n.kind == VALUE]

    @property
    def output_names(self) -> list[str]:
        return [self.names[n] for n in self.made.outputs]

    def dispatch_lines(self, fast: bool = False) -> list[str]:
        """`propagate`: the one place that asks what is None."""
        pattern = ", ".join(f"{g} is not None" for g in self.incoming)
        pattern += "," * (len(self.incoming) == 1)
        if len(self.incoming) > 2 and not fast:
            pattern = "tuple([g is not None for g in dL_doutputs])"
        unpacked = ", ".join(self.incoming) + "," * (len(self.incoming) == 1)
        return [
            "def propagate(dL_doutputs):",
            f"    {unpacked} = dL_doutputs",
            "    # what is None? a body for each answer, made when first met",
            f"    body = bodies[{pattern}]",
            f"    return body({self.parameters})",
        ]

    # --- bodies ----------------------------------------------------------------------------------------------------

    def body_name(self, pattern: tuple[bool, ...]) -> str:
        if all(pattern):
            return f"{self.name}_general" if len(pattern) > 1 else f"{self.name}_propagate"
        return f"{self.name}_from_{'_'.join(self.names[n] for n, comes in zip(self.made.outputs, pattern) if comes)}"

    def twin_text(self, pattern: tuple[bool, ...], needed: tuple[bool, ...]) -> str:
        """The body that computes on tensors: gradients are tensors, and of what was captured it takes the values.
        `needed`: for each input that gradients flow to, whether its gradient is asked for."""
        lines = BodyLines(self, self.made.partly(self.made.body(pattern), needed), twin=True).lines()
        return lines_of(f"def {self.body_name(pattern)}({self.parameters}):", lines)

    def body_text(self, pattern: tuple[bool, ...]) -> str:
        absent = [g for g, comes in zip(self.incoming, pattern) if not comes]
        known = f"{', '.join(absent)} {'is a known zero' if len(absent) == 1 else 'are known zeros'}."
        what = f'"""{known if absent else "All gradients come in."}"""'
        written = self.full if all(pattern) else self.written(self.made.body(pattern))
        return lines_of(f"def {self.body_name(pattern)}({self.parameters}):", [what, *written.splitlines()])

    def fallback_text(self, pattern: tuple[bool, ...]) -> str:
        """For a pattern that gets no body of its own: zeros for what is not there, and the general body."""
        zeros = [
            f"dL_d{self.names[n]} = Variable.constant(torch.zeros_like({self.names[n]}.value))"
            for n, comes in zip(self.made.outputs, pattern)
            if not comes
        ]
        general = self.body_name((True,) * len(pattern))
        return lines_of(
            f"def {self.body_name(pattern)}({self.parameters}):",
            [*zeros, f"return {general}({self.parameters})"],
        )

    def written(self, body: Body) -> str:
        """The lines of a body: one operation each, with the forward line that it differentiates."""
        return "\n".join(BodyLines(self, body).lines())

    def statement(self, node: Node) -> str:
        """The forward line, as a person would say it."""
        return f"{self.names[node]} = {self.sayer.expression(node)}"

    @cached_property
    def sayer(self) -> Writer:
        return Writer(self.names, False, set(self.names))


class BodyLines:
    """Writes the straight line of one body: names are taken again when what had them is used no more."""

    def __init__(self, code: Code, body: Body, twin: bool = False):
        self.code = code
        self.body = body
        self.names: dict[Node, str] = dict(code.names)
        self.holders: dict[str, Node | None] = {name: node for node, name in code.names.items()}
        self.writer = Writer(self.names, code.tensor or twin, code.at_hand, code.boxed if twin else set(), twin)
        self.writer.kept_shapes, self.writer.asked_shapes = code.kept_shapes, code.asked_shapes
        for output, g in zip(code.made.outputs, body.incoming):
            if g is not None:
                self.hold(f"dL_d{code.names[output]}", g)
        self.last_use: dict[Node, int] = {}
        for i, node in enumerate(body.order):
            self.last_use.update((each, i) for each in node.nodes)
        self.last_use.update((node, len(body.order)) for node in body.outgoing if node is not None)

    def hold(self, name: str, node: Node) -> str:
        self.names[node], self.holders[name] = name, node
        return name

    def free(self, name: str, at: int) -> bool:
        holder = self.holders.get(name)
        return name not in _RESERVED and (holder is None or (holder not in self.code.names and self.last(holder) <= at))

    def last(self, node: Node) -> int:
        return self.last_use.get(node, -1)

    def name(self, node: Node, at: int) -> str:
        wish, about = node.name, self.code.names.get(node.about, "")
        numbered = (f"{wish}_{i}" for i in itertools.count(2))
        names = itertools.chain([wish], [f"{wish}_via_{about}"] * bool(about), numbered)
        return self.hold(next(name for name in names if self.free(name, at)), node)

    def lines(self) -> list[str]:
        rows: list[tuple[str, str]] = []
        for i, node in enumerate(self.body.order):
            check_time()
            text = self.writer.expression(node)
            rows.append((f"{self.name(node, i)} = {text}", self.statement(node.about)))
        returned = self.aliases(rows)
        width = max((len(left) for left, right in rows if right), default=0)
        lines = [f"{left.ljust(width)}  # {right}" if right else left for left, right in rows]
        result = ", ".join(returned)
        return [*lines, f"return {result}" if self.code.tensor else f"return [{result}]"]

    def statement(self, node: Node | None) -> str:
        return self.code.statement(node) if node in self.code.names else ""

    def aliases(self, rows: list) -> list[str]:
        """What is returned, by names that say whose gradients they are: `dL_da = dL_dt` is no operation."""
        names, end = [], len(self.body.order)
        for x, node in zip(self.code.made.inputs, self.body.outgoing):
            if x.kind != VALUE:
                continue
            wish = f"dL_d{self.code.names[x]}"
            name = "None" if node is None else self.names[node]
            if node is not None and name != wish and self.free(wish, end - 1):
                rows.append((f"{wish} = {name}", self.statement(self.body.through.get(x))))
                self.holders[wish] = node
                name = wish
            names.append(name)
        return names


def tuple_text(names: Sequence[str]) -> str:
    return f"({', '.join(names)}{',' * (len(names) == 1)})"


def lines_of(head: str, *parts: Sequence[str]) -> str:
    """A function's text: its head, and its lines indented."""
    lines = [head, *(f"    {line}" if line else "" for part in parts for line in part)]
    return "\n".join(lines) + "\n"
