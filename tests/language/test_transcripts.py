"""A program in the language comes out as its notebook cell did, names included."""

import pytest

from simplegrad import Program
from tests.test_notebook import INPUTS, TRANSCRIPTS

SECOND_ORDER = "L0 = f(a, b).sum()\nda, db = grad(L0, [a, b])\nL1 = (da*da + db*db).sum()\ngrad(L1, [a, b])\n"
CELLS = {
    15: [("simple", "grad((a + b) * b, [a, b])")],
    17: [("simple", "grad(a * a, [a, b])")],
    20: [("simple", SECOND_ORDER)],
    24: [("simple_type_error", SECOND_ORDER)],
    26: [("simple_recompute", SECOND_ORDER), ("simple", SECOND_ORDER)],
    28: [("simple_variable_wrong", SECOND_ORDER)],
    32: [("simple_variable_almost", SECOND_ORDER)],
    34: [("simple_variable", SECOND_ORDER)],
}


def printed(cell: int) -> list[str]:
    """What the cell printed, without the results that it printed itself at the end."""
    lines = (TRANSCRIPTS / f"cell_{cell}.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith(("da ", "db "))]


def run(cell: int, aggregate: str, text: str) -> list[str]:
    a, b = next(values for cells, values in INPUTS.items() if cell in cells)
    return Program.parse(f"a = tensor({a})\nb = tensor({b})\n{text}").run(aggregate).transcript().splitlines()


@pytest.mark.parametrize("cell", CELLS)
def test_transcript_of_the_cell(cell):
    lines = [line for part in CELLS[cell] for line in run(cell, *part)]
    leaves = 2 if cell == 17 else 0  # that cell printed them no second time
    failed = 3 if cell == 24 else 0  # that cell ends in an error, which a trace tells at the end
    assert lines[leaves : len(lines) - failed] == printed(cell)
