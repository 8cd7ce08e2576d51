"""Names that the server answers to, the headers of its answers, and where the browser is sent."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import hosting
from tests.browser.conftest import Server

OPTIONS = {"browser.serverAddress": "localhost", "server.address": "localhost", "server.allowedHosts": []}
OPTIONS |= {"server.sslCertFile": None, "server.baseUrlPath": "", "server.port": 8501}


@pytest.fixture
def options(monkeypatch):
    """Streamlit's, as somebody set them."""
    given = dict(OPTIONS)
    monkeypatch.setattr(hosting.st, "get_option", given.__getitem__)
    return given


OURS = ["localhost", "LOCALHOST:8501", "127.0.0.1:8501", "10.1.2.3", "[::1]:8501", "localhost."]


@pytest.mark.parametrize("host", OURS)
def test_a_server_answers_to_localhost_and_to_addresses_in_numbers(options, host):
    assert hosting.is_ours(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8501", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:x",
             "localhost@evil.example", "localhost/evil", "evil.example#localhost", "[::1", "app.example.org"],
)  # fmt: skip
def test_it_answers_to_no_other_name(options, host):
    assert not hosting.is_ours(host)


@pytest.mark.parametrize("given", [["app.example.org"], ["*.example.org"], ["*"], ["other", " APP.example.org. "]])
def test_it_answers_to_names_that_it_was_given(options, given):
    options["server.allowedHosts"] = given
    assert hosting.is_ours("App.Example.org:443")


def test_the_address_that_others_use_is_one_of_them(options):
    options["browser.serverAddress"] = "lab.example.org"
    assert hosting.is_ours("lab.example.org") and not hosting.is_ours("example.org")


@pytest.mark.parametrize(
    "changed, url",
    [
        ({}, "http://localhost:8501/"),
        ({"server.baseUrlPath": "/sub/path/"}, "http://localhost:8501/sub/path/"),
        ({"server.address": "0.0.0.0", "server.port": 80}, "http://localhost:80/"),
        ({"server.address": "10.0.0.7"}, "http://10.0.0.7:8501/"),
        ({"server.address": "::1", "server.sslCertFile": "cert.pem"}, "https://[::1]:8501/"),
    ],
)
def test_the_browser_is_sent_to_where_the_app_is(options, changed, url):
    options |= changed
    assert hosting.address() == url


# --- a server that runs -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    running = Server().wait()
    yield running
    running.stop()


def asked(url: str, host: str | None = None):
    return urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host} if host else {}), timeout=20)


def test_every_answer_says_what_a_page_may_do(server):
    for path in ("/", "/_stcore/health", "/compare", "/nowhere/else.js"):
        try:
            answer = asked(server.url + path)
        except urllib.error.HTTPError as error:
            answer = error
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'self'" in policy and "*" not in policy
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_another_name_is_refused(server):
    with pytest.raises(urllib.error.HTTPError) as refused:
        asked(server.url, "evil.example")
    assert refused.value.code == 421 and b"does not answer to that name" in refused.value.read()


def test_another_name_gets_no_websocket(server):
    headers = {"Host": f"evil.example:{server.port}", "Origin": f"http://evil.example:{server.port}"}
    address = f"ws://127.0.0.1:{server.port}/_stcore/stream"
    with pytest.raises(InvalidStatus), connect(address, additional_headers=headers, proxy=None):
        pass


def test_an_address_below_a_page_leads_to_the_page(server):
    page = urllib.request.Request(f"{server.url}/learn/8/x?lesson=8", headers={"Accept": "text/html"})
    assert urllib.request.urlopen(page, timeout=20).url == f"{server.url}/learn?lesson=8"


def test_no_page_needs_what_the_policy_forbids_or_asks_for_what_there_is_not(server, browser):
    """In a real browser: what was refused would be told in its console."""
    context = browser.new_context()
    page, told = context.new_page(), []
    page.on("console", lambda message: told.append((page.url, message.type, message.text)))
    named = {"/": "simplegrad", "/step": "Step", "/compose": "Step", "/compare": "Compare", "/compile": "Compile"}
    for path, name in (named | {"/pytorch": "PyTorch"}).items():
        page.goto(server.url + path)
        page.wait_for_selector("[data-testid=stAppViewContainer] h3, [data-testid=player], textarea, .stSelectbox")
        page.wait_for_timeout(700)
        assert page.title() == (f"{name} · simplegrad" if path != "/" else name)
    context.close()
    assert [each for each in told if each[1] == "error" or "Content" in each[2]] == []


def test_a_page_of_elsewhere_cannot_frame_it(server, browser):
    context = browser.new_context()
    page = context.new_page()
    page.set_content(f'<iframe src="{server.url}"></iframe>')
    page.wait_for_timeout(1500)
    framed = [frame.url for frame in page.frames[1:]]
    context.close()
    assert framed == ["chrome-error://chromewebdata/"]
