"""The embedded PostgreSQL: finds server binaries, makes a cluster in the data folder, starts, shares and stops it.

Called by the command line and the tests when no TASKER_DATABASE_URL is given; no step's life passes through here.

One folder, `<data_dir>/postgres`, holds everything. Two locks in it decide: `start.lock` is held by whoever looks, starts or
stops; `running.lock` is inherited by the server's processes, so it is held exactly while one of them lives. A pid in a
file is never believed: pids are reused, and certainly in containers and after a reboot.
"""

from engine.embedded.binaries import Binaries, find_binaries
from engine.embedded.server import EmbeddedServer, ServerStatus, ensure_server, status, stop_server

__all__ = ["Binaries", "EmbeddedServer", "ServerStatus", "ensure_server", "find_binaries", "status", "stop_server"]
