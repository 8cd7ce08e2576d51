"""The contract between Python and the player: its constants are current, and both sides know each kind of event."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from simplegrad.language import EXAMPLES
from simplegrad.trace import events
from simplegrad.view import assets, contract, deltas, palette

ROOT = Path(__file__).parents[2]
PLAYER = ROOT / "simplegrad" / "view" / "player"


def kinds_of_events() -> list[type]:
    return [each for each in vars(events).values() if inspect.isclass(each) and issubclass(each, events.Event)]


def test_the_constants_of_the_player_are_those_of_the_contract():
    assert contract.FILE.read_text() == contract.javascript(), "run python -m simplegrad.view.contract"


def test_every_class_of_event_has_a_row():
    matched = {
        node.cls.id for node in ast.walk(ast.parse(inspect.getsource(deltas))) if isinstance(node, ast.MatchClass)
    }
    assert {each.__name__ for each in kinds_of_events()} - {"Event", "OfPass"} <= matched


def test_every_kind_of_row_has_a_colour_in_the_timeline():
    assert set(contract.EVENTS) == set(palette.EVENT_KINDS)


@pytest.mark.parametrize("name", ["gradient-of-gradient", "exercise", "broadcasting"])
@pytest.mark.parametrize("modes", [{}, {"prune": "ahead"}])
def test_rows_are_as_wide_as_the_contract_says(name, modes):
    sent = json.loads(deltas.as_json(deltas.payload(EXAMPLES[name].program.run(**modes))))
    assert all(len(row) == contract.WIDTHS[row[0]] for row in sent["events"])
    for rows, kind in (("entries", contract.EntryRow), ("values", contract.ValueRow), ("passes", contract.PassRow)):
        assert all(len(row) == len(kind._fields) for row in sent[rows])


def test_the_library_of_a_page_is_one_module_that_has_all_parts():
    script = assets.library()
    assert not re.search(r"^import ", script, re.MULTILINE)
    assert re.findall(r"^export (\w+)", script, re.MULTILINE) == ["default"]
    mounted = set(re.findall(r"^const (\w+)_part = ", script, re.MULTILINE))
    assert mounted == set(assets.PARTS) and all(len(assets.part(name)) < 500 for name in assets.PARTS)


@pytest.mark.parametrize("script", [assets.library(), assets.script("alone")], ids=["library", "alone"])
def test_names_are_unique_over_the_files_of_the_player(script):
    names = re.findall(r"^(?:async )?(?:const|let|class|function) (\w+)", script, re.MULTILINE)
    assert len(names) == len(set(names)) > 20


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_what_of_the_player_needs_no_browser():
    files = [str(path) for path in sorted((ROOT / "tests" / "player").glob("*.test.js"))]
    done = subprocess.run(["node", "--test", *files], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]


PRIVATE_TO_PLOTLY = re.compile(
    r"_fullLayout|_fullData|_plots\b|\._size\b|scatterlayer|textpoint|draglayer|nsewdrag|clipRect"
    r"|annotation-text|main-svg|svg-container|\bjs-line\b|\bd2p\b|setScale"
)


def test_nothing_leans_on_what_is_private_to_plotly():
    """A minor release of Streamlit brings another plotly.js: its elements and its own fields may be others there."""
    files = [*PLAYER.glob("*.*s"), *PLAYER.parent.glob("*.py")]
    found = {path.name: PRIVATE_TO_PLOTLY.findall(path.read_text()) for path in files}
    assert {name: those for name, those in found.items() if those} == {}
