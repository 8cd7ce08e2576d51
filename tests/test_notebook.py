"""Code written for the notebook runs unchanged, and prints what it printed there, line by line.

`transcripts/` holds what nine cells printed (with runs of blanks squeezed to one). The inputs were random; those below
were searched so that they, and all that is computed from them, round to the four digits printed.
"""

import contextlib
import io
from pathlib import Path

import pytest
import torch

import simplegrad
from simplegrad import Tape, registry
from simplegrad.engine import RawTensorError

TRANSCRIPTS = Path(__file__).parent / "transcripts"

INPUTS = {
    range(15, 21): ([0.360483, 0.988884, 0.876757, 0.541334], [0.251666, 0.347025, 0.896043, 0.331466]),
    range(24, 31): ([0.460501, 0.406056, 0.942166, 0.394640], [0.085033, 0.329583, 0.988766, 0.649410]),
    range(32, 35): ([0.017100, 0.163313, 0.583323, 0.379371], [0.377400, 0.630815, 0.523883, 0.138671]),
}

DRIVER = """
from simplegrad.notebook import *

def run_gradients(my_fn, second_loss=True):
    reset_tape()
    a = Variable.constant(a_global, name='a')
    b = Variable.constant(b_global, name='b')
    L0 = (my_fn(a, b)).sum(name='L0')
    dL0_da, dL0_db = grad(L0, [a, b])
    if not second_loss:
        return dL0_da, dL0_db
    L1 = (dL0_da*dL0_da + dL0_db*dL0_db).sum(name='L1')
    dL1_da, dL1_db = grad(L1, [a, b])
    return dL1_da, dL1_db
"""

# The six variants as somebody with the notebook open would write them: every partial spelled out, 1.0 among them.
BY_HAND = """
def simple(a, b):
    t = a + b
    return t * b

def simple_type_error(a, b):
    t = a.value + b.value
    r = Variable(t * b.value)
    def propagate(dL_doutputs: List[Variable]) -> List[Variable]:
        dL_dr, = dL_doutputs
        dL_dt = dL_dr * b
        dL_da = dL_dt * 1.0
        dL_db = dL_dt * 1.0 + dL_dr * t
        return [dL_da, dL_db]
    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name], propagate=propagate))
    return r

def simple_recompute(a, b):
    r = Variable((a.value + b.value) * b.value)
    def propagate(dL_doutputs: List[Variable]) -> List[Variable]:
        dL_dr, = dL_doutputs
        t = a + b
        dL_dt = dL_dr * b
        return [dL_dt * 1.0, dL_dt * 1.0 + dL_dr * t]
    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name], propagate=propagate))
    return r

def simple_variable_wrong(a, b):
    t = a.value + b.value
    t_v = Variable(t, name='t')
    r = Variable(t * b.value)
    def propagate(dL_doutputs: List[Variable]) -> List[Variable]:
        dL_dr, = dL_doutputs
        dL_dt = dL_dr * b
        return [dL_dt * 1.0, dL_dt * 1.0 + dL_dr * t_v]
    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name], propagate=propagate))
    return r

def simple_variable_almost(a, b):
    t = a.value + b.value
    t_v = Variable(t, name='t_v')
    r = Variable(t * b.value)
    def propagate(dL_doutputs: List[Variable]) -> List[Variable]:
        dL_dr, dL_dt0 = dL_doutputs
        dL_dr = Variable.constant(torch.zeros(())) if dL_dr is None else dL_dr
        dL_dt0 = Variable.constant(torch.zeros(())) if dL_dt0 is None else dL_dt0
        dL_dt1 = dL_dr * b
        dL_dt = dL_dt0 + dL_dt1
        dL_da = dL_dt * 1.0
        dL_db = dL_dr * t_v + dL_dt * 1.0
        return [dL_da, dL_db]
    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name, t_v.name], propagate=propagate))
    return r

def simple_variable(a, b):
    t = a.value + b.value
    t_v = Variable(t, name='t_v')
    r = Variable(t * b.value)
    def add_optional(x: Optional[Variable], y: Optional[Variable]):
        if x is None:
            return y
        return x if y is None else x + y
    def propagate(dL_doutputs: List[Variable]) -> List[Variable]:
        dL_dr, dL_dt = dL_doutputs
        dL_db = None
        if dL_dr is not None:
            dL_dt = add_optional(dL_dt, dL_dr * b)
            dL_db = dL_dr * t_v
        return [dL_dt, add_optional(dL_db, dL_dt)]
    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name, t_v.name], propagate=propagate))
    return r
"""

PRINT = "print('da', da)\nprint('db', db)"
PRINT_BOTH = "print('da', da, da_ref)\nprint('db', db, db_ref)"
LEAVES = "a = Variable.constant(a_global, name='a')\nb = Variable.constant(b_global, name='b')"

CELLS = {
    15: f"reset_tape()\n{LEAVES}\nloss = simple(a, b)\nda, db = grad(loss, [a, b])\n{PRINT}",
    17: f"reset_tape()\nloss = a*a\nda, db = grad(loss, [a, b])\n{PRINT}",
    20: f"da, db = run_gradients(simple)\n{PRINT}",
    24: "da, db = run_gradients(simple_type_error)",
    26: f"da, db = run_gradients(simple_recompute)\nda_ref, db_ref = run_gradients(simple)\n{PRINT_BOTH}",
    28: f"da, db = run_gradients(simple_variable_wrong)\n{PRINT}",
    30: "da, db = run_gradients(simple_variable_wrong, second_loss=False)\n"
    f"da_ref, db_ref = run_gradients(simple, second_loss=False)\n{PRINT_BOTH}",
    32: f"da, db = run_gradients(simple_variable_almost)\n{PRINT}",
    34: f"da, db = run_gradients(simple_variable)\n{PRINT}",
}


def notebook(cell: int, aggregates: str) -> dict:
    """The names that a notebook has when this cell is reached."""
    a, b = next(inputs for cells, inputs in INPUTS.items() if cell in cells)
    names = {"a_global": torch.tensor(a), "b_global": torch.tensor(b)}
    exec(DRIVER, names)
    if aggregates == "by hand":
        exec(BY_HAND, names)
    else:
        names.update(registry)
    if cell == 17:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(LEAVES, names)  # cell 15 made them
    return names


def printed(code: str, names: dict) -> list[str]:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, names)
    return lines(output.getvalue())


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def transcript(cell: int) -> list[str]:
    return lines((TRANSCRIPTS / f"cell_{cell}.txt").read_text())


@pytest.fixture(autouse=True)
def own_tape():
    with Tape() as tape:
        yield tape


@pytest.mark.parametrize("aggregates", ["by hand", "registered"])
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != 24])
def test_prints_what_the_notebook_printed(cell, aggregates):
    assert printed(CELLS[cell], notebook(cell, aggregates)) == transcript(cell)


@pytest.mark.parametrize("aggregates", ["by hand", "registered"])
def test_the_type_error_prints_as_far_as_it_came(aggregates):
    names, output = notebook(24, aggregates), io.StringIO()
    with pytest.raises(RawTensorError) as caught, contextlib.redirect_stdout(output):
        exec(CELLS[24], names)
    assert lines(output.getvalue()) == transcript(24)
    assert str(caught.value) == (
        "*: got a Tensor of shape (4,) where a Variable belongs. A gradient cannot flow through it. "
        "If it is a constant, wrap it: Variable.constant(…); if it was computed from Variables, compute it on them."
    )
    assert caught.value.__notes__ == ["in the propagate of entry 0, 'v0 = simple_type_error(a, b)'"]


@pytest.mark.parametrize("cell", [20, 28, 32, 34])
def test_the_transcript_of_a_trace_is_what_was_printed(cell):
    names = notebook(cell, "registered")
    with simplegrad.record() as trace:
        output = printed(CELLS[cell], names)
    assert lines(trace.transcript()) == output[:-2]  # less the two lines that the cell itself prints


def test_every_transcript_is_tested():
    assert {f"cell_{cell}.txt" for cell in CELLS} == {path.name for path in TRANSCRIPTS.iterdir()}


def test_the_names_that_the_notebook_defines_are_there():
    names: dict = {}
    exec("from simplegrad.notebook import *", names)
    defined = ["Variable", "TapeEntry", "gradient_tape", "reset_tape", "grad", "fresh_name"]
    defined += ["operator_mul", "operator_add", "operator_sum", "operator_expand"]
    assert set(defined) <= set(names)


def test_operator_functions_record_and_print():
    code = (
        "reset_tape()\nx = Variable.constant(torch.ones(2), name='x')\ny = operator_add(operator_mul(x, x), x)\n"
        "z = operator_sum(y, 'z')\nw = operator_expand(z, [3])\nassert operator_mul(x, 1.0) is x\n"
        "print(len(gradient_tape), gradient_tape[-1].inputs, w)"
    )
    assert printed(code, notebook(15, "by hand")) == [
        "x = tensor([1., 1.])",
        "v0 = x * x",
        "v1 = v0 + x",
        "z = v1.sum()",
        "v2 = z.expand(3)",
        "4 ['z'] tensor([4., 4., 4.])",
    ]


def test_without_the_notebook_nothing_is_printed(capsys, own_tape):
    x = simplegrad.Variable.constant(torch.ones(2), name="x")
    simplegrad.grad((x * x).sum(), [x])
    assert capsys.readouterr().out == ""


def test_resetting_again_prints_no_line_twice():
    code = "reset_tape()\nreset_tape()\nx = Variable.constant(torch.ones(()), name='x')\nx + x"
    assert printed(code, notebook(15, "by hand")) == ["x = 1.0", "v0 = x + x"]
