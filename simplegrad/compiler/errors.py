"""What is raised of a source that cannot be compiled, or not for these inputs."""

from __future__ import annotations


class CompileError(ValueError):
    """What stands in the source cannot be compiled. The message says what came, and what to write instead."""


class UnfitError(CompileError, RuntimeError):
    """Inputs of shapes that the expression does not compute on. `told`: which step, and with what shapes; the message
    says too what to do about it in Python, where something can be done."""

    def __init__(self, told: str, to_do: str = ""):
        self.told = told
        super().__init__(f"{told} {to_do}".strip())


class UnknownSizeError(CompileError):
    """What stands in the source asks for a size, or how many dimensions there are: read it with that known."""
