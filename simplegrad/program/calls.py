"""The interpreter's calls: leaves, operators as functions and methods, `grad`, aggregates."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from numbers import Real

import torch

from ..aggregates import name_of, registry
from ..engine import Tape, Variable, add_optional, grad
from ..trace import LimitError
from .errors import RunError
from .expressions import Expressions, Gradients, shapes
from .language import OPERATOR_FUNCTIONS, F
from .leaves import LEAVES, Leaves, shown
from .limits import Guard
from .nodes import called, is_none, seeds
from .parse import Program

_JOINS = [OPERATOR_FUNCTIONS[name] for name in ("cat", "stack")]
_TENSORS = [OPERATOR_FUNCTIONS[name] for name in ("maximum", "minimum", "matmul")]  # no numbers, as in torch
_BINARY = [*_TENSORS, *[OPERATOR_FUNCTIONS[name] for name in ("add", "sub", "mul", "div", "pow")]]


class Calls(Expressions):
    """Evaluates calls; `f` is the aggregate that was chosen, `modes` what `grad` does where it says nothing itself."""

    def __init__(self, program: Program, tape: Tape, guard: Guard, f: Callable, modes: dict[str, str]):
        super().__init__(program, tape, guard)
        self.f = f
        self.modes = modes
        self.leaves = Leaves(guard.shape)
        self.seeds = seeds(program.statements)

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
        called_as = self.text(node) + (f", where f is {name_of(chosen)}" if function == F else "")
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
