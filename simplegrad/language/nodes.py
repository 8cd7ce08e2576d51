"""Questions that several parts ask of a program's syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from .leaves import LEAVES, RANDOM
from .names import MODULE


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


def seeds(statements: Sequence[ast.stmt]) -> dict[ast.Call, int]:
    """Seeds for the random leaves that say none, 1, 2, … in the order of the text: the same in every run."""
    nodes = [node for statement in statements for node in ast.walk(statement) if called(node) in RANDOM]
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


def is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
