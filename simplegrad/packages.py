"""All that a file, a folder or a package has to check: `pytest --simplegrad`, for whole code bases."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .aggregates import Aggregate
from .files import UserFile
from .problems import FileProblem, FileProblemError, problem_of
from .targets import Target, targets_of


@dataclass
class Gathered:
    """What was found, in the order of the files; and what could not be read."""

    targets: list[Target] = field(default_factory=list)
    problems: list[FileProblem] = field(default_factory=list)

    @property
    def not_covered(self) -> list[Target]:
        """Those that have no example inputs."""
        return [target for target in self.targets if not target.is_ready]


def gathered(place: str) -> Gathered:
    """What `place` holds: a Python file, a folder of them, or the dotted name of a package or module."""
    path = Path(place)
    if path.suffix == ".py":
        return from_files([path])
    if not path.is_dir():
        return from_package(place)
    if (path / "__init__.py").exists():
        return from_package(_dotted(path.resolve()))
    return from_files(file for file in sorted(path.rglob("*.py")) if not _is_hidden(file.relative_to(path)))


def from_files(paths: Iterator[Path] | list[Path]) -> Gathered:
    found = Gathered()
    for path in paths:
        file = UserFile(path)
        file.refresh()
        found.targets += file.content.targets
        found.problems += [file.problem] if file.problem is not None else []
    return found


def from_package(name: str) -> Gathered:
    """A module, and all below it if it is a package; each is imported, as somebody who uses it would."""
    found = Gathered()
    for each in _names(name):
        try:
            module = importlib.import_module(each)
            if module.__file__ is not None:
                found.targets += targets_of(module, _aggregates_of(module), module.__file__)
        except FileProblemError as error:
            found.problems.append(error.problem)
        except (Exception, SystemExit) as error:  # a module may raise anything
            found.problems.append(_problem(each, error))
    return found


def _names(name: str) -> Iterator[str]:
    yield name
    package = sys.modules.get(name)
    for each in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}.", onerror=lambda _: None):
        if not each.name.endswith(".__main__"):
            yield each.name


def _aggregates_of(module: types.ModuleType) -> dict[str, Aggregate]:
    held = [each for each in vars(module).values() if isinstance(each, Aggregate)]
    return {each.name: each for each in held if each.function.__module__ == module.__name__}


def _problem(name: str, error: BaseException) -> FileProblem:
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # its package could not be imported either
        spec = None
    if spec is None or spec.origin is None:
        return FileProblem(name, f"{type(error).__name__}: {error}. Expected a Python file, a folder, or a package.")
    path = Path(spec.origin)
    return problem_of(error, path, path.read_text(encoding="utf-8", errors="replace"))


def _dotted(folder: Path) -> str:
    """The name by which a folder's package is imported; where it starts goes onto the path."""
    parts = [folder.name]
    while (folder.parent / "__init__.py").exists():
        folder = folder.parent
        parts.insert(0, folder.name)
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    return ".".join(parts)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "__pycache__")) or part in ("venv", "node_modules") for part in path.parts)
