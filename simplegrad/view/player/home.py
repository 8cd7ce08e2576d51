"""What stands at `/`: the lessons; what an older link, or somebody with files, wants to step through, otherwise."""

from __future__ import annotations

import streamlit as st

from . import page
from .learn import learn_page
from .state import MARKS
from .step import step_page


def home_page() -> None:
    """Learn, or Step."""
    stepped = page.state_of_step().shown is not None and "learning" not in st.session_state
    asked = any(name in st.query_params for name in (*page.FIELDS, *MARKS))
    if asked or stepped or page.given_files() is not None:
        step_page()
    else:
        learn_page()
