"""Calls of a run: operators as functions and methods, `grad`, aggregates, and what the notebook's cells call."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Sequence
from numbers import Real

import torch

from ..aggregates import name_of, registry
from ..engine import TapeEntry, Variable, add_optional, current_tape, grad, gradient_tape, reset_tape
from ..trace import LimitError
from .arithmetic import Arithmetic, Gradients, is_condition, is_raw, shapes
from .errors import RunError
from .leaves import LEAVES, Leaves, check_size, shown
from .names import NOTEBOOK, OPERATOR_FUNCTIONS, RAW, TAPE, F
from .nodes import is_none

_JOINS = [OPERATOR_FUNCTIONS[name] for name in ("cat", "stack")]
_TENSORS = [OPERATOR_FUNCTIONS[name] for name in ("maximum", "minimum", "matmul")]  # no numbers, as in torch
_SWAPPED = [OPERATOR_FUNCTIONS[name] for name in ("add", "sub", "mul", "div", "pow")]
_BINARY = [*_TENSORS, *_SWAPPED]
_CLASSES = [OPERATOR_FUNCTIONS[name] for name in ("cross_entropy", "nll_loss")]
_PLACES = ("index", "indices", "repeats")  # what parameters are called that take places in a tensor
PLACES = (torch, torch.Tensor, torch.nn.functional, torch.linalg, torch.special)  # where torch's operators are
MOST_SLOTS = 64  # inputs, or outputs, of an entry
_NUMBERED = re.compile(r"v\d+")  # a name that nobody gave
ANOTHER = 1_000_003  # from one seed to that of the next round


class Operations(Arithmetic):
    """`f` is the aggregate that was chosen, `modes` what `grad` does where it says nothing itself."""

    def __init__(self, source, nodes, guard, f: Callable | None, modes: dict[str, str], seeds: dict):
        super().__init__(source, nodes, guard)
        self.f = f
        self.modes = modes
        self.leaves = Leaves(lambda shape: self.guard.shape(shape))
        self.seeds = seeds
        self.rounds: dict[ast.AST, int] = {}  # how often a random leaf was made
        self.seen: list[tuple[str, object]] | None = None  # calls on raw tensors, where somebody wants to know them

    # --- functions and methods ---------------------------------------------------------------------------------------

    def method(self, number: int, receiver, attr: str, arguments: tuple, keywords: dict, name: str | None):
        node = self.nodes[number]
        self.note(attr)
        self.check_lists(arguments, keywords)
        receiver = self.operand(node.func.value, receiver)
        if is_raw(receiver) or is_condition(receiver) and attr in ("size", "dim", "numel"):
            if not hasattr(torch.Tensor, attr):
                raise RunError(f"{self.text(node)}: '.{attr}' is there for Variables, and not for raw tensors.")
            return self.on_tensor(node, getattr(torch.Tensor, attr), [receiver, *arguments], keywords)
        if is_condition(receiver):
            receiver = self.factor(node.func.value, receiver)
        if not isinstance(receiver, Variable):
            raise RunError(f"{self.text(node)}: '.{attr}' is for a tensor, not for {shown(receiver)}.")
        return self.operator(node, getattr(Variable, attr), [receiver, *arguments], keywords, node.args, name)

    def function(self, number: int, function: str, arguments: tuple, keywords: dict, name: str | None, raw: bool):
        node = self.nodes[number]
        self.note(function)
        self.check_lists(arguments, keywords)
        if function in LEAVES:
            leaf = self.leaf(node, function, arguments, keywords)
            return self.counted(leaf) if raw else Variable.constant(leaf, name)
        if function in NOTEBOOK:
            return self.notebook(node, function, arguments, keywords)
        if function == "grad":
            return self.grad(node, arguments, keywords)
        if function == "add_optional":
            given = [each if each is None else self.factor(node, each) for each in (*arguments, *keywords.values())]
            return self.apply(node, name, add_optional, given)
        if function in RAW and function not in OPERATOR_FUNCTIONS:
            return self.on_tensor(node, getattr(torch, function), list(arguments), keywords)
        if function != F and function not in registry and function in OPERATOR_FUNCTIONS:
            given = flat((*arguments, *keywords.values()))
            if any(map(is_raw, given)) and not has_variable(given):
                return self.on_tensor(node, on_tensors(function), list(arguments), keywords)
            return self.operator(node, OPERATOR_FUNCTIONS[function], list(arguments), keywords, node.args, name)
        return self.aggregate(node, function, arguments, keywords, name)

    def check_lists(self, arguments: Sequence, keywords: dict) -> None:
        """That nobody has to walk a list without end: a = [a, a], sixty times."""
        for each in (*arguments, *keywords.values()):
            if isinstance(each, (list, tuple)):
                check_size(each, self.guard.shape)

    def leaf(self, node: ast.Call, function: str, arguments: Sequence, keywords: dict) -> torch.Tensor:
        make = getattr(self.leaves, function)
        count = self.rounds[node] = self.rounds.get(node, -1) + 1
        self.leaves.seed = self.seeds.get(node, 0) + ANOTHER * count
        try:
            return self.guarded(node, make, arguments, keywords)
        except RunError as error:
            said = str(error)
            raise error if said.startswith(self.text(node)) else RunError(f"{self.text(node)}: {said}") from None

    def on_tensor(self, node: ast.Call, compute: Callable, arguments: list, keywords: dict):
        """An operator on raw tensors: torch's own, nothing is recorded."""
        plain = [getattr(each, "value", each) for each in arguments]
        if any(isinstance(each, str) for each in (*plain, *keywords.values())):
            raise RunError(f"{self.text(node)}: a raw tensor has no name. Variable(…, name='t') gives one.")
        result = self.counted(self.guarded(node, compute, plain, keywords))
        if self.seen is not None:
            self.seen.append((getattr(compute, "__name__", ""), result))
        return result

    def operator(self, node: ast.Call, compute: Callable, arguments: list, keywords: dict, written: Sequence, name):
        """An operator of the engine, as a function or a method; `written` are the nodes of the last arguments."""
        offset = len(arguments) - len(written)
        operands = 3 if compute is OPERATOR_FUNCTIONS["where"] else 2 if compute in _BINARY else 1
        for place, part in enumerate(written, offset):
            if place < len(arguments) and arguments[place] is None and place < operands:
                raise RunError(self.none_message(part))
        equation = arguments[:1] if compute is OPERATOR_FUNCTIONS["einsum"] else []
        if equation and not isinstance(equation[0], str):
            raise RunError(
                f"{self.text(node)}: first comes a text that names the dimensions, einsum('ij,jk->ik', x, y)."
            )
        self.check_text(node, compute, arguments[len(equation) :], keywords)
        arguments, keywords = self.with_places(node, compute, arguments, keywords)
        if compute in _JOINS:
            self.check_joined(node, arguments, keywords)
        elif compute is OPERATOR_FUNCTIONS["where"]:
            self.check_where(node, arguments)
        elif arguments and not equation:
            if not (compute in _SWAPPED and len(arguments) > 1 and isinstance(arguments[0], Real)):
                arguments[0] = self.tensor(node, arguments[0])  # torch.add(2.0, x) is 2.0 + x
            if compute in _TENSORS and len(arguments) > 1:
                arguments[1] = self.tensor(node, arguments[1])
        return self.apply(node, name, compute, arguments, keywords)

    def tensor(self, node: ast.Call, value):
        """What an operator wants to be a tensor: a condition counts as 0 and 1."""
        if isinstance(value, Real):
            raise RunError(f"{self.text(node)}: {shown(value)} stands where a tensor belongs: write tensor({value}).")
        return self.factor(node, value)

    def check_text(self, node: ast.Call, compute: Callable, arguments: list, keywords: dict) -> None:
        """Text is a name for the result, and sum alone takes one: x.sum(name="L0"), x.sum("L0")."""
        last = arguments[3:] if compute is OPERATOR_FUNCTIONS["sum"] else []
        for each in [*last, keywords.get("name"), *(each for each in arguments if isinstance(each, str))]:
            if each is not None and not (isinstance(each, str) and each.isidentifier()):
                raise RunError(f"{self.text(node)}: {shown(each)} is not a name: a name has letters, digits and _.")

    def check_where(self, node: ast.Call, arguments: list) -> None:
        if arguments and isinstance(arguments[0], bool):
            arguments[0] = torch.tensor(arguments[0])
        if arguments and not self.is_condition(arguments[0]):
            raise RunError(f"{self.text(node)}: first comes a condition, as in where(x > 0, x, 0.0).")
        if arguments[1:] and all(isinstance(each, Real) for each in arguments[1:]):
            raise RunError(f"{self.text(node)}: one of the two must be a tensor: write tensor({arguments[1]}).")
        arguments[1:] = [self.factor(node, each) for each in arguments[1:]]

    def with_places(self, node: ast.Call, compute: Callable, arguments: list, keywords: dict) -> tuple[list, dict]:
        """Where an operator takes places, x.gather(0, index), whole numbers: a leaf of the program holds floats."""
        names = list(inspect.signature(compute).parameters)
        if compute in _CLASSES and self.are_classes(arguments, keywords):
            arguments[1:2] = [self.places(node, each) for each in arguments[1:2]]
            keywords = {k: self.places(node, each) if k == "target" else each for k, each in keywords.items()}
        arguments = [
            self.places(node, each) if name in _PLACES else each for name, each in zip(names, arguments)
        ] + arguments[len(names) :]
        return arguments, {k: self.places(node, each) if k in _PLACES else each for k, each in keywords.items()}

    def are_classes(self, arguments: list, keywords: dict) -> bool:
        """Whether the target of a loss has no dimension of classes: then it holds the right ones."""
        given = [*arguments[:2], *([keywords["target"]] if "target" in keywords else [])]
        return len(given) == 2 and all(map(self.is_tensor, given)) and given[1].ndim < given[0].ndim

    def places(self, node: ast.Call, index):
        return [self.place(node, each) for each in index] if isinstance(index, list) else self.place(node, index)

    def check_joined(self, node: ast.Call, arguments: list, keywords: dict) -> None:
        parts = arguments[0] if arguments else keywords.get("tensors")
        if not isinstance(parts, (list, tuple)):
            raise RunError(f"{self.text(node)}: joins a list of tensors, cat([x, y]), not {shown(parts)}.")
        for part in parts:
            if not self.is_tensor(part):
                raise RunError(f"{self.text(node)}: joins tensors, and {shown(part)} is among them.")

    # --- passes ------------------------------------------------------------------------------------------------------

    def grad(self, node: ast.Call, arguments: Sequence, keywords: dict) -> Gradients:
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
        with self.guard.inside(), self.guard.in_pass():
            return Gradients(grad(loss, wanted, **modes), loss, wanted)

    # --- aggregates --------------------------------------------------------------------------------------------------

    def aggregate(self, node: ast.Call, function: str, arguments: Sequence, keywords: dict, name: str | None):
        if function != F and function not in registry:
            raise RunError(f"{self.text(node)}: the aggregate '{function}' is no longer there.")
        chosen = self.f if function == F else registry[function]
        called_as = self.text(node) + (f", where f is {name_of(chosen)}" if function == F else "")
        self.check_arguments(called_as, chosen, arguments, keywords, node)
        if not any(isinstance(each, Variable) for each in arguments):
            raise RunError(f"{called_as}: an aggregate computes on tensors; write tensor(2.0) for a number.")
        self.guard.operation()
        try:
            with self.guard.inside(), self.guard.sizes.where_needed("", (*arguments, *keywords.values())):
                result = chosen(*arguments, **keywords)
        except LimitError:
            raise
        except Exception as error:
            others = [f", where {shown(each)} is no tensor" for each in arguments if not isinstance(each, Variable)]
            error.add_note(f"in {called_as}{shapes(arguments)}{''.join(others)}")
            raise
        if not all(isinstance(each, Variable) for each in (result if isinstance(result, (list, tuple)) else [result])):
            raise RunError(f"{called_as}: gave {shown(result)}; an aggregate returns Variables.")
        self.name_result(result, name, arguments)
        return result

    def check_arguments(self, called_as: str, chosen: Callable, arguments: Sequence, keywords: dict, node: ast.Call):
        for written, argument in zip(node.args, arguments):
            if argument is None and not is_none(written):
                raise RunError(self.none_message(written))
        try:
            inspect.signature(getattr(chosen, "function", chosen)).bind(*arguments, **keywords)
        except TypeError as error:
            raise RunError(f"{called_as}: {error}.") from None
        except ValueError:  # a callable that does not say what it takes
            return

    def name_result(self, result, name: str | None, arguments: Sequence) -> None:
        """The name of the statement for what a function made, unless it is somebody's already."""
        if not name or not isinstance(result, Variable):
            return
        taken = [*arguments, *self.bound()]
        if not any(result is each for each in taken) and _NUMBERED.fullmatch(result.name):
            current_tape().rename(result, name)

    # --- the notebook's ----------------------------------------------------------------------------------------------

    def notebook(self, node: ast.Call, function: str, arguments: Sequence, keywords: dict):
        match function:
            case "Variable" | "Variable.constant":
                return self.variable(node, function, *arguments, **keywords)
            case "TapeEntry":
                return self.tape_entry(node, *arguments, **keywords)
            case "print":
                return self.print(node, arguments)
            case "reset_tape":
                return reset_tape()
        (entry,) = (*arguments, *keywords.values())
        if not isinstance(entry, TapeEntry):
            raise RunError(f"{self.text(node)}: {shown(entry)} is not an entry. Write {TAPE}.append(TapeEntry(…)).")
        return self.guarded(node, gradient_tape.append, [entry])

    def variable(self, node: ast.Call, function: str, value=None, name=None) -> Variable:
        if name is not None and not (isinstance(name, str) and name.isidentifier()):
            raise RunError(f"{self.text(node)}: {shown(name)} is not a name: a name has letters, digits and _.")
        if not isinstance(value, torch.Tensor):
            what = "a Variable already" if isinstance(value, Variable) else shown(value)
            raise RunError(
                f"{self.text(node)}: {function}(…) wraps a raw tensor, x.value or torch.tensor(…), not {what}."
            )
        make = Variable.constant if function == "Variable.constant" else Variable
        return self.guarded(node, make, [value, name])

    def tape_entry(self, node: ast.Call, inputs=(), outputs=(), propagate=None) -> TapeEntry:
        for word, names in (("inputs", inputs), ("outputs", outputs)):
            if not isinstance(names, (list, tuple)) or not all(isinstance(each, (str, Variable)) for each in names):
                raise RunError(f"{self.text(node)}: {word} are names, [a.name], or the Variables themselves, [a].")
            if not 1 <= len(names) <= MOST_SLOTS:
                raise RunError(f"{self.text(node)}: {len(names)} {word}; an entry has 1 to {MOST_SLOTS}.")
        if not self.is_own(propagate):
            raise RunError(
                f"{self.text(node)}: propagate is {shown(propagate)}. Give the function without calling it: "
                f"propagate=propagate."
            )
        return TapeEntry(list(inputs), list(outputs), propagate)

    def print(self, node: ast.Call, arguments: Sequence) -> None:
        for each in arguments:
            check_size(each, self.guard.shape)
        if self.prints:  # to write down a large tensor takes long
            self.printed(" ".join(each if isinstance(each, str) else said(each) for each in arguments))

    # --- what a Machine adds -----------------------------------------------------------------------------------------

    def bound(self) -> Sequence:
        """The values that have names."""
        return ()

    def is_own(self, function) -> bool:
        """Whether it is a function of the program."""
        return False

    prints = True  # whether a line that is printed is kept

    def printed(self, line: str) -> None:
        """A line was printed."""


def flat(arguments: Sequence) -> list:
    """With the parts of a list, cat([x, y]), in its place."""
    found: list = []
    for each in arguments:
        found += each if isinstance(each, (list, tuple)) else [each]
    return found


def has_variable(arguments: Sequence) -> bool:
    return any(isinstance(each, Variable) for each in arguments)


def on_tensors(function: str) -> Callable:
    """torch's own operator of this name."""
    name = function.removeprefix("linalg_")
    found = next((getattr(place, name) for place in PLACES if callable(getattr(place, name, None))), None)
    if found is None:
        raise RunError(f"'{function}' is there for Variables, and not for raw tensors: wrap them, Variable(…).")
    return found


def said(value) -> str:
    """A value as print shows it: as Python does."""
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        inside = ", ".join(map(said, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
    if isinstance(value, Variable):
        return repr(value.value)
    return repr(value) if isinstance(value, (Real, str, torch.Size, torch.Tensor, type(None))) else shown(value)
