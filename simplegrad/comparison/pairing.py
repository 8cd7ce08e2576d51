"""Partners of two sequences: the longest way to match equal keys in order, in bounded time for long ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from difflib import SequenceMatcher

MOST = 2_000  # of a stretch that is matched as a whole; of a longer one, keys that stand once in it come first

MOST_SLIDES = 64


def paired(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Pairs of places with equal keys, growing on both sides."""
    found: list[tuple[int, int]] = []
    _pair(left, right, 0, len(left), 0, len(right), found)
    return sorted(found)


def slid(
    pairs: list[tuple[int, int]],
    left: Sequence[Hashable],
    right: Sequence[Hashable],
    likeness: Callable[[int, int], int],
) -> list[tuple[int, int]]:
    """The same pairs, with what stands alone among equal keys moved up to where those that are pairs are most alike.
    In a loop, an operation more may pass for any of its like. `likeness`: of two places, more is better."""
    forth = dict(pairs)
    _slide(forth, right, {j: i for i, j in pairs}, likeness)
    back = {j: i for i, j in forth.items()}
    _slide(back, left, forth, lambda j, i: likeness(i, j))
    return sorted((i, j) for j, i in back.items())


def _slide(forth: dict[int, int], keys: Sequence[Hashable], back: dict[int, int], likeness: Callable) -> None:
    """Of one side, whose places with a partner are in `back`."""
    alone = [place for place in range(len(keys)) if place not in back]
    for first, last in _stretches(alone):
        best, gain, most = 0, 0, 0
        for n in range(1, MOST_SLIDES):
            old, new = first - n, last - n + 1
            if old not in back or keys[old] != keys[new]:
                break
            gain += likeness(back[old], new) - likeness(back[old], old)
            best, most = (n, gain) if gain > most else (best, most)
        for n in range(1, best + 1):
            partner = back.pop(first - n)
            forth[partner], back[last - n + 1] = last - n + 1, partner


def _stretches(places: Sequence[int]) -> list[tuple[int, int]]:
    """The first and the last of each run of neighbours."""
    found: list[tuple[int, int]] = []
    for place in places:
        if found and found[-1][1] == place - 1:
            found[-1] = found[-1][0], place
        else:
            found.append((place, place))
    return found


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
