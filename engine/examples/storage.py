"""Where the example services keep their records: small SQLite files and folders below the data directory.

Steps run in child processes, so whatever must outlive a step lies in these files and nowhere else.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.settings import Settings

_PATIENCE_SECONDS = 10.0


def folder(name: str, *, below: Path | None = None) -> Path:
    """An existing folder `examples/<name>` in the data directory: `below`, else `TASKER_DATA_DIR`, else the user's data folder."""
    path = (below or Settings.from_environ().data_dir) / "examples" / name
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def transaction(file: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """One write transaction on `file`, committed on leaving and rolled back by an exception.

    The tables of `schema` exist in it. Writers of all processes take turns, so what is read here stays true until
    the commit. Rows are read by column name.
    """
    connection = sqlite3.connect(file, timeout=_PATIENCE_SECONDS, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("begin immediate")
        _create_tables(connection, schema)
        yield connection
        connection.execute("commit")
    except BaseException:
        _roll_back(connection)
        raise
    finally:
        connection.close()


def write_file(path: Path, text: str) -> Path:
    """Put `text` at `path` in one move: a reader sees the old file or the whole new one. Returns `path`."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    return path


def _create_tables(connection: sqlite3.Connection, schema: str) -> None:
    # Statement by statement: `executescript` would commit the transaction that was just begun.
    for statement in schema.split(";"):
        connection.execute(statement)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("rollback")
