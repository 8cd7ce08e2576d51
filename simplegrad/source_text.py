"""Python's parser for several threads at once: until 3.12 it counts depth in one place for all of them, and gives up
with a SystemError where two met (https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

import ast

from simplegrad.locks import lock
from simplegrad.quiet import muted

TRIES = 20  # others in the process, who do not take our lock, parse too
_one_at_a_time = lock()


def parsed(text: str, file: str = "<unknown>") -> ast.Module:
    """What `ast.parse` gives, from any thread. Raises what it raises (SyntaxError, ValueError, RecursionError)."""
    for tries_left in reversed(range(TRIES)):
        try:
            with _one_at_a_time, muted():  # Python's doubts about a text that is being typed are for no log
                return ast.parse(text, file)
        except SystemError:
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")
