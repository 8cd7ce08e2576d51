"""One HTML file of a trace, a comparison or a report: what stands in it, and what does not."""

import base64
import gzip
import json
import re

import pytest
import torch

from simplegrad import Report, Tape, Trace, Variable, check, grad, record
from simplegrad.__main__ import main
from simplegrad.comparison.compare import compare
from simplegrad.language import EXAMPLES, Program
from simplegrad.view.html import packed_plotly, page
from simplegrad.view.views import TraceView
from tests.view.test_foreign import run_of

PROGRAM = EXAMPLES["gradient-of-gradient"].program
EVIL = "</script></title><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def trace() -> Trace:
    return PROGRAM.run("simple_variable_wrong")


def told(text: str) -> dict:
    """What the file's script is given."""
    return json.loads(gzip.decompress(packed(text, "sg-told")))


def packed(text: str, name: str) -> bytes:
    (found,) = re.findall(rf'<script type="application/octet-stream" id="{name}">([^<]*)</script>', text)
    return base64.b64decode(found)


def test_it_is_text_without_a_path_and_a_file_with_one(trace, tmp_path):
    text = trace.to_html(step=12, title="A & B")
    assert trace.to_html(tmp_path / "run.html", step=12, title="A & B") is None
    assert (
        (tmp_path / "run.html")
        .read_text(encoding="utf-8")
        .split("sg-trace-0")[0]
        .startswith(text.split("<style>")[0].split("nonce-")[0])
    )
    assert "<title>A &amp; B</title>" in text
    assert told(text)["player"]["start"] == 12 and told(text)["player"]["address"] == "fragment"
    assert told(text)["sides"][0]["figure"]["data"]


def test_a_title_reads_as_it_is_written(trace):
    """No sign in it turns what follows around."""
    text = trace.to_html(title="a\u202egpj.exe\u2066")
    assert "<title>agpj.exe</title>" in text and told(text)["title"] == "agpj.exe"


def test_nothing_is_asked_of_anywhere(trace):
    """No element loads anything; what the script itself might ask for, the policy refuses."""
    text = trace.to_html()
    assert "default-src 'none'" in text and "connect-src" not in text
    markup = re.sub(r"<(script|style)\b[^>]*>.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(src|href|action|data|poster)\s*=", markup)
    assert not re.search(r"https?:", markup)
    assert not re.search(r"@import|url\(", re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1])
    assert set(re.findall(r"<script ([^>]*)>", text)) <= {
        *(f'type="application/octet-stream" id="{name}"' for name in ("sg-told", "sg-trace-0", "sg-plotly")),
        *re.findall(r'type="module" nonce="\w+"', text),
    }


def test_plotlys_script_is_packed_or_comes_from_where_it_is_said_to(trace):
    assert packed(trace.to_html(), "sg-plotly") == packed_plotly()
    assert b"plotly.js v" in gzip.decompress(packed_plotly())[:200]
    for said, source in (("cdn", "https://cdn.plot.ly/plotly-"), ("../plotly.min.js", "../plotly.min.js")):
        text = trace.to_html(include_plotlyjs=said)
        assert f'<script async src="{source}' in text and 'id="sg-plotly"' not in text
    assert "<script async" not in trace.to_html(include_plotlyjs=False)
    with pytest.raises(ValueError, match="expected True, False, 'cdn', or the address"):
        trace.to_html(include_plotlyjs="plotly")


@pytest.mark.parametrize("name", [EVIL, "\ud800", "&lt;b&gt;"])
def test_hostile_texts_are_data_in_every_place(name):
    """Names, sources, title, program and notices: none of them stands in the markup, whatever they are."""
    trace = run_of("f", 2, 1, name, torch.rand(2))
    trace._notices.append(name)
    text = trace.to_html(include_plotlyjs=False)
    plain = Program.parse("a = rand(2)\n").run().to_html(include_plotlyjs=False)

    def tags(page: str) -> list[str]:
        return re.findall(
            r"<\s*/?\s*\w+", re.sub(r"<style>.*?</style>|<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
        )

    assert tags(text) == tags(plain)
    assert "alert(1)</script>" not in text
    assert told(text)["notices"] == [name]
    text.encode("utf-8")


def test_two_runs_stand_side_by_side_at_their_first_divergence(trace):
    comparison = compare(trace, PROGRAM.run("simple"))
    given = told(comparison.to_html(include_plotlyjs=False))
    assert given["player"]["start"] == comparison.divergence.step
    assert given["facts"]["divergence"]["sentence"] == comparison.divergence.sentence
    assert [side["title"] for side in given["sides"]] == [
        f"{PROGRAM.title}, f = {f}" for f in ("simple_variable_wrong", "simple")
    ]
    assert len(given["player"]["aligned"]) == len(comparison.steps)
    assert [table["title"] for table in given["tables"]] == ["results", "costs, left and right"]


def test_a_report_has_its_findings_its_marked_source_and_its_trace():
    report = check("simple_variable_wrong")
    text = report.to_html()
    given = told(text)
    assert given["title"] == "simple_variable_wrong: escaped temporary"
    assert given["facts"]["findings"][0]["code"] == "escaped_temporary"
    marks = {mark for source in given["facts"]["sources"] for _, _, marks in source["lines"] for mark in marks}
    assert marks == {"made", "read"}
    assert "births" not in given["facts"], "no run was looked at for numbers that are not finite"
    assert given["player"]["start"] == report.findings[0].step
    assert given["tables"][0]["columns"] == ["order", "input", "error"]


def test_a_report_without_a_trace_needs_no_script_of_plotlys():
    given = told(text := Report("nothing").to_html())
    assert given["sides"] == [] and 'id="sg-plotly"' not in text


def long_run(count: int) -> Trace:
    """A tape that is drawn with collapsed groups."""
    with Tape(), record() as trace:
        x = z = Variable.constant(torch.full((4,), 0.5), name="x")
        for _ in range(count):
            z = (z * x).sin()
        grad(z.sum(), [x])
    return trace


def test_a_collapsed_group_has_a_picture_opened():
    trace = long_run(700)
    text = trace.to_html(include_plotlyjs=False)
    assert len(packed(text, "sg-trace-0")) < 0.9 * len(TraceView(trace).payload), "packed for keeping, not for speed"
    (side,), more = told(text)["sides"], json.loads(gzip.decompress(packed(text, "sg-opened-0")))
    assert len(more["opened"]) > 2 and set(more["homes"]) - {-1} == set(range(len(more["opened"])))
    for drawn in more["opened"].values():
        assert len(drawn["drawing"]["nodes"]) != len(side["drawing"]["nodes"])


def test_a_page_in_a_frame_leaves_the_address_alone(trace):
    assert told(page({"title": "t"}, [TraceView(trace)], address="", include_plotlyjs=False))["player"]["address"] == ""


# -- the command line --------------------------------------------------------------------------------------------------

OPS = """
import torch
from simplegrad import example

@example(lambda: torch.rand(3, dtype=torch.float64))
class Sine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        return -g * ctx.saved_tensors[0].cos()
"""


@pytest.mark.parametrize(
    ("what", "code", "title"),
    [
        ("first-gradient", 0, EXAMPLES["first-gradient"].program.title),
        ("run.trace", 0, PROGRAM.title),
        ("ops.py::Sine", 1, "Sine: "),
    ],
)
def test_the_command_writes_what_is_named(tmp_path, monkeypatch, trace, what, code, title):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ops.py").write_text(OPS)
    trace.save("run.trace")
    assert main(["html", what, "-o", "out.html", "--plotlyjs", "cdn", "--step", "1"]) == code
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert told(text)["title"].startswith(title)


@pytest.mark.parametrize("step", ["70", "999", "-1", "1e3", "one", "9" * 30])
def test_a_step_that_the_run_has_not_is_refused(tmp_path, monkeypatch, capsys, step):
    monkeypatch.chdir(tmp_path)
    wanted = ["html", "gradient-of-gradient", "--aggregate", "simple_variable_wrong", "-o", "out.html", "--step", step]
    try:
        assert main(wanted) == 2
    except SystemExit as error:
        assert error.code == 2
    said = capsys.readouterr().err
    assert "this run has steps 0 to 69" in said or "expected a whole number, 0 or more" in said
    assert not (tmp_path / "out.html").exists()


@pytest.mark.parametrize("step", [70, -1, "3", 1.5])
def test_so_it_is_for_who_asks_in_python(trace, step):
    with pytest.raises(ValueError, match=r"steps 0 to 69"):
        trace.to_html(step=step)


@pytest.mark.parametrize("command", [["check", "ops.py"], ["html", "ops.py::Sine", "-o", "out.html"], ["run", "t.py"]])
@pytest.mark.parametrize("order", ["0", "-1", "two", "1.5"])
def test_an_order_that_is_none_is_refused(capsys, command, order):
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--order", order])
    assert "expected a whole number, 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("ops.py", "say what of the file to check, ops.py::NAME or ops.py::case. It has: Cosines."),
        ("ops.py::Cosine", "Did you mean"),
        ("nowhere.trace", "nowhere.trace"),
        ("nothing-of-the-kind", "no such file, and no example of that name"),
    ],
)
def test_what_cannot_be_shown_is_said(tmp_path, monkeypatch, capsys, what, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ops.py").write_text(OPS.replace("Sine", "Cosines"))
    assert main(["html", what, "-o", "out.html"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out.html").exists()
