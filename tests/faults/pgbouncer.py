"""A real pgbouncer before the test's database, as a process of its own; tests that ask for one are skipped where none is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import conninfo

from engine.embedded.start import _free_port
from engine.testing.server import roomy_folder

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MISSING = "NOT TESTED: no pgbouncer is installed here; with it (apt-get install pgbouncer) this is part of every run"


class PgBouncer:
    """Listens at `url` in session or transaction mode until `end`; clients need no password."""

    def __init__(self, target_url: str, mode: str) -> None:
        parts = conninfo.conninfo_to_dict(target_url)
        self.port = _free_port(0)
        self.url = target_url.replace(f":{parts['port']}/", f":{self.port}/")
        self._folder = Path(tempfile.mkdtemp(prefix="tasker-pgbouncer-", dir=roomy_folder()))
        self._folder.chmod(0o777)
        target = " ".join(f"{name}={parts[name]}" for name in ("host", "port", "dbname", "user", "password") if parts.get(name))
        settings = {
            "listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": "", "auth_type": "any", "pool_mode": mode,
            "ignore_startup_parameters": "extra_float_digits,options", "default_pool_size": 30, "max_client_conn": 200, "logfile": self._folder / "log",
        }  # fmt: skip
        lines = [f"[databases]\n{parts['dbname']} = {target}\n[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
        (self._folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        self.start()

    def start(self) -> None:
        """It answers."""
        assert PROGRAM
        unprivileged = ["-u", "nobody"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen([PROGRAM, *unprivileged, "-q", str(self._folder / "pgbouncer.ini")], cwd="/", stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1), psycopg.connect(self.url, connect_timeout=2):
                return True
        except (OSError, psycopg.Error):
            return False

    def kill(self) -> None:
        """It is gone, and every connection through it is torn."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """Nothing of it is left."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
