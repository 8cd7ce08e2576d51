"""`compile_aggregate`: an expression, or a function of Variables, as an aggregate with a propagate for any order."""

from __future__ import annotations

import inspect
import itertools
import keyword
import unicodedata
from collections.abc import Callable, Sequence
from operator import attrgetter

import torch

from simplegrad.locks import cached_property

from ..aggregates import Aggregate
from ..attached import attached
from ..engine import RawTensorError, Variable
from .case import Case
from .code import SAID, lines_of, name_nodes
from .forward import traced_forward
from .graph import SHAPE, SIZE, needed_for
from .run import function_of, namespace
from .shapes import Shapes
from .symbols import CompileError, UnfitError
from .text import read_text
from .tracing import Expression, read_function
from .write import Writer

_shape = attrgetter("shape")


def compile_aggregate(
    source: str | Callable, name: str | None = None, *, fused: bool = False, example: Sequence[torch.Tensor] = ()
) -> CompiledAggregate:
    """The aggregate that computes `source`: one entry on the tape, whose `propagate` is right at any order.

    `source`: an expression or several statements of the program language, whose free names are the inputs in order of
    first appearance, `(a + b) * b`; or a function of Variables, which is called once with symbols; or an aggregate,
    whose own forward is read. `fused`: a body of `propagate` is one entry too, instead of one for each of its
    operations: less to see, and faster where it has many and tensors are small. `example`: tensors like the inputs, for
    what asks how many dimensions they have, x.ndim, or of what dtype they are; it is compiled for these, and their
    sizes stay free. A raw tensor that the function computes with is a constant, with the numbers that it has now.
    Raises ProgramError (with line and column) for a text, CompileError for a function that cannot be compiled.
    """
    if not (isinstance(source, str) or callable(source)):
        raise CompileError(
            f"compile_aggregate(…) was given a {type(source).__name__}; expected an expression as text, "
            f"'(a + b) * b', or a function of Variables."
        )
    if isinstance(source, Aggregate):
        expression = traced_forward(source.function)
    else:
        expression = read_text(source, example) if isinstance(source, str) else read_function(source, example=example)
    return CompiledAggregate(expression, name or expression.name, fused, example)


@attached
class CompiledAggregate(Aggregate):
    """An Aggregate that was compiled. Shapes are met at the call; code is made for each kind of them.

    The source texts are for the shapes of the latest call, and before any for inputs that go together.
    `expression` is what was compiled; `case` the code for the shapes of the latest call.
    """

    def __init__(self, expression: Expression, name: str, fused: bool = False, example: Sequence = ()):
        name = checked_name(name)
        self.examples = [getattr(x, "value", x) for x in example]
        self.expression = expression
        self.written = name  # what it is called in its code, also where it is registered by another name
        self.fused = fused
        name_nodes(expression)
        self.cases: dict[tuple, Case] = {}  # by what decides the code
        self.by_shape: dict[tuple, Case] = {}  # by the shapes themselves
        self.latest: Case | None = None
        names = ", ".join(node.name for node in expression.inputs)
        text = lines_of(f"def {name}({names}):", [f"return compiled({names})"])
        function = function_of(text, name, name, compiled=self)
        function.__doc__ = expression.what
        super().__init__(function, name, expression.what, self._reference(name), origin="compiled")
        self.example = (lambda: tuple(self.examples)) if self.examples else None

    def _reference(self, name: str) -> Callable:
        """The same as recorded operations."""
        if self.expression.function is not None:
            return self.expression.function
        inputs, results = self.expression.inputs, self.expression.results
        order = [n for n in needed_for(results) if n not in inputs and n.kind not in (SIZE, SHAPE)]
        writer = Writer({n: n.name for n in [*inputs, *order]}, False, {*inputs, *order})
        lines = [f"{node.name} = {writer.expression(node)}" for node in order]
        returned = ", ".join(node.name for node in results)
        text = lines_of(f"def {name}({', '.join(n.name for n in inputs)}):", lines, [f"return {returned}"])
        return function_of(text, name, f"{name}, recorded", tensor=False)

    def __call__(self, *inputs: Variable, **named: Variable):
        """Compute, and append one entry to the tape."""
        if named:
            inputs = inspect.signature(self.function).bind(*inputs, **named).args
        try:
            case = self.by_shape[tuple(map(_shape, inputs))]
        except (KeyError, AttributeError):
            case = self.met(inputs)
        self.latest = case
        return case.forward(*inputs)

    def met(self, inputs: Sequence[Variable]) -> Case:
        """The code for shapes that were not seen before."""
        wanted = self.expression.inputs
        if len(inputs) != len(wanted):
            said = ", ".join(node.name for node in wanted)
            raise TypeError(f"{self.name}({said}) was given {len(inputs)} inputs, and takes {len(wanted)}.")
        for node, x in zip(wanted, inputs):
            if not isinstance(x, Variable):
                raise RawTensorError(
                    f"{self.name}: input {node.name} is a {type(x).__name__}, not a Variable. "
                    f"Wrap it: Variable.constant(…)."
                )
        self.check_ranks(inputs)
        try:
            case = self.case_of([x.value for x in inputs])
        except _MISFITS as error:
            raise UnfitError(f"{self.name}: {said_of(error)}.") from None
        if len(self.by_shape) < 10_000:
            self.by_shape[tuple([x.shape for x in inputs])] = case
        return case

    def check_ranks(self, inputs: Sequence[Variable]) -> None:
        for node, x, like in zip(self.expression.inputs, inputs, self.examples):
            if x.ndim != like.ndim:
                raise CompileError(
                    f"{self.name}: {node.name} has {x.ndim} dimensions, and the example that it was compiled with has "
                    f"{like.ndim}. Compile it anew, with an example like this."
                )

            if self.expression.of_these_dtypes and x.dtype != like.dtype:
                raise CompileError(
                    f"{self.name}: {node.name} has dtype {x.dtype}, and the example that it was compiled with has "
                    f"{like.dtype}, which the function asked for. Compile it anew, with an example like this."
                )

    def case_of(self, tensors: Sequence[torch.Tensor]) -> Case:
        expression = self.expression
        order = needed_for(expression.results)
        shapes = Shapes.of_run(order, dict(zip(expression.inputs, tensors)), self.name)
        signature = shapes.signature([*expression.inputs, *order])
        if signature not in self.cases:
            self.cases[signature] = Case(expression, self.written, shapes, self.fused)
        return self.cases[signature]

    @cached_property
    def usual(self) -> Case:
        """Code for inputs of shapes that go together: matrices of one size where those do."""
        inputs = self.expression.inputs
        if self.examples:
            return self.case_of(self.examples)
        indices = {
            n for node in needed_for(self.expression.results) if node.op == "index" for n in list(node.nodes)[1:]
        }
        reason = ""
        for shapes in guessed_shapes(len(inputs)):
            tensors = [
                torch.zeros(4, dtype=torch.long) if n in indices else torch.rand(s) for n, s in zip(inputs, shapes)
            ]
            try:
                return self.case_of(tensors)
            except _MISFITS as error:
                reason = reason or said_of(error)
        raise CompileError(
            f"no shapes were found that {self.name} computes on, {reason}. If there are such, call it once: its code "
            f"is for the shapes of the latest call."
        )

    @property
    def case(self) -> Case:
        return self.latest or self.usual

    @property
    def forward_source(self) -> str:
        """Forward, `propagate` within it."""
        return self.case.code.forward_text()

    @property
    def propagate_source(self) -> str:
        """`propagate`, which looks up the body for the pattern of Nones, and the general body."""
        case = self.case
        return "\n".join([*case.code.dispatch_lines(), "", "", case.code.body_text(case.all)])

    def specialisation_source(self, pattern: Sequence) -> str:
        """The body for one pattern: for each output True (or anything) where a gradient comes in, None or False where
        it is a known zero. Raises ValueError for a pattern of another length."""
        return self.case.code.body_text(self.case.pattern(pattern))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The results, and the temporaries that are declared: the slots of a pattern."""
        return tuple(self.case.code.names[node] for node in self.case.made.outputs)

    @property
    def patterns(self) -> list[tuple[bool, ...]]:
        """All patterns in which something comes in, what first passes see (nothing but results) first."""
        outputs = self.case.made.outputs
        if len(outputs) > 10:
            raise ValueError(f"{self.name} has {len(outputs)} outputs: too many for a list of all patterns.")
        patterns = list(itertools.product((True, False), repeat=len(outputs)))[:-1]
        first = self.case.first
        return [first, *(p for p in patterns if p != first)]

    @property
    def source(self) -> str:
        """All of the code: forward, and the bodies that were seen, or else the first and the general one."""
        bodies = dict.fromkeys([*self.case.seen, self.case.first, self.case.all])
        return "\n\n".join([self.forward_source, *(self.case.code.body_text(p) for p in bodies)])

    def to_torch_function(self):
        """The same for real PyTorch: see torch_function.py."""
        from .torch_function import TorchFunction

        return TorchFunction(self)


_MISFITS = (RuntimeError, LookupError, TypeError, ValueError, ArithmeticError)  # of shapes, indices, axes: torch's


def said_of(error: Exception) -> str:
    """What it says, and the step that raised it, which it has in a note."""
    return ". ".join([str(error).split("\n")[0].rstrip("."), *getattr(error, "__notes__", ())])


def checked_name(name: str) -> str:
    """As Python reads it, which writes some letters in another form."""
    known = unicodedata.normalize("NFKC", name)
    is_taken = keyword.iskeyword(known) or known.startswith("__") or known in {*namespace(), *SAID}
    if is_taken or not known.isidentifier():
        raise ValueError(
            f"compile_aggregate(…, name={name!r}): expected a name as a function has one, that is not taken."
        )
    return known


def guessed_shapes(count: int):
    """Shapes that expressions are often for, simplest first."""
    for one in ((4, 4), (4,), (), (2, 4, 4), (2, 3, 4, 4)):
        yield [one] * count
    if count <= 4:
        yield from itertools.product(((4, 4), (4,), (2, 4, 4), ()), repeat=count)
