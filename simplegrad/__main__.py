"""The command line, `simplegrad` or `python -m simplegrad`: app, check, run, why, diff, ranks, html, transcript."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__
from .aggregates import Aggregate, registry
from .files import UserFile
from .language import EXAMPLES, Program, ProgramError
from .language.errors import did_you_mean, nearest
from .trace import Trace

DONE, FAILED, COULD_NOT_RUN = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 when all went well, 1 for a run or check that failed, 2 for no run at all."""
    try:
        return run(arguments)
    except BrokenPipeError:  # what reads it, `| head` say, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def run(arguments: Sequence[str] | None) -> int:
    arguments, passed_on = split(sys.argv[1:] if arguments is None else arguments)
    given, options = parser().parse_known_args(arguments)
    if options and given.command != "app":
        parser().error(unknown(given, options, passed_on))
    if given.command == "app":
        return app(given.files, options)
    if given.command == "html":
        return html_file(given)
    if given.command == "check":
        from .checks.commands.command import main as check  # torch.autograd and all the rules: only for those who ask

        format = "json" if given.json else given.format
        return check(given.target, given.order, format, surrogate=given.surrogate, inputs=given.inputs)
    if given.command == "run":
        from .checks.commands.run_command import main as run_script

        return run_script(
            given.script, passed_on or (), given.step, given.format, given.order, given.keep or None, None, given.m
        )
    if given.command == "diff":
        from .comparison.command import main as diff

        return diff(given.left, given.right, given.json, given.output)
    if given.command == "ranks":
        from .comparison.ranks.command import main as ranks

        return ranks(given.files, given.format)
    if given.command == "why":
        from .reasons.command import main as why

        return why(given.file, given.name)
    return transcript(given.program, given.aggregate, given.none, given.prune)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="simplegrad",
        description="A debugger for reverse-mode autodiff.",
        allow_abbrev=False,
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
    opened.add_argument("files", metavar="FILE", nargs="*", help="Python files of your own, or saved traces")

    compared = commands.add_parser(
        "diff",
        help="say where two saved runs first differ",
        description="Compare two traces that trace.save wrote: of PyTorch runs (record_torch), or of programs. "
        "Exit code 0: they agree, up to rounding; 1: they differ; 2: they could not be compared.",
        allow_abbrev=False,
    )
    compared.add_argument("left", metavar="A.trace")
    compared.add_argument("right", metavar="B.trace")
    compared.add_argument("--json", action="store_true", help="print the comparison as JSON")
    compared.add_argument("-o", "--output", metavar="FILE", help="also write an HTML file that steps through both")

    several = commands.add_parser(
        "ranks",
        help="say which rank of a run on several processes is at fault",
        description="Compare the traces of all ranks of one run (record_torch with save='run.{rank}.trace'). "
        "Exit code 0: the traces show nothing wrong; 1: a rank is at fault; 2: they could not be compared.",
        allow_abbrev=False,
    )
    several.add_argument("files", metavar="RUN.RANK.trace", nargs="+")
    several.add_argument("--format", choices=("text", "json"), default="text", help="what to print")

    asked = commands.add_parser(
        "why",
        help="say why a gradient of a saved PyTorch run is None, zero, NaN or what it is",
        description="Without NAME: what is worth knowing about the step. Exit code 0: the trace shows nothing wrong; "
        "1: something is wrong; 2: no such trace or tensor, or the cause cannot be told.",
        allow_abbrev=False,
    )
    asked.add_argument("file", metavar="FILE.trace", help="what trace.save(path) wrote")
    asked.add_argument("name", metavar="NAME", nargs="?", help="a parameter: blocks.0.weight, or a row: emb.weight[5]")

    told = commands.add_parser(
        "transcript",
        help="print everything that a program computes, forward and in every pass",
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

    written = commands.add_parser(
        "html",
        help="write one HTML file that steps through a run, or shows what check found",
        description="WHAT is a file with a program, the name of an example, a saved .trace, or FILE::NAME: an "
        "aggregate or Function of yours, which is checked (FILE::case: what the file's case() returns). The HTML "
        "file needs no server and no network. Exit code 0: written; 1: written, and it shows a fault or a run that "
        "failed; 2: not written.",
    )
    written.add_argument("what", metavar="WHAT", help="a program, an example, a .trace, or FILE::NAME")
    written.add_argument("-o", "--output", metavar="FILE", required=True, help="where to write it")
    written.add_argument("--title", help="its title")
    written.add_argument("--step", type=whole, metavar="N", help="the step it opens at (the first is 0)")
    written.add_argument("--aggregate", default="simple", metavar="[FILE::]NAME", help="what f is, in a program")
    written.add_argument("--order", type=counted, default=2, metavar="N", help="the highest derivative of a check")
    written.add_argument(
        "--plotlyjs",
        type=plotly_from,
        default=True,
        metavar="HOW",
        help="embed (the default), cdn, or the address of plotly's script",
    )

    checked = commands.add_parser(
        "check",
        help="check the hand-written backwards of a file",
        description="Check every aggregate, torch.autograd.Function and custom operator of a file that has example "
        "inputs, and what its case() returns. Exit code 0: correct (notes do not count); 1: a fault was found; 2: "
        "something was not judged.",
    )
    checked.add_argument("target", metavar="FILE[::NAME]", help="a file, or one aggregate or Function in it")
    checked.add_argument("--order", type=counted, default=2, metavar="N", help="the highest derivative (default: 2)")
    checked.add_argument(
        "--surrogate",
        action="store_true",
        help="first-order gradients are not meant to be forward's derivatives",
    )
    checked.add_argument(
        "--format", choices=("text", "json", "github", "sarif", "junit"), default="text", help="what to print"
    )
    checked.add_argument("--json", action="store_true", help="the same as --format json")
    checked.add_argument(
        "--inputs", metavar="KEPT", help="inputs that a failing check has kept, in place of the example's"
    )

    ran = commands.add_parser(
        "run",
        help="run a training script up to a step, and check the calls of custom Functions in it",
        description="The script runs unchanged, up to the end of step N of its optimizers. Exit code 0: each distinct "
        "call is correct; 1: a fault was found; 2: something was not judged, no call was seen, or the script failed.",
        usage="simplegrad run [options] SCRIPT [-- ARGUMENTS OF THE SCRIPT]",
    )
    ran.add_argument("script", metavar="SCRIPT", help="a Python file that trains something")
    ran.add_argument("-m", action="store_true", help="SCRIPT is the name of a module, as python -m runs it")
    ran.add_argument("--step", type=counted, default=1, metavar="N", help="which step is checked (default: the first)")
    ran.add_argument("--order", type=counted, default=2, metavar="N", help="the highest derivative (default: 2)")
    ran.add_argument(
        "--format", choices=("text", "json", "github", "sarif", "junit"), default="text", help="what to print"
    )
    ran.add_argument(
        "--keep",
        metavar="FOLDER",
        default="simplegrad-calls",
        help="where the arguments of faulty calls are kept (default: simplegrad-calls; empty: nowhere)",
    )
    return made


def counted(text: str) -> int:
    """A whole number, 1 or more."""
    return whole(text, 1)


def whole(text: str, least: int = 0) -> int:
    """A whole number, `least` or more."""
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text[:40]!r}: expected a whole number, {least} or more")


def split(arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """What stands before `--`, and behind it: None where there is none."""
    given = list(arguments)
    if given[:1] != ["run"] or "--" not in given:
        return given, None
    at = given.index("--")
    return given[:at], given[at + 1 :]


def unknown(given: argparse.Namespace, options: Sequence[str], passed_on: Sequence[str] | None) -> str:
    """What is said of arguments that no option takes. A script's own belong behind `--`."""
    said = f"unrecognized arguments: {' '.join(options)}"
    if given.command != "run":
        return said
    own = shlex.join([given.script, "--", *options, *(passed_on or ())])
    return f"{said}. Arguments of the script follow `--`: simplegrad run [options] {own}"


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


def html_file(given: argparse.Namespace) -> int:
    """Write the page of a run or a check; what keeps it from being written is told on stderr."""
    options = {"title": given.title, "include_plotlyjs": given.plotlyjs}
    options |= {} if given.step is None else {"step": given.step}
    try:
        shown, failed_to_run = shown_by(given.what, given.aggregate, given.order)
        text = shown.to_html(**options)
    except (ImportError, OSError, ValueError) as error:
        print(f"{given.what}: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    try:
        Path(given.output).write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"{given.output}: cannot be written: {error.strerror or error}.", file=sys.stderr)
        return COULD_NOT_RUN
    print(f"{given.output}: {str(shown).splitlines()[0]}")
    return FAILED if failed_to_run else DONE


def shown_by(what: str, aggregate: str, order: int) -> tuple[Any, bool]:
    """The trace or the report that `what` names, and whether it failed. Raises ImportError, OSError or ValueError."""
    if "::" in what:
        from .checks.commands.command import CouldNotRun, checked
        from .checks.commands.command import opened as targets_of

        try:
            ((target,), _) = targets_of(what)
            report = checked(target, order)
        except CouldNotRun as error:
            raise ValueError(str(error)) from None
        return report, bool(report.faults)
    if what.endswith(".trace"):
        return Trace.load(what), False
    if what.endswith(".py"):
        raise ValueError(f"say what of the file to check, {what}::NAME or {what}::case.{names_in(what)}")
    trace = opened(what).run(chosen(aggregate), "skip", "none")
    return trace, trace.error is not None


def names_in(path: str) -> str:
    """What of a file can be checked, as a sentence; nothing where there is nothing, or no such file."""
    file = UserFile(path)
    with redirect_stdout(sys.stderr):
        file.refresh()
    names = [] if file.problem is not None else [each.name for each in file.content.targets]
    return f" It has: {', '.join(names)}." if names else ""


def plotly_from(said: str) -> str | bool:
    """`--plotlyjs` as to_html takes it."""
    if said == "embed":
        return True
    if said != "cdn" and not said.endswith(".js") and not said.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{said!r}: expected embed, cdn, or the address of a .js file")
    return said


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
