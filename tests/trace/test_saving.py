"""What happens to the path that a trace is saved to: other threads, modes, links, devices, and processes that died."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from simplegrad import Trace
from simplegrad.trace.replaced import FORGOTTEN, replacing

from .runs import recorded


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.trace"


@pytest.fixture(scope="module")
def trace():
    return recorded("simple_variable, none=skip, prune=none")


def test_two_threads_to_one_path(trace, path):
    def save_and_load(_):
        trace.save(path)
        return len(Trace.load(path))

    trace.save(path)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(save_and_load, range(60))) == {len(trace)}
    assert [each.name for each in path.parent.iterdir()] == ["run.trace"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_the_mode_of_an_older_file_stays(trace, path, mode):
    path.touch()
    path.chmod(mode)
    trace.save(path)
    assert path.stat().st_mode & 0o777 == mode


def test_a_new_file_has_the_mode_that_new_files_have(trace, path):
    trace.save(path)
    (path.parent / "other").touch()
    assert path.stat().st_mode == (path.parent / "other").stat().st_mode


def test_a_symbolic_link_stays_and_its_file_is_written(trace, path, tmp_path):
    (tmp_path / "folder").mkdir()
    path.symlink_to(tmp_path / "folder" / "real.trace")  # there is no such file yet
    for _ in range(2):
        trace.save(path)
        assert path.is_symlink()
        assert len(Trace.load(tmp_path / "folder" / "real.trace")) == len(trace)
    assert [each.name for each in (tmp_path / "folder").iterdir()] == ["real.trace"]


def what_it_is(path) -> tuple:
    """But for when it was last read, which looking at a link may change."""
    found = os.lstat(path)
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns


@pytest.mark.parametrize(
    "make, kind", [(os.mkfifo, "a pipe"), (os.mkdir, "a folder"), (lambda p: os.symlink("/dev/null", p), "a device")]
)
def test_what_is_no_regular_file_is_refused(trace, path, make, kind):
    make(path)
    before = what_it_is(path)
    with pytest.raises(OSError, match=f"is {kind}, and a trace is kept in a file"):
        trace.save(path)
    assert what_it_is(path) == before
    assert os.stat("/dev/null").st_rdev


DYING = """
import os, signal, sys
from simplegrad.trace.replaced import replacing
with replacing(sys.argv[1]) as stream:
    stream.write(b"half")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_dead_process_left_is_taken_away(trace, path):
    died = subprocess.run([sys.executable, "-c", DYING, str(path)], check=False)
    assert died.returncode == -signal.SIGKILL
    (left,) = path.parent.iterdir()
    assert left.name.endswith(".unfinished")
    trace.save(path)
    assert [each.name for each in path.parent.iterdir()] == ["run.trace"]


def test_what_a_living_process_writes_is_left_alone(trace, path):
    with replacing(path) as stream:
        stream.write(b"half")
        os.utime(stream.name, times=(0, time.time() - 2 * FORGOTTEN))
        trace.save(path)
        assert os.path.exists(stream.name)
    assert path.read_bytes() == b"half"


def test_those_who_begin_and_clean_at_the_same_moment_never_meet(path):
    def save(number: int) -> None:
        for _ in range(30):
            with replacing(path) as stream:
                stream.write(bytes([number]))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(save, range(4)))
    assert path.read_bytes() in {bytes([number]) for number in range(4)}
    assert [each.name for each in path.parent.iterdir()] == ["run.trace"]
