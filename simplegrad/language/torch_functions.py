"""`class Mine(torch.autograd.Function)` in a program: read by the whitelist, and made anew from what was accepted.

A class holds `forward` and `backward`, static methods that compute on raw tensors. The class that runs is made of
functions that were written from the accepted tree; of `ctx` a text can say what METHODS and READ list, and keep values
under names of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from ..engine import Variable
from .errors import RunError
from .leaves import shown

BASES = ("torch.autograd.Function", "autograd.Function", "Function")
PARTS = {"forward": "forward(ctx, x)", "backward": "backward(ctx, dL_dy)"}
ONCE = "once_differentiable"
DECORATORS = ("staticmethod", ONCE)
METHODS = ("save_for_backward", "set_materialize_grads", "mark_non_differentiable")
READ = ("saved_tensors", "needs_input_grad")
NO_GRAD = "torch.no_grad()"


class FunctionReader:
    """The part of the Reader that reads such classes. `context`: what the method that is being read calls its ctx."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.classes: dict[str, None] = {}
        self.context = ""

    def read_ClassDef(self, node: ast.ClassDef) -> list[ast.stmt]:
        self.check_class(node)
        self.give(node, node.name)
        self.classes[node.name] = None
        methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
        maker = f"_class{len(self.classes)}"  # a function, so that methods are names of nobody else
        written = [part for each in methods for part in self.method_of(each)]
        parts = {each.name: ast.Name(each.name, ast.Load()) for each in methods}
        once = any(ast.unparse(mark) == ONCE for each in methods for mark in each.decorator_list)
        made = self.write(
            node,
            "_torch_function",
            ast.Constant(node.name),
            ast.Dict([ast.Constant(each) for each in parts], list(parts.values())),
            ast.Constant(once),
        )
        nothing = ast.arguments([], [], None, [], [], None, [])
        whole = ast.FunctionDef(maker, nothing, [*written, ast.Return(made)], [], None)
        call = ast.Call(ast.Name(maker, ast.Load()), [], [])
        named = ast.Assign([ast.Name(node.name, ast.Store())], call)
        return [ast.fix_missing_locations(ast.copy_location(each, node)) for each in (whole, named)]

    def check_class(self, node: ast.ClassDef) -> None:
        if [ast.unparse(base) for base in node.bases] not in [[base] for base in BASES] or node.keywords:
            raise self.error(
                node,
                "classes cannot be defined here, but for a torch.autograd.Function: "
                "class Mine(torch.autograd.Function). Variable and TapeEntry are there already.",
            )
        if self.scope.outer is not None or self.free or node.decorator_list:
            raise self.error(node, "a Function is defined at the top, without decorators.")
        for each in node.body:
            is_text = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
            if not is_text and not (isinstance(each, ast.FunctionDef) and each.name in PARTS):
                raise self.error(each, f"a Function has static methods here, and nothing else: {', '.join(PARTS)}.")
        missing = {"forward", "backward"} - {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
        if missing:
            raise self.error(node, f"a Function needs a {' and a '.join(sorted(missing))}.")

    def method_of(self, node: ast.FunctionDef) -> list[ast.stmt]:
        marks = [ast.unparse(mark) for mark in node.decorator_list]
        if "staticmethod" not in marks or not set(marks) <= set(DECORATORS):
            raise self.error(node, f"write @staticmethod above it, as PyTorch wants it: def {PARTS[node.name]}.")
        plain = ast.copy_location(ast.FunctionDef(node.name, node.args, node.body, [], node.returns), node)
        self.context = node.args.args[0].arg if node.args.args else ""
        names = dict(self.scope.names)
        written = self.read_FunctionDef(plain)
        self.scope.names, self.context = names, ""  # a method is no name of the program
        self.functions.pop(node.name, None)
        return written

    # --- ctx ---------------------------------------------------------------------------------------------------------

    def is_context(self, node: ast.AST) -> bool:
        return bool(self.context) and isinstance(node, ast.Name) and node.id == self.context

    def kept(self, node: ast.Assign) -> list[ast.stmt] | None:
        """`ctx.e = e`, where it is that."""
        match node.targets:
            case [ast.Attribute(value=ast.Name() as owner, attr=name)] if self.is_context(owner):
                self.checked(node.targets[0], name)
                value = self.expression(node.value)
                return [ast.Expr(self.write(node, "_keep", ast.Name(owner.id, ast.Load()), ast.Constant(name), value))]
        return None

    def read_Attribute(self, node: ast.Attribute, name: str | None) -> ast.expr:
        if not self.is_context(node.value):
            return super().read_Attribute(node, name)
        self.checked(node, node.attr)
        return self.write(node, "_of_context", ast.Name(self.context, ast.Load()), ast.Constant(node.attr))

    def read_Call(self, node: ast.Call, name: str | None) -> ast.expr:
        match node.func:
            case ast.Attribute(value=owner, attr=method) if self.is_context(owner):
                if method not in METHODS:
                    known = ", ".join(f"ctx.{each}(…)" for each in METHODS)
                    raise self.error(node.func, f"of ctx there are {known}, and what you keep: ctx.e = e.")
                context = ast.Name(self.context, ast.Load())
                return self.write(node, "_context_method", context, ast.Constant(method), *self.arguments(node))
            case ast.Attribute(value=ast.Name(id=owner), attr="apply") if owner in self.classes:
                return self.write(node, "_apply_function", ast.Name(owner, ast.Load()), *self.arguments(node))
        return super().read_Call(node, name)

    def read_With(self, node: ast.With) -> list[ast.stmt]:
        said = [ast.unparse(each) for each in node.items]
        if not self.context or said != [NO_GRAD]:
            raise self.error(node, f"there is no 'with' here, but for 'with {NO_GRAD}:' in a Function.")
        item = ast.withitem(ast.Call(ast.Name("_no_grad", ast.Load()), [], []), None)
        return [ast.fix_missing_locations(ast.copy_location(ast.With([item], self.block(node.body)), node))]


class FunctionCalls:
    """The part of the Machine that makes such classes, and does what they say of ctx."""

    def of_functions(self) -> dict[str, Callable]:
        return {
            "_torch_function": self.torch_function,
            "_keep": self.keep,
            "_of_context": self.of_context,
            "_context_method": self.context_method,
            "_apply_function": self.apply_function,
            "_no_grad": torch.no_grad,
        }

    def torch_function(self, number: int, name: str, methods: dict[str, Callable], once: bool) -> type:
        backward = once_differentiable(methods["backward"]) if once else methods["backward"]
        made = {part: staticmethod(method) for part, method in {**methods, "backward": backward}.items()}
        found = type(name, (torch.autograd.Function,), {**made, "__module__": "program"})
        self.classes.append(found)
        return found

    def context_of(self, number: int, ctx: object) -> FunctionCtx:
        if not isinstance(ctx, FunctionCtx):
            raise RunError(f"{self.text(self.nodes[number])}: this is {shown(ctx)}, not ctx.")
        return ctx

    def keep(self, number: int, ctx: object, name: str, value: object) -> None:
        if hasattr(FunctionCtx, name) or hasattr(type(ctx), name):
            raise RunError(f"{self.text(self.nodes[number])}: ctx has a {name} of its own: choose another name.")
        vars(self.context_of(number, ctx))[name] = value

    def of_context(self, number: int, ctx: object, name: str) -> object:
        kept = vars(self.context_of(number, ctx))
        if name not in READ and name not in kept:
            known = ", ".join(f"ctx.{each}" for each in (*READ, *kept))
            raise RunError(f"{self.text(self.nodes[number])}: nothing was kept under this name. There are: {known}.")
        return getattr(ctx, name)

    def context_method(self, number: int, ctx: object, name: str, arguments: tuple, keywords: dict) -> None:
        node = self.nodes[number]
        if self.seen is not None:
            self.seen.append((name, None))
        self.guarded(node, getattr(self.context_of(number, ctx), name), arguments, keywords)

    def apply_function(self, number: int, function: object, arguments: tuple, keywords: dict):
        node = self.nodes[number]
        if function not in self.classes:
            raise RunError(f"{self.text(node)}: {shown(function)} is not a Function of this program.")
        if keywords or any(isinstance(each, Variable) for each in arguments):
            raise RunError(f"{self.text(node)}: apply takes raw tensors, by position. A Variable has one in x.value.")
        with self.guard.inside():
            made = self.guarded(node, function.apply, arguments)
        for each in made if isinstance(made, tuple) else (made,):
            self.counted(each)
        return made
