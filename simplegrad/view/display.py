"""A notebook cell that shows a trace, a comparison, a report or compiled code: its page in a sandboxed frame.

A frame holds the run and the player, not plotly's script: that stands once in the notebook, in the first cell that
shows something (or that says `%load_ext simplegrad`), and is handed to the frames that ask for it. A frame can reach
nothing else of the notebook, nor the network.
"""

from __future__ import annotations

import base64
import html
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from ..compiler import CompiledAggregate
from .html import packed_plotly

HEIGHT = 760  # pixels: the first screen with its controls
# The script holds what it hands out: front ends move scripts about, and run them where nothing stands beside them.
_CARRIER = """<script class="simplegrad-plotly">(() => {{
  const simplegrad = "{}";
  window.addEventListener("message", (event) => {{
    if (event.data === "simplegrad: plotly?") event.source.postMessage({{ simplegrad }}, "*");
  }});
}})();</script>"""


def mimebundle(shown: Any, include: Any = None, exclude: Any = None) -> dict[str, str]:
    """What a notebook shows of something that has a page: that page in a frame, and plain text beside it."""
    return {"text/plain": plain(shown), "text/html": framed(shown)}


def show(shown: Any, height: int = HEIGHT, **options: Any) -> None:
    """Show it in the notebook, `height` pixels high; elsewhere, as a page in the browser. `options`: of to_html."""
    if shell() is not None:
        from IPython.display import display

        display({"text/plain": plain(shown), "text/html": framed(shown, height, **options)}, raw=True)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".html", prefix="simplegrad-", delete=False, encoding="utf-8") as file:
        file.write(shown.to_html(**options))
    print(f"{plain(shown).splitlines()[0]}: {file.name}")
    webbrowser.open(Path(file.name).as_uri())


def plain(shown: Any) -> str:
    return shown.source if isinstance(shown, CompiledAggregate) else str(shown)


def framed(shown: Any, height: int = HEIGHT, **options: Any) -> str:
    """The page as a frame; with plotly's script before it where this notebook has none yet."""
    alone = "google.colab" in sys.modules  # there each cell is a page of its own, which no other can hand a script to
    page = shown.to_html(**{"include_plotlyjs": "cdn" if alone else False, "address": "", **options})
    frame = (
        f'<iframe sandbox="allow-scripts" title="simplegrad" srcdoc="{html.escape(page)}" '
        f'style="width: 100%; height: {int(height)}px; border: 0"></iframe>'
    )
    return frame if alone else carried() + frame


# -- plotly's script, once a notebook ----------------------------------------------------------------------------------

_carrier: list[Any] = []  # the cell that carries it


def carried() -> str:
    """plotly's script for the frames of this notebook, if this cell is the one that carries it."""
    here = cell()
    if not _carrier:
        _carrier.append(here)
    if here != _carrier[0] and _carrier[0] is not None:
        return ""
    return _CARRIER.format(base64.b64encode(packed_plotly()).decode())


def cell() -> Any:
    """What tells this cell from others, also when it is run again: the front end's name for it, or its number."""
    running = shell()
    if running is None:
        return None
    told = getattr(running, "parent_header", None) or {}
    return (told.get("metadata") or {}).get("cellId") or running.execution_count


def shell() -> Any:
    """IPython's, where this runs in one; IPython is not imported for that."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


# -- %load_ext simplegrad ----------------------------------------------------------------------------------------------


def load(running: Any) -> None:
    """`%load_ext simplegrad`: the cell magic, and plotly's script for the notebook."""
    running.register_magic_function(lambda line, code: recorded_cell(running, line, code), "cell", "simplegrad")
    _carrier[:] = [cell()]
    from IPython.display import HTML, display

    display(HTML(carried()))


def recorded_cell(running: Any, line: str, code: str) -> None:
    """`%%simplegrad [HEIGHT]`: run the cell as ever, then show what it recorded, on the tape and in PyTorch."""
    from ..torch_bridge import record_torch
    from ..trace import record

    height = int(line) if line.strip() else HEIGHT
    with record() as tape_run, record_torch() as torch_run:
        result = running.run_cell(code)
    runs = [run for run in (tape_run, torch_run) if run.events]
    for run in runs:
        show(run, height)
    if not runs and result.success:
        print("Nothing was recorded: this cell computes on no Variable, and no backward pass of PyTorch ran in it.")
