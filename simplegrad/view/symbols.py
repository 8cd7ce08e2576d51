"""What stands inside of a node."""

import re

from ..graph import Unit
from ..trace.events import Entry

LETTERS = 4  # in a square

SYMBOLS = {
    "add": "+", "add_number": "+", "sub": "−", "sub_number": "−", "number_sub": "−", "mul": "×", "mul_number": "×",
    "div": "÷", "div_number": "÷", "number_div": "÷", "pow": "^", "pow_number": "^", "number_pow": "^", "neg": "−x",
    "sum": "Σ", "mean": "mean", "expand": "⇔", "sum_to_size": "Σ↓", "matmul": "@", "sqrt": "√", "sigmoid": "σ",
    "sigmoid_backward": "σ′", "tanh_backward": "tanh′", "softmax": "smax", "logsumexp": "lse", "transpose": "T",
    "permute": "perm", "reshape": "rsh", "index": "[ ]", "put": "[ ]=", "maximum": "max", "minimum": "min",
    "relu_backward": "relu′", "softmax_backward": "smax′",
    "mm": "@", "bmm": "@", "addmm": "@+", "view": "rsh", "unsafeview": "rsh", "t": "T", "expandasstrided": "⇔",
    "where": "?:", "where_left": "?:", "where_right": "?:", "masked": "mask", "scaled": "×w", "stack": "stk",
    "convolution": "conv", "embedding": "emb", "linear": "@+", "select": "[ ]", "slice": "[:]", "reciprocal": "1/x",
    "rsqrt": "1/√", "softplus": "sft+", "clone": "copy",
}  # fmt: skip


def symbol_of(unit: Unit) -> str:
    if unit.kind == "group":
        return str(len(unit.entries))
    return _of_entry(unit.entries[0]) if unit.kind in ("entry", "aggregate") else ""


def _of_entry(entry: Entry) -> str:
    if entry.aggregate:
        return "f"
    name = entry.operator.rstrip("0123456789").removesuffix("Backward") or entry.operator
    return SYMBOLS.get(name) or SYMBOLS.get(name.lower()) or _initials(name) or "·"


def _initials(name: str) -> str:
    """Of NativeLayerNorm NLN, of log_softmax ls, of Gather Gthr: no more than a square has room for."""
    if len(name) <= LETTERS:
        return name
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    if len(words) > 1:
        return "".join(word[0] for word in words)[:LETTERS]
    return (name[0] + re.sub(r"[aeiou]|(.)(?=\1)", "", name[1:]))[:LETTERS]
