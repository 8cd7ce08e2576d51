"""What is carried out of the app and into it: Save as HTML, and a trace opened by upload."""

import io
import json
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from simplegrad import Trace
from simplegrad.language import EXAMPLES
from simplegrad.trace import store
from simplegrad.view.player import carry, page
from tests.view.test_pages import APP


@pytest.fixture
def session(monkeypatch):
    """The session's state, and what is drawn."""
    state: dict = {}
    monkeypatch.setattr(carry.st, "session_state", state)
    return state


def upload(session, content: bytes, name: str = "mine.trace") -> list[str]:
    shown: list[str] = []
    file = io.BytesIO(content)
    file.name = name
    session["upload"] = file
    carry._read(shown.append)
    return shown


def saved(tmp_path) -> bytes:
    path = tmp_path / "it.trace"
    EXAMPLES["first-gradient"].program.run().save(path)
    return path.read_bytes()


def test_a_trace_is_opened_for_this_visitor_alone(session, tmp_path):
    assert upload(session, saved(tmp_path)) == ["mine.trace"]
    assert isinstance(session[page.UPLOADED]["mine.trace"], Trace)
    assert list(page.saved_traces(None)) == ["mine.trace"]


def test_its_name_reads_as_it_is_written(session, tmp_path):
    assert upload(session, saved(tmp_path), "a\u202egpj.trace") == ["agpj.trace"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"print('hello')", json.dumps({}).encode()])
def test_what_is_no_trace_is_said_to_be_none(session, content):
    assert upload(session, content) == []
    assert "mine.trace" in session["upload-problem"] and page.UPLOADED not in session


def test_what_would_take_too_much_memory_is_refused_before_it_is_read(session, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMPLEGRAD_UPLOAD_BYTES", "1000")
    monkeypatch.setattr(store, "_parsed", lambda text: pytest.fail("it was read"))
    assert upload(session, saved(tmp_path)) == []
    assert "MiB of memory to read" in session["upload-problem"] and page.UPLOADED not in session


def test_a_visitor_keeps_a_few(session, tmp_path):
    content = saved(tmp_path)
    for number in range(carry.MOST_UPLOADED + 2):
        upload(session, content, f"{number}.trace")
    assert list(session[page.UPLOADED]) == [f"{number}.trace" for number in range(2, carry.MOST_UPLOADED + 2)]


def test_what_was_opened_is_in_the_menus_of_all_pages_with_traces(tmp_path):
    (tmp_path / "it.trace").write_bytes(saved(tmp_path))
    opened = {"mine.trace": Trace.load(tmp_path / "it.trace")}
    for path, menu, choice in (
        ("step", "choose-program", "saved trace: mine.trace"),
        ("pytorch", "torch-case", "saved trace: mine.trace"),
    ):
        at = AppTest.from_file(APP, default_timeout=60)
        at.session_state[page.UPLOADED] = opened
        at.switch_page(f"pages/{path}.py").run()
        assert choice in at.selectbox(key=menu).options


def test_the_file_is_named_after_what_is_shown(monkeypatch):
    called = []
    monkeypatch.setattr(carry, "st", SimpleNamespace(download_button=lambda *given, **_: called.append(given)))
    carry.save_as_html("a/b: ../../etc & more", lambda: "page", "key")
    ((_, make, name, mime),) = called
    assert name == "a-b-..-..-etc-more.html" and mime == "text/html" and make() == "page"


@pytest.mark.parametrize("name", ["step", "compare", "pytorch"])
def test_each_page_can_be_saved(name):
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    app.switch_page(f"pages/{name}.py").run()
    assert not app.exception and not app.error
    assert [button.proto.label for button in app.get("download_button")] == ["Save as HTML"]
