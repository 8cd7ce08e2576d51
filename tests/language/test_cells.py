"""The notebook's own cells, pasted with the definitions before them, run and print what they printed."""

import pytest

from simplegrad import Program
from tests.test_notebook import BY_HAND, CELLS, DRIVER, INPUTS, LEAVES, lines, transcript

# What the notebook defines first is there already, and passed over.
BEFORE = """
import torch
from typing import List, NamedTuple, Callable, Dict, Optional

_name: int = 0
def fresh_name() -> str:
    global _name
    name = f"v{_name}"
    _name += 1
    return name

class Variable:
    def __init__(self, value: torch.Tensor, name: str = None):
        self.value, self.name = value, name or fresh_name()

class TapeEntry(NamedTuple):
    inputs: List[str]
    outputs: List[str]

gradient_tape: List[TapeEntry] = []

def reset_tape():
    gradient_tape.clear()

def operator_mul(self: Variable, rhs: Variable) -> Variable:
    return [each for each in (self, rhs)]

def grad(L, desired_results: List[Variable]) -> List[Variable]:
    while True:
        pass
"""


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_prints_its_transcript(cell):
    a, b = next(inputs for cells, inputs in INPUTS.items() if cell in cells)
    given = f"a_global, b_global = torch.tensor({a}), torch.tensor({b})\n"
    earlier = f"{LEAVES}\n" if cell == 17 else ""  # an earlier cell made them, and printed them
    trace = Program.parse(BEFORE + DRIVER + BY_HAND + given + earlier + CELLS[cell]).run()
    told = lines(trace.transcript())
    assert told[2 if cell == 17 else 0 : -3 if cell == 24 else None] == transcript(cell)
    assert (trace.error is not None) == (cell == 24)
    assert any("Passed over, since it is there already: _name (line" in notice for notice in trace.notices)


def test_what_went_wrong_in_a_cell_is_an_event_with_its_line():
    text = DRIVER + BY_HAND + "a_global, b_global = torch.rand(4), torch.rand(4)\n" + CELLS[24]
    error = Program.parse(text).run().error
    assert error.error == "RawTensorError"
    assert text.splitlines()[error.line - 1].strip() == "dL_db = dL_dt * 1.0 + dL_dr * t"
