"""Why a gradient is None: a known zero, or lost to a temporary, or not asked for. None alone does not say it."""

from __future__ import annotations

from collections.abc import Iterable

from ..trace.events import Accumulated, Entry, Event, Pass, PassBegun, Read, Recorded, Value, Visited


class Nothing:
    """Follows a trace event by event (`see`), and answers for what has happened so far."""

    def __init__(self, kind: str = "tape"):
        self.kind = kind
        self.makers: dict[Value, Entry] = {}
        self.entries: list[Entry] = []  # in the order in which they were recorded
        self.escaped: dict[Value, Entry] = {}  # read, though no entry made them -> by which entry first
        self.swallowed: dict[int, dict[Value, int]] = {}  # pass -> what an escaped temporary received, since which step
        self.by_hand: dict[int | None, dict[Value, Entry]] = {}  # pass -> what a hand-written propagate gave None for
        self.passes: dict[int, tuple[Pass, int]] = {}  # pass -> itself, and how many entries there were when it began
        self.needed: dict[int, set[Value]] = {}  # pass -> what its wanted results depend through; made when asked for
        self.behind: dict[Value, set[Value]] = {}  # loss -> all that it was computed from; the same

    def see(self, event: Event) -> None:
        match event:
            case Recorded(entry=entry):
                self.entries.append(entry)
                self.makers.update((x, entry) for x in entry.outputs)
            case Read(value=value, entry=entry):
                self.escaped.setdefault(value, entry)
            case PassBegun(pass_=pass_):
                self.passes[pass_.id] = pass_, len(self.entries)
            case Accumulated(value=value, total=total) if value in self.escaped and total is not None:
                self.swallowed.setdefault(event.pass_id, {}).setdefault(value, event.index)
            case Visited(entry=entry, outgoing=outgoing) if entry.aggregate and any(event.incoming):
                given = {x: entry for x, g in zip(entry.inputs, outgoing) if g is None}
                self.by_hand.setdefault(event.pass_id, {}).update(given)

    def leaves_out(self, pass_: Pass) -> bool:
        """Whether the pass computes nothing that no wanted result needs; autograd does so when it is asked for some."""
        return bool(pass_.wanted) and (pass_.prune == "ahead" or self.kind == "torch")

    def is_asked_for(self, pass_id: int | None, value: Value) -> bool:
        """Whether a wanted result of the pass depends on it: it is one, or was computed from one."""
        pass_, length = self.passes.get(pass_id, (None, 0))
        if pass_ is None or not self.leaves_out(pass_):
            return True
        if pass_id not in self.needed:
            found = self.needed[pass_id] = set(pass_.wanted)
            for entry in self.entries[:length]:
                if any(x in found for x in entry.inputs):
                    found.update(entry.outputs)
        return value in self.needed[pass_id]

    def depends(self, loss: Value, value: Value) -> bool:
        """Whether entries lead from a value to the loss."""
        if loss not in self.behind:
            seen, todo = {loss}, [loss]
            while todo:
                entry = self.makers.get(todo.pop())
                new = [x for x in entry.inputs if x not in seen] if entry else []
                seen.update(new)
                todo += new
            self.behind[loss] = seen
        return value in self.behind[loss]

    def result(self, pass_: Pass, value: Value) -> str:
        """What a pass returned for a value when it returned None: `None, a known zero: L0 does not depend on b`.

        Of what a hand-written backward keeps to itself autograd knows nothing: there it is said what autograd sees."""
        lost = self.swallowed.get(pass_.id, {})
        if lost:
            return f"None: nothing came. {self.where(lost)}"
        if not self.depends(pass_.loss, value):
            if self.kind == "torch" and any(each.aggregate for each in self.entries):
                return f"None: autograd sees no way from {pass_.loss.name} to {value.name}"
            return f"None, a known zero: {pass_.loss.name} does not depend on {value.name}"
        for x, entry in self.by_hand.get(pass_.id, {}).items():
            if x is value or self.depends(x, value):
                return f"None: nothing came. The propagate of entry {entry.id} gave None for {x.name}"
        return "None, a known zero"

    def passed_over(self, pass_id: int | None, names: str, are: str) -> str:
        """Why a pass has nothing for the outputs of an entry."""
        lost = self.swallowed.get(pass_id, {})
        if lost:
            return f"nothing has come to {names}, so nothing is passed on. {self.where(lost)}."
        if self.by_hand.get(pass_id):
            return f"nothing has come to {names}, so nothing is passed on."
        return f"{names} {are} None, a known zero, and so is everything that it would give. No work."

    def where(self, lost: dict[Value, int]) -> str:
        each = [f"{temporary.name} received a gradient at step {step}" for temporary, step in lost.items()]
        goes = "it goes" if len(each) == 1 else "they go"
        return f"{_listed(each)}, and {goes} nowhere"


def _listed(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
