"""One plain sentence for each event, with its arithmetic written out; and the formulas of the partials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from ..trace import looks
from ..trace.events import (
    Accumulated,
    Entry,
    Event,
    Failed,
    Leaf,
    LimitReached,
    Pass,
    PassBegun,
    PassEnded,
    PassFailed,
    Read,
    Recorded,
    TapeReset,
    Value,
    VisitBegun,
    Visited,
)
from .nothing import Nothing

MOST_LEAVES = 6  # named at the end of a pass
SHOWN_ELEMENTS = 8  # of a tensor, before it is cut short
LONGEST_STATEMENT = 400  # characters of an entry in a sentence
MOST_NAMED = 40  # Variables or gradients of one list in a sentence

# For each input of an operator: the gradient it is given, from g, the incoming one. {a} and {b} are the inputs, {r} the
# result, {n} the number. Where the partial can be named, it stands behind the bar.
FORMULAS: dict[str, tuple[str, ...]] = {
    "add": ("{g}|1", "{g}|1"),
    "add_number": ("{g}|1",),
    "sub": ("{g}|1", "-{g}|-1"),
    "sub_number": ("{g}|1",),
    "number_sub": ("-{g}|-1",),
    "mul": ("{g} * {b}|{b}", "{g} * {a}|{a}"),
    "mul_number": ("{g} * {n}|{n}",),
    "div": ("{g} / {b}|1 / {b}", "-({g} * {r} / {b})|-{r} / {b}"),
    "div_number": ("{g} / {n}|1 / {n}",),
    "number_div": ("-({g} * {r} / {a})|-{r} / {a}",),
    "pow": ("{g} * {b} * {a} ** ({b} - 1)", "{g} * {r} * {a}.log()"),
    "pow_number": ("{g} * {n} * {a} ** ({n} - 1)|{n} * {a} ** ({n} - 1)",),
    "number_pow": ("{g} * {r} * log({n})|{r} * log({n})",),
    "neg": ("-{g}|-1",),
    "exp": ("{g} * {r}|{r}",),
    "log": ("{g} / {a}|1 / {a}",),
    "sqrt": ("{g} / ({r} * 2)|1 / ({r} * 2)",),
    "sin": ("{g} * {a}.cos()|{a}.cos()",),
    "cos": ("{g} * -{a}.sin()|-{a}.sin()",),
    "tanh": ("{g} * (1 - {r} * {r})|1 - {r} * {r}",),
    "sigmoid": ("{g} * {r} * (1 - {r})|{r} * (1 - {r})",),
    "relu": ("{g} where {a} > 0, 0 elsewhere|1 where {a} > 0",),
    "abs": ("{g} * sign of {a}|sign of {a}",),
    "maximum": ("{g} where {a} won, 0 elsewhere", "{g} where {b} won, 0 elsewhere"),
    "minimum": ("{g} where {a} won, 0 elsewhere", "{g} where {b} won, 0 elsewhere"),
    "where": ("{g} where the condition holds", "{g} where it does not"),
    "where_left": ("{g} where the condition holds",),
    "where_right": ("{g} where the condition does not hold",),
    "masked": ("{g}, 0 where the mask is",),
    "scaled": ("{g} * weights|weights",),
    "hypot": ("{g} * {a} / {r}|{a} / {r}", "{g} * {b} / {r}|{b} / {r}"),
    "logabsdet": ("{g} * transposed inv({a})",),
    "inv": ("-transposed {r} @ {g} @ transposed {r}",),
    "prod": ("{g} * product of the others|product of the others",),
    "repeat": ("{g} summed over the copies of {a}",),
    "sum": ("{g} for each element of {a}|1 for each element",),
    "mean": ("{g} / count, for each element of {a}|1 / count",),
    "amax": ("{g} where {a} is largest",),
    "logsumexp": ("{g} * softmax of {a}|softmax of {a}",),
    "softmax": ("({g} - ({g} * {r}).sum()) * {r}",),
    "expand": ("{g} summed to {a}'s shape",),
    "sum_to_size": ("{g} expanded to {a}'s shape",),
    "cast": ("{g} in {a}'s dtype",),
    "reshape": ("{g} in {a}'s shape",),
    "transpose": ("{g} transposed back",),
    "permute": ("{g} permuted back",),
    "index": ("zeros of {a}'s shape, with {g} put at the index",),
    "put": ("{g} at the index",),
    "matmul": ("{g} @ transposed {b}", "transposed {a} @ {g}"),
    "tanh_backward": ("{g} * (1 - {b} * {b})", "{g} * {a} * {b} * -2"),
    "sigmoid_backward": ("{g} * {b} * (1 - {b})", "{g} * {a} * (1 - {b} * 2)"),
    "relu_backward": ("{g} where relu let through, 0 elsewhere",),
    "softmax_backward": (
        "({g} - ({g} * {b}).sum()) * {b}",
        "{g} * {a} - {g} * ({a} * {b}).sum() - {a} * ({g} * {b}).sum()",
    ),
    "cat": ("{a}'s part of {g}",),
    "stack": ("{a}'s part of {g}",),
    "square": ("{g} * {a} * 2|{a} * 2",),
    "rsqrt": ("{g} * -{r} / ({a} * 2)|-{r} / ({a} * 2)",),
    "reciprocal": ("-({g} * {r} * {r})|-{r} * {r}",),
    "exp2": ("{g} * {r} * log(2)|{r} * log(2)",),
    "expm1": ("{g} * ({r} + 1)|{r} + 1",),
    "log1p": ("{g} / ({a} + 1)|1 / ({a} + 1)",),
    "log2": ("{g} / ({a} * log(2))|1 / ({a} * log(2))",),
    "log10": ("{g} / ({a} * log(10))|1 / ({a} * log(10))",),
    "tan": ("{g} * (1 + {r} * {r})|1 + {r} * {r}",),
    "sinh": ("{g} * {a}.cosh()|{a}.cosh()",),
    "cosh": ("{g} * {a}.sinh()|{a}.sinh()",),
    "erf": ("{g} * exp(-{a} * {a}) * 2 / sqrt(pi)",),
    "softplus": ("{g} * {a}.sigmoid()|{a}.sigmoid()",),
    "clamp": ("{g} where {a} lies between the bounds, 0 elsewhere",),
    "clone": ("{g}|1",),
    "alias": ("{g}|1",),
    "log_softmax": ("{g} - {r}.exp() * {g}.sum()",),
    "cumsum": ("{g} summed from each place to the end",),
    "unsqueeze": ("{g} in {a}'s shape",),
    "squeeze": ("{g} in {a}'s shape",),
    "flatten": ("{g} in {a}'s shape",),
    "t": ("{g} transposed back",),
    "T": ("{g} transposed back",),
    "flip": ("{g} flipped back",),
    "roll": ("{g} rolled back",),
    "triu": ("{g} in the same triangle, 0 in the other",),
    "tril": ("{g} in the same triangle, 0 in the other",),
    "pad": ("{g} without the padding",),
    "gather": ("zeros of {a}'s shape, with {g} added at the index",),
}


def formulas(entry: Entry) -> list[str]:
    """For each input what it is given, with the incoming gradient left as {g}; '' where no formula is known."""
    known = () if entry.aggregate else FORMULAS.get(entry.operator, ())
    if entry.operator in ("cat", "stack"):
        return [f"{x.name}'s part of {{g}}" for x in entry.inputs]
    return _filled([template.partition("|")[0] for template in known], entry)


def partials(entry: Entry) -> list[str]:
    """∂r/∂x for each input where it can be named, '' elsewhere."""
    known = () if entry.aggregate else FORMULAS.get(entry.operator, ())
    return _filled([template.partition("|")[2] for template in known], entry)


def _filled(known: Sequence[str], entry: Entry) -> list[str]:
    """The templates of an operator with an entry's names, one for each input; '' for inputs beyond them."""
    if not known:
        return [""] * len(entry.inputs)
    names = [x.name for x in entry.inputs] + ["", ""]
    words = {"a": names[0], "b": names[1], "r": _result(entry), "n": _number(entry, names[0]), "g": "{g}"}
    return [template.format_map(words) for _, template in zip(entry.inputs, known)] + [""] * (
        len(entry.inputs) - len(known)
    )


def _result(entry: Entry) -> str:
    return entry.outputs[0].name if entry.outputs else "the result"


def _number(entry: Entry, name: str) -> str:
    """The constant in `v1 * 2` or `1 - v1`."""
    left, _, right = entry.text.rpartition(" ")
    return left.split(" ")[0] if right == name else right


# --- values -------------------------------------------------------------------------------------------------------


def shape_text(shape: Sequence[int]) -> str:
    sizes = [*map(str, shape[: looks.MOST_DIMENSIONS]), *["…"] * (len(shape) > looks.MOST_DIMENSIONS)]
    return "×".join(sizes) or "scalar"


def value_text(value: Value, seen: looks.Looks | None = None) -> str:
    """The numbers to four digits; of a large tensor its first ones and its norm."""
    tensor = value.tensor
    if tensor is None or not looks.can_be_looked_at(tensor):
        return value.note
    if tensor.numel() <= SHOWN_ELEMENTS:
        return _nested(looks.nested(tensor))
    first = ", ".join(map(_number_text, looks.first(tensor, 4)))
    norm = "" if tensor.dtype == torch.bool else f"; norm {_number_text((seen or looks.Looks()).norm(tensor))}"
    return f"[{first}, …{norm}]"


def _nested(numbers) -> str:
    if isinstance(numbers, list):
        return f"[{', '.join(map(_nested, numbers))}]"
    return _number_text(numbers)


def _number_text(number) -> str:
    if isinstance(number, complex):
        return f"{number:.4g}"
    if number == 0:
        return "0"
    return f"{number:.4f}" if 0.001 <= abs(number) < 10000 else f"{number:.4g}"


# --- sentences ----------------------------------------------------------------------------------------------------


class Narrator:
    """Tells a trace event by event, in order; it remembers running sums and how many contributions have come."""

    def __init__(self, kind: str = "tape"):
        self.kind = kind
        self.passes: list[Pass] = []
        self.titles: dict[int | None, str] = {}  # of all passes so far
        self.counts: dict[tuple[int, Value], int] = {}
        self.sums: dict[tuple[int, Value], Value] = {}
        self.visiting: dict[int, Entry] = {}
        self.looks = looks.Looks()
        self.nothing = Nothing(kind)
        self.filled: dict[int, list[Value]] = {}  # pass -> leaves that a gradient came to
        self.ran: dict[Entry, Pass] = {}  # entry -> the last pass that ran it
        self.came: dict[int, tuple[Value | None, ...]] = {}  # visit -> its incoming gradients
        self.filling: set[Value] = set()  # zeros that were made where a gradient was None, and what was made of them
        self.statements: dict[Entry, str] = {}
        self.texts: dict[Value, str] = {}  # an event names what others named before it

    def tell(self, event: Event) -> str:
        self.nothing.see(event)
        return _TELLERS[type(event)](self, event)

    @property
    def loss(self) -> str:
        return self.passes[-1].loss.name if self.passes else "L"

    def text(self, value: Value) -> str:
        """`value_text`, made once for each value: with large tensors it reads all their elements."""
        if value not in self.texts:
            self.texts[value] = value_text(value, self.looks)
        return self.texts[value]

    def statement(self, entry: Entry) -> str:
        """What an entry says, made once: four events name it, and more."""
        if entry not in self.statements:
            text = entry.statement
            self.statements[entry] = text if len(text) <= LONGEST_STATEMENT else f"{text[:LONGEST_STATEMENT]}…"
        return self.statements[entry]

    def equals(self, value: Value) -> str:
        text = self.text(value)
        return f"{value.name} = {text}" if text else value.name

    def result(self, entry: Entry) -> str:
        text = self.text(entry.outputs[0]) if len(entry.outputs) == 1 else ""
        return f" = {text}" if text else ""

    def gives(self, x: Value, gradient: Value | None) -> str:
        return f"None to {x.name}" if gradient is None else f"{self.equals(gradient)} to {x.name}"

    def leaf(self, event: Leaf) -> str:
        value = event.value
        if event.pass_id is not None:
            said = f"A constant is made: {self.equals(value)}. No entry made it."
            if not self.fills(event):
                return said
            self.filling.add(value)
            return f"{said} It stands in for a gradient that is None."
        return f"{self.equals(value)} is a leaf: no entry made it, and gradients may end here."

    def fills(self, event: Leaf) -> bool:
        """Whether it is a zero that is computed with where a gradient is None."""
        none_came = None in self.came.get(event.parent, ()) or bool(self.passes) and self.passes[-1].none == "zeros"
        return none_came and event.value.tensor is not None and self.looks.is_zero(event.value.tensor)

    def recorded(self, event: Recorded) -> str:
        entry = event.entry
        what = f"entry {entry.id}, {self.statement(entry)}{self.result(entry)}"
        if event.pass_id is None:
            return f"Recorded: {what}.{_kept(entry)}"
        owner = self.visiting.get(event.parent)
        if owner is None:
            return f"Adding up is recorded too: {what}."
        return f"While entry {owner.id} propagates, what it computes is recorded: {what}.{self.on_zeros(entry)}"

    def on_zeros(self, entry: Entry) -> str:
        """What filling in zeros for a None costs, at each operation that reads them."""
        read = [x.name for x in entry.inputs if x in self.filling]
        if not read:
            return ""
        if entry.operator in ("mul", "mul_number", "neg", "sum", "expand"):
            self.filling.update(entry.outputs)
        are = "is zero, whatever comes" if len(read) == 1 else "are zero, whatever comes"
        return f" {_joined(' and ', read)} {are}: with None in its place this would cost nothing."

    def read(self, event: Read) -> str:
        name, entry = event.value.name, event.entry
        return (
            f"{name} is read by entry {entry.id}, {self.statement(entry)}, but no entry has {name} as its output and "
            f"it is no leaf: an escaped temporary. A gradient that comes to {name} goes nowhere."
        )

    def begun(self, event: PassBegun) -> str:
        pass_ = event.pass_
        self.passes.append(pass_)
        self.titles[pass_.id] = pass_.title
        if pass_.seed is not None:
            self.sums[pass_.id, pass_.loss] = pass_.seed
            self.counts[pass_.id, pass_.loss] = 1
        name, wanted = pass_.loss.name, _joined(", ", (x.name for x in pass_.wanted))
        row = "" if pass_.seed is None else f"d{name}/d{name} = {self.equals(pass_.seed)}"
        seed = f" The table holds one row: {row}." if row else ""
        summed = f" {name} is not a scalar, so this is the gradient of its sum." if pass_.loss.shape else ""
        modes = {"zeros": " None is replaced by zeros.", "skip": ""}.get(pass_.none, "")
        pruned = " What no wanted result depends on is pruned ahead." if pass_.prune == "ahead" else ""
        return f"The {pass_.title} begins: grad({name}, [{wanted}]).{seed}{summed}{modes}{pruned}"

    def visit(self, event: VisitBegun) -> str:
        entry = event.entry
        self.visiting[event.index], self.came[event.index] = entry, event.incoming
        came = f"in {_came(self.loss, entry, event.incoming)}"
        return f"Entry {entry.id}, {self.statement(entry)}: {came}.{self.before(event)}{self.plan(event)}"

    def before(self, event: VisitBegun) -> str:
        """That the entry ran in an earlier pass, or was recorded by one: a gradient is differentiated."""
        entry = event.entry
        if entry in self.ran and self.ran[entry].id != event.pass_id:
            return f" It runs again: it ran in the {self.ran[entry].title} already."
        title = self.titles.get(entry.pass_id) if entry.pass_id != event.pass_id else None
        return f" The {title} recorded it, and it runs like any other entry." if title else ""

    def plan(self, event: VisitBegun) -> str:
        entry = event.entry
        if entry.aggregate:
            return " Its hand-written propagate runs now."
        incoming = next((g.name for g in event.incoming if g is not None), "")
        parts = []
        for x, formula, partial in zip(entry.inputs, formulas(entry), partials(entry)):
            if formula:
                because = f" (∂{_result(entry)}/∂{x.name} = {partial})" if partial else ""
                parts.append(f"d{self.loss}/d{x.name} gets {formula.replace('{g}', incoming)}{because}")
        return f" It computes: {_joined('; ', parts)}." if parts else ""

    def visited(self, event: Visited) -> str:
        entry, loss = event.entry, self.loss
        what = f"Entry {entry.id}, {self.statement(entry)}"
        if event.state == "skipped":
            names = _joined(" and ", (f"d{loss}/d{x.name}" for x in entry.outputs))
            are = "is" if len(entry.outputs) == 1 else "are"
            if self.kind == "torch":  # eager PyTorch's engine skips nothing: the node itself may ask
                given = _joined("; ", (self.gives(x, g) for x, g in zip(entry.inputs, event.outgoing)))
                because = f"{names} {are} undefined, and the engine does not skip nodes"
                return f"{what}, ran all the same: {because}. It gives {given}."
            return f"{what}, is skipped: {self.nothing.passed_over(event.pass_id, names, are)}"
        if event.state == "pruned":
            wanted = _joined(", ", (x.name for x in self.passes[-1].wanted)) if self.passes else "wanted"
            return f"{what}, is pruned ahead: none of its inputs depends on {wanted}, so no wanted result needs it."
        if self.passes:
            self.ran[entry] = self.passes[-1]
        gives = _joined("; ", (self.gives(x, g) for x, g in zip(entry.inputs, event.outgoing)))
        if event.state == "partial":
            none = [x.name for x, g in zip(entry.outputs, event.incoming) if g is None]
            missing = _joined(", ", (f"d{loss}/d{name}" for name in none))
            return f"{what}, has propagated in part: {missing} was None, the rest is known. It gives {gives}."
        return f"{what}, has propagated. It gives {gives or 'nothing'}."

    def accumulated(self, event: Accumulated) -> str:
        name, source = f"d{self.loss}/d{event.value.name}", f"entry {event.entry.id}"
        key = (event.pass_id, event.value)
        before, total = self.sums.get(key), event.total
        if event.contribution is None:
            stays = "None" if before is None else before.name
            if not self.nothing.is_asked_for(event.pass_id, event.value):
                return (
                    f"None comes to {event.value.name} from {source}: no wanted result needs it, it was not asked for."
                )
            says = "by its propagate that is zero: it" if event.entry.aggregate else "a known zero"
            return f"None comes to {event.value.name} from {source}: {says} adds nothing, {name} stays {stays}."
        if total is None:
            came = f"{event.contribution.name} comes to {event.value.name} from {source}"
            return f"{came}, but no wanted result needs it: it is left out."
        if event.value.leaf and before is None:
            self.filled.setdefault(event.pass_id, []).append(event.value)
        self.sums[key] = total
        self.counts[key] = nth = self.counts.get(key, 0) + 1
        if before is None:
            came = f"{name} = {self.equals(total)}: the first contribution to {event.value.name}, from {source}."
        else:
            added = f"{before.name} + {event.contribution.name} = {self.equals(total)}"
            came = f"{event.value.name}'s {_ordinal(nth)} contribution, from {source}, is added: {name} = {added}."
        return came + self.goes_nowhere(event.value)

    def goes_nowhere(self, value: Value) -> str:
        if value not in self.nothing.escaped:
            return ""
        name = value.name
        return f" It goes nowhere: no entry has {name} as its output, so what {name} was computed from misses it."

    def ended(self, event: PassEnded) -> str:
        pass_ = event.pass_
        if pass_ in self.passes:
            self.passes.remove(pass_)
        if not pass_.wanted:
            return f"The {pass_.title} ends.{self.filled_leaves(pass_)}"
        rows = (
            f"d{pass_.loss.name}/d{x.name} = {self.nothing.result(pass_, x) if g is None else self.equals(g)}"
            for x, g in zip(pass_.wanted, event.results)
        )
        return f"The {pass_.title} ends. It returns {_joined('; ', rows)}."

    def filled_leaves(self, pass_: Pass) -> str:
        """A pass that returns nothing adds to `.grad` of the leaves that it reaches."""
        leaves = self.filled.get(pass_.id, [])
        if not leaves:
            return " It reached no leaf." if self.kind == "torch" else " It returns nothing."
        named = [f"{x.name} ({shape_text(x.shape)})" for x in leaves[:MOST_LEAVES]]
        more = f" and {len(leaves) - MOST_LEAVES} more" if len(leaves) > MOST_LEAVES else ""
        return (
            f" A gradient came to {len(leaves)} {'leaf' if len(leaves) == 1 else 'leaves'}: {', '.join(named)}{more}."
        )

    def broken_off(self, event: PassFailed) -> str:
        if event.pass_ in self.passes:
            self.passes.remove(event.pass_)
        where = f" in entry {event.entry.id}, {event.entry.statement}" if event.entry is not None else ""
        return f"The {event.pass_.title} failed{where}: {event.error}: {event.message}. It returns nothing."

    def reset(self, event: TapeReset) -> str:
        return "The tape is reset: it is empty, and names begin at v0 again."

    def failed(self, event: Failed) -> str:
        return f"The run raised {event.error}: {event.message}"

    def limit(self, event: LimitReached) -> str:
        return f"The run was cut off here. {event.message}"


_TELLERS = {
    Leaf: Narrator.leaf,
    Recorded: Narrator.recorded,
    Read: Narrator.read,
    PassBegun: Narrator.begun,
    VisitBegun: Narrator.visit,
    Visited: Narrator.visited,
    Accumulated: Narrator.accumulated,
    PassEnded: Narrator.ended,
    PassFailed: Narrator.broken_off,
    TapeReset: Narrator.reset,
    Failed: Narrator.failed,
    LimitReached: Narrator.limit,
}


def sentences(events: Sequence[Event]) -> list[str]:
    """A sentence for each event of a trace."""
    narrator = Narrator()
    return [narrator.tell(event) for event in events]


def _kept(entry: Entry) -> str:
    if entry.aggregate:
        return " Its body is not on the tape; its propagate is written by hand."
    named = [f"∂{_result(entry)}/∂{x.name} = {p}" for x, p in zip(entry.inputs, partials(entry)) if p]
    return f" {_joined('; ', named)}." if named else ""


def _joined(between: str, parts: Iterable[str]) -> str:
    """The first of the parts; a sentence about thousands of them is read by nobody."""
    said = list(parts)
    more = len(said) - MOST_NAMED
    return between.join(said) if more <= 0 else f"{between.join(said[:MOST_NAMED])}{between}and {more} more"


def _came(loss: str, entry: Entry, incoming: Sequence[Value | None]) -> str:
    rows = zip(entry.outputs, incoming)
    came = _joined(" and ", (f"d{loss}/d{x.name} = {'None' if g is None else g.name}" for x, g in rows))
    return f"{'come' if len(incoming) > 1 else 'comes'} {came or 'nothing'}"


def _ordinal(n: int) -> str:
    words = ("", "first", "second", "third", "fourth", "fifth")
    return words[n] if n < len(words) else f"{n}th"
