"""The same records as a Parquet file, for tools that read tables: written beside each file of an archive where `pyarrow` is installed.

The lines of JSON are what counts, and are what is read back; a column of this file holds them whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from types import TracebackType
from typing import Any

ENDING = ".parquet"
COLUMNS = ("task_id", "namespace", "name", "version", "state", "finished_at")
"""Beside these, `record` is the whole line."""
ROWS = 1_000
CHARACTERS = 16 << 20
IS_THERE = importlib.util.find_spec("pyarrow") is not None


class Writer:
    """Takes one line after the other, and writes them in groups, so that little is held."""

    def __init__(self, path: Path) -> None:
        self._arrow: Any = importlib.import_module("pyarrow")
        self._columns = (*COLUMNS, "record")
        self._schema = self._arrow.schema([(name, self._arrow.large_string() if name == "record" else self._arrow.string()) for name in self._columns])
        path.touch(mode=0o600, exist_ok=False)
        self._writer: Any = importlib.import_module("pyarrow.parquet").ParquetWriter(str(path), self._schema, compression="zstd")
        self._rows: list[dict[str, str]] = []
        self._held = 0

    def add(self, line: str) -> None:
        """One more row."""
        record = json.loads(line)
        self._rows.append({name: record[name] for name in COLUMNS} | {"record": line})
        self._held += len(line)
        if len(self._rows) >= ROWS or self._held >= CHARACTERS:
            self._write()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._write()
        finally:
            self._writer.close()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._held = [], 0
