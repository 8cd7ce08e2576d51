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
        self.runs: dict[int, tuple[Pass, int]] = {}  # pass -> itself, and how many entries there were when it began
        self.needed: dict[int, set[Value]] = {}  # pass -> what its wanted results depend through; made when asked for
        self.behind: dict[Value, set[Value]] = {}  # loss -> all that it was computed from; the same

    def see(self, event: Event) -> None:
        match event:
            case Recorded(entry=entry):
                self.entries.append(entry)
                self.makers.update((x, entry) for x in entry.outputs)
            case Read(value=value, entry=entry):
                self.escaped.setdefault(value, entry)
            case PassBegun(run=run):
                self.runs[run.id] = run, len(self.entries)
            case Accumulated(value=value, total=total) if value in self.escaped and total is not None:
                self.swallowed.setdefault(event.pass_id, {}).setdefault(value, event.index)
            case Visited(entry=entry, outgoing=outgoing) if entry.aggregate and any(event.incoming):
                given = {x: entry for x, g in zip(entry.inputs, outgoing) if g is None}
                self.by_hand.setdefault(event.pass_id, {}).update(given)

    def leaves_out(self, run: Pass) -> bool:
        """Whether the pass computes nothing that no wanted result needs; autograd does so when it is asked for some."""
        return bool(run.wanted) and (run.prune == "ahead" or self.kind == "torch")

    def is_asked_for(self, run_id: int | None, value: Value) -> bool:
        """Whether a wanted result of the pass depends on it: it is one, or was computed from one."""
        run, length = self.runs.get(run_id, (None, 0))
        if run is None or not self.leaves_out(run):
            return True
        if run_id not in self.needed:
            found = self.needed[run_id] = set(run.wanted)
            for entry in self.entries[:length]:
                if any(x in found for x in entry.inputs):
                    found.update(entry.outputs)
        return value in self.needed[run_id]

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

    def result(self, run: Pass, value: Value) -> str:
        """What a pass returned for a value when it returned None: `None, a known zero: L0 does not depend on b`.

        Of what a hand-written backward keeps to itself autograd knows nothing: there it is said what autograd sees."""
        lost = self.swallowed.get(run.id, {})
        if lost:
            return f"None: nothing came. {self.where(lost)}"
        if not self.depends(run.loss, value) and self.kind == "torch" and any(each.aggregate for each in self.entries):
            return f"None: autograd sees no way from {run.loss.name} to {value.name}"
        if not self.depends(run.loss, value):
            return f"None, a known zero: {run.loss.name} does not depend on {value.name}"
        for x, entry in self.by_hand.get(run.id, {}).items():
            if x is value or self.depends(x, value):
                return f"None: nothing came. The propagate of entry {entry.id} gave None for {x.name}"
        return "None, a known zero"

    def passed_over(self, run_id: int | None, names: str, are: str) -> str:
        """Why a pass has nothing for the outputs of an entry."""
        lost = self.swallowed.get(run_id, {})
        if lost:
            return f"nothing has come to {names}, so nothing is passed on. {self.where(lost)}."
        if self.by_hand.get(run_id):
            return f"nothing has come to {names}, so nothing is passed on."
        return f"{names} {are} None, a known zero, and so is all that it would give. No work."

    def where(self, lost: dict[Value, int]) -> str:
        each = [f"{temporary.name} received a gradient at step {step}" for temporary, step in lost.items()]
        goes = "it goes" if len(each) == 1 else "they go"
        return f"{_listed(each)}, and {goes} nowhere"


def _listed(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
