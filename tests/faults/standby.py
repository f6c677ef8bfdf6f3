"""A second PostgreSQL that follows the arena's own by streaming, is promoted, and takes over its clients."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg
from arena import Arena, until

from engine.embedded.binaries import find_binaries
from engine.embedded.cluster import server_environ
from engine.embedded.identity import drop, hand_over, identity_for, reachable
from engine.embedded.start import HOST, SERVER_OPTIONS, _free_port

READ_ONLY = {"default_transaction_read_only": "on"}


class Standby:
    """Follows the arena's server from now on; `synchronous`, so that no commit is acknowledged before it is on both."""

    def __init__(self, arena: Arena, *, synchronous: bool) -> None:
        self.arena = arena
        self.port = _free_port(0)
        self._folder = arena.folder / "standby"
        self._start()
        with arena.direct() as conn:
            if synchronous:
                conn.execute("alter system set synchronous_standby_names = '*'")
                conn.execute("select pg_reload_conf()")
            state = "sync" if synchronous else "async"
            until(lambda: conn.execute("select count(*) from pg_stat_replication where sync_state = %s", [state]).fetchone() == (1,), "the standby to follow")

    def _start(self) -> None:
        cluster = Path(self._run_there("show data_directory"))
        identity = identity_for(cluster)
        binaries = reachable(find_binaries(), identity, cluster.parent)
        self._folder.mkdir(mode=0o700)
        hand_over(self._folder, identity)
        copy = [str(binaries.postgres.with_name("pg_basebackup")), "-D", str(self._folder), "-d", self.arena.server.admin_url, "-R", "-c", "fast", "--no-sync"]
        subprocess.run([*identity.prefix, *copy], check=True, capture_output=True, text=True, env=server_environ(), cwd="/", **drop(identity))
        settings = {**SERVER_OPTIONS, **self.arena.options, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.arena.folder / "standby.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*identity.prefix, str(binaries.postgres), "-D", str(self._folder), *options], stdout=log, stderr=log, cwd="/", env=server_environ(), **drop(identity)
            )

    def _run_there(self, query: str) -> str:
        with self.arena.direct() as conn:
            row = conn.execute(query.encode()).fetchone()
        assert row is not None
        return str(row[0])

    def fall_behind(self) -> None:
        """It hears nothing more of the arena's server."""
        with psycopg.connect(self._here(self.arena.server.admin_url), autocommit=True) as conn:
            conn.execute("alter system set primary_conninfo = ''")
            conn.execute("select pg_reload_conf()")
            until(lambda: conn.execute("select count(*) from pg_stat_wal_receiver").fetchone() == (0,), "the standby to be cut off")

    def promote(self) -> None:
        """It takes writes, and the arena's own look at it from now on; the clients do not know yet."""
        former = self.arena.server
        self.arena.server = replace(former, url=self._here(former.url), admin_url=self._here(former.admin_url), port=self.port)
        with self.arena.direct() as conn:
            conn.execute("select pg_promote()")
            until(lambda: conn.execute("select pg_is_in_recovery()").fetchone() == (False,), "the standby to be promoted")

    def take_over(self) -> None:
        """The address of the installation's database leads here: for new connections, as when a name is given to another machine."""
        proxies = [self.arena.client_proxy, *(engine.proxy for engine in self.arena.engines), *([self.arena.web_proxy] if self.arena.web_proxy else [])]
        for proxy in proxies:
            proxy.target = (HOST, self.port)

    def end(self) -> None:
        """It is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGQUIT)
        self.process.wait()

    def _here(self, url: str) -> str:
        parts = psycopg.conninfo.conninfo_to_dict(url)
        return url.replace(f":{parts['port']}/", f":{self.port}/")
