"""A `Database` that asks by the session that is there anyway. The workbench reads and submits by it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, LiteralString

import psycopg
from psycopg import Connection

from engine.db import Database, translated


class OneSession(Database):
    """Single queries go by `session`, the engine's; who wants a connection for longer gets one of a pool. Both have the clock `moved` by so much."""

    def __init__(self, url: str, session: Connection[Any], moved: timedelta) -> None:
        offset = f"{moved.total_seconds():.6f} seconds"
        super().__init__(url, max_size=2, application_name="tasker test", options=f"-c tasker.clock_offset={offset.replace(' ', chr(92) + ' ')}" if moved else "")
        self._session = session
        if moved:
            session.execute("select set_config('tasker.clock_offset', %s, false)", (offset,))

    def _rows(self, query: LiteralString, parameters: dict[str, Any] | None) -> list[tuple[Any, ...]]:
        try:
            return self._session.execute(query, parameters).fetchall()
        except psycopg.Error as error:
            raise translated(error) from error
