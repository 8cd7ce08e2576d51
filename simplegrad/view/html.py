"""One self-contained HTML file of a trace, a comparison or a report: the app's own player, and no request to anywhere.

All that comes from a run (names, sources, messages, numbers) stands in the file as packed data, which the script sets
as text; no word of it is markup. plotly's script is embedded, packed too, unless `include_plotlyjs` says where else
it comes from, by plotly's own convention: `True`, `"cdn"`, the address of a script, or `False` for none.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ..extras import need

need("HTML pages", "plotly")

from plotly.offline import get_plotlyjs, get_plotlyjs_version  # noqa: E402  # said in our words where it is missing

from ..checks.commands.real_calls import CallsReport  # noqa: E402
from ..checks.report import Report  # noqa: E402
from ..comparison.compare import Comparison  # noqa: E402
from ..comparison.runs import RunComparison  # noqa: E402
from ..graph import ALL_CLOSED, ALL_OPEN  # noqa: E402
from ..trace import Trace  # noqa: E402
from . import assets, compare_view, pytorch_view, runs_view  # noqa: E402
from .figure import plotted  # noqa: E402
from .parts import player_part  # noqa: E402
from .straight import straight  # noqa: E402
from .views import TraceView  # noqa: E402

PANELS = {0: 0, 1: 5, 2: 8}  # how many panels alone.js mounts, by the number of sides
MOST_OPENED = 40  # collapsed groups that a file has a picture for
MOST_MODULES, ENTRIES_DRAWN = 200, 300_000  # the same of modules; of a long run fewer: each picture reads all of it
OPENED_BYTES = 4_500_000  # of all those pictures, unpacked
CDN = "https://cdn.plot.ly/plotly-{}.min.js"
_PLAYER = Path(__file__).parent / "player"


def trace_html(
    trace: Trace,
    path: str | os.PathLike | None = None,
    *,
    title: str | None = None,
    step: int | None = 0,
    include_plotlyjs: bool | str = True,
    address: str = "fragment",
) -> str | None:
    """The page of a run, opened at `step`. Written to `path`; returned as text where that is None.

    Raises OSError, and ValueError for a step that the run does not have.

    `address`: where the step stands in the browser's address, "fragment" (run.html#step=12), or "" for nowhere.
    """
    told = {"title": title or trace.title or "A recorded run", "facts": _births(trace), "notices": list(trace.notices)}
    return written(path, page(told, [TraceView(trace)], step or 0, include_plotlyjs, address))


def comparison_html(
    comparison: Comparison | RunComparison,
    path: str | os.PathLike | None = None,
    *,
    title: str | None = None,
    step: int | None = None,
    include_plotlyjs: bool | str = True,
    address: str = "fragment",
) -> str | None:
    """The page of two runs, side by side; at their first divergence unless `step` says where."""
    left, right = comparison.left, comparison.right
    names = [_name(left, "the left run"), _name(right, "the right run")]
    found = runs_view.facts_of(comparison, names)
    told = {
        "title": title or f"{names[0]} beside {names[1]}",
        "facts": found,
        "tables": comparison_tables(comparison),
    }
    views = [TraceView(left, ghosts=compare_view.ghosts(comparison, "left"), name=names[0])]
    views.append(TraceView(right, ghosts=compare_view.ghosts(comparison, "right"), name=names[1]))
    start = step if step is not None else found["divergence"]["step"] if found["divergence"] else 0
    rows = {"aligned_steps": compare_view.rows(comparison), "differs": comparison.differing_steps}
    return written(path, page(told, views, start, include_plotlyjs, address, **rows))


def report_html(
    report: Report,
    path: str | os.PathLike | None = None,
    *,
    title: str | None = None,
    step: int | None = None,
    include_plotlyjs: bool | str = True,
    address: str = "fragment",
) -> str | None:
    """The page of what `check` found: verdict, clauses, findings, marked sources, plots, and its trace."""
    trace = report.trace if isinstance(report.trace, Trace) and report.trace.events else None
    steps = [finding.step for finding in report.findings if trace is not None and finding.step is not None]
    told = {
        "title": title or f"{report.name}: {report.verdict.replace('_', ' ')}",
        "facts": pytorch_view.facts_of_report(report, trace or Trace()),
        "tables": _error_tables(report),
    }
    views = [] if trace is None else [TraceView(trace)]
    start = step if step is not None else steps[0] if steps else 0
    return written(path, page(told, views, start, include_plotlyjs if views else False, address))


def calls_html(report: CallsReport, path: str | os.PathLike | None = None, **options: Any) -> str | None:
    """The page of what `check_calls` found: all findings, the worst first, with their marked sources."""
    options.setdefault("title", report.summary())
    return report_html(report.merged(), path, **options)


# -- what the file is told ---------------------------------------------------------------------------------------------


def _births(trace: Trace) -> dict | None:
    """Where numbers stop being finite, in a run of PyTorch that kept its numbers."""
    if trace.kind != "torch":
        return None
    return pytorch_view.facts_of_births(trace)


def _name(trace: Trace, otherwise: str) -> str:
    """What a run is called beside another, which may have the same title."""
    return ", f = ".join(filter(None, [trace.title, trace.aggregate])) or otherwise


def comparison_tables(comparison: Comparison | RunComparison) -> list[dict]:
    if not isinstance(comparison, Comparison):
        cells = [row["cells"] for row in runs_view.layer_rows(comparison)]
        return [{"title": "layers: norms", "columns": list(runs_view.LAYER_COLUMNS), "rows": cells}]
    results = compare_view.result_rows(comparison.results)
    columns = ["pass", "gradient", "left", "right", "difference", "verdict"]
    rows = [[row[name] for name in columns] for row in results]
    costs = compare_view.cost_rows(comparison.costs)
    cells = [[row["pass"], *(_pair(row[name]) for name in compare_view.COST_COLUMNS)] for row in costs]
    return [
        {"title": "results", "columns": columns, "rows": rows},
        {"title": "costs, left and right", "columns": ["pass", *compare_view.COST_COLUMNS.values()], "rows": cells},
    ]


def _pair(both: tuple) -> str:
    return " / ".join("–" if each is None else str(each) for each in both)


def _error_tables(report: Report) -> list[dict]:
    each = [(order, name, error) for order, row in sorted(report.errors.items()) for name, error in row.items()]
    rows = [[order, name, f"{error:.3g}"] for order, name, error in each]
    title = f"largest errors, compared with {report.truth}" if report.truth else "largest errors"
    return [{"title": title, "columns": ["order", "input", "error"], "rows": rows}] if rows else []


def page(
    told: dict,
    views: Sequence[TraceView],
    start: int = 0,
    include_plotlyjs: bool | str = True,
    address: str = "fragment",
    **player: Any,
) -> str:
    """The whole file. `told`: title, facts (what was found), tables, codes (title, caption, text of each), notices."""
    started_at(start, views, player.get("aligned_steps"))
    head = player_part(views, start=start, charts=len(views), panels=PANELS[len(views)], address=address, **player)
    told = {"facts": None, "tables": [], "codes": [], "notices": [], **told}
    told |= {"title": straight(told["title"]), "player": head, "sides": [_side(view) for view in views]}
    data = {"sg-told": _packed(told)}
    data |= {f"sg-trace-{i}": _smaller(view.payload) for i, view in enumerate(views)}
    for i, view in enumerate(views):
        if view.drawing.groups or view.boxes:
            data[f"sg-opened-{i}"] = _packed(_opened(view, start))
    style = assets.style() + _styles()
    script = assets.script("alone")
    nonce = hashlib.sha256(b"".join(data.values())).hexdigest()[:32]
    blocks = [_block(name, part) for name, part in data.items()]
    plotly, source = plotly_script(include_plotlyjs, nonce)
    policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data: blob:"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{_text(told['title'])}</title>",
            f"<style>{style}</style>\n{source}</head>\n<body>",
            "<noscript>This page steps through a run by its own script; please allow scripts for it.</noscript>",
            *blocks,
            plotly,
            f'<script type="module" nonce="{nonce}">\n{script}\n</script>\n</body>\n</html>\n',
        ]
    )


def started_at(step: int, views: Sequence[TraceView], aligned: Sequence | None) -> None:
    """Raises ValueError for a step that the page does not have."""
    steps = len(aligned) if aligned is not None else max([0, *(len(view.trace.events) for view in views)])
    if isinstance(step, int) and 0 <= step < max(1, steps):
        return
    there = f"this run has steps 0 to {steps - 1}" if steps else "there is no run to step through"
    raise ValueError(f"step={step!r}: {there}.")


def _text(words: str) -> str:
    """Words as text of the page, also those that no file can hold."""
    return html.escape(words.encode("utf-8", "replace").decode())


def _side(view: TraceView) -> dict:
    return {"id": view.id, "title": straight(view.name), "alt": view.alt, **_drawn(view)}


def _opened(view: TraceView, start: int) -> dict:
    """Other pictures, as far as they are bounded: one for each collapsed group opened, for each module opened (with
    those around it) or, where it is open at first, closed, and for all modules opened and closed. And for each event
    the group that it is in, by its place among them (-1: in none); and the module that the file starts in. The page
    reads it once it has drawn its first picture."""
    opened, left = {}, OPENED_BYTES
    for name, toggled in _ways_to_open(view):
        drawn = _drawn(view.with_opened(toggled))
        left -= len(json.dumps(drawn))
        if left < 0:
            break
        opened[name] = drawn
    places = {group: place for place, group in enumerate(opened)}
    homes = [places.get(view.group_at(step), -1) for step in range(len(view.trace.events))] if opened else []
    around = view.opened_at(start)
    return {"opened": opened, "homes": homes, "start": around[-1] if around else ""}


def _ways_to_open(view: TraceView) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A name of a picture, and the groups and modules that are toggled in it; level by level, from the outside in."""
    boxes = view.boxes
    if boxes:
        yield ALL_CLOSED, (ALL_CLOSED,)
        yield ALL_OPEN, (ALL_OPEN,)
    most = min(MOST_MODULES, ENTRIES_DRAWN // max(1, len(view.trace.entries)))
    for box in sorted(boxes, key=lambda box: box.depth)[:most]:
        yield box.key, view.opened_by(box)
    for group in [unit.key for unit in view.graph.groups if unit.box is None][:MOST_OPENED]:
        yield group, (group,)


def _drawn(view: TraceView) -> dict:
    return {"figure": plotted(view.drawing), "drawing": json.loads(view.drawing_json)}


@cache
def _styles() -> str:
    return "".join((_PLAYER / f"{name}.css").read_text() for name in ("compare", "pytorch", "alone"))


def _packed(told: dict) -> bytes:
    return gzip.compress(json.dumps(told, separators=(",", ":")).encode(), 6, mtime=0)


def _smaller(packed: bytes) -> bytes:
    """Packed once more, with more patience: the app packs for speed, and a file is kept and sent."""
    return gzip.compress(gzip.decompress(packed), 9, mtime=0)


def _block(name: str, packed: bytes) -> str:
    """Data that no browser runs or shows: base64 has no sign that could end the element."""
    return f'<script type="application/octet-stream" id="{name}">{base64.b64encode(packed).decode()}</script>'


def plotly_script(include: bool | str, nonce: str) -> tuple[str, str]:
    """(what stands in the body, what stands in the head) for plotly's script. Raises ValueError for another word.

    A script from elsewhere is not waited for: it may be slow, or never come, and the picture steps without it.
    """
    if include is True:
        return _block("sg-plotly", packed_plotly()), ""
    if include is False:
        return "", ""
    address = CDN.format(get_plotlyjs_version()) if include == "cdn" else include
    if not isinstance(address, str) or not (address.endswith(".js") or address.startswith(("http://", "https://"))):
        raise ValueError(f"include_plotlyjs={include!r}: expected True, False, 'cdn', or the address of a .js file.")
    return "", f'<script async src="{html.escape(address)}" nonce="{nonce}"></script>\n'


@cache
def packed_plotly() -> bytes:
    return gzip.compress(get_plotlyjs().encode(), 9, mtime=0)


def written(path: str | os.PathLike | None, text: str) -> str | None:
    if path is None:
        return text
    Path(path).write_text(text, encoding="utf-8")
    return None
