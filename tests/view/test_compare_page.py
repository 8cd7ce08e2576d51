"""The Compare page without a browser: its menus, what it tells the browser, and its URL."""

import sys
import textwrap
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest
from torch import nn

from simplegrad import Variable, grad, record, record_torch, registry
from simplegrad.__main__ import main
from simplegrad.language import pack

from .conftest import components, player_of

PAGE = Path(__file__).parents[2] / "pages" / "compare.py"


def opened(**query):
    page = AppTest.from_file(str(PAGE), default_timeout=30)
    for name, value in query.items():
        page.query_params[name] = value
    return page.run()


def facts(page):
    verdict, divergence = [data for data in components(page) if data.get("part")]
    return verdict | divergence


def said(page, name):
    """What the address says, or will once the browser writes it."""
    value = page.query_params[name] if name in page.query_params else player_of(page)["query"][name]
    return value if isinstance(value, str) else value[-1]


def test_it_opens_on_the_wrong_variant_and_its_reference():
    page = opened()
    assert not page.exception
    assert facts(page)["verdict"]["code"] == "escaped_temporary"
    assert facts(page)["divergence"]["variable"] == "t"
    assert len(player_of(page)["views"]) == 2
    assert said(page, "left") == "simple_variable_wrong" and said(page, "right") == "simple"


def test_choosing_another_left_side_chooses_its_reference_and_begins_anew():
    page = opened(step="9", right="simple_variable")
    page.selectbox(key="pick-left").select("simple_variable_almost").run()
    assert not page.exception
    assert said(page, "left") == "simple_variable_almost" and said(page, "right") == "simple"
    assert said(page, "step") == "0"
    assert facts(page)["divergence"] is None and "5 operations on zeros" in facts(page)["same"]


def test_two_aggregates_beside_each_other():
    page = opened()
    page.selectbox(key="pick-right").select("simple_variable").run()
    assert not page.exception
    assert facts(page)["names"] == ["simple_variable_wrong", "simple_variable"]
    assert facts(page)["divergence"]["kind"] == "dead_end"


def test_the_program_of_the_aggregates_own_example_inputs():
    page = opened()
    page.selectbox(key="pick-program").select("own").run()
    assert not page.exception
    assert player_of(page)["views"][0]["program"][0].startswith("a = tensor([0.496257")
    again = opened(program=said(page, "program"))
    assert player_of(again)["views"][0]["program"] == player_of(page)["views"][0]["program"]


def test_modes_hold_for_both_sides():
    page = opened(none="zeros")
    assert not page.exception
    assert player_of(page)["views"][0]["passes"] and said(page, "none") == "zeros"


def test_a_step_past_the_end_is_told():
    page = opened(step="100000")
    assert "these runs have steps 0 to" in page.warning[0].value
    assert player_of(page)["start"] == len(player_of(page)["aligned"]) - 1


@pytest.mark.parametrize("field", ["left", "right", "program", "none"])
def test_nonsense_in_the_address_is_told_and_the_page_works(field):
    page = opened(**{field: "<script>nonsense"})
    assert not page.exception
    assert page.warning and facts(page)["verdict"]


def test_a_program_that_is_none_can_be_mended():
    page = opened(program=pack("a = rand(4)\nb = a.summ()"))
    assert "is not known" in page.error[0].value and page.button[0].label == "Mend it in Step"


def test_an_aggregate_that_raises_is_compared_up_to_there():
    page = opened(left="simple_type_error")
    assert not page.exception
    assert facts(page)["divergence"]["kind"] == "raised"


def test_the_tables_are_on_the_page():
    page = opened()
    markup = " ".join(each.proto.body for each in page.get("html"))
    for mark in ('data-testid="results"', 'data-testid="costs"', 'data-testid="partners"', 'data-verdict="missing"'):
        assert mark in markup


def test_a_file_of_the_command_line_is_in_the_menus_and_its_errors_are_shown(tmp_path, monkeypatch):
    good = tmp_path / "good.py"
    good.write_text(
        textwrap.dedent("""
            import torch
            import simplegrad

            @simplegrad.aggregate(example=lambda: (torch.rand(3), torch.rand(3)), reference="simple")
            def from_my_file(a, b):
                '''Recorded operations.'''
                return (a + b) * b
        """)
    )
    bad = tmp_path / "bad.py"
    bad.write_text("x = 1 +\n")
    monkeypatch.setattr(sys, "argv", ["app.py", str(good), str(bad)])
    try:
        page = opened(left="from_my_file")
        assert not page.exception
        assert facts(page)["names"][0] == "from_my_file" and facts(page)["verdict"]["code"] == "correct"
        assert f"{bad}:1: SyntaxError" in page.error[0].value.replace("\\", "")
        assert page.code[0].value.startswith("x = 1 +\n")
    finally:
        registry.discard(str(good))


def test_a_program_that_does_not_call_f_is_told_to_be_one_run():
    page = opened(program="reuse")
    assert not page.exception
    assert "does not call f" in page.info[0].value
    assert not opened().info


# --- two saved runs -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, activation, values in (("a", nn.GELU(), "norm"), ("b", nn.ReLU(), "norm"), ("bare", nn.ReLU(), "none")):
        torch.manual_seed(0)
        model, x = nn.Sequential(nn.Linear(4, 4), activation, nn.Linear(4, 2)), torch.randn(3, 4)
        with record_torch(model, values=values) as trace:
            model(x).square().mean().backward()
        trace.save(folder / f"{name}.trace")
    with record() as trace:
        grad(Variable(torch.rand(2)).sum(), [])
    trace.save(folder / "tape.trace")
    return folder


@pytest.fixture
def given(saved, monkeypatch):
    def files(*names):
        monkeypatch.setattr(sys, "argv", ["app.py", *(str(saved / f"{name}.trace") for name in names)])

    return files


def test_two_traces_of_the_command_line_stand_side_by_side(given):
    given("a", "b")
    page = opened()
    assert not page.exception
    (told,) = [data for data in components(page) if data.get("part")]
    assert told["names"] == ["a.trace", "b.trace"]
    assert told["divergence"]["title"] == "forward" and "relu" in told["divergence"]["sentence"]
    assert player_of(page)["query"] == {"left": "file:a.trace", "right": "file:b.trace"}
    assert player_of(page)["differs"][0] == told["divergence"]["step"]
    markup = " ".join(each.proto.body for each in page.get("html"))
    assert 'data-testid="layers"' in markup and 'class="sg-differs" data-layer="1"' in markup


def test_the_sides_may_be_exchanged_and_the_same_run_agrees_with_itself(given):
    given("a", "b")
    page = opened(left="file:b.trace", right="file:a.trace")
    assert "gelu" in facts_of_runs(page)["divergence"]["sentence"]
    page.selectbox(key="pick-run-right").select("b.trace").run()
    assert facts_of_runs(page)["divergence"] is None
    assert facts_of_runs(page)["same"] == "The runs agree, up to rounding."


def facts_of_runs(page):
    (told,) = [data for data in components(page) if data.get("part")]
    return told


def test_runs_without_numbers_are_not_said_to_agree(given):
    given("a", "bare")
    assert facts_of_runs(opened(left="file:a.trace", right="file:bare.trace"))["judged"] is False


def test_one_trace_alone_and_a_run_of_another_kind_are_told(given):
    given("a", "tape")
    page = opened(left="file:a.trace", right="file:gone.trace")
    assert "gone.trace" in page.warning[0].value and not page.exception
    page = opened(left="file:a.trace", right="file:tape.trace")
    assert "one trace is of a torch run" in page.warning[0].value and not page.exception
    given("a")
    assert "Two saved runs stand side by side here" in opened(left="file:a.trace").info[0].value


def test_from_two_runs_a_menu_leads_back_to_programs(given):
    given("a", "b")
    page = opened()
    page.selectbox(key="pick-program").select("gradient-of-gradient").run()
    assert not page.exception and facts(page)["verdict"]["code"] == "escaped_temporary"
    page.selectbox(key="pick-program").select("runs").run()
    assert facts_of_runs(page)["names"] == ["a.trace", "b.trace"]


def test_the_command_line_writes_both_runs_as_a_file(saved, tmp_path, capsys):
    runs = [str(saved / f"{name}.trace") for name in "ab"]
    assert main(["diff", *runs, "-o", str(tmp_path / "both.html")]) == 1
    assert "relu is computed in another way" in capsys.readouterr().out
    assert "<title>a.trace beside b.trace" in (tmp_path / "both.html").read_text()
    assert main(["diff", *runs, "-o", str(tmp_path / "no" / "such" / "folder.html")]) == 2
