"""The command line, `simplegrad` or `python -m simplegrad`: app [FILES], check FILE[::NAME], transcript PROGRAM."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path

from . import __version__
from .aggregates import Aggregate, registry
from .files import UserFile
from .language import EXAMPLES, Program, ProgramError
from .language.errors import did_you_mean, nearest
from .trace import Trace

DONE, FAILED, COULD_NOT_RUN = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 when all went well, 1 for a run or check that failed, 2 for no run at all."""
    given, options = parser().parse_known_args(arguments)
    if options and given.command != "app":
        parser().error(f"unrecognized arguments: {' '.join(options)}")
    if given.command == "app":
        return app(given.files, options)
    if given.command == "check":
        from .checks.command import main as check  # torch.autograd and all the rules: only for those who ask

        format = "json" if given.json else given.format
        return check(given.target, given.order, format, surrogate=given.surrogate, inputs=given.inputs)
    if given.command == "diff":
        from .comparison.command import main as diff

        return diff(given.left, given.right, given.json)
    return transcript(given.program, given.aggregate, given.none, given.prune)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="simplegrad", description="A debugger for reverse-mode autodiff tapes.", allow_abbrev=False
    )
    made.add_argument("--version", action="version", version=versions())
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")

    opened = commands.add_parser(
        "app",
        help="open the debugger in the browser",
        description="Serve the app on this machine. Further options are those of `streamlit run`, written with =: "
        "--server.port=8600 --server.headless=true.",
        allow_abbrev=False,
    )
    opened.add_argument("files", metavar="FILE", nargs="*", help="Python files with aggregates, or saved traces")

    compared = commands.add_parser(
        "diff",
        help="say where two saved runs first part",
        description="Compare two traces that trace.save wrote: of PyTorch runs (record_torch), or of programs. "
        "Exit code 0: they agree, up to rounding; 1: they part; 2: they could not be compared.",
        allow_abbrev=False,
    )
    compared.add_argument("left", metavar="A.trace")
    compared.add_argument("right", metavar="B.trace")
    compared.add_argument("--json", action="store_true", help="print the comparison as JSON")

    told = commands.add_parser(
        "transcript",
        help="print all that a program computes, forward and in every pass",
        description="Run a program and print what the notebook would: each leaf, each operation, each gradient table. "
        "Exit code 0: it ran to its end; 1: the run failed, the reason is on stderr; 2: there is no such program.",
        epilog=f"examples: {', '.join(EXAMPLES)}",
    )
    told.add_argument("program", metavar="PROGRAM", help="a file, the name of an example, or - for standard input")
    told.add_argument(
        "--aggregate",
        default="simple",
        metavar="[FILE::]NAME",
        help=f"what f is: one of {', '.join(registry)}; or one of a file of your own, my_ops.py::fused "
        "(my_ops.py alone, if it has one only)",
    )
    told.add_argument("--none", choices=("skip", "zeros"), default="skip", help="what a gradient of None does")
    told.add_argument("--prune", choices=("none", "ahead"), default="none", help="what is left out ahead of a pass")

    checked = commands.add_parser(
        "check",
        help="check the hand-written backwards of a file",
        description="Exit code 0: correct (notes alone are correct); 1: a fault was found; 2: it was not judged.",
    )
    checked.add_argument("target", metavar="FILE[::NAME]", help="a file, or one aggregate or Function in it")
    checked.add_argument("--order", type=int, default=2, metavar="N", help="the highest derivative (default: 2)")
    checked.add_argument(
        "--surrogate", action="store_true", help="first-order gradients are not meant to be forward's derivatives"
    )
    checked.add_argument(
        "--format", choices=("text", "json", "github", "sarif", "junit"), default="text", help="what to print"
    )
    checked.add_argument("--json", action="store_true", help="the same as --format json")
    checked.add_argument("--inputs", metavar="KEPT", help="check on the inputs that a failing check has kept")
    return made


def versions() -> str:
    """What a report of a fault should name. torch's is read from its metadata: importing it takes a second."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"simplegrad {__version__} (torch {metadata.version('torch')}, Python {python})"


def app(files: Sequence[str], options: Sequence[str]) -> int:
    """Serve the app until it is stopped; what keeps it from starting is told on stderr."""
    from .serve import serve  # Streamlit: only for those who ask

    try:
        return serve(files, options)
    except (ImportError, OSError) as error:
        print(error, file=sys.stderr)
        return COULD_NOT_RUN


def transcript(program: str, aggregate: str, none: str, prune: str) -> int:
    """Print the transcript of a program's run on stdout, and what went wrong on stderr."""
    try:
        trace = opened(program).run(chosen(aggregate), none, prune)
    except ProgramError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    except (OSError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    print(trace.transcript(), flush=True)
    return DONE if trace.error is None else failed(program, trace)


def failed(program: str, trace: Trace) -> int:
    at = "" if trace.error.line is None else f"line {trace.error.line}: "
    print(f"{program}: {at}{trace.error.message}", file=sys.stderr)
    return FAILED


def opened(program: str) -> Program:
    """The program of a file, an example or standard input ('-'). Raises OSError, ValueError or ProgramError."""
    if program == "-":
        return Program.parse(sys.stdin.read())
    if program in EXAMPLES:
        return EXAMPLES[program].program
    path = Path(program)
    if not path.exists():
        hint = did_you_mean(nearest(program, EXAMPLES))
        raise ValueError(f"no such file, and no example of that name.{hint} Examples are: {', '.join(EXAMPLES)}.")
    return Program.parse(path.read_text(encoding="utf-8-sig"), title=path.name)  # also with a byte order mark


def chosen(aggregate: str) -> str | Aggregate:
    """The aggregate of `NAME`, `FILE::NAME`, or `FILE` if it has one only. Raises ValueError."""
    path, _, name = aggregate.rpartition("::") if "::" in aggregate else (aggregate, "", "")
    if not name and not path.endswith(".py"):
        return aggregate  # a registered one's name
    file = UserFile(path)
    with redirect_stdout(sys.stderr):  # what the file itself prints is no part of the transcript
        file.refresh()
    if file.problem is not None:
        raise ValueError(str(file.problem))
    found = file.content.aggregates
    if name in found:
        return found[name]
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise ValueError(f"{path} has no aggregate: write @simplegrad.aggregate above a function of Variables.")
    wanted = (
        f"no aggregate called '{name}'.{did_you_mean(nearest(name, found))}" if name else "more than one aggregate."
    )
    raise ValueError(f"{path} has {wanted} Say which: {', '.join(f'{path}::{each}' for each in found)}.")


if __name__ == "__main__":
    sys.exit(main())
