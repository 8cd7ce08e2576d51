import ast
import contextlib
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from simplegrad import source_text

TEXT = "y = f(a, [b, c])[0] + (a * b).sum()\n" * 60


def test_many_threads_parse_while_others_do_so_on_their_own():
    """Python's own parser, asked from several threads at once, fails now and then with a SystemError."""
    stop = threading.Event()

    def somebody_else():
        while not stop.is_set():
            with contextlib.suppress(SystemError):
                ast.parse(TEXT)

    other = threading.Thread(target=somebody_else)
    other.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: ast.dump(source_text.parsed(TEXT)), range(120)))
    finally:
        stop.set()
        other.join()
    assert set(found) == {found[0]}


def test_a_parser_that_met_another_is_asked_again(monkeypatch):
    met = [SystemError("AST constructor recursion depth mismatch (before=27, after=25)")] * 3
    real = ast.parse
    monkeypatch.setattr(ast, "parse", lambda *given: (_ for _ in ()).throw(met.pop()) if met else real(*given))
    assert ast.dump(source_text.parsed("x = 1")) == ast.dump(real("x = 1"))
    assert not met


def test_what_never_succeeds_is_told(monkeypatch):
    def fails(*_):
        raise SystemError("broken")

    monkeypatch.setattr(ast, "parse", fails)
    with pytest.raises(SystemError, match="broken"):
        source_text.parsed("x = 1")


def test_the_filters_of_warnings_stay_as_they_are():
    before = list(warnings.filters)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: source_text.parsed("x is 1"), range(200)))
    assert warnings.filters == before
