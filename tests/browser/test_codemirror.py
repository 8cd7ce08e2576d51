"""The editor's library is one file beside the player: made of pinned versions, with the licences of all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS, PLAYER = ROOT / "tools" / "codemirror", ROOT / "simplegrad" / "view" / "player"
BUNDLE, LICENCES = PLAYER / "codemirror.js", PLAYER / "codemirror.licences.txt"


def versions() -> dict[str, str]:
    """Of what the bundle says that it was made of."""
    return dict(re.findall(r"(\S+) ([\d.]+\d)[,.]", BUNDLE.read_text().splitlines()[0]))


def test_it_is_made_of_what_is_locked():
    locked = json.loads((TOOLS / "package-lock.json").read_text())["packages"]
    assert len(versions()) > 10
    assert {name: locked[f"node_modules/{name}"]["version"] for name in versions()} == versions()
    wanted = json.loads((TOOLS / "package.json").read_text())["dependencies"]
    assert wanted.items() <= versions().items(), "pinned, and all of them are in use"


def test_each_package_has_its_licence():
    said = LICENCES.read_text()
    assert all(name in said for name in versions())
    assert said.count("Permission is hereby granted") == said.count("Copyright (C)")


def test_it_evaluates_no_text_and_asks_nothing_of_the_internet():
    text = BUNDLE.read_text()
    assert not re.search(r"\beval\(|new Function\(|\bfetch\(|XMLHttpRequest|import\(", text)
