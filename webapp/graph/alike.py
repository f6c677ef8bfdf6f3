"""Which steps are alike, so that a large picture may show them as one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache

from webapp.graph.measures import ALIKE, Layers, Parents
from webapp.graph.net import children_of, depths


@lru_cache(maxsize=256)
def groups(parents: Parents) -> Parents:
    """Steps of the same kind together, ordered by their first; kinds of fewer than `ALIKE` steps are taken apart.

    Taking a kind apart can tell its neighbours apart too, hence the loop.
    """
    children = children_of(parents)
    kinds = depths(parents)
    while True:
        kinds = _refined(kinds, parents, children)
        sizes = Counter(kinds)
        if all(size == 1 or size >= ALIKE for size in sizes.values()):
            return _by_kind(kinds)
        kinds = [kind if sizes[kind] >= ALIKE else -1 - no for no, kind in enumerate(kinds)]


def _refined(kinds: list[int], parents: Parents, children: Layers) -> list[int]:
    """Split kinds until steps of one kind have parents and children of the same kinds."""
    count = len(set(kinds))
    while True:
        seen: dict[object, int] = {}
        views = (_view(no, kinds, parents[no], children[no]) for no in range(len(kinds)))
        kinds = [seen.setdefault(view, len(seen)) for view in views]
        if len(seen) == count:
            return kinds
        count = len(seen)


def _view(no: int, kinds: list[int], parents: Sequence[int], children: Sequence[int]) -> object:
    return kinds[no], tuple(sorted(kinds[p] for p in parents)), tuple(sorted(kinds[c] for c in children))


def _by_kind(kinds: list[int]) -> Parents:
    groups: dict[int, list[int]] = defaultdict(list)
    for no, kind in enumerate(kinds):
        groups[kind].append(no)
    return tuple(map(tuple, groups.values()))
