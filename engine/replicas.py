"""How a read replica stands to its primary: whether it is one, and how far it has followed. The dashboard asks before it reads there, `tasker doctor` to tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import psycopg

from engine.db import Database, described
from engine.errors import TaskerError
from engine.migrate import VERSION_TABLE

LAG_SECONDS = 10.0
"""Of a replica that is further behind nothing is read."""
READ_ONLY = "-c default_transaction_read_only=on"
VARIABLE = "TASKER_READ_DATABASE_URL"

# As numbers of bytes since the beginning, which can be compared.
_WRITTEN: LiteralString = "(pg_current_wal_insert_lsn() - '0/0')::bigint"
# What is not flushed is not sent yet, and on a server at rest may be no commit's.
_FLUSHED: LiteralString = "(pg_current_wal_flush_lsn() - '0/0')::bigint"
_PLACE: LiteralString = f"(select c.system_identifier from pg_control_system() c), current_database(), (select v.version_num from {VERSION_TABLE} v)"
_OF_PRIMARY: LiteralString = f"select {_FLUSHED}, {_PLACE}"
_OF_REPLICA: LiteralString = f"""
    select pg_is_in_recovery(), coalesce((pg_last_wal_replay_lsn() - '0/0')::bigint, 0),
           extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8, {_PLACE}
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """`state` is ok, behind, wrong (no replica of this primary) or unreachable; `said` tells it in words, without a password.

    It has everything that was written up to `position`. `lag_seconds` is None where that cannot be told.
    """

    state: str
    said: str
    position: int = 0
    lag_seconds: float | None = None

    @property
    def is_usable(self) -> bool:
        """Whether pages may be read there."""
        return self.state == "ok"


def written_position(primary: Database) -> int:
    """How far the primary has written: what was committed before lies below. Raises `DatabaseUnavailable`."""
    found: int = primary.value(f"select {_WRITTEN}")
    return found


def standing(primary: Database, replica: Database, *, most_seconds: float = LAG_SECONDS) -> Standing:
    """How the replica stands now. A primary that does not answer raises `DatabaseUnavailable`; a replica that does not is unreachable."""
    written, *place = primary.rows(_OF_PRIMARY)[0]
    where = described(replica.url)
    try:
        follows, position, age, *its_place = replica.rows(_OF_REPLICA)[0]
    except psycopg.errors.UndefinedTable:
        return Standing("wrong", f"the database at {where} has no tables of Tasker: {VARIABLE} must name the primary's database on a standby of it")
    except (TaskerError, psycopg.Error) as error:
        return Standing("unreachable", f"the replica at {where} does not answer: {str(error).splitlines()[0]}")
    return _wrong(where, follows, place, its_place) or _followed(where, position, 0.0 if position >= written else age, most_seconds)


def _wrong(where: str, follows: bool, place: list[object], its_place: list[object]) -> Standing | None:
    identifier, name, version = place
    its_identifier, its_name, its_version = its_place
    if (identifier, name) != (its_identifier, its_name):
        return Standing("wrong", f"the database at {where} is another one, no replica of the primary: {VARIABLE} must name the primary's database on a standby of it")
    if not follows:
        return Standing("wrong", f"the server at {where} follows no other; it is the primary itself, or has been promoted")
    if version != its_version:
        return Standing("behind", f"the replica at {where} has the schema {its_version} and the primary {version}")
    return None


def _followed(where: str, position: int, lag: float | None, most_seconds: float) -> Standing:
    if lag is None:
        return Standing("behind", f"the replica at {where} has replayed nothing yet", position)
    if lag > most_seconds:
        return Standing("behind", f"the replica at {where} is {lag:,.0f} s behind, more than the {most_seconds:g} s up to which it is read", position, lag)
    return Standing("ok", f"the replica at {where} is {lag:.1f} s behind", position, lag)
