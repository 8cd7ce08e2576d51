"""A file that is replaced as a whole, or not at all, whoever else writes to the same path at the same moment."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from uuid import uuid4

try:
    import fcntl
except ImportError:  # Windows: there, unfinished files are known by their age alone
    fcntl = None

FORGOTTEN = 24 * 3600  # seconds: where files have no locks, older ones are nobody's


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A stream whose content becomes that of `path` when the block ends without an exception.

    A symbolic link stays one, and what it points to is written; the mode of an older file stays. What a process left
    unfinished when it died is taken away. Raises OSError for what is no regular file: a device, a pipe, a folder.
    """
    place = os.path.realpath(path)
    mode = _mode_of(place)
    _clean(place)
    stream, unfinished = _begun(place)
    try:
        with stream:
            if mode is not None:
                os.chmod(unfinished, mode)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if fcntl is not None:
                os.replace(unfinished, place)  # while it is locked: unlocked it is anybody's to take away
        if fcntl is None:
            os.replace(unfinished, place)  # Windows replaces no open file
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)


def refuse_what_is_no_file(path: str | os.PathLike) -> os.stat_result:
    """Raises OSError for a device, a pipe or a folder, before anybody opens it and waits."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(found.st_mode), "a device")
        raise OSError(f"{os.fspath(path)} is {kind}, and a trace is kept in a file: give the path of one.")
    return found


def _mode_of(place: str) -> int | None:
    """Of the older file; None where there is none."""
    try:
        return stat.S_IMODE(refuse_what_is_no_file(place).st_mode)
    except FileNotFoundError:
        return None


def _beginning(place: str) -> str:
    folder, name = os.path.split(place)
    return os.path.join(folder, f".{name}.")


def _begun(place: str) -> tuple[BinaryIO, str]:
    """A file to write to, locked, so that nobody takes it for one that a dead process has left."""
    while True:
        path = f"{_beginning(place)}{uuid4().hex}.unfinished"
        stream = open(path, "xb")  # noqa: SIM115  # for whoever writes it
        if _lock(stream) is not False and os.path.exists(path):
            return stream, path
        stream.close()  # who cleans had it in the moment before it was locked


def _lock(stream: BinaryIO) -> bool | None:
    """Whether it could be locked, which says that no living process writes it; None where files have no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _clean(place: str) -> None:
    """Take away what processes that are dead have left."""
    for path in glob.glob(f"{glob.escape(_beginning(place))}*.unfinished"):
        with contextlib.suppress(OSError):
            with open(path, "rb") as stream:
                locked = _lock(stream)
                if locked:
                    os.unlink(path)
            if locked is None and time.time() - os.stat(path).st_mtime > FORGOTTEN:
                os.unlink(path)
