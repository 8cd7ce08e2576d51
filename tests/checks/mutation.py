"""How many wrong backwards `check` finds: `python -m tests.checks.mutation [--full] [--every N] [--misses]`, and more.

Each silent mutant of the right Functions is one question. A fault, at any order and under any code, is found;
`unverified` is a miss. Its cause is named where a finding of order 1 has a code, or an explanation, of its own; its
line where the place of a finding, no longer than one statement, covers what was changed. A line of backward that is
named where none of those named was changed is a wrong line, and a code that no such change can have is a wrong cause:
both are worse than none, and are counted. Mutants with two changes ask whether it is known when nothing is known.
"""

from __future__ import annotations

import argparse
import collections
import functools
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import torch

from simplegrad import check
from simplegrad.checks.report import Finding, Report
from tests.checks.mutants import Mutant, is_silent, loaded, mutable, mutants_of, pairs_of

FOUND, CAUSE, LINE = 0.98, 0.85, 0.80
WRONG_LINE, WRONG_CAUSE = 0.06, 0.03  # at most; several of the lines named could be changed instead, a sign say
UNEXPLAINED = {"unexplained", "wrong_gradient"}  # known to be wrong, not why: unless an explanation stands beside it
EVERY = 17  # the quick form takes one mutant of so many
LONGEST = 8  # lines of a place: a whole function named is no line named
# codes that say more than that the gradient is wrong: by which kinds of change they can come
OF_KINDS = {
    "missing_gradient": {"none", "zeros", "name", "branch", "needs"},
    "missing_use": {"none", "zeros", "name", "branch", "term", "operator", "factor", "call", "branches", "index"},
    "double_counted": {"factor", "constant", "operator", "power", "term", "name"},
    "wrong_order": {"swapped", "sign", "name"},
    "ignored_output_gradient": {"ignored", "none", "zeros", "term", "factor", "name"},
    "not_linear": {"ignored", "factor", "power", "operator", "constant", "term", "call", "function", "name"},
}
ANY = {"wrong_partial", "wrong_gradient", "nonfinite_gradient", "unexplained", "raises", "wrong_shape"}


@dataclass
class Asked:
    mutant: Mutant
    report: Report | None
    error: str = ""

    @property
    def is_found(self) -> bool:
        return self.report is not None and bool(self.report.faults)

    @property
    def has_cause(self) -> bool:
        return self.report is not None and any(map(is_cause, self.report.faults))

    @property
    def has_line(self) -> bool:
        return self.report is not None and any(covers(finding, self.mutant) for finding in self.report.faults)

    @property
    def first(self) -> list[Finding]:
        return [each for each in self.report.faults if each.order == 1] if self.report is not None else []

    @property
    def has_wrong_line(self) -> bool:
        named = [each for each in self.first if each.read_at and each.read_at.last - each.read_at.first < LONGEST]
        return bool(named) and not self.has_line

    @property
    def has_wrong_cause(self) -> bool:
        kinds = set(self.mutant.kind.split(" and "))
        codes = {each.code for each in self.first} - ANY
        return bool(codes) and not any(kinds & OF_KINDS.get(code, set()) for code in codes)


def is_cause(finding: Finding) -> bool:
    return finding.order == 1 and (finding.code not in UNEXPLAINED or bool(getattr(finding, "explanation", "")))


def covers(finding: Finding, mutant: Mutant) -> bool:
    places = [place for place in (finding.read_at, finding.made_at) if place is not None]
    return any(
        place.first <= last and first <= place.last and place.last - place.first < LONGEST
        for place in places
        for first, last in mutant.changed
    )


@dataclass
class Figures:
    asked: list[Asked] = field(default_factory=list)

    def share(self, what: str) -> float:
        return sum(getattr(each, what) for each in self.asked) / max(len(self.asked), 1)

    @property
    def text(self) -> str:
        return (
            f"{len(self.asked)} silent mutants: a fault in {self.share('is_found'):.1%} (goal {FOUND:.0%}), "
            f"a cause of order 1 in {self.share('has_cause'):.1%} ({CAUSE:.0%}), "
            f"the changed line in {self.share('has_line'):.1%} ({LINE:.0%}), "
            f"a wrong line in {self.share('has_wrong_line'):.1%} (at most {WRONG_LINE:.0%}), "
            f"a wrong cause in {self.share('has_wrong_cause'):.1%} (at most {WRONG_CAUSE:.0%})"
        )

    def by_kind(self) -> str:
        kinds = collections.defaultdict(Figures)
        for each in self.asked:
            kinds[each.mutant.kind].asked.append(each)
        return "\n".join(
            f"  {kind:<11} {len(part.asked):>4}  found {part.share('is_found'):6.1%}  "
            f"cause {part.share('has_cause'):6.1%}  line {part.share('has_line'):6.1%}  "
            f"wrong line {part.share('has_wrong_line'):6.1%}"
            for kind, part in sorted(kinds.items())
        )


def asked_of(mutant: Mutant) -> Asked | None:
    """What check says of it; None for one that is not silent."""
    with loaded(mutant) as (fn, inputs):
        if not is_silent(fn, inputs):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return Asked(mutant, check(fn, *inputs))
            except Exception as error:  # a crash is a miss, and is told
                return Asked(mutant, None, f"{type(error).__name__}: {error}")


def sampled(every: int = EVERY, offset: int = 0, kinds: Collection[str] = ()) -> Iterator[Mutant]:
    """One of so many mutants, over all Functions; `kinds`: only of these."""
    everything = (mutant for name in mutable() for mutant in mutants_of(name) if not kinds or mutant.kind in kinds)
    return (mutant for i, mutant in enumerate(everything) if i % every == offset % every)


def twice_wrong(every: int = EVERY, offset: int = 0) -> Iterator[Mutant]:
    """Mutants with two changes in different statements, one pair of so many."""
    pairs = (mutant for name in mutable() for mutant in pairs_of(name))
    return (mutant for i, mutant in enumerate(pairs) if i % every == offset % every)


def measured(every: int = EVERY, offset: int = 0, mutants: Callable = sampled) -> Figures:
    found = (asked_of(mutant) for mutant in mutants(every, offset))
    return Figures([each for each in found if each is not None])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.checks.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="every mutant, not a sample")
    parser.add_argument("--every", type=int, default=EVERY, help="sample one of so many")
    parser.add_argument("--offset", type=int, default=0, help="which one of them")
    parser.add_argument("--two", action="store_true", help="mutants with two changes: a wrong line is what counts")
    parser.add_argument("--kinds", default="", help="only changes of these kinds, with commas between")
    parser.add_argument("--misses", action="store_true", help="list what was not found, named or placed")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = functools.partial(sampled, kinds=given.kinds.split(",")) if given.kinds else sampled
    figures = measured(1 if given.full else given.every, given.offset, twice_wrong if given.two else chosen)
    print(figures.text, figures.by_kind(), sep="\n")
    if given.misses:
        for each in figures.asked:
            missing = [word for word in ("found", "cause", "line") if not getattr(each, _OF[word])]
            missing += ["wrong line"] * each.has_wrong_line + ["wrong cause"] * each.has_wrong_cause
            if missing:
                said = each.error or f"{each.report.verdict} {[f.code for f in each.report.findings]}"
                print(f"{'+'.join(missing):<16} {each.mutant.name}\n{'':<16} {said}")
    goals = (("is_found", FOUND), ("has_cause", CAUSE), ("has_line", LINE))
    limits = (("has_wrong_line", WRONG_LINE), ("has_wrong_cause", WRONG_CAUSE))
    is_met = given.two or all(figures.share(what) >= goal for what, goal in goals)
    return 0 if is_met and all(figures.share(what) <= limit for what, limit in limits) else 1


_OF = {"found": "is_found", "cause": "has_cause", "line": "has_line"}

if __name__ == "__main__":
    sys.exit(main())
