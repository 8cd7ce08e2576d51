"""A file of the command line that never ends, or ends in its own way, in an app that people have open."""

from __future__ import annotations

import os
import time

from benchmarks._visitors import Visitor

GOOD = """
import simplegrad
@simplegrad.aggregate
def twice(a):
    return a + a
"""


def save(path, text: str) -> None:
    path.write_text(text)
    stamp = time.time_ns()
    os.utime(path, ns=(stamp, stamp))


def test_the_page_says_that_a_file_never_ends_and_mends_itself(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMPLEGRAD_READ_SECONDS", "1")
    path = tmp_path / "my_ops.py"
    save(path, "while True:\n    pass\n")
    server = fresh(str(path))
    with Visitor(server.url) as visitor:
        visitor.load()
        assert any("was stopped after 1 seconds" in told for told in visitor.told)
        assert visitor.shown("plotly_chart")
        for text, error in [(GOOD, ""), ("raise KeyboardInterrupt\n", "KeyboardInterrupt"), (GOOD, "")]:
            save(path, text)
            visitor.elements.clear()
            visitor.run()
            of_the_file = [told for told in visitor.told if "ops.py" in told]
            assert len(of_the_file) == len([error] if error else []) and all(error in told for told in of_the_file)
            menu = next(x.selectbox for x in visitor.shown("selectbox") if x.selectbox.label.startswith("Aggregate"))
            assert any("twice" in option for option in menu.options)  # a version that could be read stays in use
