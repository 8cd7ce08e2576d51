"""The Compare page without a browser: its menus, what it tells the browser, and its URL."""

import sys
import textwrap
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from simplegrad import registry

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
