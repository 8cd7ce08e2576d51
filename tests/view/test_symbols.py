"""What stands inside of a square: short enough for it."""

import pytest

from simplegrad.graph import Unit
from simplegrad.trace.events import Entry
from simplegrad.view.symbols import LETTERS, symbol_of


@pytest.mark.parametrize(
    ("operator", "symbol"),
    [
        ("mul", "×"), ("MulBackward0", "×"), ("AddmmBackward0", "@+"), ("NativeLayerNormBackward0", "NLN"),
        ("ScaledDotProductEfficientAttentionBackward0", "SDPE"), ("Sinh", "Sinh"), ("log_softmax", "ls"), ("", "·"),
        ("EmbeddingBackward0", "emb"), ("GatherBackward0", "Gthr"), ("Scatter", "Sctr"), ("cumsum", "cmsm"),
    ],
)  # fmt: skip
def test_an_operator_fits_into_its_square(operator, symbol):
    unit = Unit(0, "entry", 0, None, (), (Entry(0, operator, "", (), ()),))
    assert symbol_of(unit) == symbol and len(symbol) <= LETTERS


def test_an_aggregate_is_an_f_and_a_group_a_number():
    entry = Entry(0, "Sinh", "", (), (), aggregate=True)
    assert symbol_of(Unit(0, "aggregate", 0, None, (), (entry,))) == "f"
    assert symbol_of(Unit(0, "group", 0, None, (), (entry, entry))) == "2"
