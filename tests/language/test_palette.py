"""The palette: what it inserts is a program, and it runs."""

import pytest
import torch

from simplegrad import Program, check
from simplegrad.language import EXAMPLES, PALETTE
from simplegrad.language.names import OPERATOR_FUNCTIONS
from simplegrad.language.palette import OWN, names_in, palette
from simplegrad.ops import TABLE

ITEMS = [item for group in PALETTE for item in group.items]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.label)
def test_every_item_runs_when_it_is_the_first_thing_inserted(item):
    text = item.insert("")
    assert Program.parse(text).run().error is None
    assert item.snippet and item.sentence


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.label)
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_item_adds_one_line_that_parses(item, name):
    before = EXAMPLES[name].text
    after = item.insert(before)
    assert after.startswith(before)
    assert len(Program.parse(after).statements) == len(Program.parse(before).statements) + 1


def test_a_click_on_each_item_in_turn_makes_one_long_program():
    text = ""
    for item in ITEMS:
        text = item.insert(text)
    assert len(Program.parse(text).names) == len(set(Program.parse(text).names))


def test_what_is_inserted_computes_with_the_last_names():
    text = "a = rand(2)\nb = rand(2)\nc = a * b\nL0 = c.sum()\n"
    last = {item.label: item.insert(text).splitlines()[-1] for item in ITEMS}
    assert last["x + w"] == "y0 = c + b"
    assert last["grad"] == "da, db = grad(L0, [a, b])"
    assert last["sum"] == "L1 = c.sum()"
    assert last["rand"] == "d = rand(4, seed=1)"


def test_a_text_that_is_no_program_yet_keeps_what_is_typed():
    item = ITEMS[0]
    assert item.insert("a = rand(2)\nb = (a +").startswith("a = rand(2)\nb = (a +\n")
    assert names_in("a = rand(2)\nb = (a +\n# c = 1\nd == 2\nda, db = grad(") == {
        "a": True,
        "b": False,
        "da": False,
        "db": False,
    }


def test_every_operator_of_the_engine_is_offered():
    offered = " ".join(item.pattern for item in ITEMS)
    aside = {"add", "sub", "mul", "div", "pow", "neg", "matmul"}  # offered as + - * / ** - @
    aside |= {"sum_to_size", "unsqueeze", "squeeze", "flatten", "t"}  # by other means: expand and reshape
    names = {op.name for op in TABLE.values() if op.pointwise and op.text == f"{{}}.{op.name}()"}
    assert names <= {function.__name__ for function in OPERATOR_FUNCTIONS.values()}
    assert {name for name in names - aside if name not in offered} == set()


def test_an_aggregate_of_ones_own_is_offered_right_behind_the_chosen_one():
    aggregates = palette()[-1]
    assert aggregates.title == "Aggregates" and aggregates.items[1] is OWN
    assert OWN.label == "an aggregate of your own"


def test_the_template_is_a_right_aggregate_and_a_call_of_it():
    program = Program.parse(OWN.insert(""))
    assert program.run().error is None and program.aggregates == ("mine",)
    mine = program.defined()["mine"]
    assert check(mine, torch.rand(3), torch.rand(3)).verdict == "correct"


def test_the_template_takes_names_that_are_free_and_the_last_that_are_there():
    text = OWN.insert(OWN.insert("p = rand(2)\nq = rand(2)\n"))
    program = Program.parse(text)
    assert program.run().error is None and program.functions == ("mine", "mine2")
    assert text.splitlines()[-1] == "y1 = mine2(y0, q)"


def test_names_of_a_function_are_nothing_to_compute_with():
    assert names_in("a = rand(2)\ndef f2(x):\n    t = x * x\n    return t\ny = f2(a)") == {"a": True, "y": False}
