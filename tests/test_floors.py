"""Imports go one way: engine -> trace -> graph -> reasons, comparison, compiler, torch -> checks -> lessons -> view."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "simplegrad"

# What each part may import of simplegrad, itself aside. `report` is what all parts say findings in.
REPORT = "checks.report"
BELOW = {
    "torch_private": set(),
    "extras": set(),
    "source_text": {"quiet", "locks"},
    "quiet": {"locks"},
    "locks": set(),
    "version": set(),
    "attached": {"extras"},
    "ops": set(),
    "engine": {"ops"},
    "trace": {"engine"},
    "aggregates": {"engine"},
    "notebook": {"engine", "trace"},
    "language": {"ops", "engine", "trace", "aggregates"},
    "problems": set(),
    "settings": set(),
    "patience": set(),
    "targets": {"aggregates", "problems"},
    "packages": {"aggregates", "problems", "targets", "files"},
    "files": {"trace", "aggregates", "problems", "targets", "settings", "patience"},
    "comparison": {"ops", "engine", "trace", REPORT},
    "graph": {"trace"},
    "reasons": {"graph", "engine", "trace", REPORT},
    "checks": {"comparison", "ops", "engine", "trace", "aggregates", "language", "files", "targets", "torch_bridge"},
    "compiler": {"ops", "engine", "trace", "aggregates", "language", REPORT},
    "gallery": set(),
    "torch_bridge": {"engine", "trace", "gallery"},
    "lessons": {"engine", "trace", "aggregates", "comparison", "language", "compiler", "checks", REPORT},
}
BELOW["lessons"] |= {"gallery", "torch_bridge"}  # what they record of PyTorch
BELOW["view"] = set(BELOW) - {"notebook"}
ANYBODYS = {"version", "torch_private", "extras", "attached", "source_text", "quiet", "locks"}
for _part in set(BELOW) - ANYBODYS:
    BELOW[_part] = BELOW[_part] | ANYBODYS
LIBRARIES = {
    "ops": {"torch"},
    "engine": {"torch"},
    "trace": {"torch", "safetensors", "numpy"},
    "language": {"torch", "numpy"},
    "graph": {"networkx"},
}


def modules(part: str) -> list[Path]:
    folder = PACKAGE / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]


def imported(path: Path) -> set[str]:
    """Absolute dotted names of all that a module imports, also inside of functions and under TYPE_CHECKING."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*base, *filter(None, [node.module])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def parts_of_ours(names: set[str]) -> set[str]:
    """`engine` of `simplegrad.engine.tape.Tape`; `checks.report` keeps its second word."""
    inside = [name.split(".")[1:] for name in names if name.split(".")[0] == "simplegrad"]
    return {REPORT if ".".join(name[:2]) == REPORT else name[0] if name else "" for name in inside}


def libraries(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names} - {"simplegrad"} - set(sys.stdlib_module_names)


def test_the_parts_are_there():
    assert all(path.exists() for part in BELOW for path in modules(part))
    assert sum(len(modules(part)) for part in BELOW) > 25


@pytest.mark.parametrize("part", BELOW)
def test_a_part_imports_only_what_is_below_it(part):
    allowed = BELOW[part] | {part} | ({REPORT} if part in ("checks", "view") else set())
    for path in modules(part):
        assert parts_of_ours(imported(path)) <= allowed, path


@pytest.mark.parametrize("part", LIBRARIES)
def test_the_lower_parts_know_few_libraries(part):
    for path in modules(part):
        assert libraries(imported(path)) <= LIBRARIES[part], path


@pytest.mark.parametrize("part", BELOW)
def test_only_the_player_knows_streamlit(part):
    for path in modules(part):
        if "player" not in path.parts:
            assert "streamlit" not in libraries(imported(path)), path


ROUTERS = {"pandas", "starlette", "hosting"}  # what app.py may import too: Streamlit's own, and the module beside it


def test_pages_are_thin():
    pages = sorted((ROOT / "pages").glob("*.py"))
    assert pages
    for path in [*pages, ROOT / "app.py"]:
        assert parts_of_ours(imported(path)) <= {"view"}, path
        assert libraries(imported(path)) <= {"streamlit", *(ROUTERS if path.name == "app.py" else ())}, path
        assert len(path.read_text().splitlines()) <= (100 if path.name == "app.py" else 60), path


def test_one_module_parses_python():
    """Its lock is of use where nobody passes it by."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "source_text.py":
            assert "ast.parse(" not in path.read_text(), path


def test_one_module_mutes_warnings():
    """`warnings.catch_warnings` changes what the whole process shows, and two threads leave it changed."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "quiet.py":
            said = path.read_text()
            assert not any(word in said for word in ("catch_warnings", "simplefilter", "filterwarnings")), path


def test_no_property_is_kept_under_a_lock_of_its_whole_class():
    """functools.cached_property has one before Python 3.12; simplegrad.locks has one without."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "locks.py":
            assert not re.search(r"functools import .*cached_property|functools\.cached_property", path.read_text()), (
                path
            )


def test_nothing_of_a_text_is_run():
    """`eval` and `exec` stand in no module; a user's aggregates are files, which Python itself compiles and runs."""
    for path in sorted(PACKAGE.rglob("*.py")) + sorted((ROOT / "pages").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}"


# What is in the project was written for people who know nothing of the machine that it was written on.
# Each pattern has a bracket in it, so that it does not find itself.
OF_ONE_MACHINE = {
    "a folder of one machine": r"(?<![\w.}])/(?:[w]ork|[o]pt|[h]ome|[r]oot|[m]nt|[s]rv|[U]sers)/\w",
    "a folder of one run": r"/[t]mp/\w",
    "the number of a task": r"\b[Ii][s]sue #?\d{1,2}\b",
    "who wrote it, and how": r"\b(?:sub-?[a]gent|[o]rchestrator|[t]eam ?mate|[w]orktree|[w]orkplace|[T]he [b]rief)s?\b",
}
HOSTS = {
    "127.0.0.1", "localhost", "10.0.0.7",  # this machine, and one in an example
    "evil.example", "course.example.org",  # names that nobody can have
    "cdn.plot.ly", "github.com", "colab.research.google.com", "www.chromium.org", "www.w3.org", "docs.oasis-open.org",
}  # fmt: skip
ENDINGS = {".py", ".md", ".toml", ".txt", ".js", ".mjs", ".ts", ".css", ".json", ".yml", ".ipynb", ""}


FOLDERS = PACKAGE, *(ROOT / name for name in "pages tests docs benchmarks tools .ci .streamlit".split())


def texts():
    """Every text of ours, with its path."""
    for path in sorted([*ROOT.iterdir(), *(path for folder in FOLDERS for path in folder.rglob("*"))]):
        ours = path.suffix in ENDINGS and not {"node_modules", "__pycache__"} & set(path.parts)
        if ours and path.is_file() and path.name not in ("codemirror.js", ".git"):
            yield path, path.read_text(encoding="utf-8")


def known_to_few(text):
    return [f"{what}: {said[0]}" for what, how in OF_ONE_MACHINE.items() for said in re.finditer(how, text)]


def test_no_text_knows_the_machine_that_it_was_written_on():
    assert [f"{path.relative_to(ROOT)}: {what}" for path, text in texts() for what in known_to_few(text)] == []
    assert known_to_few("in /{}/env, see issue {}".format("opt", 7)) and not known_to_few(
        "pytorch issue #18619, a/opt/b"
    )


def test_addresses_are_of_hosts_that_everybody_can_ask_or_nobody():
    """A registry's mirror, or a server beside the machine it was written on, is of no use to others."""
    for path, text in texts():
        assert set(re.findall(r"\bhttps?://(\[?[\w.-]+)", text)) <= HOSTS, path
