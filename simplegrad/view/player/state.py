"""What a page with a player remembers of one session: what it shows, its marks, the groups that are open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

import streamlit as st

from ...graph import ALL_CLOSED, ALL_OPEN
from . import Paused

MOST_TOGGLED = 100  # groups and modules of one picture that a person has opened or closed
MARKS = ("break", "watch")  # breakpoints and watched gradients


class Asked(Protocol):
    """What a page was asked to show: frozen, as it stands in the address."""

    @property
    def step(self) -> int: ...
    def at(self, step: int) -> Self: ...
    def query(self) -> dict[str, str]: ...


T = TypeVar("T", bound=Asked)


@dataclass
class PageState(Generic[T]):
    """One for each page and session. The browser writes the step into the address; the rest is written here.

    `nonce`: how often the page began anew, for the player, which keeps its own step until then. `written`: what the
    address said of this page when it was last heard or written, its step aside.
    """

    shown: T | None = None
    default: T | None = None  # what an address without a word of this page means
    nonce: int = 0
    is_edited: bool = False  # what is shown was typed
    has_entry: bool = False  # in the browser's history: from then on the browser writes what is typed into the address
    written: dict[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()  # what of an address belongs to this page
    marks: dict[str, str] = field(default_factory=dict)
    marks_at_start: dict[str, str] = field(default_factory=dict)  # the browser knows what it changed since
    opened: dict[int, tuple[str, ...]] = field(default_factory=dict)  # by side
    clicked: int = 0

    @classmethod
    def of(cls, page: str) -> PageState:
        return st.session_state.setdefault(f"state-{page}", cls())

    def news(self, fields: Iterable[str]) -> dict[str, str]:
        """What the address says of this page, if that is something else than before; heard once."""
        self.fields = tuple(fields)
        said = {name: st.query_params[name] for name in self.fields if name in st.query_params}
        if not said or self.in_full(said) == self.written:
            return {}
        self.written = self.in_full(said)
        self.is_edited = self.has_entry = False
        self.begin_anew({name: st.query_params.get(name, "") for name in MARKS})
        return said

    def change(self, is_edited: bool) -> None:
        """Somebody typed, or chose something in a menu: what the address says now is older."""
        self.is_edited, self.has_entry = is_edited, is_edited and self.has_entry
        self.written = self.in_full({name: st.query_params[name] for name in self.fields if name in st.query_params})

    @property
    def writes(self) -> bool:
        """Whether the browser writes what was typed into the address."""
        return self.is_edited and self.has_entry

    def keep(self, shown: T) -> T:
        self.shown = shown
        return shown

    def begin_anew(self, marks: Mapping[str, str] | None = None) -> None:
        """Another run is shown, or the same one from somewhere else: groups close. `marks`: those to begin with."""
        self.nonce += 1
        self.opened = {}
        if marks is not None:
            self.marks = {name: text for name, text in marks.items() if text}
        self.marks_at_start = dict(self.marks)

    def opened_first(self, side: int, at_start: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """What is opened on a side; where nobody opened anything yet, what holds the step that it begins with."""
        if side not in self.opened:
            self.opened[side] = at_start()
        return self.opened[side]

    def open_group(self, group: str, side: int = 0) -> None:
        """Draw a collapsed group in full, or a module otherwise than it was; the picture heeds the last ones."""
        others = [each for each in self.opened.get(side, ()) if each != group]
        was_toggled = len(others) < len(self.opened.get(side, ()))
        begin = [] if group in (ALL_OPEN, ALL_CLOSED) else others
        self.opened[side] = tuple([*begin, *([] if was_toggled else [group])][-MOST_TOGGLED:])

    def hear(self, paused: Paused, groups: Mapping[int, str | None]) -> None:
        """The person paused at a step, changed marks, or clicked a collapsed group. `groups`: of each side the group
        that the event of the kept step stands in; it opens, and so does what was clicked, or closes."""
        if paused.step is not None and paused.step != self.shown.step:
            self.keep(self.shown.at(paused.step))
        if paused.breakpoints is not None:
            self.marks = {k: v for k, v in zip(MARKS, (paused.breakpoints, paused.watches or "")) if v}
        new = {side: group for side, group in groups.items() if group not in (None, *self.opened.get(side, ()))}
        if paused.click and paused.click != self.clicked:
            self.clicked = paused.click
            if paused.group is not None:
                new[paused.side] = paused.group
        for side, group in new.items():
            self.open_group(group, side)
        if new:
            st.rerun()

    def write_address(self) -> None:
        """Only where it says something else: each write is an entry in the browser's history. An edit has one, so that
        Back leads to what was there before; what is typed further on, the browser writes in its place."""
        if self.writes:
            return
        wanted = {**self.shown.query(), **self.marks}
        self.written, self.has_entry = self.in_full(self.shown.query()), self.is_edited
        if self.in_full(wanted) != self.in_full(st.query_params.to_dict()):
            st.query_params.from_dict(wanted)

    def in_full(self, query: Mapping[str, str]) -> dict[str, str]:
        """What an address says, its step aside, with what it leaves out."""
        return {name: text for name, text in {**self.default.query(), **query}.items() if name != "step"}
