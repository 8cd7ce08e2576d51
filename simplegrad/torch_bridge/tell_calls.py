"""From rows of operations to `Call`s: what kind each is, and which values, entries and lines belong to it."""

from __future__ import annotations

import dataclasses
import weakref
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

import torch

from simplegrad.torch_bridge import source
from simplegrad.torch_bridge.operations import (
    APPLIES,
    GRAD_MODE,
    LEAVES,
    MARK,
    SETS,
    Known,
    named,
    settled,
    sizes,
)
from simplegrad.torch_bridge.rows import HeldRow, Joined, Telling
from simplegrad.torch_bridge.settings import written
from simplegrad.torch_bridge.tell_errors import explained
from simplegrad.torch_bridge.where import innermost, line, module_path, part_of_pass, stack
from simplegrad.torch_private import function_name
from simplegrad.trace import calls as kinds
from simplegrad.trace.calls import Call, Held
from simplegrad.trace.events import Entry, Value
from simplegrad.trace.ranks import DONE, Collective, Share

_NEW = {"tensor", "as_tensor", "asarray", "from_numpy", "frombuffer", "from_dlpack", "Parameter", "scalar_tensor"}
_COLLECTIVE = "distributed"
_TORCH = Path(torch.__file__).parent


class CallTeller:
    """Rows are put down in order; calls are made of them at the end, when it is known which nodes a pass reached."""

    def __init__(self, teller: Telling) -> None:
        self.teller: Telling = weakref.proxy(teller)  # which has this one
        self.todo: list[tuple] = []  # kind of row, row, number of events before it, pass
        self.values: dict[int, Value] = {}  # by number
        self.leaves: dict[int, int] = {}  # first number of a leaf -> node
        self.looked: int = 0  # so many nodes are in `leaves`
        self.paths: dict[int, str] = {}  # first number -> path of a tensor of a module
        self.versions: dict[Call, int] = {}  # of what calls changed in place
        self.errors: list[int] = []  # events that tell one and are not explained yet
        self.waiting: list[tuple[int, Joined, str]] = []  # collectives that had not come back: place, it, state told
        self.functions: list[tuple[int, int]] = []  # (depth, id of the call) of the Functions whose forward runs
        self._by_address: dict[int, list[int]] = {}  # numbers of the tensors whose memory begins there
        self._placed = 0  # how many are in it

    @property
    def rows(self) -> list[Known]:
        return self.teller.recorder.tensors.rows

    def add(self, kind: str, row: tuple) -> None:
        running = self.teller.passes[-1] if self.teller.passes else None
        self.todo.append((kind, row, len(self.teller.trace._events), running and running.pass_.id))

    def finish(self) -> None:
        for kind, row, event, pass_id in self.todo:
            call = getattr(self, kind)(row, event, pass_id)
            if call is not None:
                self.teller.trace._calls.append(call)
                if call.kind == kinds.IN_PLACE and row[3]:
                    self.versions[call] = self.rows[row[3][0]].version
        self.todo = []
        self._tell_news()
        self._explain()

    def _explain(self) -> None:
        """What the errors of passes, and the one that ended the run, leave out."""
        trace = self.teller.trace
        while self.errors:
            index = self.errors.pop()
            event = trace._events[index]
            more = explained(event.message, trace._calls, trace._entries, self.versions)
            trace._events.replace(dataclasses.replace(event, message=f"{event.message} {more}".strip()))

    # -- values ------------------------------------------------------------------------------------------------------

    def value(self, number: int) -> Value:
        found = self.values.get(number)
        if found is None:
            found = self.values[number] = self._value(number)
        return found

    def _value(self, number: int) -> Value:
        known, teller = self.rows[number], self.teller
        if known.node is not None:
            index = teller.node_numbered(known.node[0])
            place = (index, known.node[1])
            if index is not None and place in teller.values:
                return self._measured(teller.values[place], known)
        leaf = self._leaf(known.first) if known.node is None else None
        if leaf is not None and (leaf, 0) in teller.values:
            return teller.values[leaf, 0]
        if known.first != number and known.node is None and self.rows[known.first].node is None and known.is_given:
            return self.value(known.first)  # the same leaf or plain tensor, changed by what was not seen
        norm, flaw = settled(known.norm, known.flaw)
        name = self.paths.get(known.first, "")
        kept = {"leaf": known.node is None and known.is_given, "norm": norm, "nonfinite": flaw}
        return teller.new_value(name, known.shape, known.dtype, **kept)

    def _leaf(self, first: int) -> int | None:
        nodes = self.teller.nodes
        for index in range(self.looked, len(nodes)):
            if nodes[index].leaf is not None and nodes[index].leaf[6] is not None:
                self.leaves[self.rows[nodes[index].leaf[6]].first] = index
        self.looked = len(nodes)
        return self.leaves.get(first)

    def _measured(self, value: Value, known: Known) -> Value:
        if value.norm is None and value.nonfinite is None:
            value.norm, value.nonfinite = settled(known.norm, known.flaw)
        value.shape, value.dtype = sizes(known.shape), str(known.dtype).removeprefix("torch.")
        return value

    def entries(self, before: int, after: int) -> tuple[Entry, ...]:
        teller = self.teller
        found = [teller.node_numbered(sequence) for sequence in range(before, min(after, before + 10_000))]
        return tuple([teller.entries[index] for index in found if index in teller.entries])

    # -- one method for each kind of row -------------------------------------------------------------------------------

    def call(self, row: tuple, event: int, pass_id: int | None) -> Call | None:
        sort, func, ins, outs, numbers, before, after, where, (grad, autocast, reduction), depth, filled = row
        via, decorated = where.via, where.decorated
        name = function_name(func) if sort == APPLIES else named(func)
        kind = self._kind(sort, name, ins, outs, via, filled)
        if kind is None:
            return None
        made = Call(
            id=len(self.teller.trace._calls),
            kind=kind,
            name=name.rstrip("="),
            event=event,
            module=module_path(where),
            source=line(innermost(where)),
            stack=tuple(filter(None, map(line, stack(where)))),
            inputs=tuple([self.value(number) for number in ins]),
            outputs=tuple([self.value(number) for number in outs]),
            entries=self.entries(before, after),
            via=tuple([named_code(code) for code in via]) + (("checkpoint",) if where.is_checkpointed else ()),
            grad=grad,
            followed=any(self.rows[number].requires_grad for number in outs),
            inside=self._inside(depth, sort),
            within=part_of_pass(where),
            pass_id=pass_id,
            numbers=tuple([float(number) for number in numbers if abs(number) < 1e300]),
            note="autocast" if autocast else _noted_reduction(reduction),
            decorated=(decorated.co_filename, decorated.co_firstlineno) if decorated is not None else None,
            leaves=tuple([self.value(number) for number in filled]),
            aliases=tuple([self.value(number) for number in self._aliases(outs) if number not in outs])
            if kind == kinds.IN_PLACE
            else (),
        )
        if sort == APPLIES:
            self.functions.append((depth, made.id))
        return made

    def _inside(self, depth: int, sort: int) -> int | None:
        """The Function whose forward it ran in: the last one that was begun one level further out."""
        while self.functions and self.functions[-1][0] >= depth:
            self.functions.pop()
        return self.functions[-1][1] if self.functions else None

    def _kind(self, sort: int, name: str, ins: tuple, outs: tuple, via: tuple, filled: tuple) -> str | None:
        files = [str(code.co_filename).removeprefix(f"{_TORCH}/") for code in via]
        names = [code.co_name for code in via]
        if sort == APPLIES:
            return kinds.FUNCTION
        if sort == GRAD_MODE:
            plain = all(file in ("autograd/grad_mode.py", "utils/_contextlib.py") for file in files)
            return kinds.GRAD_MODE if plain or "utils/checkpoint.py" in files else None
        if "nn/utils/clip_grad.py" in files:
            return kinds.CLIP if filled else None
        if "amp/grad_scaler.py" in files:
            scales = name in ("mul", "__mul__") and "scale" in names
            return kinds.SCALE if scales else kinds.UNSCALE if "unscale_" in name else None
        if any(file.startswith("optim/") and file != "optim/swa_utils.py" for file in files):
            return None
        if any(file.startswith("distributed/") for file in files):
            return kinds.COLLECTIVE
        if "deepcopy" in names or "__deepcopy__" in names:
            return kinds.COPY if name in ("clone", "Parameter") else kinds.OPERATION
        if sort == SETS:
            return {"grad=": kinds.GRAD_SET, "data=": kinds.IN_PLACE, "requires_grad=": kinds.REQUIRES_GRAD}[name]
        if name == "requires_grad_":
            return kinds.REQUIRES_GRAD
        if sort == MARK:
            return kinds.HOOK
        if sort == LEAVES:
            return kinds.LEAVES
        if filled:
            return kinds.GRAD_SET
        if name in _NEW:
            return kinds.NEW_LEAF
        return kinds.IN_PLACE if self._changes(ins, outs) else kinds.OPERATION

    def _changes(self, ins: tuple, outs: tuple) -> bool:
        rows = self.rows
        return any(
            rows[a].address == rows[b].address and rows[a].version < rows[b].version and rows[a].first == rows[b].first
            for a in ins
            for b in outs
        )

    def _aliases(self, outs: tuple) -> list[int]:
        """Numbers of other tensors at the same memory, made before."""
        found = []
        for number in outs:
            last = {self.rows[i].first: i for i in self._at(self.rows[number].address) if i < number}
            found += [i for first, i in last.items() if first != self.rows[number].first]
        return found

    def _at(self, address: int) -> list[int]:
        """Numbers of all tensors whose memory begins there, in their order; none where that is not known."""
        for number in range(self._placed, len(self.rows)):
            self._by_address.setdefault(self.rows[number].address, []).append(number)
        self._placed = len(self.rows)
        return self._by_address.get(address, []) if address else []

    def module(self, row: tuple, event: int, pass_id: int | None) -> Call:
        seen, where, (evaluates, keeps, grad) = row
        note = " ".join(word for word, is_so in (("eval", evaluates), ("no_sync", keeps)) if is_so)
        return self._mark(
            kinds.MODULE, seen.cls.__name__, event, where, pass_id, module=seen.path or "", note=note, grad=grad
        )

    def pass_mark(self, row: tuple, event: int, pass_id: int | None) -> Call:
        return self._mark(kinds.PASS, "backward", event, row[0], pass_id)

    def compiled(self, row: tuple, event: int, pass_id: int | None) -> Call:
        before, after, where = row
        return self._mark(kinds.COMPILED, "torch.compile", event, where, pass_id, entries=self.entries(before, after))

    def mode(self, row: tuple, event: int, pass_id: int | None) -> Call:
        seen, is_training, where = row
        name = "train" if is_training else "eval"
        return self._mark(kinds.MODE, name, event, where, pass_id, module=seen.path or "", note=seen.cls.__name__)

    def no_sync(self, row: tuple, event: int, pass_id: int | None) -> Call:
        return self._mark(kinds.NO_SYNC, "no_sync", event, row[0], pass_id)

    def collective(self, row: tuple, event: int, pass_id: int | None) -> Call:
        (joined,) = row
        via = tuple([named_code(code) for code in joined.where.via]) if joined.where is not None else ()
        made = self._mark(kinds.COLLECTIVE, joined.name, event, joined.where, pass_id, via=via, **self._met(joined))
        self.teller.trace._collectives.append(self._collective(joined, made.id))
        if joined.state != DONE:
            self.waiting.append((len(self.teller.trace._collectives) - 1, joined, joined.state))
        return made

    def _met(self, joined: Joined) -> dict[str, tuple[Value, ...]]:
        ins, outs = (tuple([self.value(number) for number in numbers]) for numbers in (joined.ins, joined.outs))
        return {"inputs": ins, "outputs": outs}

    def _collective(self, joined: Joined, call: int) -> Collective:
        return Collective(
            call=call,
            op=joined.op,
            ranks=joined.ranks,
            root=joined.root,
            state=joined.state,
            owners=tuple([whose for each in joined.owners for whose in each]),
            counts=tuple([len(each) for each in joined.owners]),
            before=tuple(joined.before),
            after=tuple(joined.after),
            by=joined.by,
        )

    def has_news(self) -> bool:
        """Whether a collective that was told of as still going on has come back since."""
        return any(joined.state != told for _, joined, told in self.waiting)

    def _tell_news(self) -> None:
        trace, waiting, self.waiting = self.teller.trace, self.waiting, []
        for place, joined, told in waiting:
            if joined.state != told:
                call = trace._collectives[place].call
                trace._collectives[place] = self._collective(joined, call)
                trace._calls[call] = dataclasses.replace(trace._calls[call], **self._met(joined))
            if joined.state != DONE:
                self.waiting.append((place, joined, joined.state))

    def share(self, row: tuple, event: int, pass_id: int | None) -> None:
        what, whose, state, prints, number = row
        path = whose if isinstance(whose, str) else self.teller.nodes[whose].leaf[2]
        value, before = None if number is None else self.value(number), len(self.teller.trace._calls)
        self.teller.trace._shares.append(Share(what, path, state, pass_id, before, prints, value))

    def inference(self, row: tuple, event: int, pass_id: int | None) -> Call:
        (where,) = row
        decorated = where.decorated
        source = (decorated.co_filename, decorated.co_firstlineno) if decorated is not None else None
        more = {"numbers": (0.0,), "grad": False, "decorated": source}
        return self._mark(kinds.GRAD_MODE, "inference_mode", event, where, pass_id, **more)

    def optimizer(self, row: tuple, event: int, pass_id: int | None) -> Call | None:
        what, name, numbers, is_over, where, settings = row
        if what == "step" and is_over:
            return None
        leaves = tuple([self.value(number) for number in numbers])
        kind = kinds.STEP if what == "step" else kinds.ZERO_GRAD
        return self._mark(kind, name, event, where, pass_id, leaves=leaves, note=written(settings))

    def attribute(self, row: tuple, event: int, pass_id: int | None) -> Call:
        path, changed, where = row
        olds = tuple([self.value(old) for _, old, _ in changed if old is not None])
        news = tuple([self.value(new) for _, _, new in changed])
        return self._mark(kinds.ATTRIBUTE, path, event, where, pass_id, inputs=olds, outputs=news)

    def _mark(self, kind: str, name: str, event: int, where: Any, pass_id: int | None, **more: Any) -> Call:
        more.setdefault("module", module_path(where))
        more["stack"] = tuple(filter(None, map(line, stack(where))))
        number = len(self.teller.trace._calls)
        within = part_of_pass(where)
        place = line(innermost(where))
        return Call(number, kind, name, event, source=place, pass_id=pass_id, within=within, **more)

    def held(self, rows: list[HeldRow]) -> None:
        """What the modules held at the end; the names are good for values that nothing else names."""
        for row in rows:
            if row.number is not None:
                self.paths.setdefault(self.rows[row.number].first, row.path)
        for row in rows:
            self.teller.trace._held.append(self._held(row))

    def _held(self, row: HeldRow) -> Held:
        made_at, used_at, branch_at, frozen_at = source.about(row.cls, row.name, _item(row))
        codes = self.teller.recorder.began
        for code in codes:
            made, frozen = source.outside(code, row.path)
            made_at, frozen_at = made_at or made, frozen_at or frozen
        return Held(
            path=row.path,
            kind=row.kind,
            shape=sizes(row.shape),
            dtype=str(row.dtype).removeprefix("torch."),
            requires_grad=row.requires_grad,
            is_leaf=row.is_leaf,
            value=None if row.number is None else self.value(row.number),
            grad=row.grad,
            norm=row.norm,
            zero_rows=row.zero_rows,
            zeros=row.zeros,
            made_at=made_at,
            hooks=tuple((code.co_filename, code.co_firstlineno) for code in row.hooks),
            optimizers=row.optimizers,
            used_at=used_at,
            branch_at=branch_at,
            frozen_at=frozen_at,
            retains=row.retains,
            set_at=source.changed(codes, row.cls, row.path) if row.kind == "parameter" else None,
        )


def _noted_reduction(reduction: Any) -> str:
    """Of a loss that does not simply take the mean of all."""
    return reduction if isinstance(reduction, str) and (reduction == "sum" or reduction.startswith("mean of")) else ""


@lru_cache(maxsize=4096)
def named_code(code: CodeType) -> str:
    """`clip_grad.clip_grad_norm_`"""
    return f"{Path(code.co_filename).stem}.{code.co_name}"


def _item(row: HeldRow) -> str:
    """ "1" of `parts.1.weight`, where the class calls the list `parts`."""
    after = f".{row.path}".partition(f".{row.name}.")[2].partition(".")[0]
    return after if after.isdigit() else ""
