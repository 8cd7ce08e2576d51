"""The Compile page: its data, and the page through AppTest."""

import json
import zlib
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from simplegrad import ProgramError, registry
from simplegrad.language import pack
from simplegrad.view.compile_view import (
    EXAMPLES,
    compiled,
    example_inputs,
    listings,
    name_of,
    patterns_of,
    program_text,
    run,
)
from simplegrad.view.offered import MOST_OWN, offered

APP = Path(__file__).parents[2] / "app.py"


def opened(expression: str | None = None) -> AppTest:
    page = AppTest.from_file(str(APP), default_timeout=60).run()
    if expression is not None:
        page.query_params["expression"] = pack(expression)
    page.switch_page("pages/compile.py").run()
    assert not page.exception
    return page


def editors(page: AppTest) -> dict[str, dict]:
    """What the editors of the page are given, by their names."""
    found = [json.loads(each.proto.json) for each in page.get("bidi_component") if each.proto.json]
    return {each["name"]: each for each in found if "draft" in each}


def said(page: AppTest, text: str) -> AppTest:
    """As the browser's address says it."""
    page.query_params["expression"] = pack(text)
    return page.run()


def texts(page: AppTest) -> str:
    return "\n".join([each.value for each in (*page.code, *page.markdown, *page.error, *page.caption)])


# --- data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", EXAMPLES)
def test_every_example_has_inputs_a_program_and_texts(title):
    aggregate = compiled(EXAMPLES[title])
    trace = run(aggregate, program_text(aggregate))
    assert trace.error is None and len(trace.passes) == 2
    counts = patterns_of(trace, aggregate)
    assert counts[aggregate.case.first] >= 1
    assert all(each.code.startswith("def ") for each in listings(aggregate, counts))


def test_patterns_are_counted_in_the_passes_of_a_program():
    aggregate = compiled("(a + b) * b")
    counts = patterns_of(run(aggregate, program_text(aggregate)), aggregate)
    assert counts == {(True, False): 1, (False, True): 1}
    forward, general, first, second = listings(aggregate, counts)
    assert (forward.operations, general.operations, first.operations, second.operations) == (2, 4, 3, 0)
    assert first.caption == "3 operations; ran 1 time in this program"
    assert first.title == "dL_dr; dL_dt None"


def test_example_inputs_go_together():
    assert [tuple(x.shape) for x in example_inputs(compiled("tanh(x @ w + b)"))] == [(2, 2)] * 3
    assert [tuple(x.shape) for x in example_inputs(compiled("a.reshape(2, -1) * b[:, None]"))][1]


def test_the_same_text_is_the_same_aggregate_in_the_menus():
    first, second = compiled("a * b + a"), compiled("a * b + a")
    assert first is second is offered[first.name]
    assert first.name == "f = a * b + a" and first.name not in registry
    assert "def fused(" in compiled("a * b + a", "fused").source and "def f(" in compiled("a * b + a", "class").source


def test_the_menus_stay_bounded():
    for i in range(MOST_OWN + 5):
        compiled(f"a * b + {i}")
    assert len(offered) <= MOST_OWN + len(registry)
    assert "simple" in offered


def test_a_long_text_is_told_from_all_others_by_a_hash():
    texts = ["x * x\n\ny", "x * x\ny", "x * x y", *(f"{'x * ' * 20}{letter}" for letter in "ab"), "x  *  x"]
    names = [name_of(text, "f") for text in texts]
    assert len(set(names)) == len(names) and max(map(len, names)) < 80
    assert name_of("x", "f") == "f = x" and name_of("x", "g") == "g = x"


def test_texts_of_one_crc_are_two_aggregates():
    """`zlib.crc32` of these is the same; the second was made to be."""
    honest, forged = "x * sigmoid(x)", "x * 0.0 # " + forged_tail("x * 0.0 # ", "x * sigmoid(x)")
    assert zlib.crc32(honest.encode()) == zlib.crc32(forged.encode())
    assert compiled(forged).name != compiled(honest).name
    assert "sigmoid" in offered[compiled(honest).name].source


def forged_tail(text: str, like: str) -> str:
    """Thirty-two letters, each one of two, that bring the number of a text to that of another one."""
    wanted = zlib.crc32(like.encode())
    base = ["0"] * 64
    rows = []
    start = zlib.crc32((text + "".join(base)).encode())
    for place in range(64):
        changed = [*base[:place], "1", *base[place + 1 :]]
        rows.append((zlib.crc32((text + "".join(changed)).encode()) ^ start, 1 << place))
    goal, chosen = wanted ^ start, 0
    for bit in range(32):
        pivot = next(row for row in rows if row[0] >> bit & 1)
        rows = [(a ^ pivot[0], b ^ pivot[1]) if a >> bit & 1 else (a, b) for a, b in rows if (a, b) != pivot]
        if goal >> bit & 1:
            goal, chosen = goal ^ pivot[0], chosen ^ pivot[1]
    return "".join("1" if chosen >> place & 1 else "0" for place in range(64))


def test_what_one_visitor_compiles_nobody_else_is_offered(monkeypatch):
    mine, theirs = {}, {}
    monkeypatch.setattr(offered, "own", lambda: mine)
    name = compiled("secret * x # confidential").name
    monkeypatch.setattr(offered, "own", lambda: theirs)
    assert name not in offered and name not in registry
    monkeypatch.setattr(offered, "own", lambda: mine)
    assert name in offered


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_page_shows_forward_propagate_and_each_body():
    page = opened()
    shown = texts(page)
    assert "t = Variable(a.value + b.value)" in shown and "def f_general(" in shown
    assert "def f_from_r(" in shown and "def f_from_t(" in shown
    assert "**dL_dr; dL_dt None** · 3 operations; ran 1 time in this program" in shown


def test_an_error_is_shown_at_its_place_and_nothing_is_lost():
    page = opened()
    before = texts(page)
    said(page, "t = a + b\nt.tahn()")
    assert not page.exception
    shown = editors(page)["expression"]
    assert shown["error"] == {"line": 2, "column": 3, "message": "'.tahn' is not known. Did you mean 'tanh'?"}
    assert shown["text"] == "t = a + b\nt.tahn()" and shown["old"]
    assert texts(page) == before, "the code of the expression before stays"
    said(page, "t = a + b\nt.tanh()")
    assert editors(page)["expression"]["error"] is None and "tanh_backward" in texts(page)


def test_the_expression_is_in_the_address():
    page = opened("x * sigmoid(x)")
    assert editors(page)["expression"]["text"] == "x * sigmoid(x)"
    assert "sigmoid_backward" in texts(page)


def test_a_damaged_address_is_told():
    page = AppTest.from_file(str(APP), default_timeout=60).run()
    page.query_params["expression"] = "no*such"
    page.switch_page("pages/compile.py").run()
    assert not page.exception and "this link holds no program" in page.warning[0].value


def test_an_example_is_chosen():
    page = opened()
    page.selectbox(key="compile-example").select("RMSNorm").run()
    assert not page.exception and "rstd = Variable(" in texts(page)


def test_an_example_does_not_take_ones_own_text_away():
    page = opened("a * a * b")
    for chosen in ("RMSNorm", "your own text"):
        page.selectbox(key="compile-example").select(chosen).run()
    assert editors(page)["expression"]["text"] == "a * a * b"


def test_another_program_has_other_patterns_and_shapes():
    page = opened()
    page.session_state["compile-programs"] = {
        ("a", "b"): "a = rand(3, 4)\nb = rand(4)\nda, db = grad(f(a, b).sum(), [a, b])"
    }
    page.run()
    assert not page.exception
    assert "in the 1 passes" in texts(page) and "sum_to_size(b.shape)" in texts(page)


def test_a_program_that_fails_keeps_the_code():
    page = opened()
    for text in ("a = rand(3)\nb = rand(4)\nf(a, b)", "a = rand(3)\nb = rand(4)\nf(a, b"):
        page.session_state["compile-programs"] = {("a", "b"): text}
        page.run()
        assert not page.exception and editors(page)["calling"]["error"]["line"] == 3
        assert "def f_general(" in texts(page)


def test_a_program_is_kept_while_the_expression_has_the_same_inputs():
    page = opened("a * b")
    page.session_state["compile-programs"] = {("a", "b"): "a = ones(2)\nb = ones(2)\ngrad(f(a, b), [a])"}
    for text in ("a - b", "a - c", "a / b"):
        said(page, text)
        assert editors(page)["calling"]["text"].startswith("a = ones(2)\nb = ones(2)") == ("c" not in text)


def test_a_text_that_is_no_program_is_told():
    with pytest.raises(ProgramError):
        compiled("(a + ) * b")


def test_an_address_that_says_something_new_is_followed():
    page = opened("a * b")
    said(page, "a - b")
    assert page.query_params["expression"] in (pack("a - b"), [pack("a - b")])
    page.query_params["expression"] = pack("a * b")  # as the browser's Back does
    page.query_params["name"] = "product"
    page.run()
    assert not page.exception and editors(page)["expression"]["text"] == "a * b"
    assert page.text_input(key="compile-name").value == "product" and "def product(" in texts(page)
