"""What the installation takes up: sessions at rest in a transaction, connections, processes, memory. The arena looks in the middle of a run, and at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from arena import Arena

CONNECTIONS_PER_ENGINE = 12
CONNECTIONS_OF_THE_DASHBOARD = 24
RESIDENT_MEGABYTES = 400
REST_SECONDS = 5
END_SECONDS = 5
"""What the processes of an engine may take to end after it."""

RESTING = """
  select format('session %%s of %%s (%%s)', pid, application_name, left(query, 80)) from pg_stat_activity
   where application_name like 'tasker%%' and state like 'idle in transaction%%' and state_change < clock_timestamp() - make_interval(secs => %s) order by pid"""


class Footprint:
    """What is too large. What a death or a cut line leaves for a moment is none of it: in the middle of a run counts what was so at the last look too."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.most_connections = 0
        self._resting: set[str] = set()
        self._was_crowded = False
        self._blind = 0

    @contextmanager
    def blind(self) -> Iterator[None]:
        """Somebody is cut off by other means than a proxy."""
        self._blind += 1
        yield
        self._blind -= 1

    def look(self, conn: psycopg.Connection[Any]) -> list[str]:
        """In the middle of it all. Who is kept from speaking cannot end anything, so then nothing is held against it."""
        resting, crowd = self._resting_sessions(conn), self._crowd(conn)
        if not self._all_may_speak():
            self._resting, self._was_crowded = set(), False
            return self._fat()
        found = [f"{session} rests in a transaction" for session in sorted(resting & self._resting)] + (crowd if self._was_crowded else [])
        self._resting, self._was_crowded = resting, bool(crowd)
        return found + self._fat()

    def at_the_end(self, conn: psycopg.Connection[Any]) -> list[str]:
        """When all is quiet, nothing may be left."""
        resting = [f"{session} rests in a transaction" for session in sorted(self._resting_sessions(conn))]
        return resting + self._crowd(conn) + self._orphans() + self._fat()

    def _all_may_speak(self) -> bool:
        return not self._blind and all(proxy.is_open for proxy in self.arena.proxies()) and not any(_is_stopped(engine.pid) for engine in self.arena.living())

    def _resting_sessions(self, conn: psycopg.Connection[Any]) -> set[str]:
        return {row[0] for row in conn.execute(RESTING.encode(), [REST_SECONDS]).fetchall()}

    def _crowd(self, conn: psycopg.Connection[Any]) -> list[str]:
        row = conn.execute("select count(*) from pg_stat_activity where application_name like 'tasker%'").fetchone()
        assert row is not None
        self.most_connections = max(self.most_connections, row[0])
        allowed = CONNECTIONS_PER_ENGINE * len(self.arena.living()) + (CONNECTIONS_OF_THE_DASHBOARD if self.arena.has_web else 0)
        return [f"{row[0]} connections, {allowed} are configured"] if row[0] > allowed else []

    def _orphans(self) -> list[str]:
        """Processes of engines that have ended, a moment after their end."""
        living = {engine.label for engine in self.arena.living()}
        deadline = time.monotonic() + END_SECONDS
        while (left := [label for label in self.labels_of_processes() if label not in living]) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [f"processes of {label} outlived it" for label in sorted(set(left))]

    def labels_of_processes(self) -> list[str]:
        """Of the engines of this installation: of each of their processes that lives."""
        labels = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = dict(word.partition(b"=")[::2] for word in (place / "environ").read_bytes().split(b"\0"))
                if words.get(b"FAULTS_RUN") == self.arena.run_id.encode() and b"FAULTS_ENGINE" in words:
                    labels.append(words[b"FAULTS_ENGINE"].decode())
        return labels

    def _fat(self) -> list[str]:
        found = []
        for engine in self.arena.living():
            with suppress(OSError, StopIteration):
                line = next(line for line in Path(f"/proc/{engine.pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
                megabytes = int(line.split()[1]) // 1024
                if megabytes > RESIDENT_MEGABYTES:
                    found.append(f"{engine.label} holds {megabytes} MB")
        return found


def _is_stopped(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False
