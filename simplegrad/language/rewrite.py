"""Changes of a program's text that leave the rest of it as it was written."""

from __future__ import annotations

import ast

import numpy
import torch


def with_leaf(source: str, call: ast.Call, value: torch.Tensor) -> str:
    """The source with this value in the place of the call that makes a leaf. Raises ValueError: see `written`."""
    return replaced(source, call, f"tensor({written(value)})")


def replaced(source: str, node: ast.expr, text: str) -> str:
    """The source with another text in the place of a node. ast counts lines from 1, and columns in bytes."""
    lines = source.encode("utf-8").splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    whole = b"".join(lines)
    first = starts[node.lineno - 1] + node.col_offset
    last = starts[node.end_lineno - 1] + node.end_col_offset
    return (whole[:first] + text.encode() + whole[last:]).decode("utf-8")


def written(value: torch.Tensor) -> str:
    """The numbers of a tensor as the language takes them, each as short as it comes back the same."""
    if not torch.isfinite(value).all():
        raise ValueError("a program can hold no infinity and no NaN.")
    if value.ndim:
        return f"[{', '.join(map(written, value))}]"
    number = value.detach().cpu().numpy()
    return repr(float(str(number))) if number.dtype == numpy.float32 else repr(float(number))
