"""The PyTorch page without a browser: its cases, what it tells the browser, its URL, files and saved traces."""

import contextlib
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

from simplegrad import record_torch
from simplegrad.files import UserFiles
from simplegrad.torch_bridge.gallery import GALLERY
from simplegrad.view import pytorch_view as view
from simplegrad.view.bounded import Bounded

from .conftest import components, player_of

PAGE = Path(__file__).parents[2] / "pages" / "pytorch.py"
ESCAPED, CORRECT, UNVERIFIED = "escaped_temporary", "correct", "unverified"
VERDICTS = {
    "sinh-bad": ESCAPED,
    "sinh-good": CORRECT,
    "layer-norm": ESCAPED,
    "rms-norm": CORRECT,
    "swish": ESCAPED,
    "softmax-loss": ESCAPED,
    "gradient-reversal": CORRECT,
    "straight-through": CORRECT,
    "gradient-penalty": CORRECT,
    "hidden-nan": UNVERIFIED,
}


@pytest.fixture(autouse=True)
def no_files(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["app.py"])


def opened(**query):
    page = AppTest.from_file(str(PAGE), default_timeout=60)
    for name, value in query.items():
        page.query_params[name] = value
    return page.run()


def part(page, name):
    return next(data for data in components(page) if data.get("part") == name)


def said(page, name):
    """What the address says, or will once the browser writes it."""
    value = page.query_params[name] if name in page.query_params else player_of(page)["query"][name]
    return value if isinstance(value, str) else value[-1]


def case(name):
    return view.cases_of(None)[name]


def facts(name):
    return view.facts(case(name), view.trace_of_case(case(name)), view.report_of_case(case(name)))


# --- the gallery --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GALLERY)
def test_the_gallery_says_what_is_true(name):
    told = facts(name)
    assert told["verdict"]["code"] == VERDICTS[name]
    assert case(name).sentence.endswith(".")
    assert any(line[1].startswith(("class ", "def ")) for each in told["sources"] for line in each["lines"])


@pytest.mark.parametrize("name", GALLERY)
def test_each_is_run_through_a_double_backward(name):
    trace = view.trace_of_case(case(name))
    assert trace.error is None
    assert [lane["order"] for lane in view.lanes(trace)] == [0, 1, 2]


def test_the_bad_sinh_is_explained():
    told = facts("sinh-bad")
    slots = {each["slot"]: each for each in told["findings"]}
    assert list(slots) == ["ctx.expx", "ctx.expnegx"]
    assert slots["ctx.expx"]["made"][1] == "expx = torch.exp(x)"
    assert "ctx.expx + ctx.expnegx" in slots["ctx.expx"]["read"][1]
    x = torch.tensor([0.5, -1.0, 2.0], dtype=torch.double)
    assert slots["ctx.expx"]["dropped"] == [["x", view.short(x.exp() / 2)]]
    assert slots["ctx.expnegx"]["dropped"] == [["x", view.short(-(-x).exp() / 2)]]
    marked = {line[1].strip(): line[2] for line in told["sources"][0]["lines"] if line[2]}
    assert marked["expnegx = torch.exp(-x)"] == ["made"]
    assert marked["return dL_dy * (ctx.expx + ctx.expnegx) / 2"] == ["read"]


def test_its_double_backward_gives_x_nothing_and_the_good_one_does():
    bad, good = (view.trace_of_case(case(name)) for name in ("sinh-bad", "sinh-good"))
    assert bad.at(len(bad)).gradients["x"].state == "none"
    lost = good.at(len(good)).gradients["x"]
    x = torch.tensor([0.5, -1.0, 2.0], dtype=torch.double)
    assert torch.allclose(lost.value.tensor, x.sinh())


def test_small_gradients_are_shown_in_their_shape():
    assert view.numbers(torch.tensor([[0.5, -1 / 3], [2.0, 0.0]])) == "[[0.5, -0.3333], [2, 0]]"
    assert view.numbers(torch.ones(5, 5)) == "shape (5, 5), norm 5"


def test_a_ghost_leads_from_where_backward_read_to_the_input():
    trace = view.trace_of_case(case("sinh-bad"))
    (ghost,) = view.ghosts(trace, view.report_of_case(case("sinh-bad")))
    start = next(entry for entry in trace.entries if f"e{entry.id}" == ghost.source)
    assert trace.entries[start.made_by].operator == "SinhBad"
    assert ghost.target == f"v{trace.value_named('x').id}"
    assert view.ghosts(trace, "not checked") == ()


def test_a_finding_leads_to_the_backward_of_its_function():
    trace, (first, _) = view.trace_of_case(case("sinh-bad")), facts("sinh-bad")["findings"]
    event = trace.events[first["step"]]
    assert (event.kind, event.entry.operator) == ("VisitBegun", "SinhBad")


def test_a_hidden_nan_is_found_in_the_first_backward():
    (birth,) = facts("hidden-nan")["births"]
    assert (birth["kind"], birth["where"]) == ("nan", "pass")
    marked = [line for each in facts("hidden-nan")["sources"] for line in each["lines"] if "born" in line[2]]
    assert [text.strip() for _, text, _ in marked] == ["length = x.square().sum(-1, keepdim=True).sqrt()"]


# --- the page -----------------------------------------------------------------------------------------------------


def test_it_opens_on_the_bad_sinh():
    page = opened()
    assert not page.exception
    assert part(page, "facts")["verdict"]["code"] == ESCAPED
    assert said(page, "case") == "sinh-bad"
    assert len(page.get("plotly_chart")) == 1


def test_another_case_is_chosen_and_begins_at_its_first_step():
    page = opened(case="sinh-bad", step="9")
    page.selectbox(key="torch-case").select("rms-norm").run()
    assert not page.exception
    assert part(page, "facts")["verdict"]["code"] == CORRECT
    assert (said(page, "case"), said(page, "step")) == ("rms-norm", "0")


def test_what_the_address_says_wrongly_is_told():
    page = opened(case="sinh-bda", step="x")
    told = " ".join(each.value for each in page.warning)
    assert "Did you mean" in told and "not a step" in told
    assert not page.exception


def test_a_step_past_the_end_is_told():
    page = opened(case="sinh-bad", step="9999")
    assert "has steps 0 to" in page.warning[0].value


# --- files of one's own -------------------------------------------------------------------------------------------

OWN = """
    import torch

    class Squared(torch.autograd.Function):
        example = staticmethod(lambda: (torch.tensor([1.0, 2.0]),))

        @staticmethod
        def forward(ctx, x):
            twice = 2 * x
            ctx.save_for_backward(twice)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (twice,) = ctx.saved_tensors
            return twice * g

    class Raises(torch.autograd.Function):
        example = Squared.example
        forward = staticmethod(lambda ctx, x: x * 2)

        @staticmethod
        def backward(ctx, g):
            raise RuntimeError("not today")

    def case():
        return torch.nn.Linear(2, 1), (torch.ones(3, 2, requires_grad=True),)
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "own.py").write_text(textwrap.dedent(OWN))
    w = torch.tensor([0.0, 4.0], requires_grad=True)
    with record_torch("norm") as trace:
        w.sqrt().sum().backward()
    trace.save(tmp_path / "run.trace")
    return [str(tmp_path / "own.py"), str(tmp_path / "run.trace")]


def test_files_come_first_and_are_checked(files, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["app.py", *files])
    page = opened()
    assert not page.exception
    assert said(page, "case") == "file:Squared"
    assert [each["slot"] for each in part(page, "facts")["findings"]] == ["saved_tensors[0]"]


def test_a_function_that_raises_is_shown_up_to_there(files, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["app.py", *files])
    page = opened(case="file:Raises")
    assert not page.exception
    assert part(page, "facts")["verdict"]["code"] == "raises"
    assert any("not today" in notice for notice in part(page, "lanes")["notices"])


def test_a_saved_trace_opens_and_tells_its_first_infinity(files, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["app.py", *files])
    page = opened(case="trace:run.trace", step="3")
    assert not page.exception
    told = part(page, "facts")
    assert told["verdict"]["code"] == "unchecked"
    assert [(birth["kind"], birth["where"]) for birth in told["births"]] == [("inf", "pass")]


def test_a_modules_parameters_have_their_names(files):
    read = UserFiles(files)
    read.refresh()
    trace = view.trace_of_case(view.cases_of(read)["file:case of own.py"], read.version)
    assert {"weight", "bias"} <= {value.name for value in trace.values}


def test_a_trace_without_numbers_says_so():
    x = torch.ones(2, requires_grad=True)
    with record_torch("none") as trace:
        x.sin().sum().backward()
    births, unknown = view.births_of(trace)
    assert births == [] and "values='norm'" in unknown


def test_an_example_that_raises_is_told_where_the_graph_would_be(tmp_path, monkeypatch):
    file = tmp_path / "broken.py"
    file.write_text(
        "import torch\nclass Broken(torch.autograd.Function):\n    example = staticmethod(lambda: 1 / 0)\n"
        "    @staticmethod\n    def forward(ctx, x):\n        return x\n"
        "    @staticmethod\n    def backward(ctx, g):\n        return g\n"
    )
    monkeypatch.setattr("sys.argv", ["app.py", str(file)])
    page = opened(case="file:Broken")
    assert page.info[0].value == "The run raised ZeroDivisionError: division by zero"


def test_a_pass_that_failed_and_was_caught_is_named_instead_of_finite_numbers():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with record_torch(values="norm") as trace:
        loss = (x * x).sum()
        loss.backward()
        with contextlib.suppress(RuntimeError):
            loss.backward()  # its graph is freed
    births, unknown = view.births_of(trace)
    assert not births and "failed: RuntimeError" in unknown


def test_the_run_is_there_before_check_has_spoken(monkeypatch):
    """The page draws all but the verdict, and all of it again once check is done."""
    seen = []
    monkeypatch.setattr(view, "REPORTS", Bounded(count=4, cost=10**9))
    monkeypatch.setattr(view, "_checked", lambda case: seen.append(case.name) or "It could not be checked.")
    case = view.cases_of(None)["sinh-bad"]
    trace = view.trace_of_case(case)
    assert view.report_so_far(case) is None and not seen
    told = view.facts(case, trace, None)
    assert told["verdict"]["code"] == "checking" and told["sources"] and told["lanes"] and not told["findings"]
    view.report_of_case(case)
    assert view.report_so_far(case) == "It could not be checked." and seen == ["sinh-bad"]
