"""A second PostgreSQL that follows a test's own by streaming, as a replica for reading or to take its place."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from psycopg import conninfo

from engine.db import connect
from engine.embedded import EmbeddedServer
from engine.embedded.binaries import find_binaries
from engine.embedded.cluster import server_environ
from engine.embedded.identity import drop, hand_over, identity_for, reachable
from engine.embedded.start import SERVER_OPTIONS, _free_port

WAIT_SECONDS = 60.0


class StreamingCopy:
    """Follows `server` from now on, until `end`; its files are below `folder`."""

    def __init__(self, server: EmbeddedServer, folder: Path, options: Mapping[str, str]) -> None:
        self.port = _free_port(0)
        self._server, self._folder = server, folder / "standby"
        with connect(server.admin_url) as conn:
            found = conn.execute("show data_directory").fetchone()
        assert found
        identity = identity_for(Path(found[0]))
        binaries = reachable(find_binaries(), identity, Path(found[0]).parent)
        self._folder.mkdir(mode=0o700)
        hand_over(self._folder, identity)
        copy = [str(binaries.postgres.with_name("pg_basebackup")), "-D", str(self._folder), "-d", server.admin_url, "-R", "-c", "fast", "--no-sync"]
        subprocess.run([*identity.prefix, *copy], check=True, capture_output=True, text=True, env=server_environ(), cwd="/", **drop(identity))
        settings = {**SERVER_OPTIONS, **options, "port": str(self.port)}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (folder / "standby.log").open("ab") as log:
            command = [*identity.prefix, str(binaries.postgres), "-D", str(self._folder), *arguments]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", env=server_environ(), **drop(identity))

    @property
    def admin_url(self) -> str:
        """Where its superuser reaches it."""
        return self.url(self._server.admin_url)

    def url(self, of_primary: str) -> str:
        """The same database here."""
        port = conninfo.conninfo_to_dict(of_primary)["port"]
        return of_primary.replace(f":{port}/", f":{self.port}/")

    def tell(self, statement: str) -> object:
        """Run one statement here as the superuser; gives the first value."""
        with connect(self.admin_url) as conn:
            row = conn.execute(statement.encode()).fetchone()
        return row[0] if row else None

    def wait_until_followed(self) -> None:
        """It answers and has everything that was written until now."""
        position = self.flushed_position()
        deadline = time.monotonic() + WAIT_SECONDS
        while not self._has(position):
            assert time.monotonic() < deadline, "the standby does not follow"
            time.sleep(0.02)

    def flushed_position(self) -> str:
        """Up to where its server has written, all of which is on its way."""
        with connect(self._server.admin_url) as conn:
            # a commit that is flushed takes along all that was written before
            conn.execute("set synchronous_commit = local")
            conn.execute("select pg_logical_emit_message(true, 'tests', '')")
            row = conn.execute("select pg_current_wal_flush_lsn()::text").fetchone()
        assert row
        return str(row[0])

    def _has(self, position: str) -> bool:
        with suppress(Exception):
            return bool(self.tell(f"select pg_last_wal_replay_lsn() >= '{position}'::pg_lsn"))
        return False

    def promote(self) -> None:
        """It follows nobody any more and takes writes."""
        self.tell("select pg_promote()")

    def end(self) -> None:
        """It is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGQUIT)
        self.process.wait()
