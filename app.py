"""simplegrad, a visual debugger for reverse-mode autodiff: `streamlit run app.py [-- my_ops.py run.trace]`."""

import gc
import logging
from pathlib import Path

import streamlit as st

PAGES = {"step": "Step", "compose": "Compose", "compare": "Compare", "compile": "Compile", "pytorch": "PyTorch"}
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">
<path d="M3 4h9M12 12H4" stroke="#0072B2" stroke-width="2"/>
<rect x="10" y="1" width="6" height="6" fill="#009E73"/><circle cx="3" cy="12" r="3" fill="#E69F00"/></svg>"""
# The whole width for the graph, and columns that wrap on narrow screens instead of being squeezed.
STYLE = """
.stMainBlockContainer { padding: 4rem 2rem 1.5rem; }
@media (max-width: 1100px) {
  .stMainBlockContainer { padding: 4rem 1rem 1.5rem; }
  .st-key-menus .stHorizontalBlock, .st-key-texts .stHorizontalBlock { flex-wrap: wrap; }
  .st-key-menus .stColumn, .st-key-texts .stColumn { flex: 1 1 calc(50% - 1rem); min-width: calc(50% - 1rem); }
  .st-key-texts .st-key-choices .stColumn { flex-basis: 100%; min-width: 100%; }
}
@media (max-width: 600px) {
  .st-key-menus .stColumn { flex-basis: 100%; min-width: 100%; }
}
"""
FOLDER = Path(__file__).parent / "pages"


@st.cache_resource(show_spinner=False)
def settle() -> None:
    """Imports done, Python's collector need not walk through torch's objects after every run of a page."""
    import simplegrad.view.player.page  # noqa: F401

    gc.collect()
    gc.freeze()


def main() -> None:
    st.set_page_config(page_title="simplegrad", page_icon=ICON, layout="wide")
    st.html(f"<style>{STYLE}</style>")
    settle()
    found = [name for name in PAGES if (FOLDER / f"{name}.py").exists()]
    pages = [st.Page(FOLDER / f"{name}.py", title=PAGES[name], default=name == "step") for name in found]
    chosen = st.navigation(pages, position="top")
    try:
        chosen.run()
    except Exception as error:
        logging.getLogger("simplegrad").exception("%s", chosen.title)
        st.error(
            f"This page stopped: {type(error).__name__}: {error}. The terminal says where; other pages still work."
        )


main()
