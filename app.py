"""simplegrad, a visual debugger for reverse-mode autodiff: `streamlit run app.py [-- my_ops.py run.trace]`."""

import gc
import logging
import webbrowser
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread

import streamlit as st
from starlette.middleware import Middleware

import hosting

PAGES = {
    "learn": "Learn",
    "step": "Step",
    "compare": "Compare",
    "compile": "Compile",
    "pytorch": "PyTorch",
    "ranks": "Ranks",
}
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">
<path d="M3 4h9M12 12H4" stroke="#0072B2" stroke-width="2"/>
<rect x="10" y="1" width="6" height="6" fill="#009E73"/><circle cx="3" cy="12" r="3" fill="#E69F00"/></svg>"""


@st.cache_resource(show_spinner=False)
def settle() -> None:
    """Imports and files, without Python's collector, which would walk through them then and after every run."""
    gc.disable()
    try:
        import pandas  # noqa: F401  # before all else: see main

        from simplegrad.view.player.step import page

        page.given_files()
        gc.freeze()
    finally:
        gc.enable()


@asynccontextmanager
async def served(_):
    Thread(target=settle, daemon=True).start()  # it takes longer than the browser's own part, which need not wait
    if not st.get_option("server.headless"):
        webbrowser.open(hosting.address())
    yield


def main() -> None:
    st.set_page_config(page_title="simplegrad", page_icon=ICON, layout="wide")
    st.html(Path(__file__).with_name("pages") / "style.css")
    loading = st.empty()
    if "loaded" not in st.session_state:  # unseen: meanwhile the browser fetches what draws charts, its largest part
        import pandas  # noqa: F401  # plotly takes it from sys.modules, also a half that `settle` is still importing

        with loading.container(key="loading"):
            st.plotly_chart({"data": [{"x": [0], "y": [0]}]})
            st.components.v2.component("simplegrad_loading", html="<i></i>")()
        st.session_state["loaded"] = True
    home = st.Page("pages/home.py", title="simplegrad", default=True, visibility="hidden")  # what "/" alone means
    older = st.Page("pages/compose.py", title="Step", visibility="hidden")  # links lead there
    pages = [home, older, *[st.Page(f"pages/{name}.py", title=PAGES[name]) for name in PAGES]]
    chosen = st.navigation(pages, position="top")
    if chosen is not home:
        st.set_page_config(page_title=f"{chosen.title} · simplegrad")
    again = Path(__file__).with_name("pages") / "again.js"
    watching = st.components.v2.component("simplegrad_again", html="<i></i>", js=again.read_text())
    with st.container(key="again"):
        watching(key="connection", data={}, on_times_change=lambda: None)
    settle()
    with st.container(key="library-unseen"):
        from simplegrad.view.player import library

        library()
    loading.empty()
    chosen.run()


def guarded(part: Callable[[], None]) -> None:
    """No traceback reaches a page."""
    try:
        part()
    except BaseException as error:  # a file of the command line may raise anything, a KeyboardInterrupt too
        if type(error).__module__.startswith("streamlit."):  # its own way to stop a page, or to run it again
            raise
        logging.getLogger("simplegrad").exception("a page")
        st.error(f"This page stopped: {type(error).__name__}: {error}. The terminal says where; other pages work.")


if __name__ == "__main__":  # a run of the script, for somebody's browser
    guarded(main)
else:  # what `streamlit run` serves
    app = st.App(__file__, lifespan=served, middleware=[Middleware(hosting.Guarded)])
