"""What `simplegrad check --format` prints for other programs: GitHub's annotations, SARIF, JUnit.

Each is a function of the results, a list of `Result`. A finding stands on the line that is to be changed: the one that
reads the wrong value, else the one that made it, else where the Function is defined. Paths are relative to the folder
that the command was run in, as those who read them expect.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from ...targets import Target
from ..report import Finding
from .attempt import Result

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {"fault": "error", "unverified": "warning", "note": "note"}  # in SARIF's words


@dataclass(frozen=True)
class Remark:
    """One line of what is said: a level of LEVELS, the code, where, and the text."""

    level: str
    code: str
    name: str
    text: str
    file: str
    line: int
    last: int


def remarks(results: Sequence[Result]) -> Iterator[Remark]:
    """Every finding of every result, and what could not be checked. What several results say of one place is said once:
    calls of other shapes have the same fault at another element."""
    found: dict[tuple, Remark] = {}
    for each in results:
        said: Counter = Counter()
        for remark in _remarks(each):
            key = replace(remark, text="" if each.report is not None else remark.text)
            said[key] += 1
            found.setdefault((key, said[key]), remark)
    yield from found.values()


def _remarks(result: Result) -> Iterator[Remark]:
    target = result.target
    if result.report is None:
        file, line = relative(target.file), target.line or 1
        yield Remark("fault", "could_not_run", result.name, result.trouble, file, line, line)
        return
    for finding in result.report.findings:
        file, first, last = where(finding, target)
        yield Remark(finding.kind, finding.code, result.name, told(finding), file, first, last)


def where(finding: Finding, target: Target) -> tuple[str, int, int]:
    """(file, first line, last line) of what is to be changed."""
    place = finding.read_at or finding.made_at
    if place is None:
        return relative(target.file), target.line or 1, target.line or 1
    return relative(place.file), place.first, place.last


def told(finding: Finding) -> str:
    """The cause in a sentence, where the value was made, and what to write instead."""
    lines = [finding.sentence]
    if finding.made_at is not None and finding.read_at is not None:
        lines.append(f"The value is made at {relative(finding.made_at.file)}:{finding.made_at.first}.")
    if finding.fix:
        lines += ["Write instead:", finding.fix]
    return "\n".join(lines)


def relative(file: str) -> str:
    """As seen from the current folder, with forward slashes; absolute where it lies elsewhere."""
    path = os.path.relpath(file) if file else file
    return (file if path.startswith("..") else path).replace(os.sep, "/")


# -- GitHub ------------------------------------------------------------------------------------------------------------


def github(results: Sequence[Result]) -> str:
    """Workflow commands: an annotation for each remark, and a line of text for each result."""
    commands = {"fault": "error", "unverified": "warning", "note": "notice"}
    lines = [_command(commands[each.level], each) for each in remarks(results)]
    return "".join(f"{line}\n" for line in [*lines, *(f"{each.name}: {each.verdict}" for each in results)])


def _command(command: str, remark: Remark) -> str:
    fields = {
        "file": remark.file,
        "line": remark.line,
        "endLine": remark.last,
        "title": f"{remark.name}: {remark.code}",
    }
    given = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in fields.items())
    return f"::{command} {given}::{_escaped(remark.text)}"


def _escaped(text: str, more: str = "") -> str:
    for sign in f"%\r\n{more}":
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text


# -- SARIF -------------------------------------------------------------------------------------------------------------


def sarif(results: Sequence[Result]) -> dict:
    """SARIF 2.1.0, as GitHub's code scanning and editors read it."""
    from simplegrad.version import __version__

    all_of_them = list(remarks(results))
    codes = sorted({each.code for each in all_of_them})
    driver = {
        "name": "simplegrad",
        "semanticVersion": __version__,
        "rules": [{"id": code, "shortDescription": {"text": code.replace("_", " ")}} for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": all(each.report is not None for each in results)}],
        "results": [_sarif_result(each, codes) for each in all_of_them],
    }
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _sarif_result(remark: Remark, codes: list[str]) -> dict:
    region = {"startLine": remark.line, "endLine": remark.last}
    artifact = {"uri": _uri(remark.file)}
    return {
        "ruleId": remark.code,
        "ruleIndex": codes.index(remark.code),
        "level": LEVELS[remark.level],
        "message": {"text": f"{remark.name}: {remark.text}"},
        "locations": [{"physicalLocation": {"artifactLocation": artifact, "region": region}}],
        "partialFingerprints": {"simplegrad/v1": f"{remark.file}:{remark.name}:{remark.code}"},
    }


def _uri(file: str) -> str:
    from urllib.parse import quote

    return Path(file).as_uri() if os.path.isabs(file) else quote(file)


# -- JUnit -------------------------------------------------------------------------------------------------------------

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(results: Sequence[Result]) -> str:
    """A test case for each target, for what CI servers show of tests. Not judged is an error, as is not run."""
    suite = ElementTree.Element("testsuite", name="simplegrad", tests=str(len(results)))
    kinds = [_junit_case(suite, each) for each in results]
    suite.set("failures", str(kinds.count("failure")))
    suite.set("errors", str(kinds.count("error")))
    suite.set("time", f"{sum(each.seconds for each in results):.3f}")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _junit_case(suite: ElementTree.Element, result: Result) -> str:
    """Append it; what it is: passed, failure or error."""
    file = relative(result.target.file)
    about = {"name": result.name, "classname": file, "file": file, "line": str(result.target.line or 1)}
    case = ElementTree.SubElement(suite, "testcase", {key: _xml(value) for key, value in about.items()})
    case.set("time", f"{result.seconds:.3f}")
    if result.report is not None and result.report.ok:
        return "passed"
    kind = "failure" if result.report is not None and result.report.faults else "error"
    first = next((each for each in remarks([result]) if each.level != "note"), None)
    failure = ElementTree.SubElement(case, kind, type=result.verdict)
    failure.set("message", _xml(f"{first.file}:{first.line}: {first.text.splitlines()[0]}" if first else ""))
    failure.text = _xml(str(result.report) if result.report is not None else result.trouble)
    return kind


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
