"""Our operators against PyTorch's own samples (OpInfo): values, shapes and gradients of order 1, 2 and 3.

    python -m tests.engine.opinfo [--every N] [--start N] [--orders N] [--part I/N] [NAME …]

prints for each operator how many forms were right, unsupported (a clear refusal), and what was wrong.
"""

from __future__ import annotations

import argparse
import sys
import unittest
import warnings
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import torch

from simplegrad import Tape, TapeError, Variable, grad
from simplegrad.ops import UnsupportedError, named_operator

sys.modules.setdefault("expecttest", SimpleNamespace(TestCase=unittest.TestCase))  # which the tests of torch import
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402

MOST_ELEMENTS = 2000
# Whose third derivative is wrong in torch: the second takes the mean and variance for constants (a test shows it).
WRONG_IN_TORCH = tuple(f"nn.functional.{name}_norm" for name in ("batch", "layer", "instance"))
TOLERANCE = {torch.float64: (1e-8, 1e-6, 1e-5), torch.float32: (2e-3, 2e-2, 2e-1)}  # of order 1, 2, 3


def ours() -> list:
    """The OpInfos of operators that Variables have."""
    return [
        info
        for info in op_db
        if not info.name.startswith(("masked.", "sparse."))
        and "dropout" not in info.name  # which draws numbers
        and info.name != "empty_like"  # whose numbers are whatever was there
        and info.name != "nn.functional.max_pool2d"  # whose samples alone take 10 seconds to make
        and named_operator(last(info)) is not None
        and torch.float64 in info.supported_dtypes("cpu")
    ]


def last(info) -> str:
    return (
        info.name.rsplit(".", 1)[-1]
        if not info.name.startswith(("linalg.", "special."))
        else info.name.replace(".", "_")
    )


def variables(x, leaves: list):
    if isinstance(x, torch.Tensor) and x.is_floating_point() and x.requires_grad:
        leaves.append(Variable.constant(x.detach()))
        return leaves[-1]
    return type(x)(variables(each, leaves) for each in x) if type(x) in (list, tuple) else x


def tensors(x, leaves: list):
    if isinstance(x, torch.Tensor) and x.is_floating_point() and x.requires_grad:
        leaves.append(x.detach().requires_grad_())
        return leaves[-1]
    return type(x)(tensors(each, leaves) for each in x) if type(x) in (list, tuple) else x


def outputs(r) -> list:
    return [x for x in (r if isinstance(r, (tuple, list)) else [r]) if isinstance(x, (Variable, torch.Tensor))]


def weighted(results: list, wrap):
    total = None
    for i, r in enumerate(results):
        if r is None or not r.dtype.is_floating_point:
            continue
        weights = torch.linspace(0.5, 1.5, r.numel(), dtype=r.dtype).reshape(tuple(r.shape)) + i
        term = (r * wrap(weights)).sum()
        total = term if total is None else total + term
    return total


def climb(function, sample, kind: str, orders: int = 2) -> list:
    """The results, and the gradients of each order."""
    leaves: list = []
    convert = variables if kind == "ours" else tensors
    wrap = Variable.constant if kind == "ours" else lambda x: x
    args = [convert(x, leaves) for x in (sample.input, *sample.args)]
    kwargs = {k: convert(x, leaves) for k, x in sample.kwargs.items()}
    results = outputs(function(*args, **kwargs))
    found = [results]
    for _ in range(orders):
        L = weighted(results, wrap)
        if L is None or not leaves or (kind != "ours" and not L.requires_grad):
            break
        if kind == "ours":
            results = grad(L, leaves)
        else:
            results = list(torch.autograd.grad(L, leaves, create_graph=True, allow_unused=True))
        found.append(results)
        results = [None if g is None else g * g for g in results]
    return [[None if r is None else raw(r) for r in row] for row in found]


def raw(x) -> torch.Tensor:
    return (x.value if isinstance(x, Variable) else x).detach()


def verdict(function, sample, dtype, orders: int = 2) -> str:
    """right, unsupported, or what is wrong."""
    if any(isinstance(x, torch.Tensor) and x.dtype == torch.float32 for x in sample.kwargs.values()):
        dtype = torch.float32  # some samples have weights of less precision than the rest
    try:
        theirs = climb(function, sample, "theirs", orders)
    except Exception:
        return "no reference"
    try:
        with Tape():
            mine = climb(function, sample, "ours", orders)
    except (UnsupportedError, TapeError) as error:
        return f"unsupported: {str(error)[:90]}"
    except Exception as error:
        return f"foreign {type(error).__name__}: {str(error)[:90]}"
    for order in range(max(len(mine), len(theirs))):
        a, b = (
            rows[order] if order < len(rows) else [None] * len(max(mine, theirs, key=len)[order])
            for rows in (mine, theirs)
        )
        if len(a) != len(b):
            return f"order {order}: {len(a)} results for {len(b)}"
        for ours_, true in zip(a, b):
            if ours_ is None or true is None:
                some = true if ours_ is None else ours_
                if (
                    some is not None
                    and not some.isnan().any()
                    and not alike(some, torch.zeros_like(some), dtype, order)
                ):
                    return f"order {order}: {'missing' if ours_ is None else 'too much'}"
            elif ours_.shape != true.shape:
                return f"order {order}: shape {tuple(ours_.shape)} for {tuple(true.shape)}"
            elif true.is_floating_point() and not alike(ours_, true, dtype, order):
                return (
                    f"order {order}: wrong by {float((ours_ - true).abs().max()):.2g}"
                    if both_finite(ours_, true)
                    else "nonfinite"
                )
    return "right"


def both_finite(a, b) -> bool:
    return bool(a.isfinite().all() and b.isfinite().all())


def alike(a, b, dtype, order: int) -> bool:
    tolerance = TOLERANCE[dtype][max(order - 1, 0)]
    return torch.allclose(
        a.to(b.dtype),
        b,
        rtol=tolerance,
        atol=tolerance * max(1.0, *b.abs().nan_to_num().flatten().tolist(), 0.0),
        equal_nan=True,
    )


def forms(info) -> Iterator:
    yield info.op
    if info.method_variant is not None:
        yield lambda x, *args, **kwargs: getattr(x, info.method_variant.__name__)(*args, **kwargs)


def judged(info, every: int = 1, dtypes=(torch.float64, torch.float32), orders: int = 2, start: int = 0) -> Counter:
    found: Counter = Counter()
    orders = min(orders, 2) if info.name in WRONG_IN_TORCH else orders
    for dtype in dtypes:
        for i, sample in enumerate(info.sample_inputs("cpu", dtype, requires_grad=True)):
            sizes = [x.numel() for x in (sample.input, *sample.args) if isinstance(x, torch.Tensor)]
            if i % every != start % every or sum(sizes) > MOST_ELEMENTS:
                continue
            for function in forms(info):
                found[verdict(function, sample, dtype, orders)] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--start", type=int, default=0, help="the first sample of those that are tried")
    parser.add_argument("--orders", type=int, default=2)
    parser.add_argument("--part", default="0/1", help="2/5: every fifth operator, from the third on")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    total: Counter = Counter()
    part, parts = map(int, options.part.split("/"))
    for info in ours()[part::parts]:
        if options.names and info.name not in options.names:
            continue
        dtypes = (torch.float64,) if options.orders > 2 else (torch.float64, torch.float32)
        found = judged(info, options.every, dtypes, options.orders, options.start)
        for key, n in found.items():
            total[key.split(":")[0].split(" ")[0]] += n
        rest = {key: n for key, n in found.items() if key not in ("right", "no reference")}
        print(f"{info.name} {info.variant_test_name}: {found['right']} right {rest or ''}", flush=True)
    print(dict(total))


if __name__ == "__main__":
    main()
