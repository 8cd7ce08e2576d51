"""The code of a compiled aggregate: forward, propagate and a body for each pattern, as text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from ..language.limits import check_time
from .graph import VALUE, Node, operation
from .names import RESERVED, Taken, function_name, identifier
from .reverse import Body, Differentiated, Pattern
from .write import Writer, listed

MOST_BODIES = 16  # for one kind of shapes; a pattern that comes later goes through the general body


class Code:
    """Texts for one differentiated graph. `name`: of the aggregate.

    `tensor`: code for torch, which computes on tensors all along; else forward does, and the bodies do on Variables.
    `inputs`, `results`, …: the names of those nodes; `values`: of the inputs that gradients flow to.
    """

    def __init__(self, name: str, made: Differentiated, tensor: bool = False):
        self.tensor = tensor
        self.made = made
        self.name = name
        self.what = made.expression.what
        self.names: dict[Node, str] = {}
        taken = Taken([name, function_name(name)])
        for node in [*made.inputs, *made.forward]:
            if not node.is_size and not node.is_by_name and node not in self.names:
                self.names[node] = identifier(node.name, taken)
        self.inputs, self.values = self.named(made.inputs), self.named(made.values)
        self.results, self.outputs = self.named(made.results), self.named(made.outputs)
        self.incoming = [f"dL_d{name}" for name in self.outputs]
        self.boxed = set() if tensor else {n for n in (*made.inputs, *made.outputs) if n.kind == VALUE}
        self.at_hand = {*made.inputs, *made.outputs, *made.kept}
        self.kept_shapes: dict[Node, None] = {}  # what bodies need only the shape of
        self.asked_shapes: dict[Node, None] = {}
        self.sayer = Writer(self.names, False, set(self.names))
        self.full = BodyLines(self, made.body(made.all)).lines()

    def named(self, nodes: Iterable[Node]) -> list[str]:
        return [self.names[node] for node in nodes]

    # --- forward ---------------------------------------------------------------------------------------------------

    @property
    def saved(self) -> list[str]:
        """What forward hands to a body, apart from the gradients and the shapes."""
        nodes = {*self.made.body(self.made.all).reads, *self.asked_shapes}
        if 2 ** len(self.outputs) > MOST_BODIES and not self.tensor:
            nodes.update(self.made.outputs)  # to make zeros of their shapes
        return self.named(sorted(nodes, key=self.place))

    @property
    def saved_shapes(self) -> list[str]:
        return [f"{name}_shape" for name in self.named(self.kept_shapes)]

    def place(self, node: Node) -> tuple:
        return (0, self.made.inputs.index(node)) if node in self.made.inputs else (1, node.number)

    @property
    def parameters(self) -> str:
        return ", ".join([*self.incoming, *self.saved, *self.saved_shapes])

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
                told = "" if operation(node.op).pointwise else f", ({listed(self.values)})"
                text = f"_boxed({text}{told}{said})" if fast else f"Variable({text}{said})"
            lines.append(f"{name} = {text}")
        return lines + [f"{name}_shape = {name}.shape" for name in self.named(self.kept_shapes)]

    def forward_text(self, inside: Sequence[str] = (), by_name: bool = False) -> str:
        """`inside`: what stands in its `propagate`, where that looks up no body. `by_name`: the entry says names, as
        people write it; the tape takes Variables too, which is quicker."""
        inputs, outputs = (
            ", ".join(f"{name}.name" if by_name else name for name in names) for names in (self.values, self.outputs)
        )
        return lines_of(
            self.forward_head,
            [f'"""{self.what}"""'] if self.what else [],
            [*self.forward_lines(), "", *self.propagate_lines(inside or self.dispatch_lines()), ""],
            [f"gradient_tape.append(TapeEntry([{inputs}], [{outputs}], propagate))"],
            [self.forward_return],
        )

    def fast_forward_text(self) -> str:
        """The same, not to be read: it puts the entry on the tape by a shorter way, see engine/compiled.py."""
        return lines_of(
            self.forward_head,
            [*self.forward_lines(fast=True), *self.propagate_lines(self.dispatch_lines(fast=True))],
            [f"_append(({listed(self.values)}), ({listed(self.outputs)}), propagate, _on_tensors)"],
            [self.forward_return],
        )

    @property
    def forward_head(self) -> str:
        return f"def {self.name}({', '.join(self.inputs)}):"

    @property
    def forward_return(self) -> str:
        return f"return {', '.join(self.results)}"

    def propagate_lines(self, inside: Sequence[str]) -> list[str]:
        return ["def propagate(dL_doutputs):", f"    {listed(self.incoming)} = dL_doutputs", *indented(inside)]

    def dispatch_lines(self, fast: bool = False) -> list[str]:
        """The one place that asks what is None."""
        pattern = listed([f"{g} is not None" for g in self.incoming])
        if len(self.incoming) > 2 and not fast:
            pattern = "tuple([g is not None for g in dL_doutputs])"
        return [
            "# what is None? a body for each answer, made when first met",
            f"body = bodies[{pattern}]",
            f"return body({self.parameters})",
        ]

    # --- bodies ----------------------------------------------------------------------------------------------------

    def body_name(self, pattern: Pattern) -> str:
        if all(pattern):
            return f"{self.name}_general" if len(pattern) > 1 else f"{self.name}_propagate"
        return f"{self.name}_from_{'_'.join(itertools.compress(self.outputs, pattern))}"

    def body_head(self, pattern: Pattern) -> str:
        return f"def {self.body_name(pattern)}({self.parameters}):"

    def body_lines(self, pattern: Pattern) -> list[str]:
        """One operation each, with the forward line that it differentiates."""
        return self.full if all(pattern) else BodyLines(self, self.made.body(pattern)).lines()

    def body_text(self, pattern: Pattern) -> str:
        absent = [g for g, comes in zip(self.incoming, pattern) if not comes]
        known = f"{', '.join(absent)} {'is a known zero' if len(absent) == 1 else 'are known zeros'}."
        what = f'"""{known if absent else "All gradients come in."}"""'
        lines = self.body_lines(pattern)  # before the head, which says what they need
        return lines_of(self.body_head(pattern), [what, *lines])

    def twin_text(self, pattern: Pattern, needed: Sequence[bool]) -> str:
        """The body that computes on tensors: gradients are tensors, and of what was captured it takes the values.
        `needed`: for each input that gradients flow to, whether its gradient is asked for."""
        lines = BodyLines(self, self.made.partly(self.made.body(pattern), needed), twin=True).lines()
        return lines_of(self.body_head(pattern), lines)

    def fallback_text(self, pattern: Pattern) -> str:
        """For a pattern that gets no body of its own: zeros for what is not there, and the general body."""
        absent = [name for name, comes in zip(self.outputs, pattern) if not comes]
        general = f"return {self.body_name(self.made.all)}({self.parameters})"
        return lines_of(self.body_head(pattern), [*map(zeros_line, absent), general])

    def statement(self, node: Node | None) -> str:
        """The forward line, as a person would say it."""
        return f"{self.names[node]} = {self.sayer.expression(node)}" if node in self.names else ""


class BodyLines:
    """Writes the straight line of one body: names are taken again when what had them is used no more."""

    def __init__(self, code: Code, body: Body, twin: bool = False):
        self.code = code
        self.body = body
        self.names: dict[Node, str] = dict(code.names)
        self.holders: dict[str, Node | None] = {name: node for node, name in code.names.items()}
        boxed, asked = code.boxed if twin else set(), (code.kept_shapes, code.asked_shapes)
        self.writer = Writer(self.names, code.tensor or twin, code.at_hand, boxed, twin, *asked)
        for name, g in zip(code.incoming, body.incoming):
            if g is not None:
                self.hold(name, g)
        self.last_use: dict[Node, int] = {}
        for i, node in enumerate(body.order):
            self.last_use.update((each, i) for each in node.nodes)
        self.last_use.update((node, len(body.order)) for node in body.outgoing if node is not None)

    def hold(self, name: str, node: Node) -> str:
        self.names[node], self.holders[name] = name, node
        return name

    def free(self, name: str, at: int) -> bool:
        holder = self.holders.get(name)
        unused = holder is None or holder not in self.code.names and self.last_use.get(holder, -1) <= at
        return unused and name not in RESERVED

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
            rows.append((f"{self.name(node, i)} = {text}", self.code.statement(node.about)))
        result = ", ".join(self.returned(rows))
        width = max((len(left) for left, right in rows if right), default=0)
        lines = [f"{left.ljust(width)}  # {right}" if right else left for left, right in rows]
        return [*lines, f"return {result}" if self.code.tensor else f"return [{result}]"]

    def returned(self, rows: list[tuple[str, str]]) -> Iterable[str]:
        """By names that say whose gradients they are: `dL_da = dL_dt`, which is no operation, is one more row."""
        last = len(self.body.order) - 1
        for x, node in zip(self.code.made.values, self.body.outgoing):
            name, wish = "None" if node is None else self.names[node], f"dL_d{self.code.names[x]}"
            if node is not None and name != wish and self.free(wish, last):
                rows.append((f"{wish} = {name}", self.code.statement(self.body.through.get(x))))
                name, self.holders[wish] = wish, node
            yield name


def zeros_line(name: str) -> str:
    return f"dL_d{name} = Variable.constant(torch.zeros_like({name}.value))"


def indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]


def lines_of(head: str, *parts: Sequence[str]) -> str:
    """A function's text: its head, and its lines indented."""
    return "\n".join([head, *indented(itertools.chain(*parts))]) + "\n"
