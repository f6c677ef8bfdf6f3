"""Which database a namespace lives in, where there are several: what TASKER_SHARDS says. `submit`, the command line and the dashboard ask here.

A shard is a database of its own with everything of its namespaces. The one of `*` is the home: every namespace that no other names, and the accounts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import NotFound, TaskerError

VARIABLE = "TASKER_SHARDS"
REST = "*"
HOME = "main"
_SHAPE = f"{VARIABLE} must look like payments,refunds=postgresql://…;*=postgresql://…"


class BadShards(TaskerError):
    """TASKER_SHARDS, or the name of a shard, cannot be understood; the text says what to correct."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One database and its namespaces, without any the one that has the rest; it is called by its first namespace, or `main`."""

    namespaces: tuple[str, ...]
    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """By which commands, addresses and pages know it."""
        return self.namespaces[0] if self.namespaces else HOME

    @property
    def is_home(self) -> bool:
        """Whether it has the accounts and whatever namespace no other names."""
        return not self.namespaces


@dataclass(frozen=True, slots=True)
class Shards:
    """All databases of an installation, the home first."""

    all: tuple[Shard, ...]

    @property
    def home(self) -> Shard:
        """The database of `*`."""
        return self.all[0]

    def of(self, namespace: str) -> Shard:
        """Where that namespace lives."""
        return next((each for each in self.all if namespace in each.namespaces), self.home)

    def named(self, name: str) -> Shard:
        """The shard of that name. Raises `NotFound`, naming those there are."""
        for each in self.all:
            if each.name == name:
                return each
        raise NotFound(f'there is no shard "{name}"; {VARIABLE} has {", ".join(each.name for each in self.all)}')


def read_shards(text: str) -> Shards:
    """What TASKER_SHARDS says: entries with `;` between them, or `@` and a file with one a line. Raises `BadShards`."""
    found = [_read_entry(entry) for entry in _entries(text)]
    _refuse_doubles(found)
    home = [each for each in found if each.is_home]
    if len(home) != 1:
        raise BadShards(f"{_SHAPE}: {'more than one' if home else 'no'} database is given for *, which has the accounts and every other namespace")
    return Shards((*home, *(each for each in found if not each.is_home)))


def _entries(text: str) -> list[str]:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).expanduser().read_text(encoding="utf-8").replace("\n", ";")
        except (OSError, UnicodeDecodeError) as error:
            raise BadShards(f"{VARIABLE}: cannot read {text[1:]}: {error}") from None
    return [entry.strip() for entry in text.split(";") if entry.strip() and not entry.strip().startswith("#")]


def _read_entry(entry: str) -> Shard:
    # no part of the entry is repeated in a message: it holds a password
    names, equals, url = (part.strip() for part in entry.partition("="))
    listed = tuple(name.strip() for name in names.split(",") if name.strip())
    if not equals or "://" in names or "://" not in url or not listed:
        raise BadShards(f"{_SHAPE}; one of its entries does not")
    if REST in listed and len(listed) > 1:
        raise BadShards(f"{_SHAPE}: * stands alone, as it has every namespace that is not named")
    return Shard(() if listed == (REST,) else listed, url)


def _refuse_doubles(found: Iterable[Shard]) -> None:
    seen: dict[str, Shard] = {}
    for shard in found:
        for namespace in shard.namespaces:
            if namespace in seen:
                raise BadShards(f'{VARIABLE} gives the namespace "{namespace}" to two databases; it can live in one')
            seen[namespace] = shard
        if shard.namespaces and shard.name == HOME:
            raise BadShards(f'{VARIABLE}: "{HOME}" is what the database of * is called, so no other list may begin with it; name another namespace of it first')
