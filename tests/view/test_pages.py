"""The Step page without a browser: click, then look at what is shown and that nothing was raised."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from simplegrad import registry
from simplegrad.language import EXAMPLES, pack

from .conftest import components, player_of

APP = Path(__file__).parents[2] / "app.py"


def opened(page: str = "step", **query) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    if page:
        app.switch_page(f"pages/{page}.py").run()
    fine(app)
    return app


def fine(app: AppTest) -> None:
    """Nothing was raised: neither to Streamlit nor into the message that app.py makes of an error."""
    assert not app.exception
    assert not [error.value for error in app.error if error.value.startswith("This page stopped")]


def editor_of(app: AppTest) -> dict:
    return next(data for data in components(app) if "draft" in data)


def menu(app: AppTest, label: str):
    return next(each for each in app.selectbox if each.label.startswith(label))


def figure_of(app: AppTest) -> dict:
    return json.loads(app.get("plotly_chart")[0].proto.spec)


def test_step_shows_the_default_program():
    app = opened()
    data = player_of(app)
    assert len(data["views"][0]["events"]) == 70
    assert data["views"][0]["program"] == EXAMPLES["gradient-of-gradient"].text.splitlines()
    assert len(figure_of(app)["layout"]["annotations"]) == 3


def test_an_emptied_program_is_ones_own_and_an_example_can_be_chosen_after_it():
    app = opened(program=pack(""))
    assert menu(app, "Program").value == "text"
    menu(app, "Program").select("gradient-of-gradient").run()
    fine(app)
    assert len(player_of(app)["views"][0]["events"]) == 70


@pytest.mark.parametrize("name", EXAMPLES)
def test_step_shows_every_example(name):
    app = opened(program=name)
    assert player_of(app)["views"][0]["program"] == EXAMPLES[name].text.splitlines()
    assert app.query_params["program"] in (name, [name])


def test_another_aggregate_runs_another_program():
    app = opened()
    before = player_of(app)
    menu(app, "Aggregate").select("simple").run()
    after = player_of(app)
    fine(app)
    assert before["id"] != after["id"] and after["start"] == 0
    assert "read" not in {event[0] for event in after["views"][0]["events"]}


def test_pruning_ahead_shows_pruned_entries():
    app = opened()
    menu(app, "Pruning").select("ahead").run()
    kinds = {event[0] for event in player_of(app)["views"][0]["events"]}
    fine(app)
    assert "pruned" in kinds


def test_the_modes_of_none_differ():
    app = opened(aggregate="simple_variable")
    skip = len(player_of(app)["views"][0]["events"])
    menu(app, "None").select("zeros").run()
    fine(app)
    assert len(player_of(app)["views"][0]["events"]) > skip


def test_a_step_of_the_address_is_where_the_player_begins():
    assert player_of(opened(step="12"))["start"] == 12


def test_breakpoints_of_the_address_reach_the_player():
    data = player_of(opened(**{"break": "e4,none", "watch": "a"}, step="3"))
    assert (data["breakpoints"], data["watches"]) == ("e4,none", "a")


@pytest.mark.parametrize(
    "query, told",
    [
        ({"program": "nonsense"}, "The address asks for the program"),
        ({"aggregate": "nonsense"}, "says aggregate=nonsense"),
        ({"step": "99999"}, "the last one is shown"),
    ],
)
def test_a_wrong_address_is_told(query, told):
    app = opened(**query)
    assert told in " ".join(warning.value for warning in app.warning)
    assert player_of(app)["views"]


def test_all_that_is_wrong_with_an_address_is_one_message():
    app = opened(program="nonsense", aggregate="nonsense", none="x", step="abc")
    assert len(app.warning) == 1 and app.warning[0].value.count("\n\n") == 3


def test_a_packed_text_that_is_no_program_is_an_error_on_the_page():
    app = opened(program=pack("a = rand(2)\nb = c"))
    assert "Line 2, column 5: 'c' has no value yet." in app.error[0].value
    menu(app, "Program").select("reuse").run()
    fine(app)
    assert player_of(app)["views"]


def test_a_program_that_does_nothing_says_so():
    assert "does nothing yet" in opened(program=pack("")).info[0].value


def test_a_run_that_raised_is_stepped_through_to_its_error():
    app = opened(aggregate="simple_type_error")
    view = player_of(app)["views"][0]
    assert view["events"][-1][0] == "failed" and "RawTensorError" in view["sentences"][-1]


def test_an_error_of_a_page_is_a_message(monkeypatch):
    app = opened()
    monkeypatch.setattr("simplegrad.view.player.step.menus", lambda *_: 1 / 0)
    app.run()
    assert "This page stopped: ZeroDivisionError" in app.error[0].value and not app.exception


def test_the_editor_has_the_program_and_the_palette_what_can_be_put_into_it():
    data = editor_of(opened())
    assert data["text"] == EXAMPLES["gradient-of-gradient"].text and data["error"] is None
    groups = dict(data["groups"])
    assert {"Aggregates", "Gradients"} <= set(groups)
    labels = [label for label, _, _ in groups["Aggregates"]]
    assert "simple_variable_wrong" in labels and "an aggregate of your own" in labels


def test_another_example_is_another_text_for_the_editor():
    app = opened()
    before = editor_of(app)
    menu(app, "Program").select("reuse").run()
    fine(app)
    after = editor_of(app)
    assert after["text"] == EXAMPLES["reuse"].text and after["draft"] != before["draft"]


def test_an_error_is_marked_at_its_line():
    error = editor_of(opened(program=pack("a = rand(2)\nb = a.tanhh()")))["error"]
    assert (error["line"], error["column"]) == (2, 7)
    assert "Did you mean 'tanh'?" in error["message"]


def test_what_a_run_raised_is_marked_at_its_line():
    error = editor_of(opened(aggregate="simple_type_error"))["error"]
    lines = EXAMPLES["gradient-of-gradient"].text.splitlines()
    assert lines[error["line"] - 1].startswith("da, db = grad(L0") and "RawTensorError" not in error["message"]


def test_the_value_of_an_input_is_written_into_the_text():
    app = opened()
    app.text_input[0].set_value("[1, 2, 3, 4]").run()
    fine(app)
    assert editor_of(app)["text"].startswith("a = tensor([1.0, 2.0, 3.0, 4.0])")
    assert player_of(app)["edited"] and not player_of(app)["writes"]  # it is an entry in the browser's history
    app.text_input[0].set_value("[1, 2, 3, 5]").run()
    assert player_of(app)["writes"]  # what is edited further on takes its place


@pytest.mark.parametrize("value", ["[1, [2]]", "import os", "", "[NaN]", "{}", "[1e400]", "[" * 5000])
def test_what_is_no_list_of_numbers_is_refused(value):
    app = opened()
    app.text_input[0].set_value(value).run()
    fine(app)
    assert editor_of(app)["text"] == EXAMPLES["gradient-of-gradient"].text
    assert "write a number, or a list of numbers" in app.error[0].value


def test_an_edit_keeps_the_step_near_where_it_was():
    """The input's numbers change, and with them every value; the events are the same."""
    app = opened(step="31")
    app.text_input[0].set_value("[1, 2, 3, 4]").run()
    assert player_of(app)["start"] == 31


def test_a_link_to_compose_opens_the_same_program_unfolded():
    app = opened("compose", program="broadcasting", step="3")
    data, player = editor_of(app), player_of(app)
    assert data["unfolded"] and data["text"] == EXAMPLES["broadcasting"].text and player["start"] == 3
    app.switch_page("pages/step.py").run()
    fine(app)
    assert player_of(app)["views"][0]["program"] == EXAMPLES["broadcasting"].text.splitlines()


def test_an_aggregate_that_went_while_it_was_shown_is_told():
    wrong = registry["simple_variable_wrong"]
    registry.add(dataclasses.replace(wrong, name="went", origin="test"))
    try:
        app = opened(aggregate="went")
        assert menu(app, "Aggregate").value == "went"
    finally:
        registry.discard("test")
    app.run()
    fine(app)
    assert menu(app, "Aggregate").value == "simple_variable_wrong"
    assert "aggregate=went, which is not known" in " ".join(warning.value for warning in app.warning)


def test_what_an_address_says_is_no_markdown():
    app = opened(none="[](b)", prune="**b**", program=pack("__import__('os')"))
    told = " ".join(warning.value for warning in app.warning)
    assert r"none=\[\](b), which" in told and r"prune=\*\*b\*\*, which" in told
    assert r"'\_\_import\_\_' is not known" in app.error[0].value


def test_what_another_page_left_in_the_address_is_taken_away():
    app = opened(left="simple", case="sinh-bad")
    assert set(app.query_params) == {"program", "aggregate", "none", "prune", "step"}
