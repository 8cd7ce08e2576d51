"""The example notebook in docs/ is what its script writes, and runs from top to bottom."""

import json
import re

import pytest

from docs import notebook

STORED = json.loads(notebook.FILE.read_text())


def outputs(cells: list[dict]) -> list[dict]:
    return [output for cell in cells for output in cell.get("outputs", ())]


def words(output: dict) -> str:
    """What an output says as text."""
    return "".join(output.get("data", {}).get("text/plain", output.get("text", "")))


def shape(output: dict) -> tuple:
    """What kind of output it is, and what it is called or prints; the rest is other tests' business."""
    said = words(output)
    return output["output_type"], sorted(output.get("data", ())), said if "text" in output else said.split()[:1]


def test_its_cells_are_those_of_the_script():
    texts = ["".join(cell["source"]) for cell in STORED["cells"]]
    assert texts == [text for _, text in notebook.CELLS]


def test_it_was_run_and_shows_its_pictures():
    shown = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs(STORED["cells"])]
    assert not any(output["output_type"] == "error" for output in outputs(STORED["cells"]))
    assert sum('<iframe sandbox="allow-scripts"' in text for text in shown) == 3
    assert all(len(text) < 1_000_000 for text in shown if "<iframe" in text)
    assert sum("simplegrad-plotly" in text for text in shown) == 1, "plotly's script stands there once"


def test_it_names_no_path_of_the_machine_it_was_made_on():
    for output in outputs(STORED["cells"]):
        assert not re.search(r"/(home|root|tmp|Users|opt|work)/", words(output))


def test_it_runs_and_says_what_it_said():
    pytest.importorskip("nbclient", reason="nbclient is not installed (requirements-dev.txt)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (requirements-dev.txt)")
    made = notebook.run()
    assert [shape(output) for output in outputs(made.cells)] == [shape(output) for output in outputs(STORED["cells"])]
