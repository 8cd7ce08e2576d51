"""What check says of the collections, beside what torch's own checks say: `python -m tests.checks.figures`.

Faults of the contract: named with code and line by check, beside those that gradcheck or gradgradcheck refuse; opcheck
takes operators of torch.library alone, and none of these is one.
Kernels in half precision: right ones accused, wrong ones found. Pairs: both subjects under one code. Mutants have a
program of their own, `python -m tests.checks.mutation`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import torch
from torch.autograd import gradcheck, gradgradcheck

from simplegrad import Variable, check
from tests.checks.collection import PAIRS, half
from tests.checks.collection.contract import CONTRACT, Fault
from tests.checks.collection.functions import TWINS
from tests.checks.collection.more import BOTH
from tests.checks.right import RIGHT
from tests.checks.test_contract import names_its_line
from tests.checks.test_pairs import leaves


def refused(test: Callable, fn: Callable, inputs: tuple) -> bool:
    def alike(*given):  # from one random state, which check sees to by itself
        torch.manual_seed(3)
        return fn(*given)

    try:
        return not test(alike, inputs, raise_exception=False)
    except Exception:
        return True


def refused_by_torch(fault: Fault) -> list[str]:
    """Which of torch's checks refuse the broken one and let the right one pass."""
    tests = {"gradcheck": gradcheck, "gradgradcheck": gradgradcheck}
    return [
        name
        for name, test in tests.items()
        if refused(test, fault.broken, fault.inputs) and not refused(test, fault.right, fault.inputs)
    ]


def contract_faults() -> tuple[int, int]:
    """Named by check with code and line, and refused by torch."""
    named, theirs = 0, 0
    for name, fault in CONTRACT.items():
        report = check(fault.broken, *fault.inputs)
        right = check(fault.right, *fault.inputs).verdict
        ours = report.verdict in fault.codes and names_its_line(name, report)
        torchs = refused_by_torch(fault)
        named, theirs = named + ours, theirs + bool(torchs)
        line = "line" if names_its_line(name, report) else "no line"
        print(f"  {name:<42} {report.verdict:<24} {line:<8} right one: {right:<12} {', '.join(torchs)}")
    return named, theirs


def half_precision() -> tuple[int, int]:
    accused = [name for name, fn, inputs in half.cases() if check(fn, *inputs).faults]
    missed = [name for name, fn, inputs in half.wrong_cases() if not check(fn, *inputs).faults]
    print("  accused:", *accused)
    print("  missed:", *missed)
    return len(accused), 30 - len(missed)


def one_code_for_both() -> tuple[int, int]:
    agreed = 0
    for pair in PAIRS:
        if pair.name in TWINS:
            agreed += check(TWINS[pair.name][0].apply, *leaves(pair.inputs)).verdict == pair.code
    for both in BOTH.values():
        on_tape = check(both.aggregate[0], *[Variable.constant(x.clone()) for x in both.inputs]).verdict
        agreed += {on_tape, check(both.function[0].apply, *leaves(both.inputs)).verdict} == {both.code}
    return agreed, len(TWINS) + len(BOTH)


def false_alarms() -> int:
    alarms = []
    for name, case in RIGHT.items():
        declared = {"surrogate": True} if case.surrogate == "declared" else {}
        verdict = check(case.fn, *case.inputs, **declared).verdict
        if verdict != "correct":
            alarms.append(f"{name} ({verdict})")
    print("  not called correct:", *alarms)
    return len(alarms)


def main() -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("faults of the contract")
    named, theirs = contract_faults()
    print("half precision")
    accused, found = half_precision()
    agreed, pairs = one_code_for_both()
    print("right Functions")
    alarms = false_alarms()
    print(f"contract: {named} of {len(CONTRACT)} with code and line; gradcheck and gradgradcheck refuse {theirs}")
    print(f"half precision: {accused} of 100 right ones accused; {found} of 30 wrong ones found")
    print(f"one code for both subjects: {agreed} of {pairs}")
    print(f"right Functions not called correct: {alarms} of {len(RIGHT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
