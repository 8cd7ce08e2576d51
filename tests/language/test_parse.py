"""What is a program, and what is said of a text that is none: place, line with caret, nearest known name."""

import ast

import pytest
import torch

from simplegrad import Program, ProgramError
from simplegrad.language import Limits, syntax
from simplegrad.language.parse import Reader


def refused(text: str) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        Program.parse(text)
    return caught.value


def test_an_unknown_method_is_named_with_place_caret_and_the_nearest_name():
    error = refused("a = rand(4)\nb = a + a.tahn()  # here")
    assert (error.line, error.column, error.hint) == (2, 11, "tanh")
    assert error.text == "b = a + a.tahn()  # here"
    assert str(error) == (
        "line 2, column 11: '.tahn' is not known. Did you mean 'tanh'?\n    b = a + a.tahn()  # here\n              ^"
    )


def test_columns_count_characters_and_not_bytes():
    error = refused("größe = rand(2)\nx = größe + größ")
    assert (error.line, error.column, error.hint) == (2, 13, "größe")


def test_a_very_long_line_is_shown_around_the_place():
    error = refused("a = rand(2)\nb = " + "a + " * 90 + "wrong" + " + a" * 20)
    assert error.column == 4 + 4 * 90 + 1
    excerpt, caret = error.excerpt.splitlines()
    assert len(excerpt) < 160
    assert excerpt[caret.index("^") :].startswith("wrong")


@pytest.mark.parametrize(
    "text, line, column, said",
    [
        ("x = 1 +", 1, 8, "this cannot be read from here on"),
        ("x = (1,", 1, 5, "never closed"),
        ("a = rand(2)\n    b = a", 2, 4, "this line stands further in"),
        ("x = tnah(1)", 1, 5, "'tnah' is not known. Did you mean 'tanh'?"),
        ("loss = 1\ny = los", 2, 5, "'los' has no value yet. Did you mean 'loss'?"),
        ("y = y + 1", 1, 5, "'y' has no value yet"),
        ("a = rand(2)\nb = simple_varable(a, a)", 2, 5, "Did you mean 'simple_variable'?"),
        ("x = tanh", 1, 5, "'tanh' is not a value: call it, tanh(…)"),
        ("a = rand(2)\nb = a.tanh", 2, 7, "'.tanh' is a method: call it"),
        ("a = rand(2, 2)\nb = a.T()", 2, 7, "'.T' is not a method"),
        ("a = rand(2)\nb = a.sum(dims=0)", 2, 5, "unexpected keyword argument 'dims'. Did you mean 'dim'?"),
        ("a = rand(2)\nb = a.transpose(1)", 2, 5, ".transpose(dim0, dim1): missing a required argument: 'dim1'"),
        ("a = rand(2)\nb = a(2)", 2, 5, "'a' is a value, not an operation"),
        ("f = 1", 1, 1, "'f' is the aggregate that is chosen"),
        ("grad = 1", 1, 1, "choose another name"),
        ("a = rand(2)\na[0] = 1", 2, 1, "values never change"),
        ("a = rand(2)\na.x = 1", 2, 1, "values never change"),
        ("while 1: pass", 1, 1, "there is no 'while': for i in range(n)"),
        ("a = rand(2)\nb = 0 < a < 1", 2, 5, "two at a time"),
        ("g = lambda x: x", 1, 5, "write a function with a name"),
        ("x = [i for i in [1]]", 1, 5, "write the loop out"),
        ("x = 'text'", 1, 5, "text is of no use"),
        ("x = f'{1}'", 1, 5, "text is of no use"),
        ("x = 1j", 1, 5, "not a number"),
        ("x = 1e999", 1, 5, "too large"),
        ("x = " + "9" * 5000, 1, 5, "too large"),
        ("x = 99999999999999999999", 1, 5, "too large"),
        ("x = __import__('os')", 1, 5, "'__import__' is not known"),
        ("x = (1).__class__", 1, 9, "'.__class__' is not known"),
        ("a = rand(2)\nx = a.data", 2, 7, "'.data' is not known"),
        ("a = [1]\nb = *a, 2", 2, 5, "unpacks in a call alone"),
        ("a = rand(2)\na.geqrf()", 2, 3, "of factors there are cholesky, qr, svd and eigh"),
        ("a = rand(2)\na.exp_()", 2, 3, "changes a value in place"),
        ("a = rand(2)\na.sum(dims=0)", 2, 1, "Did you mean 'dim'?"),
        ("a = rand(2)\ngrad(a, [a], create_graph=True)", 2, 1, "create_graph is not needed"),
        ("class Mine:\n    pass", 1, 1, "classes cannot be defined here"),
        ("import os", 1, 1, "nothing is imported"),
        ("def g(x):\n    global y\n    return x", 2, 5, "changes nothing outside"),
        ("def g(x):\n    t = x.value\n    t[0] = 5.0", 3, 5, "values never change"),
        ("gradient_tape.clear()", 1, 15, "entries are only appended"),
        ("def g(*x):\n    return x", 1, 1, "the parameters of a function are names"),
        ("def g(x=[1]):\n    return x", 1, 9, "a default is a number"),
        ("def g(x):\n    def h(y):\n        def k(z):\n            return z", 3, 9, "two levels are the most"),
        ("if 1 < 2:\n    def g(x):\n        return x", 2, 5, "not under 'if' or 'for'"),
        ("@f\ndef g(x):\n    return x", 1, 2, "no decorators"),
        ("for i in range():\n    pass", 1, 10, "range takes one to three"),
        ("x = range(3)", 1, 5, "range is for loops only"),
        ("x = squared(1)\ndef squared(x):\n    return x", 1, 5, "define a function before its first call"),
        ("return 1\nx = 2", 2, 1, "comes after the return"),
        ("x = 2 is 3", 1, 5, "'is' asks for None alone"),
        ("Variable = 1", 1, 1, "'Variable' is taken"),
        ("x = Variable", 1, 5, "'Variable' is not a value"),
        ("_x = 1", 1, 1, "begin with '_'"),
        ("a = rand(2, **[1])", 1, 15, "unpack"),
        ("x: float", 1, 1, "a type alone gives no value"),
        ("torch.nn.relu(1)", 1, 1, "there is no 'torch.nn.relu' here: write relu(…)"),
        ("a = rand(2)\n*b, c = [a, a]", 2, 1, "only names"),
        ("x = \0", 1, 1, "null bytes"),
        ("x" * 70 + " = 1", 1, 1, "70 characters"),
        ("x = " + "-" * 300 + "1", 1, 5, "nested too deeply"),
        ("x = " + "(" * 150 + "1" + ")" * 150 + " + " + "-" * 150 + "1", 1, 5, "nested too deeply"),
        ("x = " + "[" * 20000, 1, 1, "too many nested"),
    ],
)
def test_what_is_said_of_a_text_that_is_no_program(text, line, column, said):
    error = refused(text)
    assert said in error.message
    assert error.line == line
    if "nested" not in said:
        assert error.column == column


def test_every_kind_of_node_is_read_or_refused():
    """Those of Python to come too: what nobody thought of is refused."""
    kinds = {kind for kind in vars(ast).values() if isinstance(kind, type) and issubclass(kind, ast.AST)}
    assert kinds >= syntax.READ and not syntax.READ & set(syntax.REFUSED)
    for kind in syntax.STATEMENTS + syntax.EXPRESSIONS:
        assert hasattr(Reader, f"read_{kind.__name__}"), kind
    for name in dir(Reader):
        if name.startswith("read_"):
            assert getattr(ast, name.removeprefix("read_")) in syntax.READ, name
    old = ("Num", "Str", "Bytes", "NameConstant", "Ellipsis", "Index", "ExtSlice", "slice")  # of Pythons of before
    for kind in sorted(kinds - syntax.READ - {getattr(ast, name, None) for name in old}, key=repr):
        reader = Reader(["x"])
        node = kind(lineno=1, col_offset=0) if issubclass(kind, (ast.expr, ast.stmt)) else kind()
        with pytest.raises(ProgramError):
            raise reader.refuse(node)
        if issubclass(kind, ast.expr) and kind is not ast.expr:
            with pytest.raises(ProgramError):
                reader.expression(node)
        if issubclass(kind, ast.stmt) and kind is not ast.stmt:
            with pytest.raises(ProgramError):
                reader.statement(node)


def test_what_runs_has_nothing_of_python_in_it():
    """No attribute, no operator, no name that a text could say but its own: calls of the Machine, and blocks."""
    text = """
def g(x, n=2):
    t: Variable = x.value.exp()
    r = Variable(t, name="r")
    def propagate(dL_doutputs):
        dL_dr, = dL_doutputs
        if dL_dr is None or not n > 1:
            return [None]
        return [dL_dr * r if n > 2 else dL_dr]
    gradient_tape.append(TapeEntry([x.name], [r.name], propagate))
    return r
a, b = rand(2), torch.ones(2)
a += f(a, a)[0:1].sum(dim=-1) @ a.T - ~(a > 0)
for i in range(2):
    print("a", g(a), *[b])
"""
    written = Program.parse(text).parsed.written
    allowed = (ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Assign, ast.Expr, ast.Return, ast.If, ast.For)
    allowed += (ast.Pass, ast.Call, ast.Name, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Starred, ast.Compare)
    allowed += (ast.Is, ast.IsNot, ast.BoolOp, ast.IfExp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Load, ast.Store)
    for node in ast.walk(written):
        assert isinstance(node, allowed), ast.dump(node)
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name) and node.func.id.startswith("_")


def test_half_of_a_surrogate_pair_is_no_text():
    assert "not text" in refused("x = 1 # \ud800").message


def test_a_text_over_the_limit_is_refused():
    with pytest.raises(ProgramError, match="20 are the most"):
        Program.parse("x = 1\n" * 4, limits=Limits(text=20))


def test_an_empty_text_is_a_program_that_does_nothing():
    assert len(Program.parse("  \n# nothing\n").run()) == 0


def test_names_inputs_and_f_are_known_without_running():
    program = Program.parse("a = tensor([1, 2.5])\nb, c = rand(2, seed=3), zeros(1)\nd = f(a, b)\na2 = full(2, 1 / 2)")
    assert program.names == ("a", "b", "c", "d", "a2")
    assert program.uses_f and not Program.parse("a = rand(2)\nsimple(a, a)").uses_f
    assert list(program.inputs) == ["a", "b", "c", "a2"]
    assert program.inputs["a"].tolist() == [1.0, 2.5]
    assert torch.equal(program.inputs["b"], torch.rand(2, generator=torch.Generator().manual_seed(3)))
    assert program.inputs["a2"].tolist() == [0.5, 0.5]


def test_inputs_of_a_program_that_will_fail_are_those_that_can_be_made():
    assert list(Program.parse("a = rand(2)\nb = tensor([[1], 2])\nc = rand(-1)\nd = rand(10**9)").inputs) == ["a"]


def test_inputs_are_the_values_that_a_run_has():
    program = Program.parse("a = rand(2)\nb = a * rand(2)\nc, d = randn(2), rand(2)\nd = d * 2")
    trace = program.run()
    assert list(program.inputs) == ["a", "c", "d"]
    for name, value in program.inputs.items():
        assert torch.equal(trace.value_named(name).tensor, value)


def test_an_input_gets_another_value_and_the_rest_of_the_text_stays():
    text = "# é\r\na = rand(2)  # one\r\né = [1]; b, c = (rand(\n 3), ones(1))\nd = a * c"
    program = Program.parse(text)
    assert program.with_input("c", torch.tensor([0.1])) == text.replace("ones(1)", "tensor([0.1])")
    assert program.with_input("b", torch.tensor(2)) == text.replace("rand(\n 3)", "tensor(2.0)")
    value = torch.randn(2, 3)
    changed = Program.parse(program.with_input("a", value))
    assert torch.equal(changed.inputs["a"], value)
    with pytest.raises(KeyError, match="'d' is not an input of the program. Its inputs are: a, b, c"):
        program.with_input("d", value)
    with pytest.raises(ValueError, match="NaN"):
        program.with_input("a", value / 0)


def test_two_programs_of_the_same_text_are_the_same():
    assert Program.parse("a = rand(2)") == Program.parse("a = rand(2)")
    assert len({Program.parse("a = rand(2)"), Program.parse("a = rand(2)"), Program.parse("a = rand(3)")}) == 2


def test_the_title_is_given_or_stands_in_a_first_comment():
    assert Program.parse("# A diamond\nx = 1").title == "A diamond"
    assert Program.parse("# A diamond\nx = 1", title="Two ways").title == "Two ways"
    assert Program.parse("x = 1  # one").title == ""


def test_the_source_stays_as_it_was_given():
    text = "# é\r\na = rand(2)  \r\n\r\nb = a\r\n"
    program = Program.parse(text)
    assert program.source == str(program) == text
    assert [statement.lineno for statement in program.statements] == [2, 4]


def test_what_is_no_text_is_refused():
    with pytest.raises(TypeError, match="expected the text of a program, got int"):
        Program.parse(3)


@pytest.mark.parametrize("said", ["torch.relu", "torch.nn.functional.relu", "F.relu", "relu"])
def test_an_operator_is_called_by_the_names_that_people_write(said):
    from simplegrad import compile_aggregate

    assert [node.name for node in compile_aggregate(f"{said}(x) * x").expression.inputs] == ["x"]
