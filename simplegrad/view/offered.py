"""The aggregates that a visitor may choose: everybody's, and those that they compiled themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ..aggregates import Aggregate, registry

MOST_OWN = 24  # compiled ones of a visitor; the oldest goes first


class Offered(Mapping[str, Aggregate]):
    """Reads as one mapping by name. `own` gives the visitor's part: pages let it be that of their session."""

    def __init__(self, own: Callable[[], dict[str, Aggregate]]):
        self.own = own

    def add(self, aggregate: Aggregate) -> None:
        """For this visitor alone."""
        own = self.own()
        own.pop(aggregate.name, None)
        own[aggregate.name] = aggregate
        while len(own) > MOST_OWN:
            own.pop(next(iter(own)))

    def __getitem__(self, name: str) -> Aggregate:
        found = self.own().get(name)
        return registry[name] if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter([*registry, *(name for name in self.own() if name not in registry)])

    def __len__(self) -> int:
        return len(list(iter(self)))


OF_NO_PAGE: dict[str, Aggregate] = {}
offered = Offered(lambda: OF_NO_PAGE)
