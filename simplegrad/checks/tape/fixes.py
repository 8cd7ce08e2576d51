"""What to write instead, as code: the compiled form of the aggregate's own forward, or else the lines to change."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Sequence
from dataclasses import replace

from ..report import Finding
from ..source import statement_at
from .case import Case, HandEntry, Run
from .naming import python_name

# Faults that a propagate made by the compiler does not have; for the others a hint on one line says more.
COMPILED = (
    "escaped_temporary",
    "raw_tensor_captured",
    "none_not_handled",
    "ignored_output_gradient",
    "missing_use",
    "wrong_partial",
    "double_counted",
)


def with_fixes(case: Case, run: Run, findings: Sequence[Finding]) -> list[Finding]:
    """The findings, with the compiled form of the target where it is one aggregate with one hand-written entry."""
    if not any(finding.code in COMPILED and finding.order for finding in findings):
        return list(findings)
    text = compiled(case, run)
    return [
        replace(finding, fix=text) if text and finding.code in COMPILED and finding.order else finding
        for finding in findings
    ]


def compiled(case: Case, run: Run) -> str:
    """Forward and propagate as the compiler writes them; "" where it cannot read the forward."""
    if len(run.entries) > 1:
        return ""
    try:  # by name: the compiler is built beside the checks, and neither on the other
        return importlib.import_module("simplegrad.compiler").fix_for(case.target, case.given) or ""
    except Exception:  # no compiler, or a forward that it cannot read
        return ""


def incoming(name: str) -> str:
    return f"dL_d{name.removesuffix('_v')}"


def declare_fix(run: Run, entry: HandEntry, name: str) -> str:
    """For a temporary that escapes: declare it as an output, and let its gradient through."""
    outputs = [python_name(run, y) for y in entry.outputs]
    gradient, first = incoming(name), incoming(outputs[0])
    return "\n".join(
        [
            appended_with(run, entry, name),
            "# and in propagate, where any of them may be None:",
            f"{', '.join([*map(incoming, outputs), gradient])} = dL_doutputs",
            f"if {first} is not None:",
            f"    {gradient} = add_optional({gradient}, ...)  # what comes to {name} through {outputs[0]}",
            f"...  # pass {gradient} on to everything that {name} was computed from",
        ]
    )


def appended_with(run: Run, entry: HandEntry, name: str) -> str:
    """The statement that appends the entry, as it stands in the source, with one more output."""
    code, line = entry.appended_from or (None, 0)
    node = statement_at(code.co_filename, line) if code else None
    for call in ast.walk(node) if node else ():
        if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "TapeEntry":
            lists = [k.value for k in call.keywords if k.arg == "outputs"] + call.args[1:2]
            if lists and isinstance(lists[0], ast.List):
                old = ast.unparse(lists[0])
                return ast.unparse(node).replace(old, f"{old[:-1]}, {name}.name]")
    inputs, outputs = (
        ", ".join(f"{python_name(run, x)}.name" for x in slots) for slots in (entry.inputs, entry.outputs)
    )
    return f"gradient_tape.append(TapeEntry(inputs=[{inputs}], outputs=[{outputs}, {name}.name], propagate=propagate))"


def unwrap_fix(name: str) -> str:
    """For a value that propagate makes of raw tensors."""
    return (
        f"# compute {name} with operators on Variables: no .value, no tensor of forward;\n"
        f"# or make it in forward, {name} = Variable(...), and declare it as an output of the entry"
    )


def none_fix(slots: Sequence[str]) -> str:
    lines = []
    for name in slots[:2]:
        lines += [f"if {incoming(name)} is not None:", f"    ...  # only here compute with {incoming(name)}"]
    return "\n".join([*lines, "total = add_optional(total, contribution)  # a None adds nothing"])
