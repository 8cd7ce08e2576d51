"""How many wrong backwards `check` finds: `python -m tests.checks.mutation [--full] [--every N] [--misses]`.

Each silent mutant of the right Functions is one question. A fault, at any order and under any code, is found;
`unverified` is a miss. Its cause is named where a finding of order 1 has a code, or an explanation, of its own; its
line where the place of a finding, no longer than one statement, covers what was changed.
"""

from __future__ import annotations

import argparse
import collections
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from simplegrad import check
from simplegrad.checks.report import Finding, Report
from tests.checks.mutants import Mutant, is_silent, loaded, mutable, mutants_of

FOUND, CAUSE, LINE = 0.98, 0.85, 0.80
UNEXPLAINED = {"unexplained", "wrong_gradient"}  # known to be wrong, not why: unless an explanation stands beside it
EVERY = 17  # the quick form takes one mutant of so many
LONGEST = 8  # lines of a place: a whole function named is no line named


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


def is_cause(finding: Finding) -> bool:
    return finding.order == 1 and (finding.code not in UNEXPLAINED or bool(getattr(finding, "explanation", "")))


def covers(finding: Finding, mutant: Mutant) -> bool:
    places = [place for place in (finding.read_at, finding.made_at) if place is not None]
    return any(
        place.first <= mutant.last and mutant.first <= place.last and place.last - place.first < LONGEST
        for place in places
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
            f"the changed line in {self.share('has_line'):.1%} ({LINE:.0%})"
        )

    def by_kind(self) -> str:
        kinds = collections.defaultdict(Figures)
        for each in self.asked:
            kinds[each.mutant.kind].asked.append(each)
        return "\n".join(
            f"  {kind:<11} {len(part.asked):>4}  found {part.share('is_found'):6.1%}  "
            f"cause {part.share('has_cause'):6.1%}  line {part.share('has_line'):6.1%}"
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


def sampled(every: int = EVERY, offset: int = 0) -> Iterator[Mutant]:
    """One of so many mutants, over all Functions."""
    everything = (mutant for name in mutable() for mutant in mutants_of(name))
    return (mutant for i, mutant in enumerate(everything) if i % every == offset % every)


def measured(every: int = EVERY, offset: int = 0) -> Figures:
    found = (asked_of(mutant) for mutant in sampled(every, offset))
    return Figures([each for each in found if each is not None])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.checks.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="every mutant, not a sample")
    parser.add_argument("--every", type=int, default=EVERY, help="sample one of so many")
    parser.add_argument("--offset", type=int, default=0, help="which one of them")
    parser.add_argument("--misses", action="store_true", help="list what was not found, named or placed")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    figures = measured(1 if given.full else given.every, given.offset)
    print(figures.text, figures.by_kind(), sep="\n")
    if given.misses:
        for each in figures.asked:
            missing = [word for word in ("found", "cause", "line") if not getattr(each, _OF[word])]
            if missing:
                said = each.error or f"{each.report.verdict} {[f.code for f in each.report.findings]}"
                print(f"{'+'.join(missing):<16} {each.mutant.name}\n{'':<16} {said}")
    goals = (("is_found", FOUND), ("has_cause", CAUSE), ("has_line", LINE))
    return 0 if all(figures.share(what) >= goal for what, goal in goals) else 1


_OF = {"found": "is_found", "cause": "has_cause", "line": "has_line"}

if __name__ == "__main__":
    sys.exit(main())
