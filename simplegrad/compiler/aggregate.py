"""`compile_aggregate`: an expression, or a function of Variables, as an aggregate with a propagate for any order."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Sequence
from operator import attrgetter

import torch

from simplegrad.locks import cached_property

from ..aggregates import Aggregate
from ..attached import attached
from ..engine import RawTensorError, Variable
from ..engine.tape import current_tape
from .case import Case
from .code import lines_of
from .errors import CompileError, UnfitError, UnknownSizeError
from .forward import source_of_forward
from .graph import Expression, needed_for
from .names import Taken, checked_name, free_name, identifier
from .run import function_of
from .shapes import LEVELS, Shapes
from .text import source_of_text
from .torch_function import TorchFunction
from .tracing import Source, source_of
from .write import Writer

_shape, _shape_and_dtype = attrgetter("shape"), attrgetter("shape", "dtype")


def compile_aggregate(
    source: str | Callable, name: str | None = None, *, fused: bool = False, example: Sequence[torch.Tensor] = ()
) -> CompiledAggregate:
    """The aggregate that computes `source`: one entry on the tape, whose `propagate` is right at any order.

    `source`: an expression or several statements of the program language, whose free names are the inputs in order of
    first appearance, `(a + b) * b`; or a function of Variables, which is called with symbols; or an aggregate, whose
    own forward is read. Code is for all sizes; where the source asks for one as a number, it is read for each shape
    anew. `fused`: a body of `propagate` is one entry too, instead of one for each of its operations: less to see, and
    faster where it has many and tensors are small. `example`: tensors like the inputs, to try it on and to show its
    code for. A raw tensor that the function computes with is a constant, with the numbers that it has now.
    Raises ProgramError (with line and column) for a text, CompileError for a function that cannot be compiled.
    """
    if not (isinstance(source, str) or callable(source)):
        raise CompileError(
            f"compile_aggregate(…) was given a {type(source).__name__}; expected an expression as text, "
            f"'(a + b) * b', or a function of Variables."
        )
    if isinstance(source, Aggregate):
        read = source_of_forward(source.function)
    else:
        read = source_of_text(source) if isinstance(source, str) else source_of(source)
    return CompiledAggregate(read, free_name(read.name) if name is None else checked_name(name), fused, example)


@attached
class CompiledAggregate(Aggregate):
    """An Aggregate that was compiled. Shapes are met at the call; code is made for each kind of them.

    The source texts are for the shapes of the latest call, and before any for the example, or inputs that go together.
    `compiled_from` is what was compiled; `case` the code for the shapes of the latest call.
    """

    def __init__(self, source: Source, name: str, fused: bool = False, example: Sequence = ()):
        taken = Taken()
        self.inputs = [identifier(each, taken) for each in source.inputs]
        self.examples = [getattr(x, "value", x) for x in example]
        if self.examples and len(self.examples) != len(self.inputs):
            names = ", ".join(self.inputs)
            raise CompileError(f"compile_aggregate(…, example=…): {len(example)} inputs were given for {names}.")
        self.compiled_from = source
        self.written = name  # what it is called in its code, also where it is registered by another name
        self.fused = fused
        self.level = 0
        self.expressions: dict[tuple, Expression] = {}  # by what of the inputs they are for
        self.cases: dict[tuple, Case] = {}  # by what decides the code
        self.by_shape: dict[tuple, Case] = {}  # by the shapes themselves
        self.kind_of: Callable = _shape  # of an input, what `by_shape` asks for
        self.latest: Case | None = None
        text = lines_of(f"def {name}({', '.join(self.inputs)}):", [f"return compiled({', '.join(self.inputs)})"])
        function = function_of(text, name, name, compiled=self)
        function.__doc__ = source.what
        super().__init__(function, name, source.what, origin="compiled")
        self.read_at_once()
        self.reference = self._reference()
        self.example = (lambda: tuple(self.examples)) if self.examples else None

    # --- what is compiled ------------------------------------------------------------------------------------------

    def read_at_once(self) -> None:
        """So that what cannot be compiled is told here. What asks for sizes is read for the example, or for shapes
        that go together; where none are found, at the call."""
        try:
            self.expression_of(self.examples)
        except UnknownSizeError:
            with contextlib.suppress(UnfitError):
                self.usual  # noqa: B018

    def expression_of(self, tensors: Sequence[torch.Tensor]) -> Expression:
        """The expression for inputs like these; without any, that for all. As little is known of their shapes as the
        source makes do with."""
        for place in range(self.level, len(LEVELS) if tensors else 1):
            level = LEVELS[place]
            key = level.key(tensors) if level else ()
            try:
                found = self.expressions.get(key) or self.compiled_from.read(level, tensors)
            except UnknownSizeError as error:
                unknown = error
                continue
            self.level, self.expressions[key] = place, found
            self.kind_of = _shape_and_dtype if place else _shape
            return found
        raise unknown

    def _reference(self) -> Callable:
        """The same as recorded operations."""
        if self.compiled_from.function is not None:
            return self.compiled_from.function
        if () in self.expressions:
            return recorded(self.expressions[()], self.written)

        def reference(*inputs: Variable):
            return recorded(self.expression_of([x.value for x in inputs]), self.written)(*inputs)

        return reference

    # --- calls -----------------------------------------------------------------------------------------------------

    def __call__(self, *inputs: Variable, **named: Variable):
        """Compute, and append one entry to the tape."""
        if named:
            inputs = inspect.signature(self.function).bind(*inputs, **named).args
        try:
            case = self.by_shape[tuple(map(self.kind_of, inputs))]
        except (KeyError, AttributeError):
            case = self.met(inputs)
        self.latest = case
        return (case.watched if current_tape().observers else case.forward)(*inputs)

    def met(self, inputs: Sequence[Variable]) -> Case:
        """The code for shapes that were not seen before."""
        if len(inputs) != len(self.inputs):
            said = ", ".join(self.inputs)
            raise TypeError(f"{self.name}({said}) was given {len(inputs)} inputs, and takes {len(self.inputs)}.")
        for name, x in zip(self.inputs, inputs):
            if not isinstance(x, Variable):
                raise RawTensorError(
                    f"{self.name}: input {name} is a {type(x).__name__}, not a Variable. Wrap it: Variable.constant(…)."
                )
        try:
            case = self.case_of([x.value for x in inputs])
        except MISFITS as error:
            raise UnfitError(f"{self.name}: {said_of(error)}.") from None
        if len(self.by_shape) < 10_000:
            self.by_shape[tuple(map(self.kind_of, inputs))] = case
        return case

    def case_of(self, tensors: Sequence[torch.Tensor]) -> Case:
        try:
            return self.case_now(tensors)
        except UnknownSizeError:  # a vjp asked for it
            if self.level + 1 == len(LEVELS):
                raise
            self.level, self.kind_of = self.level + 1, _shape_and_dtype
            return self.case_of(tensors)

    def case_now(self, tensors: Sequence[torch.Tensor]) -> Case:
        expression = self.expression_of(tensors)
        order = needed_for(expression.results)
        shapes = Shapes.of_run(order, dict(zip(expression.inputs, tensors)), self.name)
        signature = (expression, *shapes.signature([*expression.inputs, *order]))
        if signature not in self.cases:
            self.cases[signature] = Case(expression, self.written, shapes, self.fused)
        return self.cases[signature]

    @cached_property
    def usual(self) -> Case:
        """Code for inputs of shapes that go together: matrices of one size where those do."""
        if self.examples:
            return self.case_of(self.examples)
        reason = ""
        for shapes in guessed_shapes(len(self.inputs)):
            tensors = [
                torch.zeros(4, dtype=torch.long) if place in self.places else torch.rand(shape)
                for place, shape in enumerate(shapes)
            ]
            try:
                return self.case_of(tensors)
            except MISFITS as error:
                if type(error) is CompileError:  # whatever the shapes
                    raise
                reason = reason or said_of(error)
        raise UnfitError(
            f"no shapes were found that {self.name} computes on, {reason}.",
            "If there are such, call it once: its code is for the shapes of the latest call. Or give example inputs: "
            "compile_aggregate(f, example=(x, …)).",
        )

    @property
    def places(self) -> set[int]:
        """The inputs that are an index, as far as that is known before there are any."""
        expression = self.expressions.get(())
        nodes = needed_for(expression.results) if expression else []
        indices = {each for node in nodes if node.op == "index" for each in list(node.nodes)[1:]}
        return {place for place, node in enumerate(expression.inputs) if node in indices} if indices else set()

    # --- its code --------------------------------------------------------------------------------------------------

    @property
    def case(self) -> Case:
        return self.latest or self.usual

    @property
    def expression(self) -> Expression:
        return self.expressions[()] if self.level == 0 and () in self.expressions else self.case.expression

    @property
    def forward_source(self) -> str:
        """Forward, `propagate` within it."""
        return self.case.code.forward_text()

    @property
    def propagate_source(self) -> str:
        """`propagate`, which looks up the body for the pattern of Nones, and the general body."""
        case = self.case
        lines = case.code.propagate_lines(case.code.dispatch_lines())
        return "\n".join([*lines, "", "", case.code.body_text(case.all)])

    def specialisation_source(self, pattern: Sequence) -> str:
        """The body for one pattern: for each output True (or anything) where a gradient comes in, None or False where
        it is a known zero. Raises ValueError for a pattern of another length."""
        return self.case.code.body_text(self.case.pattern(pattern))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The results, and the temporaries that are declared: the slots of a pattern."""
        return tuple(self.case.code.outputs)

    @property
    def patterns(self) -> list[tuple[bool, ...]]:
        """All patterns in which something comes in, what first passes see (nothing but results) first."""
        if len(self.outputs) > 10:
            raise ValueError(f"{self.name} has {len(self.outputs)} outputs: too many for a list of all patterns.")
        return self.case.made.patterns

    @property
    def source(self) -> str:
        """All of the code: forward, and the bodies that were seen, or else the first and the general one."""
        bodies = dict.fromkeys([*self.case.seen, self.case.first, self.case.all])
        return "\n\n".join([self.forward_source, *(self.case.code.body_text(p) for p in bodies)])

    def to_torch_function(self) -> TorchFunction:
        """The same for real PyTorch: see torch_function.py."""
        return TorchFunction(self)


MISFITS = (RuntimeError, LookupError, TypeError, ValueError, ArithmeticError)  # of shapes, indices, axes: torch's


def recorded(expression: Expression, name: str) -> Callable:
    """A function on Variables that records each operation."""
    inputs, results = expression.inputs, expression.results
    order = [n for n in needed_for(results) if n not in inputs and not n.is_size]
    writer = Writer({n: n.name for n in [*inputs, *order]}, False, {*inputs, *order})
    lines = [f"{node.name} = {writer.expression(node)}" for node in order]
    returned = ", ".join(node.name for node in results)
    text = lines_of(f"def {name}({', '.join(n.name for n in inputs)}):", lines, [f"return {returned}"])
    return function_of(text, name, f"{name}, recorded", tensor=False, **expression.graph.named)


def said_of(error: Exception) -> str:
    """What it says, and the step that raised it, which it has in a note."""
    return ". ".join([str(error).split("\n")[0].rstrip("."), *getattr(error, "__notes__", ())])


def guessed_shapes(count: int):
    """Shapes that expressions are often for, simplest first."""
    for one in ((4, 4), (4,), (), (2, 4, 4), (2, 3, 4, 4)):
        yield [one] * count
    if count <= 4:
        yield from itertools.product(((4, 4), (4,), (2, 4, 4), ()), repeat=count)
