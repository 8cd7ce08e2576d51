"""What is carried out of the app and into it: a page saved as one HTML file, a trace opened by upload or drop."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import streamlit as st

from ...settings import UPLOAD_BYTES
from ...trace import TraceFileError
from ...trace.store import load
from ..straight import straight
from . import page

MOST_UPLOADED = 4  # traces that one visitor keeps opened; the oldest goes first
MOST_RANKS = 16  # the same, of the ranks of one run


def save_as_html(title: str, make: Callable[[], str], key: str) -> None:
    """A button that makes the page when it is pressed, with the step that is shown then."""
    name = re.sub(r"[^\w.-]+", "-", title).strip("-.")[:60] or "run"
    st.download_button(
        "Save as HTML",
        make,
        f"{name}.html",
        "text/html",
        key=key,
        on_click="ignore",
        icon=":material/download:",
        help="one file that steps as this page does, without a server",
        width="stretch",
    )


def open_a_trace(show: Callable[[str], None]) -> None:
    """A place to drop a .trace; `show` is told its name once it was read. It is data: nothing of it is run."""
    st.file_uploader("Open a .trace", type=["trace"], key="upload", on_change=_read, args=(show,), max_upload_size=64)
    if problem := st.session_state.pop("upload-problem", ""):
        st.error(page.as_it_stands(problem), icon=":material/error:")


def open_traces(show: Callable[[str], None]) -> None:
    """The same for several, as the ranks of one run are; each of them is smaller."""
    st.file_uploader(
        "Open the .trace of each rank",
        type=["trace"],
        key="upload",
        accept_multiple_files=True,
        on_change=_read,
        args=(show,),
        max_upload_size=16,
    )
    if problem := st.session_state.pop("upload-problem", ""):
        st.error(page.as_it_stands(problem), icon=":material/error:")


def _read(show: Callable[[str], None]) -> None:
    given: Any = st.session_state.get("upload")
    several = given if isinstance(given, list) else [given]
    for file in several[-MOST_RANKS:]:
        if file is not None:
            _opened(file, show, MOST_RANKS if len(several) > 1 else MOST_UPLOADED)


def _opened(file: Any, show: Callable[[str], None], most: int) -> None:
    try:
        sized = file.seek(0, os.SEEK_END)
        file.seek(0)
        trace = load(file, int(UPLOAD_BYTES()) - 2 * sized)  # itself, and the numbers in it
    except TraceFileError as error:
        st.session_state["upload-problem"] = str(error)
        return
    name = straight(file.name)
    kept = {**st.session_state.get(page.UPLOADED, {}), name: trace}
    st.session_state[page.UPLOADED] = dict(list(kept.items())[-most:])
    show(name)
