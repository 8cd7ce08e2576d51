"""Visitors without a browser: each speaks to the server as the browser does, over a websocket, in Streamlit's words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlencode, urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import connect

PATIENCE = 60  # seconds, for anything that is waited for
LARGEST = 64 << 20  # bytes of a message


class Visitor:
    """One open page. `url` is the address of the server, below which the page `name` lies ("" for what stands at `/`).

    `elements` is what the page shows, by its place, as Streamlit's messages describe it.
    """

    def __init__(self, url: str, name: str = "", /, cookie: str = "", **query: str | int):
        parts = urlsplit(url)
        address = parts._replace(scheme="ws", path=f"{parts.path.rstrip('/')}/_stcore/stream").geturl()
        self.name, self.query = name, urlencode(query)
        self.page_hash, self.elements = "", {}
        self.widgets: dict[str, WidgetState] = {}
        self._open = ExitStack()
        headers = {"Cookie": cookie} if cookie else {}
        options = {
            "additional_headers": headers,
            "subprotocols": ["streamlit"],
            "max_size": LARGEST,
            "close_timeout": 1,
            "proxy": None,
        }
        self.socket = self._open.enter_context(connect(address, open_timeout=PATIENCE, **options))

    def load(self) -> float:
        """Ask for the page; seconds until it stands."""
        return self.run()

    def choose(self, label: str, number: int) -> float:
        """Choose in a menu, by the beginning of its label; seconds until the page stands again."""
        found = next(x.selectbox for x in self.shown("selectbox") if x.selectbox.label.startswith(label))
        option = found.options[number % len(found.options)]
        self.widgets[found.id] = WidgetState(id=found.id, string_value=option)
        return self.run()

    def run(self) -> float:
        """Have the page run with what was chosen; seconds until it is over. A page may run again at once by itself."""
        start = time.perf_counter()
        self.ask()
        for message in self.messages():
            if message.WhichOneof("type") == "script_finished" and message.script_finished in _OVER:
                return time.perf_counter() - start
        raise ConnectionError("the server closed the connection")

    def ask(self, fragment: str = "") -> None:
        """The same, and do not wait. `fragment`: the part of the page that runs alone, or all of it."""
        said = BackMsg()
        said.rerun_script.fragment_id = fragment
        said.rerun_script.query_string = self.query
        said.rerun_script.page_name = "" if self.page_hash else self.name
        said.rerun_script.page_script_hash = self.page_hash
        for widget in self.widgets.values():
            said.rerun_script.widget_states.widgets.add().CopyFrom(widget)
        self.socket.send(said.SerializeToString())

    def messages(self) -> Iterator[ForwardMsg]:
        """What comes, as it comes."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            message = ForwardMsg.FromString(self.socket.recv(timeout=end - time.monotonic()))
            self.hear(message)
            yield message
        raise TimeoutError(f"nothing came to an end within {PATIENCE} seconds")

    def hear(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self.page_hash = message.new_session.page_script_hash
        elif kind == "navigation":
            self.page_hash = message.navigation.page_script_hash or self.page_hash
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            self.elements[tuple(message.metadata.delta_path)] = message.delta.new_element

    def shown(self, kind: str) -> list:
        """The elements of one kind: "selectbox", "alert", "plotly_chart", "exception"."""
        return [each for each in self.elements.values() if each.WhichOneof("type") == kind]

    @property
    def told(self) -> list[str]:
        """Errors, warnings and hints that the page shows."""
        told = [each.alert.body for each in self.shown("alert")]
        return told + [f"{each.exception.type}: {each.exception.message}" for each in self.shown("exception")]

    def leave(self) -> None:
        self._open.close()

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_) -> None:
        self.leave()


_OVER = (
    ForwardMsg.ScriptFinishedStatus.FINISHED_SUCCESSFULLY,
    ForwardMsg.ScriptFinishedStatus.FINISHED_WITH_COMPILE_ERROR,
)
