"""What stands between app.py and the net: which names this server answers to, what its pages may load, who frames them.

It imports nothing of simplegrad, which takes seconds; the server is up before.
"""

import ipaddress
import os
from urllib.parse import quote, urlsplit

import streamlit as st

# Streamlit's pages need inline scripts and styles, and load components from blobs; what tests a page in a
# browser evaluates texts in it. The rest is this server's.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' {sockets} data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {frames}"
)
# Streamlit's script looks for its server below the page's own address first, which costs two answers "not found" and
# their time. It is in the folder of each page, also behind a proxy that takes a part of the path away. This comes
# behind the document, and before its scripts, which are modules, run.
SERVER = b'<script>window.__streamlit = { BACKEND_BASE_URL: new URL(".", location.href).href }</script>'
FRAMES = "SIMPLEGRAD_FRAMES"  # who may show a page in a frame, in the words of frame-ancestors


class Guarded:
    """ASGI: refuses whoever means another server, and sends headers with every answer.

    A name of somebody else's that leads here would make their page ours in the eyes of a browser (DNS rebinding).
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if not is_ours(host):
            return await refuse(scope["type"], send)

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *headers(host)]}
            await send(message)

        if is_for_a_page(scope):
            return await self.app(as_plain_text(scope), receive, with_server(send_with_headers, elsewhere(scope)))
        await self.app(scope, receive, send_with_headers)


def is_for_a_page(scope) -> bool:
    """Whether a browser shows the answer as a document: Streamlit's only one."""
    accepted = dict(scope["headers"]).get(b"accept", b"")
    return scope["type"] == "http" and scope["method"] == "GET" and accepted.startswith(b"text/html")


def as_plain_text(scope) -> dict:
    """The same request for an answer that is not packed."""
    return {**scope, "headers": [header for header in scope["headers"] if header[0] != b"accept-encoding"]}


def with_server(send, elsewhere: bytes | None):
    """`send`, where a document that goes out says at its end where its server is. Below a page there is none: a browser
    is sent to the page."""
    is_document = False

    async def sending(message):
        nonlocal is_document
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"")
            is_document = message["status"] == 200 and kind.startswith(b"text/html")
            if is_document and elsewhere is not None:
                message = {**message, "status": 307, "headers": [(b"location", elsewhere), (b"content-length", b"0")]}
            elif is_document:
                message = {**message, "headers": [longer(*header) for header in message["headers"]]}
        elif is_document and elsewhere is not None:
            message = {"type": "http.response.body"}
        elif is_document and not message.get("more_body", False):
            message = {**message, "body": message.get("body", b"") + SERVER}
        await send(message)

    return sending


def elsewhere(scope) -> bytes | None:
    """Of an address below a page's, the page's, from there: its own scripts would be looked for below it, too."""
    base = (st.get_option("server.baseUrlPath") or "").strip("/")
    parts = scope["path"].strip("/").removeprefix(base).strip("/").split("/")
    if len(parts) < 2:
        return None
    query = scope["query_string"]
    return b"../" * (len(parts) - 1) + quote(parts[0]).encode() + (b"?" + query if query else b"")


def longer(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    return name, (b"%d" % (int(value) + len(SERVER)) if name == b"content-length" else value)


def headers(host: str) -> list[tuple[bytes, bytes]]:
    frames = os.environ.get(FRAMES, "'self'")
    found = {
        "content-security-policy": POLICY.format(frames=frames, sockets=f"ws://{host} wss://{host}"),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",  # an address holds the program: it is told to nobody else
    }
    if frames == "'self'":
        found["x-frame-options"] = "SAMEORIGIN"
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in found.items()]


async def refuse(kind: str, send) -> None:
    if kind == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    said = b"This server does not answer to that name. Whoever runs it names it with --server.allowedHosts.\n"
    plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(said)).encode())]
    await send({"type": "http.response.start", "status": 421, "headers": plain})
    await send({"type": "http.response.body", "body": said})


def is_ours(host: str) -> bool:
    """Whether a Host header names this server: an address in numbers, localhost, or a name that it was given."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = (parts.hostname or "").lower().rstrip("."), parts.port
    except ValueError:
        return False
    if parts.netloc != host or "@" in host:
        return False
    return name == "localhost" or _is_address(name) or any(_fits(name, each) for each in names())


def names() -> list[str]:
    """The names that it was given: browser.serverAddress and server.allowedHosts."""
    given = [st.get_option("browser.serverAddress"), st.get_option("server.address")]
    return [each.strip().lower().rstrip(".") for each in [*given, *st.get_option("server.allowedHosts")] if each]


def _fits(name: str, given: str) -> bool:
    return given in ("*", name) or (given.startswith("*.") and name.endswith(given[1:]))


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def address() -> str:
    """What a browser on this machine opens."""
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    host = st.get_option("server.address") or "localhost"
    host = "localhost" if host in ("0.0.0.0", "::", "localhost") else f"[{host}]" if ":" in host else host
    path = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"{scheme}://{host}:{st.get_option('server.port')}/{path}{'/' if path else ''}"
