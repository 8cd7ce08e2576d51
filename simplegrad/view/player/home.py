"""What stands at `/`: the lessons; what somebody with files wants to see, otherwise; and where older links lead."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import streamlit as st

from ...files import UserFiles
from ..ranks_view import runs_of
from . import page
from .learn import learn_page
from .pytorch import FIELDS as OF_PYTORCH
from .pytorch import pytorch_page
from .ranks import ranks_page
from .state import MARKS
from .step import step_page

OF_BOTH = {"step", *MARKS}


NAMES = {learn_page: "learn", pytorch_page: "pytorch", step_page: "step"}
# In the menu of pages "/" has no entry of its own: the one of the page that is shown is marked, as Streamlit marks it.
_MARK = """
const PLACES = "[data-testid=stHeader], [data-testid=stSidebar]";
const LINKS = "[data-testid=stTopNavLink], [data-testid=stSidebarNavLink]";
export default function ({ data }) {
  const links = () => [...document.querySelectorAll(LINKS)].filter((link) => link.pathname.endsWith(`/${data.page}`));
  const mark = () => links().forEach((link) => link.setAttribute("aria-current", "page"));
  // the menu may come later, and comes anew where a screen is turned: at the top, or at the side
  const watching = new MutationObserver(look);
  function look() {
    for (const place of document.querySelectorAll(PLACES)) watching.observe(place, { childList: true, subtree: true });
    mark();
  }
  const around = document.querySelector("[data-testid=stAppViewContainer]");
  if (around) watching.observe(around, { childList: true });
  look();
  return () => {
    watching.disconnect();
    if (!location.pathname.endsWith(`/${data.page}`)) links().forEach((link) => link.removeAttribute("aria-current"));
  };
}
"""


def home_page() -> None:
    """Learn, PyTorch, or Step."""
    shown = meant(page.given_files())
    mark(NAMES[shown])
    shown()


def compose_page() -> None:
    """Where programs were written before: Step, with all that can be put into one unfolded."""
    mark("step")
    step_page(unfolded=True)


def mark(name: str) -> None:
    with st.container(key="here"):
        _marker()(key="here-mark", data={"page": name})


@cache
def _marker():
    return st.components.v2.component("simplegrad_here", html="<i></i>", js=_MARK)


def meant(files: UserFiles | None) -> Callable[[], None]:
    """The page that the address speaks of; else the one that shows the files; else the one that was open here."""
    said = set(st.query_params)
    if said & (set(OF_PYTORCH) - OF_BOTH):
        return pytorch_page
    if said & (set(page.FIELDS) - OF_BOTH):
        return step_page
    if files is not None and runs_of(files.traces):
        return ranks_page
    if files is not None:
        recorded = any(trace.kind == "torch" for trace in files.traces.values())
        return pytorch_page if recorded else step_page
    stepped = page.state_of_step().shown is not None and "learning" not in st.session_state
    return step_page if said & OF_BOTH or stepped else learn_page
