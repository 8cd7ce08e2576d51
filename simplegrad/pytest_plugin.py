"""pytest: a test for each hand-written backward, `pytest --simplegrad PACKAGE_OR_FILE`; `check_backward` in yours.

A test stands for each torch.autograd.Function, custom op and aggregate with example inputs (`@simplegrad.example(…)`,
`@aggregate(example=…)`, `EXAMPLES`, a `case()`); what has none is listed as not covered. In a test of your own:

    @pytest.mark.simplegrad(order=3)
    def test_swish(check_backward):
        check_backward(Swish.apply, torch.rand(4, requires_grad=True))

pytest loads this module in every run of an environment that simplegrad is installed in: nothing is imported here that
is not used, torch least of all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .checks.report import Report
    from .targets import Target

PROPERTY = "simplegrad"  # what a test's report says to the one that sums up, in this process or over xdist's wire
OPTIONS = ("order", "surrogate", "reference")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simplegrad", "hand-written backwards (simplegrad)")
    group.addoption(
        "--simplegrad",
        action="append",
        default=[],
        metavar="PACKAGE_OR_FILE",
        help="check every Function, custom op and aggregate in it that has example inputs; may be given several times",
    )
    group.addoption("--simplegrad-order", type=int, default=2, metavar="N", help="the highest derivative (default: 2)")
    group.addoption(
        "--simplegrad-seed", type=int, default=0, metavar="N", help="for inputs made at random (default: 0)"
    )
    group.addoption("--simplegrad-html", metavar="DIR", help="keep a page for each fault in this folder")
    group.addoption("--simplegrad-bundles", metavar="DIR", help="keep the inputs of each fault, to check it again")
    group.addoption("--simplegrad-baseline", metavar="FILE", help="known faults, which are expected to fail")
    group.addoption("--simplegrad-write-baseline", action="store_true", help="write that file from this run's faults")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "simplegrad(order=2, surrogate=False): how `check_backward`, or a Function with this mark, is checked",
    )
    config.pluginmanager.register(Run(config), "simplegrad-run")


# -- tests that are made -----------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)  # before -k and -m choose
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    for place in config.getoption("simplegrad"):
        items.extend(items_of(session, place))


def items_of(session: pytest.Session, place: str) -> Iterator[pytest.Item]:
    """A test for each target, and one that fails for each file that cannot be read."""
    from .packages import gathered

    found = gathered(place)
    run: Run = session.config.pluginmanager.get_plugin("simplegrad-run")
    run.uncovered += [[t.name, relative(t.file), t.line or 1] for t in found.not_covered]
    files: dict[str, pytest.File] = {}
    for target in found.targets:
        file = files.setdefault(target.file, SourceFile.from_parent(session, path=Path(target.file)))
        if target.is_ready:
            yield BackwardItem.from_parent(file, name=target.name, target=target)
    for problem in found.problems:
        parent = SourceFile.from_parent(session, path=Path(problem.file)) if problem.line else session
        yield UnreadItem.from_parent(parent, name="cannot be read", text=str(problem))


class SourceFile(pytest.File):
    """A file whose backwards are tests."""

    def collect(self) -> list:
        return []


class UnreadItem(pytest.Item):
    """A file that raises when it is imported: what it says is the failure."""

    def __init__(self, *, text: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.text = text

    def runtest(self) -> None:
        raise Faulty(self.text)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: Any) -> Any:
        return failure_text(excinfo) or super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{relative(str(self.path))} {self.name}"


class BackwardItem(pytest.Item):
    """The check of one target."""

    def __init__(self, *, target: Target, **rest: Any) -> None:
        super().__init__(**rest)
        self.target = target
        for mark in marks_of(target):
            self.add_marker(mark)

    def runtest(self) -> None:
        from .checks.commands.attempt import attempt

        asked = {"order": self.config.getoption("simplegrad_order"), **marked(self)}
        judge(self, attempt(self.target, seed=self.config.getoption("simplegrad_seed"), **asked), asked)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: Any) -> Any:
        return failure_text(excinfo) or super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, (self.target.line or 1) - 1, self.name


def marks_of(target: Target) -> list[pytest.Mark]:
    """Those that stand above the Function or aggregate itself."""
    thing = getattr(target.function, "__self__", getattr(target.function, "function", target.function))
    return list(getattr(thing, "pytestmark", []))


def marked(item: pytest.Item) -> dict[str, Any]:
    """What the nearest `@pytest.mark.simplegrad(…)` asks for; a word that means nothing fails the test."""
    mark = item.get_closest_marker("simplegrad")
    asked = dict(mark.kwargs) if mark is not None else {}
    unknown = [*(repr(each) for each in (mark.args if mark is not None else ())), *(set(asked) - set(OPTIONS))]
    if unknown:
        known = ", ".join(OPTIONS)
        pytest.fail(f"@pytest.mark.simplegrad knows {known}, not {', '.join(unknown)}.", pytrace=False)
    return asked


# -- tests of one's own ------------------------------------------------------------------------------------------------


@pytest.fixture
def check_backward(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """`check_backward(fn, *inputs, order=…, surrogate=…, reference=…)`: a check whose faults fail the test.

    What is not given is taken from the test's mark. Returns the report; inputs that cannot be checked raise as `check`
    does.
    """

    def check_backward(fn: Callable[..., Any], *inputs: Any, **asked: Any) -> Report:
        __tracebackhide__ = True
        from .checks.check import check
        from .checks.commands.attempt import Result, functions_called
        from .targets import Target

        asked = {**marked(request.node), **asked}
        called = functions_called(fn, inputs)
        report = check(fn, *inputs, **asked)
        file, line, _ = request.node.location
        target = Target(request.node.name, "function", fn, None, str(request.config.rootpath / file), (line or 0) + 1)
        said = ""
        try:
            judge(request.node, Result(target, report, "", inputs, called), asked)
        except Faulty as fault:
            said = fault.text
        if said:  # not while that is handled: it would be printed as well
            pytest.fail(said, pytrace=False)
        return report

    return check_backward


# -- what came of one --------------------------------------------------------------------------------------------------


class Faulty(Exception):
    """A failure with a text of its own: the cause, the line, the fix."""

    def __init__(self, text: str, file: str = "", line: int = 0, message: str = "") -> None:
        super().__init__(text)
        self.text, self.file, self.line, self.message = text, file, line, message


def judge(item: pytest.Item, result: Any, asked: dict[str, Any]) -> None:
    """Note what came of a check, keep what was asked to be kept, and raise Faulty where it is not `correct`."""
    from .checks.commands.formats import remarks

    run: Run = item.config.pluginmanager.get_plugin("simplegrad-run")
    codes = codes_of(result)
    item.user_properties.append(
        (PROPERTY, {"test": item.nodeid, "name": result.name, "codes": codes, "called": sorted(result.called)})
    )
    if not codes:
        return
    if run.is_known(item.nodeid, codes):
        pytest.xfail(f"known: {', '.join(codes)}")
    kept = run.keep(item, result, asked)
    first = next((each for each in remarks([result]) if each.level != "note"), None)
    text = "\n".join([*failure_lines(result), *kept])
    if first is None:
        raise Faulty(text)
    raise Faulty(text, first.file, first.line, f"{result.name}: {first.code}")


def codes_of(result: Any) -> list[str]:
    """The codes of its faults, the gravest first; what could not be judged has one too."""
    if result.report is None or result.report.ok:
        return [] if result.report is not None else [result.verdict]
    return list(dict.fromkeys([result.verdict, *sorted(each.code for each in result.report.faults)]))


def failure_lines(result: Any) -> Iterator[str]:
    """What a person needs: each fault with its lines and its fix, then the numbers."""
    from .checks.report import described

    if result.report is None:
        yield f"{result.name} could not be checked. {result.trouble}"
        return
    yield f"{result.name}: {result.verdict}"
    for finding in result.report.findings:
        if not finding.is_note:
            place = finding.read_at or finding.made_at
            yield f"{relative(place.file)}:{place.first}" if place is not None else ""
            yield from described(finding)
    for order, errors in sorted(result.report.errors.items()):
        yield f"  order {order}: largest error " + ", ".join(f"{name} {error:.2g}" for name, error in errors.items())


def failure_text(excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
    """Our text, with the place where an editor or a CI server looks for it; None for another exception."""
    fault = excinfo.value
    if not isinstance(fault, Faulty):
        return None
    try:
        from _pytest._code.code import ExceptionChainRepr, ReprEntry, ReprFileLocation, ReprTraceback
    except ImportError:  # pytest promises none of these; without them only the summary's last words are missing
        return fault.text
    place = ReprFileLocation(fault.file, fault.line, fault.message) if fault.file else None
    entry = ReprEntry([f"E   {line}" for line in fault.text.splitlines()], None, None, place, "long")
    return ExceptionChainRepr([(ReprTraceback([entry], None, "long"), place, None)])


def relative(file: str) -> str:
    path = os.path.relpath(file)
    return file if path.startswith("..") else path


# -- one run -----------------------------------------------------------------------------------------------------------


class Run:
    """What one process of a test run knows: what has no inputs, what is known to be wrong, where faults are kept."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.uncovered: list[list] = []  # name, file, line
        self.told: list[dict] = []  # what judge noted, by this process or by workers
        self._known: dict[str, list[str]] | None = None

    def option(self, name: str) -> Any:
        return self.config.getoption(f"simplegrad_{name}")

    @property
    def known(self) -> dict[str, list[str]]:
        """Codes by test, of the baseline file. Raises UsageError for a file that is none."""
        if self._known is None:
            self._known = self._read_baseline()
        return self._known

    def _read_baseline(self) -> dict[str, list[str]]:
        path = self.option("baseline")
        if path is None or (self.option("write_baseline") and not Path(path).exists()):
            return {}
        try:
            return {test: list(codes) for test, codes in json.loads(Path(path).read_text())["faults"].items()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise pytest.UsageError(
                f"--simplegrad-baseline {path}: {type(error).__name__}: {error}. "
                "Write it from a run: add --simplegrad-write-baseline."
            ) from None

    def is_known(self, test: str, codes: list[str]) -> bool:
        return self.option("write_baseline") or set(codes) <= set(self.known.get(test, ()))

    def keep(self, item: pytest.Item, result: Any, asked: dict[str, Any]) -> list[str]:
        """Write the page and the inputs of a fault where that was asked for; what to say of them."""
        said = []
        name = re.sub(r"[^\w.-]+", "-", item.nodeid).strip("-")
        if self.option("bundles") is not None and result.inputs:
            said.append(self._keep_bundle(Path(self.option("bundles")) / f"{name}.safetensors", item, result, asked))
        if self.option("html") is not None and result.report is not None:
            path = Path(self.option("html")) / f"{name}.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            result.report.to_html(path)
            said.append(f"  page: {path}")
        return said

    def _keep_bundle(self, path: Path, item: pytest.Item, result: Any, asked: dict[str, Any]) -> str:
        from .checks.commands.bundle import Bundle

        about = {"test": item.nodeid, "name": result.name, "file": relative(result.target.file)}
        about |= {"codes": codes_of(result), "seed": self.option("seed"), "order": asked.get("order", 2)}
        Bundle(result.inputs, about | {"surrogate": bool(asked.get("surrogate", False))}).save(path)
        if isinstance(item, BackwardItem):
            return f"  again: simplegrad check {about['file']}::{result.target.name} --inputs {path}"
        return f"  its inputs: simplegrad.load_bundle({str(path)!r}).inputs"

    # -- summing up, in the process that prints ------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.told += [said for name, said in report.user_properties if name == PROPERTY]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(self.config, "workeroutput", None)
        if output is not None:  # a worker of xdist: what it collected goes to the one that prints
            output[PROPERTY] = self.uncovered
        elif self.option("write_baseline") and self.option("baseline") is not None:
            faults = {said["test"]: said["codes"] for said in self.told if said["codes"]}
            text = json.dumps({"version": 1, "faults": dict(sorted(faults.items()))}, indent=2)
            Path(self.option("baseline")).write_text(text + "\n")

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        found = getattr(node, "workeroutput", {}).get(PROPERTY, [])
        self.uncovered += [each for each in found if each not in self.uncovered]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.told and not self.uncovered:
            return
        terminalreporter.section("simplegrad")
        for line in self.summary():
            terminalreporter.write_line(line)

    def summary(self) -> Iterator[str]:
        """The line of coverage, what has no inputs, and what the baseline need not name any more."""
        called = {each for said in self.told for each in said["called"]}
        left = [each for each in self.uncovered if f"{Path(each[1]).resolve()}:{each[0]}" not in called]
        checked, faulty = _backwards(self.told), _backwards(said for said in self.told if said["codes"])
        total = len(checked) + len(left)
        yield f"{len(checked)} of {total} hand-written backwards checked, {len(faulty)} with a fault or not judged"
        for name, file, line in left:
            yield f"not covered: {name} ({file}:{line}) has no example inputs: @simplegrad.example(lambda: (…))"
        mended = {said["test"] for said in self.told if not said["codes"]} & set(self.known)
        for test in sorted(mended):
            yield f"mended: {test} is correct now; take it out of {self.option('baseline')}"


def _backwards(told: Iterable[dict]) -> set[str]:
    """Whose backward was checked: what the tests called, each once; a test itself where nothing of a file was."""
    return {each for said in told for each in said["called"] or [said["test"]]}
