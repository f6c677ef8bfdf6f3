"""Which steps are alike, so that a large picture may show them as one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache

from webapp.graph.measures import ALIKE, ROUNDS, Layers, Parents
from webapp.graph.net import children_of, depths


@lru_cache(maxsize=256)
def groups(parents: Parents) -> Parents:
    """Steps of the same kind together, ordered by their first; kinds of fewer than `ALIKE` steps are taken apart.

    Every step is alone where that is not settled in `ROUNDS` rounds: a difference travels one step a round, so long chains could take thousands.
    """
    kinds = _settled(parents, children_of(parents))
    return tuple((no,) for no in range(len(parents))) if kinds is None else _by_kind(kinds)


def _settled(parents: Parents, children: Layers) -> list[int] | None:
    """The kinds such that steps of one kind have parents and children of the same kinds.

    Taking a kind apart can tell its neighbours apart too, hence one loop for both.
    """
    kinds = depths(parents)
    count = len(set(kinds))
    for _ in range(ROUNDS):
        kinds, before = _split(kinds, parents, children), count
        count = len(set(kinds))
        if count > before:
            continue
        sizes = Counter(kinds)
        if all(size == 1 or size >= ALIKE for size in sizes.values()):
            return kinds
        kinds = [kind if sizes[kind] >= ALIKE else -1 - no for no, kind in enumerate(kinds)]
        count = len(set(kinds))
    return None


def _split(kinds: list[int], parents: Parents, children: Layers) -> list[int]:
    """The kinds told apart by those of their parents and children."""
    seen: dict[object, int] = {}
    views = (_view(no, kinds, parents[no], children[no]) for no in range(len(kinds)))
    return [seen.setdefault(view, len(seen)) for view in views]


def _view(no: int, kinds: list[int], parents: Sequence[int], children: Sequence[int]) -> object:
    return kinds[no], tuple(sorted(kinds[p] for p in parents)), tuple(sorted(kinds[c] for c in children))


def _by_kind(kinds: list[int]) -> Parents:
    groups: dict[int, list[int]] = defaultdict(list)
    for no, kind in enumerate(kinds):
        groups[kind].append(no)
    return tuple(map(tuple, groups.values()))
