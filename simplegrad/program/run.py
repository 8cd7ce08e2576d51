"""Run a Program: an interpreter of its syntax tree, on a tape of its own, watched by a recorder and a guard."""

from __future__ import annotations

import ast
import inspect
import operator
from collections.abc import Callable, Sequence
from numbers import Real

import torch

from ..aggregates import Aggregate, registry
from ..engine import Tape, TapeError, Variable, add_optional, grad
from ..trace import LimitError, Recorder, Trace
from .errors import RunError, did_you_mean, nearest
from .language import MODULE, OPERATOR_FUNCTIONS, F
from .leaves import LEAVES, RANDOM, Leaves, check_size, shown
from .limits import DEFAULT_LIMITS, Guard, Limits
from .parse import Program

BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
BINARY |= {ast.Pow: operator.pow, ast.MatMult: operator.matmul, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod}
BINARY |= {ast.BitAnd: operator.and_, ast.BitOr: operator.or_}
COMPARE = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
COMPARE |= {ast.Eq: operator.eq, ast.NotEq: operator.ne}
SIGN = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.MatMult: "@", ast.FloorDiv: "//"}
SIGN |= {ast.Mod: "%", ast.BitAnd: "&", ast.BitOr: "|", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
SIGN |= {ast.Eq: "==", ast.NotEq: "!="}
_NONE: dict = {}  # no keywords
ONLY_NUMBERS = (ast.FloorDiv, ast.Mod)
ONLY_CONDITIONS = (ast.BitAnd, ast.BitOr)


def run(program: Program, aggregate: str | Aggregate | Callable, none: str, prune: str, limits: Limits) -> Trace:
    """See Program.run."""
    chosen = choice(aggregate)
    for word, value, known in (("none", none, ("skip", "zeros")), ("prune", prune, ("none", "ahead"))):
        if value not in known:
            raise ValueError(f"{word}={value!r}: expected {known[0]!r} or {known[1]!r}.")
    with Tape() as tape:
        recorder, guard = Recorder(tape), Guard(limits)
        tape.observers = (guard, recorder)  # what the guard stops is no event
        interpreter = Interpreter(program, tape, guard, chosen, {"none": none, "prune": prune})
        try:
            interpreter.run(recorder)
        except RecursionError:
            recorder.failed(RunError("this is nested too deeply: give parts of it names, on lines of their own."))
        except Exception as error:  # whatever the program, or an aggregate's code, does: it is an event of the run
            recorder.failed(error)
        finally:
            tape.observers = ()
            recorder.finish()
        return described(recorder.trace, program, chosen, interpreter)


def choice(aggregate: str | Aggregate | Callable) -> Callable:
    """The aggregate that `f` stands for. Raises ValueError for a name that is not registered."""
    if not isinstance(aggregate, str):
        return aggregate
    if aggregate not in registry:
        hint = did_you_mean(nearest(aggregate, registry))
        raise ValueError(f"no aggregate is called '{aggregate}'.{hint} There are: {', '.join(registry)}.")
    return registry[aggregate]


def described(trace: Trace, program: Program, chosen: Callable, interpreter: Interpreter) -> Trace:
    trace.program = program.source
    trace.title = program.title
    trace.aggregate = getattr(chosen, "name", None) or getattr(chosen, "__name__", "") if program.uses_f else ""
    trace.bindings = {k: v.name for k, v in interpreter.names.items() if isinstance(v, Variable)}
    return trace


def inputs(program: Program) -> dict[str, torch.Tensor]:
    """See Program.inputs: the leaves alone are made, on no tape that anybody sees."""
    made = {}
    with Tape() as tape:
        interpreter = Interpreter(program, tape, Guard(DEFAULT_LIMITS), registry["simple"], {})
        for statement in program.statements:
            for name, node in leaves_named(statement):
                try:
                    made[name] = interpreter.evaluate(node).value
                except (RunError, LimitError):
                    made.pop(name, None)
    return made


def leaves_named(statement: ast.stmt) -> list[tuple[str, ast.Call]]:
    """The names that a statement gives to leaves made of plain numbers, and the calls that make them."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=node):
            pairs = [(name, node)]
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=nodes)) if len(targets) == len(nodes):
            pairs = [(target.id, node) for target, node in zip(targets, nodes) if isinstance(target, ast.Name)]
        case _:
            pairs = []
    return [(name, node) for name, node in pairs if called(node) in LEAVES and plain(node)]


def seeds(program: Program) -> dict[ast.Call, int]:
    """Seeds for the random leaves that say none, 1, 2, … in the order of the text: the same in every run."""
    nodes = [node for statement in program.statements for node in ast.walk(statement) if called(node) in RANDOM]
    nodes.sort(key=lambda node: (node.lineno, node.col_offset))
    return {node: seed for seed, node in enumerate(nodes, 1)}


def called(node: ast.AST) -> str:
    """The name of the function that a call calls, or ""."""
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name)) if module == MODULE:
            return name
    return ""


def plain(node: ast.Call) -> bool:
    arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
    return not any(isinstance(part, (ast.Name, ast.Call)) for each in arguments for part in ast.walk(each))


class Interpreter:
    """Evaluates the nodes that the parser let through. Values: Variables, numbers, conditions (boolean tensors), lists.

    Every method that makes a Variable takes the `name` that a statement gives to it, or None for v0, v1, …
    """

    def __init__(self, program: Program, tape: Tape, guard: Guard, f: Callable, modes: dict[str, str]):
        self.program = program
        self.tape = tape
        self.guard = guard
        self.f = f
        self.modes = modes
        self.leaves = Leaves(guard.shape)
        self.seeds = seeds(program)
        self.names: dict[str, object] = {}
        self.why_none: dict[str, str] = {}

    # --- statements ------------------------------------------------------------------------------------------------

    def run(self, recorder: Recorder) -> None:
        for statement in self.program.statements:
            recorder.line = statement.lineno
            self.guard.statement()
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                self.assign(targets, value)
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                left = ast.copy_location(ast.Name(name, ast.Load()), target)
                self.bind(name, self.evaluate(ast.copy_location(ast.BinOp(left, op, value), node), name))
            case ast.Expr(value=value):
                self.evaluate(value)

    def assign(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        match targets[0], value:
            case ast.Name(id=name), _:
                result = self.evaluate(value, name)
            case ((ast.Tuple(elts=names) | ast.List(elts=names)), (ast.Tuple(elts=parts) | ast.List(elts=parts))) if (
                len(names) == len(parts)
            ):
                result = [self.evaluate(part, name.id) for name, part in zip(names, parts)]
            case _:
                result = self.evaluate(value)
        for target in targets:
            self.unpack(target, result)

    def unpack(self, target: ast.expr, result) -> None:
        if isinstance(target, ast.Name):
            return self.bind(target.id, result)
        if not isinstance(result, (list, tuple)):
            raise RunError(f"{len(target.elts)} names on the left side, but the right is {shown(result)}.")
        if len(target.elts) != len(result):
            values = "1 value" if len(result) == 1 else f"{len(result)} values"
            raise RunError(f"{len(target.elts)} names on the left side, but {values} on the right.")
        reasons = getattr(result, "reasons", [""] * len(result))
        for name, value, reason in zip(target.elts, result, reasons):
            self.bind(name.id, value, reason)

    def bind(self, name: str, value, reason: str = "") -> None:
        self.names[name] = value
        self.why_none[name] = reason

    # --- expressions -----------------------------------------------------------------------------------------------

    def evaluate(self, node: ast.expr, name: str | None = None):
        match node:
            case ast.Name(id=name_read):
                return self.names[name_read]
            case ast.Constant(value=value):
                return value
            case ast.BinOp():
                return self.binary(node, name)
            case ast.UnaryOp():
                return self.unary(node, name)
            case ast.Compare():
                return self.compare(node)
            case ast.List(elts=parts):
                return [self.evaluate(part) for part in parts]
            case ast.Tuple(elts=parts):
                return tuple([self.evaluate(part) for part in parts])
            case ast.Subscript():
                return self.subscript(node, name)
            case ast.Attribute(value=receiver, attr=attribute):
                return self.attribute(node, self.operand(receiver), attribute, name)
            case ast.Call():
                return self.call(node, name)
        raise RunError(f"{type(node).__name__} is no part of the language.")

    def operand(self, node: ast.expr):
        """The value of an expression that is computed with: not None."""
        value = self.evaluate(node)
        if value is None:
            raise RunError(self.none_message(node))
        return value

    def none_message(self, node: ast.expr) -> str:
        reason = self.why_none.get(node.id, "") if isinstance(node, ast.Name) else ""
        return (
            f"{self.text(node)} is None: {reason or 'a gradient that is a known zero'}. "
            f"Leave it out, ask for zeros with grad(…, none='zeros'), or add with add_optional(x, y)."
        )

    def text(self, node: ast.AST) -> str:
        """The piece of the program that a node stands for, shortened."""
        found = ast.get_source_segment(self.program.source, node) or ast.unparse(node)
        found = " ".join(found.split())
        return found if len(found) <= 60 else f"{found[:59]}…"

    def binary(self, node: ast.BinOp, name: str | None):
        left, right = self.operand(node.left), self.operand(node.right)
        compute, sign = BINARY[type(node.op)], SIGN[type(node.op)]
        if isinstance(left, Real) and isinstance(right, Real):
            return self.number(node, compute, left, right)
        if isinstance(node.op, ONLY_CONDITIONS):
            return self.conditions(node, compute, sign, left, right)
        if isinstance(node.op, ONLY_NUMBERS):
            raise RunError(f"{self.text(node)}: '{sign}' is for numbers, not for {shown(left)} and {shown(right)}.")
        left, right = self.factor(node.left, left), self.factor(node.right, right)
        if isinstance(node.op, ast.MatMult):
            if not (isinstance(left, Variable) and isinstance(right, Variable)):
                raise RunError(f"{self.text(node)}: '@' is for two tensors, not for {shown(left)} and {shown(right)}.")
            self.guard.matmul(left, right)
        else:
            self.guard.broadcast(left, right)
        return self.apply(node, name, compute, [left, right])

    def factor(self, node: ast.expr, value):
        """An operand of arithmetic: a condition counts as 0 and 1, a list has no sum."""
        if isinstance(value, torch.Tensor):
            return Variable.constant(value.to(torch.get_default_dtype()))
        if isinstance(value, (Variable, Real)):
            return value
        said = f"{self.text(node)} {'computes with' if isinstance(node, ast.Call) else 'is'}"
        if isinstance(value, Gradients) and len(value) == 1:
            raise RunError(f"{said} a list of one gradient, as grad gives it. Write: da, = grad(L0, [a]).")
        raise RunError(f"{said} {shown(value)}, and there is no arithmetic with that.")

    def number(self, node: ast.BinOp, compute: Callable, left: float, right: float) -> float:
        """Arithmetic of plain numbers; whole ones stay within 63 bits."""
        whole = isinstance(left, int) and isinstance(right, int)
        if isinstance(node.op, ast.MatMult):
            raise RunError(f"{self.text(node)}: '@' is for two tensors.")
        if whole and isinstance(node.op, ast.Pow) and abs(right) * max(abs(left), 1).bit_length() > 128:
            raise RunError(f"{self.text(node)}: this number is too large.")
        try:
            result = compute(left, right)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise RunError(f"{self.text(node)}: {error}.") from None
        if isinstance(result, complex) or (isinstance(result, int) and result.bit_length() > 63):
            raise RunError(f"{self.text(node)}: the result is no number that a tensor can hold.")
        return result

    def conditions(self, node: ast.BinOp, compute: Callable, sign: str, left, right) -> torch.Tensor:
        if not (isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor)):
            raise RunError(
                f"{self.text(node)}: '{sign}' joins two conditions, each in brackets: (x > 0) {sign} (x < 1)."
            )
        self.guard.broadcast(left, right)
        return self.condition(node, compute, left, right)

    def condition(self, node: ast.expr, compute: Callable, *operands) -> torch.Tensor:
        result = self.guarded(node, compute, operands)
        self.guard.made(result.shape)
        return result

    def unary(self, node: ast.UnaryOp, name: str | None):
        value = self.operand(node.operand)
        if isinstance(node.op, ast.Invert):
            if not isinstance(value, torch.Tensor):
                raise RunError(f"{self.text(node)}: '~' is for a condition, ~(x > 0), not for {shown(value)}.")
            return self.condition(node, operator.invert, value)
        value = self.factor(node.operand, value)
        if isinstance(node.op, ast.UAdd):
            return value
        return -value if isinstance(value, Real) else self.apply(node, name, operator.neg, [value])

    def compare(self, node: ast.Compare) -> torch.Tensor:
        sides = [self.operand(node.left), self.operand(node.comparators[0])]
        for side in sides:
            if not isinstance(side, (Variable, Real)):
                raise RunError(f"{self.text(node)}: compares a tensor with a tensor or a number, not {shown(side)}.")
        left, right = (torch.as_tensor(getattr(side, "value", side)) for side in sides)
        self.guard.broadcast(left, right)
        return self.condition(node, COMPARE[type(node.ops[0])], left, right)

    def attribute(self, node: ast.expr, value, attribute: str, name: str | None):
        if not isinstance(value, Variable):
            raise RunError(f"{self.text(node)}: '.{attribute}' is for a tensor, not for {shown(value)}.")
        if attribute == "shape":
            return tuple(value.shape)
        if attribute == "ndim":
            return value.ndim
        return self.apply(node, name, operator.attrgetter(attribute), [value])

    # --- indexing --------------------------------------------------------------------------------------------------

    def subscript(self, node: ast.Subscript, name: str | None):
        value = self.operand(node.value)
        if isinstance(value, (list, tuple)):
            return self.element(node, value)
        if not isinstance(value, Variable):
            raise RunError(f"{self.text(node)}: {shown(value)} has no elements.")
        several = isinstance(node.slice, ast.Tuple)
        parts = tuple([self.place(part) for part in (node.slice.elts if several else [node.slice])])
        self.guard.index(value, parts)
        return self.apply(node, name, operator.getitem, [value, parts])

    def element(self, node: ast.Subscript, values: Sequence):
        index = self.index(node.slice)
        if not isinstance(index, (int, slice)):
            raise RunError(f"{self.text(node)}: a list is indexed by a whole number, not by {shown(index)}.")
        return self.guarded(node, operator.getitem, (values, index))

    def place(self, node: ast.expr):
        """One part of an index into a tensor, made sure of: torch takes its time with odd lists."""
        part = self.index(node)
        check_size(part, self.guard.shape)
        if isinstance(part, slice):
            whole = all(end is None or isinstance(end, int) for end in (part.start, part.stop, part.step))
        else:
            whole = part is None or part is Ellipsis or isinstance(part, torch.Tensor) or are_whole(part)
        if not whole:
            raise RunError(f"{self.text(node)}: places are whole numbers.")
        return part

    def index(self, node: ast.expr):
        """One part of an index: a whole number, a slice, None, …, a condition, or a list of places."""
        if isinstance(node, ast.Slice):
            return slice(*[end and self.evaluate(end) for end in (node.lower, node.upper, node.step)])
        if called(node) in LEAVES:  # x[tensor([0, 2])]: the places are no leaf of the program
            value = self.leaf(node, called(node))
        else:
            value = self.evaluate(node)
        value = getattr(value, "value", value)
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            if value.ndim and not (value == value.trunc()).all():
                raise RunError(f"{self.text(node)}: places are whole numbers.")
            value = value.long()
        return value

    # --- calls -----------------------------------------------------------------------------------------------------

    def call(self, node: ast.Call, name: str | None):
        function = called(node)
        if function:
            return self.function(node, function, name)
        receiver, method = self.operand(node.func.value), node.func.attr
        if not isinstance(receiver, Variable):
            raise RunError(f"{self.text(node)}: '.{method}' is for a tensor, not for {shown(receiver)}.")
        return self.operator(node, getattr(Variable, method), [receiver, *self.positional(node)], node.args, name)

    def positional(self, node: ast.Call) -> list:
        return [self.evaluate(argument) for argument in node.args]

    def keywords(self, node: ast.Call) -> dict:
        return {keyword.arg: self.evaluate(keyword.value) for keyword in node.keywords}

    def function(self, node: ast.Call, function: str, name: str | None):
        if function in LEAVES:
            return Variable.constant(self.leaf(node, function), name)
        arguments, keywords = self.positional(node), self.keywords(node)
        if function == "grad":
            return self.grad(node, arguments, keywords)
        if function == "add_optional":
            given = [each if each is None else self.factor(node, each) for each in (*arguments, *keywords.values())]
            self.guard.broadcast(*given)
            return self.apply(node, name, add_optional, given)
        if function != F and function not in registry and function in OPERATOR_FUNCTIONS:
            return self.operator(node, OPERATOR_FUNCTIONS[function], arguments, node.args, name)
        return self.aggregate(node, function, arguments, keywords, name)

    def leaf(self, node: ast.Call, function: str) -> torch.Tensor:
        make = getattr(self.leaves, function)
        self.leaves.seed = self.seeds.get(node, 0)
        try:
            return self.guarded(node, make, self.positional(node), self.keywords(node))
        except RunError as error:
            said = str(error)
            raise error if said.startswith(self.text(node)) else RunError(f"{self.text(node)}: {said}") from None

    def operator(self, node: ast.Call, compute: Callable, arguments: list, written: Sequence, name: str | None):
        """An operator of the engine, as a function or a method; `written` are the nodes of the last arguments."""
        offset, keywords = len(arguments) - len(written), self.keywords(node)
        operands = 3 if compute is OPERATOR_FUNCTIONS["where"] else 2 if compute in _BINARY else 1
        for place, part in enumerate(written, offset):
            if arguments[place] is None and place < operands:
                raise RunError(self.none_message(part))
        self.check_text(node, compute, arguments, keywords)
        if compute in _JOINS:
            self.check_joined(node, arguments, keywords)
        elif compute is OPERATOR_FUNCTIONS["where"]:
            self.check_where(node, arguments)
        elif arguments:
            arguments[0] = self.tensor(node, arguments[0])
            if compute in _TENSORS and len(arguments) > 1:
                arguments[1] = self.tensor(node, arguments[1])
        self.fits(compute, arguments, keywords)
        return self.apply(node, name, compute, arguments, keywords)

    def tensor(self, node: ast.Call, value) -> Variable:
        """What an operator wants to be a tensor: a condition counts as 0 and 1."""
        if isinstance(value, Real):
            raise RunError(f"{self.text(node)}: {shown(value)} stands where a tensor belongs: write tensor({value}).")
        return self.factor(node, value)

    def check_text(self, node: ast.Call, compute: Callable, arguments: list, keywords: dict) -> None:
        """Text is a name for the result, and sum alone takes one: x.sum(name="L0"), x.sum("L0")."""
        last = arguments[3:] if compute is OPERATOR_FUNCTIONS["sum"] else []
        for each in [*last, keywords.get("name"), *(each for each in arguments if isinstance(each, str))]:
            if each is not None and not (isinstance(each, str) and each.isidentifier()):
                raise RunError(f"{self.text(node)}: {shown(each)} is no name: letters, digits and _ make one.")

    def check_where(self, node: ast.Call, arguments: list) -> None:
        if arguments and not isinstance(arguments[0], torch.Tensor):
            raise RunError(f"{self.text(node)}: first comes a condition, as in where(x > 0, x, 0.0).")
        if arguments[1:] and all(isinstance(each, Real) for each in arguments[1:]):
            raise RunError(f"{self.text(node)}: one of the two must be a tensor: write tensor({arguments[1]}).")
        arguments[1:] = [self.factor(node, each) for each in arguments[1:]]

    def check_joined(self, node: ast.Call, arguments: list, keywords: dict) -> None:
        parts = arguments[0] if arguments else keywords.get("tensors")
        if not isinstance(parts, (list, tuple)):
            raise RunError(f"{self.text(node)}: joins a list of tensors, cat([x, y]), not {shown(parts)}.")
        for part in parts:
            if not isinstance(part, Variable):
                raise RunError(f"{self.text(node)}: joins tensors, and {shown(part)} is among them.")

    def fits(self, compute: Callable, arguments: list, keywords: dict) -> None:
        """That the result is not too large, for the operators whose results can be larger than their operands."""
        operands = [*arguments, *keywords.values()]
        if compute in _JOINS:
            self.guard.joined(next(each for each in operands if isinstance(each, (list, tuple))))
        elif compute is OPERATOR_FUNCTIONS["matmul"]:
            self.guard.matmul(*[each for each in operands if isinstance(each, Variable)])
        elif compute is OPERATOR_FUNCTIONS["expand"]:
            self.guard.expand(arguments[0], arguments[1:])
        else:
            self.guard.broadcast(*operands)

    def grad(self, node: ast.Call, arguments: list, keywords: dict) -> Gradients:
        given = dict(zip(("L", "wanted"), arguments)) | keywords
        loss, wanted = given.pop("L"), given.pop("wanted")
        wanted = [wanted] if isinstance(wanted, Variable) else wanted
        if not isinstance(loss, Variable):
            raise RunError(f"{self.text(node)}: the loss is {shown(loss)}; it must be a tensor that was computed.")
        if not (isinstance(wanted, (list, tuple)) and all(isinstance(x, Variable) for x in wanted)):
            raise RunError(f"{self.text(node)}: what is wanted is a list of tensors, as in grad(L0, [a, b]).")
        modes = self.modes | {word: value for word, value in given.items() if value is not None}
        for word, mode in modes.items():
            if not isinstance(mode, str):
                raise RunError(f"{self.text(node)}: {word} is a word, {word}='{self.modes[word]}', not {shown(mode)}.")
        return Gradients(grad(loss, wanted, **modes), loss, wanted)

    def aggregate(self, node: ast.Call, function: str, arguments: list, keywords: dict, name: str | None):
        if function != F and function not in registry:
            raise RunError(f"{self.text(node)}: the aggregate '{function}' is no longer there.")
        chosen = self.f if function == F else registry[function]
        called_as = self.text(node) + (f", where f is {getattr(chosen, 'name', chosen)}" if function == F else "")
        self.check_arguments(called_as, chosen, arguments, keywords, node)
        if not any(isinstance(each, Variable) for each in arguments):
            raise RunError(f"{called_as}: an aggregate computes on tensors; write tensor(2.0) for a number.")
        self.guard.broadcast(*arguments)
        try:
            result = chosen(*arguments, **keywords)
        except LimitError:
            raise
        except Exception as error:
            others = [f", where {shown(each)} is no tensor" for each in arguments if not isinstance(each, Variable)]
            error.add_note(f"in {called_as}{shapes(arguments)}{''.join(others)}")
            raise
        if not all(isinstance(each, Variable) for each in (result if isinstance(result, (list, tuple)) else [result])):
            raise RunError(f"{called_as}: gave {shown(result)}; an aggregate returns Variables.")
        if name and isinstance(result, Variable):
            self.name_result(result, name, arguments)
        return result

    def check_arguments(self, called_as: str, chosen: Callable, arguments: list, keywords: dict, node: ast.Call):
        for place, argument in enumerate(arguments):
            if argument is None and not is_none(node.args[place]):
                raise RunError(self.none_message(node.args[place]))
        try:
            inspect.signature(getattr(chosen, "function", chosen)).bind(*arguments, **keywords)
        except TypeError as error:
            raise RunError(f"{called_as}: {error}.") from None
        except ValueError:  # a callable that does not say what it takes
            return

    def name_result(self, result: Variable, name: str, arguments: list) -> None:
        """The name of the statement for what an aggregate made, unless it is somebody's already."""
        taken = [*arguments, *self.names.values()]
        if isinstance(result.key, int) and not any(result is each for each in taken):
            self.tape.rename(result, name)

    # --- doing it --------------------------------------------------------------------------------------------------

    def apply(self, node: ast.AST, name: str | None, compute: Callable, arguments: Sequence, keywords: dict = _NONE):
        """One operation, whose result gets the statement's name."""
        if name is None:
            return self.guarded(node, compute, arguments, keywords)
        with self.tape.naming(name):
            result = self.guarded(node, compute, arguments, keywords)
        result.name  # noqa: B018  asked for now, the name is the result's: a later x is x_1
        return result

    def guarded(self, node: ast.AST, compute: Callable, arguments: Sequence, keywords: dict = _NONE):
        """compute(…), where what torch says of it is told with the operation and the shapes."""
        try:
            return compute(*arguments, **keywords)
        except (RunError, LimitError):
            raise
        except TapeError as error:
            raise RunError(f"{self.text(node)}: {error}") from error
        except (RuntimeError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as error:
            said = str(error).split("\n")[0].rstrip(".")
            raise RunError(f"{self.text(node)}{shapes(arguments)}: {said}.") from error


_JOINS = [OPERATOR_FUNCTIONS[name] for name in ("cat", "stack")]
_TENSORS = [OPERATOR_FUNCTIONS[name] for name in ("maximum", "minimum", "matmul")]  # no numbers, as in torch
_BINARY = [*_TENSORS, *[OPERATOR_FUNCTIONS[name] for name in ("add", "sub", "mul", "div", "pow")]]


class Gradients(list):
    """What `grad` gives, and for each None why it is one."""

    def __init__(self, gradients: Sequence[Variable | None], loss: Variable, wanted: Sequence[Variable]):
        super().__init__(gradients)
        self.reasons = [f"no gradient of {loss.name} came to {x.name}, which makes it a known zero" for x in wanted]


def are_whole(place) -> bool:
    return all(map(are_whole, place)) if isinstance(place, (list, tuple)) else isinstance(place, int)


def is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def shapes(arguments: Sequence) -> str:
    """`, on shapes (3,) and (4,)`"""
    found = []
    for each in arguments:
        found += each if isinstance(each, (list, tuple)) else [each]
    said = [str(tuple(each.shape)) for each in found if hasattr(each, "shape")][:6]
    if not said:
        return ""
    return f", on shape {said[0]}" if len(said) == 1 else f", on shapes {', '.join(said[:-1])} and {said[-1]}"
