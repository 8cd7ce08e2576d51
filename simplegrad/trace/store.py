"""A trace in one file: a zip archive of `trace.json` (what happened) and `tensors.safetensors` (the numbers).

Nothing in it is ever executed: no pickle, and every index is looked at before it is followed. `trace.json`, version 2:

    format    "simplegrad trace"
    version   2; a reader refuses what is newer than itself. In version 1 `pass_` was called `run`
    title, program, aggregate, kind, notices, bindings      of the Trace, as they are
    sources   [[file, line], …]; elsewhere a source is its place in this list
    values    [{id, name, shape, dtype, leaf?, note?, nonfinite?, norm?, tensor?}, …]; elsewhere a value is its place in
              this list. `nonfinite`: "nan", "inf" or "" where the run itself looked at the numbers.
              `tensor`: its key in tensors.safetensors. Values that shared a tensor share the key. A tensor may have 1
              where `shape` has more: it is expanded. One whose key begins with "complex" holds [real, imaginary] in a
              last dimension
    listed    how many of the values are those of trace.values (the rest only appear in events)
    entries   [{id, operator, text, inputs: [value…], outputs: [value…], aggregate?, made_by?, pass_id?, line?,
              source?, propagate_source?, group?}, …]; elsewhere an entry is its place in this list; made_by is an id
    tape      how many of the entries are those of trace.entries
    texts     {file: [[first line, [text…]], …], …}: what stands around the lines that the sources name. A reader shows
              this, and never opens the files. Missing in files of before it was kept
    passes    [{id, loss, seed?, wanted: [value or null…], none, prune}, …]; elsewhere, again its place
    events    [{kind, parent?, pass_id?, line?, source?, and the fields of its kind}, …], in order. The kinds and their
              fields are those of events.py; `pass_` is a pass, `table` a list of [value, value]
    printed   [[how many events came before it, line of the program or null, text], …]: what the program printed
    calls, held, filled    of a PyTorch run, where there are any: rows with the fields of calls.py. What a field usually
              is (its default there) is left out

    collectives, shares    of a run on several ranks, in the same way, with the fields of ranks.py
    rank, world, seed      of such a run: which process it was, of how many, and its torch.initial_seed()

What has a `?` is left out where it is empty. A tensor whose layout no file holds (sparse, say) is left out, and the
value's note says so. Tensors come back on the CPU.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors

from .document import DAMAGED, FORMAT, VERSION, Reader, Writer, WrongDocument, is_whole
from .replaced import refuse_what_is_no_file, replacing
from .trace import Trace

MOST_JSON_BYTES = 256 << 20  # of trace.json, unpacked: a million events or two
MOST_INFLATION = 100  # times smaller than trace.json it may be packed; 10 is usual
MOST_COST = 2 << 30  # bytes of memory that reading trace.json takes, about
SMALL_COST, MOST_COST_RATIO = 64 << 20, 400  # it may take so much in any case, or so many times what it takes packed
# Bytes that each of these brings with it in Python, measured on lists of lists, of objects, of numbers and of texts.
_COSTS = {b"[": 104, b"{": 200, b",": 36, b'"': 30}
_LETTER = 7  # of a text one of whose letters is an emoji: four in Python, and what it is made from
_LEVEL = 4  # zlib's: half the time of 6, for a file a twentieth larger
_JSON, _TENSORS = "trace.json", "tensors.safetensors"
_WHENCE = "Was it made by trace.save(path)?"


class TraceFileError(OSError):
    """A file that is no trace, or a damaged one. The message says which file, what is wrong and what to do."""


class NoTraceFileError(TraceFileError, FileNotFoundError):
    """There is no file at the path."""


# --- writing -----------------------------------------------------------------------------------------------------


def save(trace: Trace, file: str | os.PathLike | BinaryIO) -> None:
    """Write a trace to a path, or into a file open for writing. What stood at the path stays until all is written.

    `{rank}` in a path becomes the rank of the process that the trace is of (0 where it was alone).
    A symbolic link is followed, and the mode of an older file is kept. Raises TraceFileError for a trace that is too
    long to be read again, and OSError for a path that cannot be written or that is no regular file.
    """
    if hasattr(file, "write"):
        _write(trace, file)
        return
    with replacing(os.fspath(file).replace("{rank}", str(trace.rank or 0))) as stream:
        save(trace, stream)


def reduced(trace: Trace) -> tuple[Callable[[bytes], Trace], tuple[bytes]]:
    """A copy, and what goes to another process, is what a file would hold: all of it, and nothing that is run."""
    return unpacked, (packed(trace),)


def packed(trace: Trace) -> bytes:
    """The bytes of a file of the trace. Raises TraceFileError for one that is too long."""
    stream = io.BytesIO()
    _write(trace, stream)
    return stream.getvalue()


def unpacked(content: bytes) -> Trace:
    """The trace of a file's bytes. Raises TraceFileError for what is none."""
    return load(io.BytesIO(content))


def _write(trace: Trace, stream: BinaryIO) -> None:
    writer = Writer(trace)
    with zipfile.ZipFile(stream, "w") as archive:
        text = writer.text().encode("ascii")
        if len(text) > MOST_JSON_BYTES:
            raise TraceFileError(
                f"the trace is too long for a file: {len(text):,} bytes of {_JSON}, and at most {MOST_JSON_BYTES:,} "
                f"are read again. Record less of the run."
            )
        archive.writestr(_JSON, text, zipfile.ZIP_DEFLATED, _LEVEL)
        archive.writestr(_TENSORS, safetensors.save(writer.tensors.kept), zipfile.ZIP_STORED)


# --- reading -----------------------------------------------------------------------------------------------------


def load(file: str | os.PathLike | BinaryIO, most: int = MOST_COST) -> Trace:
    """A saved trace, from a path or an open file. `most`: bytes of memory that reading it may take, about.

    Raises TraceFileError for what is none or takes more, and where there is no file it is a FileNotFoundError too.
    """
    if not hasattr(file, "read"):
        with _opened(os.fspath(file)) as stream:
            return load(stream, most)
    name = getattr(file, "name", "the file")
    try:
        return Reader(*_read(file, most)).trace()
    except WrongDocument as wrong:
        raise TraceFileError(f"{name}: {wrong}") from None
    except MemoryError as error:
        raise TraceFileError(f"{name}: there is not enough memory to read it. Record less of the run.") from error
    except Exception as error:  # a damage that nobody thought of; the cause says where
        raise TraceFileError(f"{name}: {type(error).__name__}: {str(error)[:200]}. {DAMAGED}") from error


def _opened(path: str | bytes) -> BinaryIO:
    try:
        refuse_what_is_no_file(path)
        return open(path, "rb")
    except FileNotFoundError:
        raise NoTraceFileError(f"{path}: there is no such file. Give the path that trace.save(path) wrote.") from None
    except OSError as error:  # a device, a folder, no permission
        said = f"{path}: {error.strerror}. Give the path that trace.save(path) wrote." if error.strerror else str(error)
        raise TraceFileError(said) from None
    except ValueError as error:
        raise TraceFileError(f"{path!r}: {error}, so it is no path.") from None


# What zipfile and safetensors raise for a damaged file, according to where the damage is.
_DAMAGES = (zipfile.BadZipFile, zlib.error, SafetensorError, EOFError, OSError, KeyError, ValueError, RuntimeError)


def _read(stream: BinaryIO, most: int) -> tuple[dict, dict[str, torch.Tensor]]:
    """The document and the tensors, both still to be looked at."""
    if stream.read(2) != b"PK":
        raise WrongDocument(f"not a simplegrad trace: no zip archive. {_WHENCE}")
    try:
        size = stream.seek(0, os.SEEK_END)
        with zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
            if _JSON not in names:
                raise WrongDocument(f"not a simplegrad trace: the archive has no {_JSON}. {_WHENCE}")
            packed = min(archive.getinfo(_JSON).compress_size, size)
            text = _member(archive, _JSON, min(MOST_JSON_BYTES, (1 << 20) + MOST_INFLATION * packed))
            _refuse_what_costs_too_much(text, packed, most)
            document = _parsed(text)
            _check_format(document)
            if _TENSORS not in names or archive.getinfo(_TENSORS).compress_type != zipfile.ZIP_STORED:
                raise WrongDocument(f"{_TENSORS} is missing, or compressed, which it never is. {DAMAGED}")
            return document, safetensors.load(_member(archive, _TENSORS, size))
    except _DAMAGES as error:
        raise WrongDocument(f"{error or type(error).__name__}. {DAMAGED}") from None


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The bytes of a member, never more than `most` of them, whatever the archive says of itself."""
    with archive.open(name) as member:
        content = member.read(most + 1)
    if len(content) > most:
        raise WrongDocument(f"{name} has more than {most:,} bytes, the most that is read. {DAMAGED}")
    return content


def _refuse_what_costs_too_much(text: bytes, packed: int, most: int) -> None:
    """A few bytes of JSON may be many of Python's; they are counted before any is made."""
    cost = _cost(text)
    if cost > min(MOST_COST, max(SMALL_COST, MOST_COST_RATIO * packed)):
        raise WrongDocument(
            f"{_JSON} would take some {cost >> 20:,} MiB to read, which no trace of its size does. {_WHENCE}"
        )
    if cost > most:
        raise WrongDocument(
            f"{_JSON} would take some {cost >> 20:,} MiB of memory to read, and at most {most >> 20:,} MiB are given "
            f"here. Record less of the run, or open it with `simplegrad app FILE` on a machine of yours."
        )


def _cost(text: bytes) -> int:
    """Bytes of memory that it and all that is read from it take, at most, or about."""
    made = sum(each * text.count(mark) for mark, each in _COSTS.items())
    return max(2 * len(text) + made, _LETTER * len(text))


def _parsed(text: bytes) -> dict:
    try:
        document = json.loads(text.decode("ascii"))  # so it is written; other letters take four bytes each
    except (ValueError, RecursionError) as error:
        raise WrongDocument(f"{_JSON} is not JSON ({error}). {DAMAGED}") from None
    if not isinstance(document, dict):
        raise WrongDocument(f"{_JSON} holds a {type(document).__name__}, not a trace. {_WHENCE}")
    return document


def _check_format(document: dict) -> None:
    if document.get("format") != FORMAT:
        raise WrongDocument(f"not a simplegrad trace: its format is {document.get('format')!r}, not {FORMAT!r}.")
    version = document.get("version")
    if not is_whole(version) or version == 0:
        raise WrongDocument(f"its version is {version!r}, not a number from 1. {DAMAGED}")
    if version > VERSION:
        raise WrongDocument(
            f"written by a newer simplegrad: its version is {version}, and this one reads up to {VERSION}. "
            f"Update simplegrad, or save the trace with this one."
        )
