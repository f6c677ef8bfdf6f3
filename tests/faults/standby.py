"""A second PostgreSQL that follows the arena's own by streaming, is promoted, and takes over its clients."""

from __future__ import annotations

from dataclasses import replace

import psycopg
from arena import Arena, until

from engine.embedded.start import HOST
from engine.testing.standbys import StreamingCopy

READ_ONLY = {"default_transaction_read_only": "on"}


class Standby:
    """Follows the arena's server from now on; `synchronous`, so that no commit is acknowledged before it is on both."""

    def __init__(self, arena: Arena, *, synchronous: bool) -> None:
        self.arena = arena
        self.copy = StreamingCopy(arena.server, arena.folder, arena.options)
        self.port = self.copy.port
        with arena.direct() as conn:
            if synchronous:
                conn.execute("alter system set synchronous_standby_names = '*'")
                conn.execute("select pg_reload_conf()")
            state = "sync" if synchronous else "async"
            until(lambda: conn.execute("select count(*) from pg_stat_replication where sync_state = %s", [state]).fetchone() == (1,), "the standby to follow")

    def fall_behind(self) -> None:
        """It hears nothing more of the arena's server."""
        with psycopg.connect(self.copy.url(self.arena.server.admin_url), autocommit=True) as conn:
            conn.execute("alter system set primary_conninfo = ''")
            conn.execute("select pg_reload_conf()")
            until(lambda: conn.execute("select count(*) from pg_stat_wal_receiver").fetchone() == (0,), "the standby to be cut off")

    def promote(self) -> None:
        """It takes writes, and the arena's own look at it from now on; the clients do not know yet."""
        former = self.arena.server
        self.arena.server = replace(former, url=self.copy.url(former.url), admin_url=self.copy.url(former.admin_url), port=self.port)
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
        self.copy.end()
