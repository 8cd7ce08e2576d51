"""Partners of two sequences: the longest way to match equal keys in order, in bounded time for long ones."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

MOST = 2_000  # of a stretch that is matched as a whole; of a longer one, keys that stand once in it come first


def paired(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Pairs of places with equal keys, growing on both sides."""
    found: list[tuple[int, int]] = []
    _pair(left, right, 0, len(left), 0, len(right), found)
    return sorted(found)


def _pair(left, right, a: int, b: int, c: int, d: int, found: list[tuple[int, int]]) -> None:
    while a < b and c < d and left[a] == right[c]:
        found.append((a, c))
        a, c = a + 1, c + 1
    while a < b and c < d and left[b - 1] == right[d - 1]:
        b, d = b - 1, d - 1
        found.append((b, d))
    if a == b or c == d:
        return
    if b - a <= MOST and d - c <= MOST:
        for i, j, n in SequenceMatcher(None, left[a:b], right[c:d], autojunk=False).get_matching_blocks():
            found.extend((a + i + k, c + j + k) for k in range(n))
        return
    anchors = _anchors(left, right, a, b, c, d)
    for (i, j), (k, m) in zip([(a - 1, c - 1), *anchors], [*anchors, (b, d)]):
        if (i, j) != (a - 1, c - 1):
            found.append((i, j))
        if anchors:
            _pair(left, right, i + 1, k, j + 1, m, found)


def _anchors(left, right, a: int, b: int, c: int, d: int) -> list[tuple[int, int]]:
    """Keys that stand once on each side, in growing order on both: patience diff's."""
    ones = [_once(left, a, b), _once(right, c, d)]
    places = sorted((i, ones[1][key]) for key, i in ones[0].items() if key in ones[1])
    best: list[tuple[int, int]] = []
    for place in places:
        if not best or place[1] > best[-1][1]:
            best.append(place)
    return best


def _once(keys, first: int, last: int) -> dict[Hashable, int]:
    found: dict[Hashable, int] = {}
    twice = set()
    for place in range(first, last):
        if keys[place] in found:
            twice.add(keys[place])
        found[keys[place]] = place
    return {key: place for key, place in found.items() if key not in twice}
