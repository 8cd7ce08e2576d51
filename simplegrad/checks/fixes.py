"""What to write instead, as code."""

from __future__ import annotations

from .case import HandEntry


def incoming(name: str) -> str:
    return f"dL_d{name.removesuffix('_v')}"


def declare_fix(entry: HandEntry, name: str, in_pass: bool) -> str:
    """For a value that escapes: declare it as an output, and let its gradient through."""
    inputs = ", ".join(f"{x}.name" for x in entry.names[0])
    outputs = ", ".join(f"{y}.name" for y in entry.names[1])
    slots = ", ".join(incoming(y) for y in [*entry.names[1], name])
    if in_pass:
        return (
            f"# compute {name} on Variables inside propagate: no .value, no tensors of forward;\n"
            f"# or make it in forward and declare it: outputs=[{outputs}, {name}.name]"
        )
    return (
        f"gradient_tape.append(TapeEntry(inputs=[{inputs}], outputs=[{outputs}, {name}.name], propagate=propagate))\n"
        f"# and in propagate, where any of them may be None:\n"
        f"{slots} = dL_doutputs\n"
        f"{incoming(name)} = add_optional({incoming(name)}, ...)  # what arrives from outside, and what comes through "
        f"{entry.names[1][0]}\n"
        f"# then pass {incoming(name)} on to all that {name} was computed from"
    )


def none_fix(slots: list[str]) -> str:
    lines = []
    for name in slots[:2]:
        lines += [f"if {incoming(name)} is not None:", f"    ...  # only here compute with {incoming(name)}"]
    return "\n".join([*lines, "total = add_optional(total, contribution)  # a None adds nothing"])
