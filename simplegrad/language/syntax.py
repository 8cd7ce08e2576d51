"""The whitelist: which nodes of Python's syntax the language has, and what is said of the others.

`READ` are the kinds that the Reader has a method for; every other kind of node is refused, with the words of `REFUSED`
where it has some. What is refused is never written, so that it can never run.
"""

from __future__ import annotations

import ast

# Operators, and what they are written as.
BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.MatMult: "@"}
BINARY |= {ast.FloorDiv: "//", ast.Mod: "%", ast.BitAnd: "&", ast.BitOr: "|"}
UNARY = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}
COMPARE = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}

STATEMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return, ast.FunctionDef, ast.If, ast.For)
STATEMENTS += (ast.Pass, ast.Import, ast.ImportFrom, ast.ClassDef, ast.With)
EXPRESSIONS = (ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.List, ast.Tuple)
EXPRESSIONS += (ast.Subscript, ast.Slice, ast.Attribute, ast.Call, ast.Starred)
# Parts of these, which have no method of their own.
PARTS = (ast.Module, ast.arguments, ast.arg, ast.keyword, ast.alias, ast.Load, ast.Store, ast.Not, ast.And, ast.Or)
PARTS += (ast.withitem, ast.Is, ast.IsNot, *BINARY, *UNARY, *COMPARE)
READ = frozenset((*STATEMENTS, *EXPRESSIONS, *PARTS))

_LOOP = "write the loop out, for x in […]: …, or write each element"
_ASYNC = "nothing waits here: a program runs from its first line to its last"
_CHANGES = "a function gives its results back with return; it changes nothing outside"
REFUSED = {
    ast.While: "there is no 'while': for i in range(n): … repeats n times",
    ast.Lambda: "write a function with a name: def g(x): return x * x",
    ast.ListComp: _LOOP,
    ast.SetComp: _LOOP,
    ast.DictComp: _LOOP,
    ast.GeneratorExp: _LOOP,
    ast.comprehension: _LOOP,
    ast.Global: _CHANGES,
    ast.Nonlocal: _CHANGES,
    ast.Delete: "nothing can be deleted: the tape keeps it",
    ast.Del: "nothing can be deleted: the tape keeps it",
    ast.JoinedStr: "text is of no use here; print takes values, print('a', a)",
    ast.FormattedValue: "text is of no use here; print takes values, print('a', a)",
    ast.NamedExpr: "give it its name on a line of its own: t = a + b",
    ast.Dict: "there are no dictionaries: give each value a name",
    ast.Set: "there are no sets: write a list, [x, y]",
    ast.Try: "an error ends the run, and is its last step: nothing catches it",
    ast.TryStar: "an error ends the run, and is its last step: nothing catches it",
    ast.ExceptHandler: "an error ends the run, and is its last step: nothing catches it",
    ast.Raise: "there is no 'raise': a step that cannot be done ends the run",
    ast.Assert: "there is no 'assert': print(x) shows a value",
    ast.Match: "there is no 'match': write if c: … elif d: …",
    ast.match_case: "there is no 'match': write if c: … elif d: …",
    ast.Break: "there is no 'break': for i in range(n): … goes on to its end",
    ast.Continue: "there is no 'continue': put what follows under an if",
    ast.Yield: "a function gives its results back with return",
    ast.YieldFrom: "a function gives its results back with return",
    ast.AsyncFunctionDef: _ASYNC,
    ast.AsyncFor: _ASYNC,
    ast.AsyncWith: _ASYNC,
    ast.Await: _ASYNC,
    ast.In: "there is no 'in': compare with ==",
    ast.NotIn: "there is no 'in': compare with !=",
    ast.LShift: "there is no '<<'",
    ast.RShift: "there is no '>>'",
    ast.BitXor: "there is no '^': a power is x ** 2",
}
OTHERWISE = "this is not part of the language: assignments, operations, functions and grad are"


def refusal(node: ast.AST) -> str:
    """What is said of a node that the language has not."""
    return f"{REFUSED.get(type(node), OTHERWISE)}."
