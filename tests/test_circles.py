"""Within a package imports go one way too: no modules import each other; and one module alone knows of deferral."""

import ast
import re
from pathlib import Path

import pytest

from .test_floors import BELOW, PACKAGE, ROOT

# Circles that are still there. One is taken out when it is opened; none is ever put in.
CIRCLES: dict[str, set[str]] = {}


def modules_of_ours(path: Path, typed: bool = False) -> set[str]:
    """The modules of simplegrad that one imports when it runs: what stands under TYPE_CHECKING is not run. `typed`:
    that too."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if typed else run_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*base, *filter(None, [node.module])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):  # by a string
            text = node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
            found.add(package + text if str(text).startswith(".") else str(text))
    return {name for name in found if name.startswith("simplegrad")}


def run_nodes(tree: ast.AST):
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from run_nodes(node)


def graph_of(part: str, typed: bool = False) -> dict[str, set[str]]:
    """Module -> the modules of the same package that it imports, those inside functions too."""
    folder = PACKAGE / part
    names = {f"simplegrad.{'.'.join(p.relative_to(PACKAGE).with_suffix('').parts)}": p for p in folder.rglob("*.py")}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    inits = {name for name, path in names.items() if path.name == "__init__.py"}
    return {
        name: {each for each in modules_of_ours(path, typed) if each in names and each != name and each not in inits}
        for name, path in names.items()
        if name not in inits
    }


def circles(graph: dict[str, set[str]]) -> set[str]:
    """The modules that reach themselves."""
    reached = {name: set(direct) for name, direct in graph.items()}
    for middle in graph:
        for name in graph:
            if middle in reached[name]:
                reached[name] |= reached[middle]
    return {name.removeprefix("simplegrad.") for name in graph if name in reached[name]}


@pytest.mark.parametrize("part", [part for part in BELOW if (PACKAGE / part).is_dir()])
def test_no_modules_of_a_package_import_each_other(part):
    assert circles(graph_of(part)) == CIRCLES.get(part, set())


@pytest.mark.parametrize("part", [part for part in BELOW if (PACKAGE / part).is_dir()])
def test_nor_do_they_for_their_types_alone(part):
    assert circles(graph_of(part, typed=True)) == CIRCLES.get(part, set())


def test_a_circle_is_seen():
    assert circles({"simplegrad.a": {"simplegrad.b"}, "simplegrad.b": {"simplegrad.a"}, "simplegrad.c": set()}) == {
        "a",
        "b",
    }


def test_only_one_module_knows_of_passes_put_off():
    """`deferred` fills two slots of the tape; nobody else speaks of it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "deferred.py" and path.parent.name in ("ops", "engine", "trace"):
            text = path.read_text().lower()
            for told in ("from .deferred import put_off_on as put_off_on", "deferred.py how"):  # the map names it
                text = text.replace(told, "")
            assert "defer" not in text and "settle" not in text, path


def test_one_loop():
    """Whatever a gradient is, Variable, tensor or symbol, one line puts it into the table."""
    adding = re.compile(r"^.*\bdL_d\[\w+\] \+?= .*$", re.MULTILINE)
    paths = [path for folder in ("engine", "compiler") for path in (PACKAGE / folder).glob("*.py")]
    found = [line for path in paths for line in adding.findall(path.read_text())]
    assert len(found) == 1, found
