"""Any text is a Program or a ProgramError, and any Program runs to an end within its limits; nothing is evaluated."""

import ast
import builtins
import math
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import simplegrad.language
from simplegrad import Program, ProgramError
from simplegrad.language import EXAMPLES, Limits, machine
from simplegrad.language.names import function_names, method_names
from simplegrad.trace import Trace

from .as_torch import assert_same_passes, our_passes, torch_passes

SMALL = Limits(text=5000, statements=30, elements=500, total=20_000, entries=300, seconds=5)
pytestmark = pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = st.sampled_from(["a", "b", "x", "L0", "f", "torch", "None", "True", "_", "é"])
NUMBERS = st.sampled_from(["0", "1", "2", "-1", "3", "0.5", "1e30", "9" * 18, "9" * 19, "1e400", "1j", "0x7f"])
WORDS = st.sampled_from(sorted(function_names() | method_names()))
SIGNS = st.sampled_from([*"+-*/@%&|~<>,.:=()[]{};#\\'\"\n\t", "**", "//", "<=", "==", "!=", "+=", "...", ":=", "->"])
KEYWORDS = st.sampled_from(
    ["dim=", "keepdim=", "seed=", "none=", "prune=", "name=", "for", "if", "lambda", "import", "in"]
)
SOUP = st.lists(st.one_of(NAMES, NUMBERS, WORDS, SIGNS, KEYWORDS), max_size=60).map(" ".join)


ONE = st.sampled_from(
    ["exp", "log", "sqrt", "sin", "tanh", "relu", "abs", "sum", "mean", "amax", "logsumexp", "softmax"]
)
TWO = st.sampled_from(
    ["maximum", "minimum", "matmul", "add", "div", "f", "simple_variable_wrong", "add_optional", "dot"]
)
SIGN = st.sampled_from(["+", "-", "*", "/", "**", "@", "//", "%", "&", "|", "<", "==", ","])
METHOD = st.sampled_from(
    ["expand", "reshape", "permute", "sum_to_size", "squeeze", "unsqueeze", "flatten", "size", "view"]
)
NAME = st.sampled_from(["T", "shape", "ndim", "mT"])


def expressions(children):
    """The grammar of the language, with types and shapes left to chance."""
    lists = st.lists(children, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
    return st.one_of(
        st.builds("({} {} {})".format, children, SIGN, children),
        st.builds("{}({})".format, ONE, children),
        st.builds("{}.{}()".format, children, ONE),
        st.builds("{}.{}".format, children, NAME),
        st.builds("{}({}, dim={})".format, ONE, children, children),
        st.builds("{}({}, {})".format, TWO, children, children),
        st.builds("where({}, {}, {})".format, children, children, children),
        st.builds("{}({}, dim={})".format, st.sampled_from(["cat", "stack"]), lists, children),
        st.builds("{}.{}({})".format, children, METHOD, children),
        st.builds("{}.transpose({}, {})".format, children, children, children),
        st.builds("{}[{}]".format, children, children),
        st.builds("{}[{}:{}, ...]".format, children, children, children),
        st.builds("x.sum(dim={}, keepdim={}, name={})".format, children, children, children),
        st.builds("grad({}, {})[0]".format, children, children),
        st.builds("{}({})".format, WORDS, children),
        st.builds("-{}".format, children),
        st.builds("~{}".format, children),
        lists,
    )


LEAF = st.one_of(
    st.sampled_from(["a", "b", "x", "x", "a > 0", "tensor([[1, 2], [3, 4]])", "rand(3)", "zeros(2, 3)", "None"]),
    st.sampled_from(["0", "1", "2", "-1", "0.5", "1e30", "9" * 18, "True"]),
)
EXPRESSION = st.recursive(LEAF, expressions, max_leaves=8)
STATEMENT = st.one_of(
    st.builds("{} = {}".format, st.sampled_from(["a", "b", "c", "c, d", "a, = b"]), EXPRESSION),
    st.builds("a += {}".format, EXPRESSION),
    st.builds("grad({}, [{}, {}])".format, EXPRESSION, EXPRESSION, EXPRESSION),
)
PROGRAM = st.lists(STATEMENT, max_size=6).map(lambda lines: "\n".join(["x = a = rand(2, 2)", "b = rand(2)", *lines]))


def parse_and_run(text: str) -> Trace | None:
    try:
        program = Program.parse(text, limits=SMALL)
    except ProgramError as error:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert 1 <= error.line <= max(len(lines), 1)
        assert error.message and "^" in str(error)
        return None
    assert all(isinstance(value, torch.Tensor) for value in program.inputs.values())
    trace = program.run("simple_variable", limits=SMALL)
    assert len(trace.entries) <= SMALL.entries
    assert all(math.prod(value.shape) <= SMALL.elements for value in trace.values)
    trace.transcript()
    return trace


@FUZZ
@given(st.text())
@example("\ud800")
@example("\0")
@example("x = 1\x0c\ny = \x0b2")
@example("\ufeffx = 1")
@example("x = 1\r\ry = (\r\n1")
def test_any_text_is_a_program_or_a_program_error(text):
    parse_and_run(text)


@FUZZ
@given(SOUP)
def test_any_soup_of_words_of_the_language_too(text):
    parse_and_run(text)


@settings(FUZZ, max_examples=300)
@given(PROGRAM)
def test_any_expression_of_its_grammar_too(text):
    parse_and_run(text)


@FUZZ
@given(st.sampled_from(list(EXAMPLES)), st.data())
def test_an_example_with_a_piece_cut_out_or_doubled_too(name, data):
    text = EXAMPLES[name].text[:800]
    i, j = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    parse_and_run(text[:i] + data.draw(st.sampled_from(["", text[i:j] * 2, "(", "0", "\n"])) + text[j:])


@given(
    st.sampled_from(
        ["(", "[", "{", "-", "~", "not ", "x.", "x(", "[[", "a if b else ", "lambda:", "f'{", "await ", "*"]
    )
)
def test_deep_nesting_is_refused(piece):
    for count in (90, 190, 3000):
        assert parse_and_run((piece * count)[:5000]) is None


# --- programs that are right: their values are torch's --------------------------------------------------------------

SAME = [
    "({0} + {1})",
    "({0} - {1})",
    "({0} * {1})",
    "({0} * 0.5)",
    "(2 - {0})",
    "{0}.tanh()",
    "sin({0})",
    "{0}.sigmoid()",
]
SAME += ["where({0} > {1}, {0}, 0.5)", "torch.maximum({0}, {1})", "{0}.softmax(dim=-1)", "({0} / ({1} * {1} + 1))"]
SAME += ["({0} - {0}.mean(dim=0, keepdim=True))", "({0} @ {1}.T @ {0})", "cat([{0}, {1}], dim=0)[::2]", "f({0}, {1})"]


@st.composite
def right_programs(draw) -> str:
    """Programs on 2 x 3 matrices with one or two passes."""
    lines, names = ["a = randn(2, 3, seed=1)", "b = randn(2, 3, seed=2)"], ["a", "b"]
    for number in range(draw(st.integers(1, 5))):
        pattern, operands = draw(st.sampled_from(SAME)), draw(st.tuples(*[st.sampled_from(names)] * 2))
        target = draw(st.sampled_from([f"t{number}", "t"]))
        lines.append(f"{target} = {pattern.format(*operands)}")
        names.append(target)
    lines.append(f"L0 = {names[-1]}.sum()")
    lines.append("da, db = grad(L0, [a, b])")
    lines.append("L1 = add_optional(add_optional(da, db), L0).tanh().sum()")
    return "\n".join([*lines, "grad(L1, [a, b])"])


@settings(FUZZ, suppress_health_check=list(HealthCheck))
@given(right_programs())
def test_gradients_of_random_programs_are_those_of_torch(float64, text):
    for aggregate in ("simple", "simple_variable"):
        trace = Program.parse(text).run(aggregate)
        assert trace.error is None, trace.error
        assert_same_passes(our_passes(trace), torch_passes(text))


# --- and nothing of a text is evaluated ------------------------------------------------------------------------------


def test_no_module_of_the_language_evaluates_or_imports_by_name():
    """`compile` stands in one place, where it is given the tree that was written; no text is handed to it."""
    forbidden = {"eval", "exec", "compile", "__import__", "globals", "locals", "open", "setattr", "import_module"}
    for path in Path(simplegrad.language.__file__).parent.glob("*.py"):
        called = {node.func.id for node in ast.walk(ast.parse(path.read_text())) if is_call(node)}
        assert called & forbidden == ({"compile"} if path.name == "machine.py" else set()), path
    assert Path(machine.__file__).read_text().count("compile(parsed.written, ") == 1


def is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@given(st.sampled_from(sorted(vars(builtins))), st.sampled_from(["{}", "{}(1)", "a.{}", "a.{}()", "torch.{}(1)"]))
def test_nothing_of_pythons_own_can_be_reached(name, form):
    text = "a = rand(2)\nb = " + form.format(name)
    ours = name in function_names() | method_names() | {"True", "False", "None"}
    if not ours:
        assert parse_and_run(text) is None
