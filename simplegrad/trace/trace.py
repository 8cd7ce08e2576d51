"""`Trace`: one run as a flat list of events. Everything that shows, compares or checks a run reads one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from simplegrad.locks import cached_property

from ..attached import Shown, attached
from ..torch_private import changes
from .calls import Call, Filled, Held
from .events import Entry, Event, Failed, LimitReached, Pass, PassBegun, Value
from .ranks import Collective, Share
from .replay import Replay, State
from .rows import Events
from .texts import Chunks

IN_PLACE = (
    "{names} changed in place after this run computed with {it}: the numbers shown of {it} are those after the change, "
    "not those of the run. Read the trace before, or change a copy."
)


@attached
class Trace(Shown):
    """What `record()` gives. `events`: what happened, in order; `entries`: the tape; `values`: its Variables.

    `title` and `program` say what ran (the text of a program of the small language, or "").
    """

    if TYPE_CHECKING:  # given to it by `attached`: see store.py

        def save(self, path: str | os.PathLike[str]) -> None: ...

        @staticmethod
        def load(path: str | os.PathLike[str]) -> Trace: ...

        def why(self, name: str) -> Any: ...  # see simplegrad/reasons/why.py

    def __init__(self, events: Sequence[Event] = (), entries: Sequence[Entry] = (), values: Sequence[Value] = ()):
        self._events = Events(events)
        self._entries: list[Entry] = list(entries)
        self._values: list[Value] = list(values)
        self._builder = None  # a recorder's, which makes events of what it logged
        self._lock = threading.RLock()  # while it does: a trace may be read from several threads
        self.pass_count = 0
        self.title = ""
        self.about = ""  # a sentence on what it shows, said at its first step
        self.program = ""
        self.aggregate = ""
        self.kind = "tape"  # or "torch": a real PyTorch run
        self.bindings: dict[str, str] = {}  # what the program calls a Variable -> its name, at the end of the run
        self.printed: tuple[tuple[int, int | None, str], ...] = ()  # by a program: after how many events, line, text
        self._notices: list[str] = []
        self.texts: Chunks | None = None  # of the files it names, where it came from a file; None: of this process
        self._calls: list[Call] = []
        self._held: list[Held] = []
        self._filled: list[Filled] = []
        self.rank: int | None = None  # of a process of several (torch.distributed), and how many they are
        self.world: int | None = None
        self.seed: int | None = None
        self._collectives: list[Collective] = []
        self._shares: list[Share] = []

    def _built(self) -> Trace:
        """With events for all that was logged. Once the run is over, what made them is let go, and the tape with it."""
        builder = self._builder
        if builder is not None:
            with self._lock:
                if builder.has_more():
                    self.__dict__.pop("_replay", None)
                    self.__dict__.pop("_names", None)
                    builder.build(self)
                if builder.recorder.is_over and not builder.has_more():
                    self._builder = None
        return self

    @property
    def events(self) -> Events:
        return self._built()._events

    @property
    def entries(self) -> list[Entry]:
        return self._built()._entries

    @property
    def values(self) -> list[Value]:
        return self._built()._values

    @property
    def calls(self) -> list[Call]:
        """Of a PyTorch run with numbers: every operation, and marks, in order. See calls.py."""
        return self._built()._calls

    @property
    def held(self) -> list[Held]:
        """Of a PyTorch run: the tensors of its modules, as they were at its end."""
        return self._built()._held

    @property
    def filled(self) -> list[Filled]:
        """Of a PyTorch run: what each pass did to the .grad of each leaf that it could reach."""
        return self._built()._filled

    @property
    def collectives(self) -> list[Collective]:
        """Of a PyTorch run on several ranks: each collective that this one took part in. See ranks.py."""
        return self._built()._collectives

    @property
    def shares(self) -> list[Share]:
        """Of a PyTorch run on several ranks: prints of its gradients and parameters. See ranks.py."""
        return self._built()._shares

    @property
    def notices(self) -> list[str]:
        """What could not be seen, in words; and what is not as it was in the run."""
        return [*self._built()._notices, *self._changed()]

    def _changed(self) -> list[str]:
        """A notice for tensors that were changed in place since: torch counts such changes."""
        changed = [
            value.name
            for value in self._values
            if value.version is not None
            and value.tensor is not None
            and not value.tensor.is_inference()
            and changes(value.tensor) != value.version
        ]
        if not changed:
            return []
        names = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        one = len(changed) == 1
        return [IN_PLACE.format(names=f"{names} was" if one else f"{names} were", it="it" if one else "them")]

    def value_named(self, name: str) -> Value | None:
        """The Variable of this name; the last one, if the tape was reset in between."""
        return self._built()._names.get(name)

    @cached_property
    def _names(self) -> dict[str, Value]:
        return {value.name: value for value in self._values}

    @property
    def passes(self) -> list[Pass]:
        return [event.pass_ for event in self.events.of(PassBegun)]

    @property
    def error(self) -> Failed | LimitReached | None:
        """What ended the run before its end, if anything did."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, (Failed, LimitReached)) else None

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...

    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self.events[index]

    def at(self, k: int) -> State:
        """The whole state after the first k events, 0 <= k <= len(trace). Raises IndexError outside of that."""
        self._built()
        return self._replay.at(k)

    @cached_property
    def _replay(self) -> Replay:
        return Replay(self.events, self.value_named)

    def transcript(self) -> str:
        """What the notebook would have printed."""
        from .transcript import transcript

        return transcript(self.events, self.printed)

    def __repr__(self) -> str:
        return f"<Trace of {len(self.events)} events, {len(self.entries)} entries, {self.pass_count} passes>"
