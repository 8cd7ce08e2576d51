"""A notebook cell: a page in a sandboxed frame, plotly's script once, and text where nothing can be drawn."""

import html
import re
import sys
from types import SimpleNamespace

import pytest
import torch

import simplegrad
from simplegrad import (
    Tape,
    Trace,
    Variable,
    check,
    check_calls,
    compile_aggregate,
    extras,
    grad,
    notebook,
    record_torch,
)
from simplegrad.comparison.compare import compare
from simplegrad.language import EXAMPLES
from simplegrad.view import display
from tests.view.test_html import told

PROGRAM = EXAMPLES["first-gradient"].program


class Shell:
    """What is asked of IPython's shell."""

    def __init__(self) -> None:
        self.execution_count, self.parent_header, self.magics = 1, {}, {}

    def register_magic_function(self, function, kind, name) -> None:
        self.magics[kind, name] = function

    def run_cell(self, code):
        error = None
        try:
            exec(code, {"torch": torch, "Variable": Variable, "grad": grad})
        except Exception as raised:
            error = raised
        return SimpleNamespace(success=error is None)


@pytest.fixture
def cell(monkeypatch):
    """A shell as IPython has one; `cell.shown` is what was displayed."""
    shell = Shell()
    shell.shown = []
    ipython = SimpleNamespace(get_ipython=lambda: shell)
    shown = SimpleNamespace(
        display=lambda data, raw=False: shell.shown.append(data if raw else {"text/html": data.data}),
        HTML=lambda data: SimpleNamespace(data=data),
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setattr(display, "_carrier", [])
    return shell


def torch_run() -> Trace:
    with record_torch(values="norm") as trace:
        (torch.ones(2, requires_grad=True) ** 2).sum().backward()
    return trace


def frame_of(text: str) -> str:
    """The page in the frame."""
    (source,) = re.findall(r'<iframe sandbox="allow-scripts" title="simplegrad" srcdoc="([^"]*)"', text)
    return html.unescape(source)


@pytest.mark.parametrize(
    "make",
    [
        PROGRAM.run,
        lambda: check("simple"),
        lambda: compare(PROGRAM.run("simple"), PROGRAM.run("simple_variable_wrong")),
        lambda: compare(torch_run(), torch_run()),
        lambda: compile_aggregate("a * b", name="shown_ab"),
    ],
)
def test_what_is_shown_is_a_page_in_a_frame_and_text_beside_it(cell, make):
    shown = make()
    first, second = (shown._repr_mimebundle_() for _ in range(2))
    assert set(first) == {"text/plain", "text/html"} and first["text/plain"]
    page = told(frame_of(first["text/html"]))
    assert page["player"]["address"] == "", "a frame has no address of its own"
    assert "allow-same-origin" not in first["text/html"]
    assert len(second["text/html"]) > 10_000


def test_plotlys_script_stands_in_one_cell_also_when_that_is_run_again(cell):
    trace = PROGRAM.run()

    def carries() -> bool:
        return "simplegrad-plotly" in trace._repr_mimebundle_()["text/html"]

    cell.parent_header = {"metadata": {"cellId": "first"}}
    assert carries()
    cell.parent_header = {"metadata": {"cellId": "second"}}
    assert not carries() and len(trace._repr_mimebundle_()["text/html"]) < 1_000_000
    cell.parent_header = {"metadata": {"cellId": "first"}}
    cell.execution_count = 9
    assert carries()


def test_the_extension_brings_the_script_and_the_magic(cell):
    simplegrad.load_ipython_extension(cell)
    assert "simplegrad-plotly" in cell.shown[0]["text/html"]
    magic = cell.magics["cell", "simplegrad"]
    cell.execution_count = 2
    magic("500", "a = Variable.constant(torch.rand(2), name='a')\ngrad((a * a).sum(), [a])")
    assert len(cell.shown) == 2 and "height: 500px" in cell.shown[1]["text/html"]
    assert "simplegrad-plotly" not in cell.shown[1]["text/html"]
    magic("", "x = torch.rand(2, requires_grad=True)\n(x * x).sum().backward()")
    assert "PassBegun" not in cell.shown[2]["text/plain"] and len(cell.shown) == 3


def test_a_cell_that_records_nothing_says_so_and_one_that_raises_is_shown(cell, capsys):
    simplegrad.load_ipython_extension(cell)
    magic = cell.magics["cell", "simplegrad"]
    magic("", "1 + 1")
    assert "Nothing was recorded" in capsys.readouterr().out and len(cell.shown) == 1
    magic("", "a = Variable.constant(torch.rand(2), name='a')\nb = a * a\n1 / 0")
    assert len(cell.shown) == 2


def test_the_notebooks_own_names_show_their_last_run(cell):
    with Tape():
        notebook.reset_tape()
        Variable.constant(torch.rand(2), name="first")
        notebook.reset_tape()
        a = Variable.constant(torch.rand(2), name="a")
        grad((a * a).sum(), [a])
        notebook.show(400)
    page = told(frame_of(cell.shown[0]["text/html"]))
    assert "height: 400px" in cell.shown[0]["text/html"]
    assert len(page["sides"][0]["drawing"]["nodes"]) > 5
    assert "first" not in str(page["sides"][0]["figure"])


def test_without_plotly_there_is_text(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    assert PROGRAM.run()._repr_mimebundle_() == {"text/plain": repr(PROGRAM.run())}


def test_a_compiled_aggregate_shows_its_code_and_a_run_and_stays_as_it_is(cell):
    made = compile_aggregate("a * b", name="shown_ab")
    bundle = made._repr_mimebundle_()
    page = told(frame_of(bundle["text/html"]))
    titles, captions, codes = zip(*page["codes"])
    assert titles[:2] == ("forward", "propagate, and its general body") and "ran 1 time" in captions[1]
    assert "def shown_ab" in codes[0] and "def shown_ab" in bundle["text/plain"]
    assert page["player"]["traces"] and made.latest is None and not made.by_shape
    made(*(Variable.constant(torch.rand(2, 3)) for _ in "ab"))
    drawn = told(made.to_html(include_plotlyjs=False))["sides"][0]
    assert drawn["drawing"]["nodes"] and made.latest is not None
    assert list(made.by_shape) == [(torch.Size([2, 3]),) * 2]


def test_calls_of_functions_show_themselves_without_a_run(cell):
    with check_calls() as report:
        torch.ones(2, requires_grad=True).sum().backward()
    bundle = report._repr_mimebundle_()
    assert bundle["text/plain"] == str(report) and told(frame_of(bundle["text/html"]))["sides"] == []


def test_in_colab_a_display_stays_small_and_plotlys_script_comes_from_its_own_server(cell, monkeypatch):
    """There a cell can hand nothing to another."""
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    text = PROGRAM.run()._repr_mimebundle_()["text/html"]
    assert len(text) < 1_000_000 and "simplegrad-plotly" not in text
    assert '<script async src="https://cdn.plot.ly/plotly-' in frame_of(text)


def test_outside_of_a_notebook_it_opens_in_the_browser(monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(display.webbrowser, "open", opened.append)
    monkeypatch.setattr(display, "shell", lambda: None)
    PROGRAM.run().show()
    (address,) = opened
    assert address.startswith("file:///") and address.endswith(".html")
    assert capsys.readouterr().out.startswith("<Trace of ")
