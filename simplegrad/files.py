"""A file of your own: aggregates, PyTorch Functions, a `case()`, or a saved trace; read again when it is saved.

Code comes from the paths of the command line and from nowhere else: `from_command_line` and the check command are the
only places where a path enters. What such a file may hold, beside anything that Python allows:

    @simplegrad.aggregate(example=lambda: (torch.rand(4), torch.rand(4)))     # goes into every menu
    def fused(a, b): ...

    EXAMPLES = {"MyFunction": lambda: (x, w)}     # inputs for a torch.autograd.Function, module or function above
    class MyFunction(torch.autograd.Function):    # or beside it:
        example = staticmethod(lambda: (x, w))

    def case():                                   # one function with its inputs
        return MyFunction.apply, (x, w)
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
import types
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.abc import ExecutionLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

from .aggregates import Aggregate, registry
from .locks import lock, rlock
from .patience import TookTooLong, TorchSettings, torch_settings_kept, within
from .problems import FileProblem, FileProblemError, at_line, lines_of, problem_of
from .settings import READ_SECONDS
from .targets import Target, targets_of
from .trace import Trace


@dataclass
class Content:
    """What a file held when it was last read without an error."""

    text: str = ""
    module: types.ModuleType | None = None
    aggregates: dict[str, Aggregate] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    trace: Trace | None = None


class UserFile:
    """One path of the command line. `refresh()` reads it when it was saved since.

    `content` is the last version that could be read, `problem` what is wrong with the newest one, or None. `version`
    counts the readings that succeeded: what was computed with an older one is out of date.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).resolve()
        self.content = Content()
        self.problem: FileProblem | None = None
        self.version = 0
        self._stamps: dict[str, tuple | None] = {}
        self._helpers: list[str] = []  # modules beside it that it imported

    @property
    def name(self) -> str:
        return self.path.name.encode("utf-8", "replace").decode()  # bytes that are no text are none on a page

    @property
    def origin(self) -> str:
        """What its aggregates carry as `origin`."""
        return str(self.path)

    def has_changed(self) -> bool:
        """Whether the file, or a module beside it that it imports, was saved since it was read. Costs a stat each."""
        return not self._stamps or any(_stamp(path) != stamp for path, stamp in self._stamps.items())

    def refresh(self) -> bool:
        """Read it if it changed; whether it did. An error leaves the version before in use."""
        is_new = not self.version and self.problem is None
        if not _reading.acquire(blocking=is_new):  # somebody reads: until then there is the version before
            return False
        try:
            if not self.has_changed():
                return False
            self._stamps = {self.origin: _stamp(self.origin)}
            try:
                self.content = self._read()
                self.problem = None
                self.version += 1
            except FileProblemError as error:
                self.problem = error.problem
            self._stamps |= {path: _stamp(path) for path in self._helper_files()}
            return True
        finally:
            _reading.release()

    def _helper_files(self) -> list[str]:
        """Also the one with the error, if it never became a module."""
        modules = (sys.modules.get(name) for name in self._helpers)
        broken = [self.problem.file] if self.problem is not None else []
        return broken + [module.__file__ for module in modules if module is not None]

    def _read(self) -> Content:
        if not self.path.is_file():
            raise FileProblemError(FileProblem(self.origin, "there is no such file."))
        if self.path.suffix == ".trace":
            return Content(trace=self._read_trace())
        if self.path.suffix != ".py":
            raise FileProblemError(FileProblem(self.origin, "expected a Python file (.py) or a saved trace (.trace)."))
        return self._read_python()

    def _read_trace(self) -> Trace:
        try:
            return Trace.load(self.path)
        except Exception as error:  # whatever is wrong with it, the other files stay usable
            said = str(error).removeprefix(f"{self.path}: ")  # where it is stands before what is wrong with it
            raise FileProblemError(FileProblem(self.origin, said)) from error

    def _read_python(self) -> Content:
        try:
            text = self.path.read_text(encoding="utf-8-sig")  # as Python does, also with a byte order mark
        except (OSError, UnicodeDecodeError) as error:
            raise FileProblemError(FileProblem(self.origin, f"cannot be read: {error}")) from error
        before = dict(registry)
        place = self._import_place()
        with lines_of(self.origin, text), place, _restored_on_error(before), torch_settings_kept() as usual:
            try:
                module, settings = within(READ_SECONDS(), lambda: (self._imported(text), TorchSettings()))
                aggregates = self._aggregates(module, before)
                targets = list(targets_of(module, aggregates, self.origin))
            except FileProblemError:
                raise
            except BaseException as error:  # a file may raise anything, or end with sys.exit()
                if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                    raise  # of the person at the terminal
                raise FileProblemError(problem_of(_in_words(error), self.path, text)) from error
            if settings != usual:
                aggregates, targets = _with_settings(settings, aggregates, targets)
            registry.discard(self.origin)
            for each in aggregates.values():
                registry.add(each)
        return Content(text, module, aggregates, targets)

    def _imported(self, text: str) -> types.ModuleType:
        """The file as a module of a private name, run by Python's own import machinery."""
        spec = spec_from_loader(self.module_name, _TextLoader(self.module_name, self.origin, text), origin=self.origin)
        module = module_from_spec(spec)
        module.__file__ = self.origin
        sys.modules[self.module_name] = module  # inspect.getsource of a class looks here
        spec.loader.exec_module(module)
        return module

    @property
    def module_name(self) -> str:
        return f"_file_{self.path.stem}_{zlib.crc32(self.origin.encode()):08x}"

    def _aggregates(self, module: types.ModuleType, before: dict[str, Aggregate]) -> dict[str, Aggregate]:
        """Those that running it registered, and others that it holds by a name."""
        held = {each.name: each for each in vars(module).values() if isinstance(each, Aggregate)}
        found = {name: each for name, each in (held | dict(registry)).items() if before.get(name) is not each}
        for name, each in found.items():
            taken = before.get(name)
            if taken is not None and taken.origin != self.origin:
                owner = "simplegrad itself" if taken.origin == "simplegrad" else taken.origin
                message = f"the name '{name}' is taken by an aggregate of {owner}. Give this one another name."
                raise FileProblemError(at_line(self.origin, each.line, message, module))
            each.origin = self.origin
            _ = each.source  # kept now: the file may change before anybody asks for it
        return found

    @contextmanager
    def _import_place(self) -> Iterator[None]:
        """The file's folder first on the path, as for `python FILE`; modules there are read anew with it."""
        folder = str(self.path.parent)
        replaced = sys.modules.get(self.module_name)
        for name in [name for name, beside in _helpers.items() if beside != folder or name in self._helpers]:
            sys.modules.pop(name, None)  # another folder's may have the same name
        known = set(sys.modules)
        # bytecode is dated to the second: a module beside the file, saved twice in one, would come out old
        wrote_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        importlib.invalidate_caches()
        sys.path.insert(0, folder)
        try:
            yield
        except BaseException:
            if replaced is not None:
                sys.modules[self.module_name] = replaced
            else:
                sys.modules.pop(self.module_name, None)
            raise
        finally:
            sys.dont_write_bytecode = wrote_bytecode
            sys.path.remove(folder)
            added = [name for name in sys.modules if name not in known and name != self.module_name]
            self._helpers = [name for name in added if _is_beside(sys.modules[name], folder)]
            _helpers.update(dict.fromkeys(self._helpers, folder))
            if folder not in sys.path:
                sys.path.append(folder)  # last, so that it hides nothing: for imports inside its functions


class _TextLoader(ExecutionLoader):
    """Loads a module from the text that was read: no cached bytecode can be stale."""

    def __init__(self, name: str, path: str, text: str):
        self.name = name
        self.path = path
        self.text = text

    def get_source(self, fullname: str) -> str:
        return self.text

    def get_filename(self, fullname: str) -> str:
        return self.path

    def is_package(self, fullname: str) -> bool:
        return False


class UserFiles(Sequence[UserFile]):
    """The files of the command line, in its order."""

    def __init__(self, paths: Sequence[str | os.PathLike] = ()):
        self._files = [UserFile(path) for path in dict.fromkeys(Path(path).resolve() for path in paths)]

    def __getitem__(self, index):
        return self._files[index]

    def __len__(self) -> int:
        return len(self._files)

    def refresh(self) -> bool:
        """Read those that were saved since; whether there were any."""
        return any([file.refresh() for file in self._files])  # a list: each of them, not only up to the first

    def have_changed(self) -> bool:
        return any(file.has_changed() for file in self._files)

    @property
    def version(self) -> tuple[int, ...]:
        """Changes whenever a file was read anew: a part of the key of whatever is cached."""
        return tuple(file.version for file in self._files)

    @property
    def state(self) -> tuple:
        """Changes also where a reading failed: what a page shows is out of date then."""
        return tuple((file.version, file.problem) for file in self._files)

    @property
    def problems(self) -> list[FileProblem]:
        return [file.problem for file in self._files if file.problem is not None]

    @property
    def targets(self) -> list[Target]:
        return [target for file in self._files for target in file.content.targets]

    @property
    def traces(self) -> dict[str, Trace]:
        """Saved traces by the name of their file."""
        return {file.name: file.content.trace for file in self._files if file.content.trace is not None}


_reading = rlock()  # one file at a time: reading one touches sys.path, sys.modules and the registry
_helpers: dict[str, str] = {}  # modules that files imported from their own folders, by name
_opened: dict[tuple[str, ...], UserFiles] = {}
_opening = lock()


def from_command_line(argv: Sequence[str]) -> UserFiles:
    """The files of `streamlit run app.py -- my_ops.py run.trace`, read if they are new or were saved again.

    `argv` without the program's name. All sessions of the process share them, so call it on every run of a page.
    """
    paths = tuple(argument for argument in argv if not argument.startswith("-"))
    with _opening:
        files = _opened.setdefault(paths, UserFiles(paths))
    files.refresh()
    return files


def _with_settings(settings: TorchSettings, aggregates: dict[str, Aggregate], targets: list[Target]) -> tuple:
    """Its examples are made under what the file has set for itself, which holds for nobody else."""
    for each in aggregates.values():
        each.example = each.example and settings.during(each.example)
    during = [
        replace(each, inputs=each.inputs and settings.during(each.inputs))
        if each.kind != "case"
        else replace(each, function=settings.during(each.function))
        for each in targets
    ]
    return aggregates, during


def _in_words(error: BaseException) -> BaseException:
    if not isinstance(error, TookTooLong):
        return error
    said = TimeoutError(
        f"reading it was stopped after {READ_SECONDS():g} seconds. Slow code belongs in a function, or under "
        f"if __name__ == '__main__'; {READ_SECONDS.name} allows more."
    )
    said.stack = error.stack or traceback.extract_tb(error.__traceback__)
    return said


# --- keeping the process in order ---------------------------------------------------------------------------------


@contextmanager
def _restored_on_error(before: dict[str, Aggregate]) -> Iterator[None]:
    """The registry as it was, if reading fails half-way."""
    try:
        yield
    except BaseException:
        registry.put_back(before)
        raise


def _stamp(path: str) -> tuple | None:
    """What changes when a file is saved; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _is_beside(module: types.ModuleType, folder: str) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and os.path.dirname(os.path.abspath(file)) == folder
