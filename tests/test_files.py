"""A user's file: loaded, saved again, broken, mended; its neighbours stay usable all the while."""

import inspect
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from simplegrad import registry
from simplegrad.files import UserFile, UserFiles, from_command_line
from simplegrad.patience import TorchSettings
from simplegrad.settings import READ_SECONDS

torch.set_num_threads(1)

DOUBLE = """
    import torch
    import simplegrad

    @simplegrad.aggregate(example=lambda: (torch.rand(3),))
    def twice(a):
        '''Two times a.'''
        return a + a
"""


@pytest.fixture(autouse=True)
def clean():
    before, path, modules = dict(registry), list(sys.path), set(sys.modules)
    yield
    for origin in {each.origin for name, each in registry.items() if before.get(name) is not each}:
        registry.discard(origin)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("_file_") or name.startswith("helper_"):
            del sys.modules[name]


def save(path, text):
    """Write, with a modification time later than before even where the clock is coarse."""
    newest = path.stat().st_mtime_ns + 10_000_000 if path.exists() else None
    path.write_text(textwrap.dedent(text).lstrip())
    if newest is not None:
        os.utime(path, ns=(newest, newest))
    return path


def loaded(path):
    file = UserFile(path)
    assert file.refresh()
    return file


def test_aggregates_of_a_file_are_registered_with_its_path_as_origin(tmp_path):
    file = loaded(save(tmp_path / "my_ops.py", DOUBLE))
    assert file.problem is None
    assert registry["twice"].origin == str(tmp_path / "my_ops.py")
    assert registry["twice"].summary == "Two times a."
    assert [(t.name, t.kind, t.line) for t in file.content.targets] == [("twice", "aggregate", 4)]


def test_saving_the_file_replaces_what_it_registered(tmp_path):
    path = save(tmp_path / "my_ops.py", DOUBLE)
    file = loaded(path)
    assert not file.refresh()
    save(path, DOUBLE.replace("twice", "thrice").replace("a + a", "a + a + a"))
    assert file.refresh()
    assert "twice" not in registry
    assert "a + a + a" in registry["thrice"].source
    assert file.version == 2


def test_inspect_shows_the_new_text_after_a_reload(tmp_path):
    path = save(tmp_path / "my_ops.py", DOUBLE)
    file = loaded(path)
    assert "a + a" in inspect.getsource(registry["twice"].function)
    save(path, "# a line more\n" + textwrap.dedent(DOUBLE).replace("a + a", "a * 2"))
    file.refresh()
    assert "a * 2" in inspect.getsource(registry["twice"].function)


def test_a_syntax_error_shows_its_line_and_leaves_the_version_before(tmp_path):
    path = save(tmp_path / "my_ops.py", DOUBLE)
    file = loaded(path)
    old = registry["twice"]
    save(path, DOUBLE.replace("return a + a", "return a +"))
    file.refresh()
    assert (file.problem.line, file.problem.text.strip()) == (7, "return a +")
    assert file.problem.message == "SyntaxError: invalid syntax"
    assert registry["twice"] is old
    assert "return a + a" in inspect.getsource(old.function)
    assert file.version == 1


def test_an_error_half_way_undoes_the_half(tmp_path):
    path = save(tmp_path / "my_ops.py", DOUBLE + "    raise ValueError('no such table')\n")
    file = loaded(path)
    assert "twice" not in registry
    assert file.problem.message == "ValueError: no such table"
    assert file.problem.text == "raise ValueError('no such table')"
    assert str(file.problem).startswith(f"{path}:8: ValueError: no such table")


def test_an_error_half_way_leaves_the_order_of_the_others(tmp_path):
    before = list(registry)
    path = save(tmp_path / "my_ops.py", DOUBLE.replace("twice", before[0]) + "    raise ValueError('no such table')\n")
    assert loaded(path).problem
    assert list(registry) == before


def test_a_mended_file_loses_its_problem(tmp_path):
    path = save(tmp_path / "my_ops.py", "import nothing_of_this_name\n")
    file = loaded(path)
    assert file.problem.line == 1
    save(path, DOUBLE)
    file.refresh()
    assert file.problem is None
    assert "twice" in registry


def test_a_file_that_ends_the_program_is_a_problem_not_the_end(tmp_path):
    file = loaded(save(tmp_path / "script.py", "import sys\nsys.exit(3)\n"))
    assert file.problem.line == 2
    assert "sys.exit()" in file.problem.message


def test_one_broken_file_leaves_the_other_usable(tmp_path):
    good = save(tmp_path / "good.py", DOUBLE)
    bad = save(tmp_path / "bad.py", "1 / 0\n")
    files = UserFiles([bad, good])
    files.refresh()
    assert [problem.line for problem in files.problems] == [1]
    assert [target.name for target in files.targets] == ["twice"]


def test_a_name_of_simplegrads_own_is_refused_at_its_line(tmp_path):
    own = registry["simple"]
    file = loaded(save(tmp_path / "my_ops.py", DOUBLE.replace("def twice", "def simple")))
    assert registry["simple"] is own
    assert file.problem.line == 4
    assert "'simple' is taken by an aggregate of simplegrad itself" in file.problem.message


def test_two_files_cannot_have_one_name(tmp_path):
    files = UserFiles([save(tmp_path / "one.py", DOUBLE), save(tmp_path / "two.py", DOUBLE)])
    files.refresh()
    assert registry["twice"].origin == str(tmp_path / "one.py")
    assert [problem.file for problem in files.problems] == [str(tmp_path / "two.py")]


def test_a_module_beside_the_file_is_watched_too(tmp_path):
    helper = save(tmp_path / "helper_of_file.py", "factor = 2\n")
    file = loaded(save(tmp_path / "my_ops.py", "from helper_of_file import factor\n"))
    assert file.content.module.factor == 2
    save(helper, "factor = 3\n")
    assert file.has_changed()
    file.refresh()
    assert file.content.module.factor == 3


def test_an_error_in_a_module_beside_it_is_shown_there_and_mended_there(tmp_path):
    helper = save(tmp_path / "helper_of_file.py", "factor = (\n")
    file = loaded(save(tmp_path / "my_ops.py", "from helper_of_file import factor\n"))
    assert file.problem.file == str(helper)
    save(helper, "factor = 3\n")
    file.refresh()
    assert file.problem is None


def test_modules_of_one_name_in_two_folders_are_two(tmp_path):
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        save(tmp_path / str(number) / "helper_common.py", f"which = {number}\n")
        save(tmp_path / str(number) / "ops.py", "from helper_common import which\n")
    first, second = (loaded(tmp_path / str(number) / "ops.py") for number in (1, 2))
    assert (first.content.module.which, second.content.module.which) == (1, 2)


FUNCTIONS = """
    import torch

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * x * x

    class Square(Cube):
        example = staticmethod(lambda: (torch.ones(2),))

    class Bare(Cube):
        pass

    EXAMPLES = {"Cube": lambda: (torch.ones(2),)}

    def case():
        return Cube.apply, (torch.ones(3, requires_grad=True),)
"""


def test_functions_get_their_inputs_from_EXAMPLES_or_an_attribute(tmp_path):
    targets = {t.name: t for t in loaded(save(tmp_path / "functions.py", FUNCTIONS)).content.targets}
    assert {name: t.is_ready for name, t in targets.items()} == {
        "Cube": True,
        "Square": True,
        "Bare": False,
        "case": True,
    }
    function, (x,) = targets["Cube"].prepared()
    assert x.requires_grad
    assert function(x).tolist() == [1, 1]
    assert targets["case"].prepared()[1][0].shape == (3,)


def test_examples_for_nothing_are_refused(tmp_path):
    file = loaded(save(tmp_path / "f.py", "EXAMPLES = {'Cub': lambda: (1,)}\n"))
    assert file.problem.line == 1
    assert "'Cub'" in file.problem.message


def test_a_case_that_returns_something_else_says_what_came(tmp_path):
    (target,) = loaded(save(tmp_path / "c.py", "def case():\n    return 1, 2, 3\n")).content.targets
    with pytest.raises(TypeError, match=r"case\(\) returned a tuple of 3; expected \(function, inputs\)"):
        target.prepared()


@pytest.mark.parametrize("name, said", [("absent.py", "no such file"), ("notes.txt", "expected a Python file")])
def test_paths_that_are_no_files_of_ours(tmp_path, name, said):
    (tmp_path / "notes.txt").write_text("hello")
    assert said in loaded(tmp_path / name).problem.message


def test_a_damaged_trace_is_a_problem(tmp_path):
    (tmp_path / "run.trace").write_bytes(b"not a trace")
    assert loaded(tmp_path / "run.trace").problem is not None


def test_the_command_line_opens_each_file_once_and_reads_what_was_saved(tmp_path):
    path = save(tmp_path / "my_ops.py", DOUBLE)
    files = from_command_line([str(path)])
    assert from_command_line([str(path)]) is files
    version = files.version
    save(path, DOUBLE.replace("Two times", "Twice"))
    assert files.have_changed()
    assert from_command_line([str(path)]).version > version
    assert registry["twice"].summary == "Twice a."


def test_the_working_folder_of_the_process_gains_no_file_of_ours(tmp_path):
    """No bytecode is written beside a user's file for the file itself, so none can be stale."""
    loaded(save(tmp_path / "my_ops.py", DOUBLE))
    assert not (tmp_path / "__pycache__").exists()


# --- files that never end, end in their own way, or change what is everybody's -----------------------------------


def in_a_thread(call):
    """As a page reads a file: not in the main thread."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(call).result(30)


def here(call):
    """As the command line does."""
    return call()


NEVER = {
    "loops": "while True:\n    pass\n",
    "catches": "while True:\n    try:\n        x = 1\n    except Exception:\n        pass\n",
    "sleeps": "import time\ntime.sleep(60)\n",
    "waits": "import threading\nthreading.Event().wait()\n",
}


@pytest.mark.parametrize("where", [here, in_a_thread])
@pytest.mark.parametrize("name", NEVER)
def test_a_file_that_never_ends_is_told_and_mends(tmp_path, monkeypatch, where, name):
    monkeypatch.setenv("SIMPLEGRAD_READ_SECONDS", "0.3")
    path = save(tmp_path / "my_ops.py", NEVER[name])
    file = where(lambda: loaded(path))
    assert "reading it was stopped after 0.3 seconds" in file.problem.message
    assert 1 <= file.problem.line <= 6
    assert str(tmp_path) not in sys.path[:1]
    save(path, DOUBLE)
    monkeypatch.setenv("SIMPLEGRAD_READ_SECONDS", "10")
    assert where(file.refresh) and file.problem is None and "twice" in registry


def test_what_was_stopped_registers_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SIMPLEGRAD_READ_SECONDS", "0.3")
    path = save(tmp_path / "my_ops.py", textwrap.dedent(DOUBLE) + "while True:\n    pass\n")
    file = in_a_thread(lambda: loaded(path))
    assert file.problem is not None and "twice" not in registry


def test_a_page_is_not_kept_waiting_while_a_file_is_read_again(tmp_path, monkeypatch):
    path = save(tmp_path / "my_ops.py", DOUBLE)
    file = loaded(path)
    save(path, "import time\ntime.sleep(2)\n")
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(file.refresh)
        while path.stat().st_mtime_ns not in [stamp[0] for stamp in file._stamps.values()]:
            pass
        assert not file.refresh() and not reading.done()  # the version before is there meanwhile
        assert file.version == 1
        assert reading.result(30) and file.version == 2


@pytest.mark.parametrize("seconds", ["-1", "soon", "0"])
def test_a_limit_that_is_none_is_the_usual_one(monkeypatch, caplog, seconds):
    monkeypatch.setenv("SIMPLEGRAD_READ_SECONDS", seconds)
    assert READ_SECONDS() == 10
    assert f"SIMPLEGRAD_READ_SECONDS={seconds} is not a number above 0; it is 10 instead." in caplog.text


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "GeneratorExit", "Mine"])
def test_an_exception_of_any_kind_is_a_problem_of_the_file(tmp_path, error):
    path = save(tmp_path / "my_ops.py", DOUBLE)
    file = loaded(path)
    save(path, f"class Mine(BaseException): pass\nraise {error}\n")
    assert in_a_thread(file.refresh)
    assert (file.problem.message, file.problem.line) == (error, 2)
    assert "twice" in registry


def test_who_interrupts_the_command_line_is_heard(tmp_path):
    file = UserFile(save(tmp_path / "my_ops.py", "raise KeyboardInterrupt\n"))
    with pytest.raises(KeyboardInterrupt):
        file.refresh()


SETTING = """
    import torch, simplegrad
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.autograd.set_detect_anomaly(True)
    torch.use_deterministic_algorithms(True)

    @simplegrad.aggregate(example=lambda: (torch.rand(3),))
    def twice(a):
        return a + a

    EXAMPLES = {"twice": lambda: (torch.rand(3),)}

    def case():
        return torch.sin, (torch.rand(3),)
"""


@pytest.mark.parametrize("where", [here, in_a_thread])
@pytest.mark.parametrize("ending", ["", "    raise ValueError\n"])
def test_what_a_file_sets_for_the_process_holds_for_its_own_examples_only(tmp_path, where, ending):
    before = TorchSettings()
    file = where(lambda: loaded(save(tmp_path / "my_ops.py", SETTING + ending)))
    assert TorchSettings() == before
    if not ending:
        assert registry["twice"].example()[0].dtype == torch.float64
        assert {target.prepared()[1][0].dtype for target in file.content.targets} == {torch.float64}
        assert TorchSettings() == before


def test_the_command_line_exits_with_2_where_a_file_never_ends(tmp_path):
    path = save(tmp_path / "my_ops.py", "import time\ntime.sleep(60)\n")
    ran = subprocess.run(
        [sys.executable, "-m", "simplegrad", "check", str(path)],
        env={**os.environ, "SIMPLEGRAD_READ_SECONDS": "0.5"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert f"{path}:2: TimeoutError: reading it was stopped after 0.5 seconds" in ran.stderr
