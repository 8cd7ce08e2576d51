"""What check says of the collections, beside what torch's own checks say: `python -m tests.checks.figures`.

Faults of the contract, of Functions and of operators: named with code and line by check, beside those that gradcheck,
gradgradcheck or, of operators, opcheck refuse while they let the right one pass.
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
from tests.checks.collection.operators import DEFINED, OPERATORS
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


def refused_by_torch(name: str, fault: Fault) -> list[str]:
    """Which of torch's checks refuse the broken one and let the right one pass."""
    tests = {"gradcheck": gradcheck, "gradgradcheck": gradgradcheck}
    found = [
        test
        for test, function in tests.items()
        if refused(function, fault.broken, fault.inputs) and not refused(function, fault.right, fault.inputs)
    ]
    if name in DEFINED:
        broken, right = (refused_by_opcheck(op, fault.inputs) for op in DEFINED[name])
        found += ["opcheck"] if broken and not right else []
    return found


def refused_by_opcheck(op: Callable, inputs: tuple) -> bool:
    """By any of its four tests."""
    answers = torch.library.opcheck(op, inputs, raise_exception=False)
    return any(answer != "SUCCESS" for answer in answers.values())


def contract_faults(faults: dict[str, Fault]) -> tuple[int, int]:
    """Named by check with code and line, and refused by torch."""
    named, theirs = 0, 0
    for name, fault in faults.items():
        report = check(fault.broken, *fault.inputs)
        right = check(fault.right, *fault.inputs).verdict
        has_line = names_its_line(faults, name, report)
        torchs = refused_by_torch(name if faults is OPERATORS else "", fault)
        named, theirs = named + (report.verdict in fault.codes and has_line), theirs + bool(torchs)
        line = "line" if has_line else "no line"
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
    named, theirs = contract_faults(CONTRACT)
    print("the same as operators of torch.library")
    operators, theirs_of_operators = contract_faults(OPERATORS)
    print("half precision")
    accused, found = half_precision()
    agreed, pairs = one_code_for_both()
    print("right Functions")
    alarms = false_alarms()
    print(f"contract: {named} of {len(CONTRACT)} with code and line; gradcheck and gradgradcheck refuse {theirs}")
    print(
        f"operators: {operators} of {len(OPERATORS)} with code and line; gradcheck, gradgradcheck and opcheck refuse "
        f"{theirs_of_operators}"
    )
    print(f"half precision: {accused} of 100 right ones accused; {found} of 30 wrong ones found")
    print(f"one code for both subjects: {agreed} of {pairs}")
    print(f"right Functions not called correct: {alarms} of {len(RIGHT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
