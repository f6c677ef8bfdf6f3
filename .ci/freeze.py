"""Freezes today's `sql/` into a migration: `make revision NAME=core`.

The first revision carries every file. A later one carries the functions and views that differ from what earlier revisions
froze, and leaves marked places for changes to tables, which are written by hand; tests/test_schema_truth.py proves the sum.
Naming the first revision again renews it while there is no second; that is right only until it has been released.
"""

import hashlib
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config

ROOT = Path(__file__).resolve().parents[1]
_BY_HAND = "-- write by hand what changes in"
_OBJECT = re.compile(
    r"^create\s+(?:or\s+replace\s+)?(?:unlogged\s+)?"
    r"(?P<kind>table|type|domain|sequence|view|function|procedure)\s+(?:if\s+not\s+exists\s+)?(?P<name>\w+)",
    re.IGNORECASE | re.MULTILINE,
)
_PART = re.compile(r"^-- source: (\S+) ([0-9a-f]{12}|gone)\n", re.MULTILINE)


@dataclass(frozen=True)
class SourceFile:
    """One file of `sql/`; its name is its path there, such as `functions/tasker_submit.sql`."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        """What the header of a frozen part names, so that the next freeze sees whether the file has changed since."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @property
    def is_schema(self) -> bool:
        """Tables cannot be replaced in place as functions and views can."""
        return self.name.startswith("schema/")

    @property
    def needs(self) -> list[str]:
        """File names without folder and ending, from lines `-- needs: a, b`, that must be loaded before this one."""
        lines = re.findall(r"^-- needs:(.*)$", self.text, re.MULTILINE)
        return [word for line in lines for word in re.split(r"[\s,]+", line.strip()) if word]


@dataclass(frozen=True)
class FrozenPart:
    """What the newest revision that touched a source file says of it."""

    name: str
    digest: str
    text: str


def main(name: str, root: Path = ROOT) -> None:
    """Write up.sql and down.sql of the revision `name`; create the revision when it is new."""
    versions = root / "migrations" / "versions"
    folder = _folder(versions, name)
    before = frozen_parts(path for path in _frozen_folders(versions) if path.name < folder.name)
    up, down = freeze(source_files(root / "sql"), before)
    if not folder.with_suffix(".py").exists():
        _create_revision(root / "migrations", folder.name, name)
    folder.mkdir(exist_ok=True)
    (folder / "up.sql").write_text(up, encoding="utf-8")
    (folder / "down.sql").write_text(down, encoding="utf-8")
    print(f"froze sql/ into {folder.relative_to(root)}")
    for line in sorted(set(re.findall(rf"^{_BY_HAND}.*", up + down, re.MULTILINE))):
        print(line.removeprefix("-- "))


def source_files(sql: Path) -> list[SourceFile]:
    """Every file of `sql/` in an order that loads: schema, functions, views, each by name, but after what it needs."""
    files = {path.stem: _read(path) for kind in ("schema", "functions", "views") for path in sorted((sql / kind).glob("*.sql"))}
    ordered: list[SourceFile] = []
    for file in files.values():
        _place(file, files, ordered, ())
    return ordered


def freeze(files: list[SourceFile], before: dict[str, FrozenPart]) -> tuple[str, str]:
    """The texts of up.sql and down.sql that lead from the frozen parts to `files` and back."""
    names = {file.name for file in files}
    gone = [part for part in before.values() if part.name not in names and part.digest != "gone"]
    changed = [file for file in files if file.name not in before or before[file.name].digest != file.digest]
    up = [_leave(part) for part in reversed(gone)] + [_enter(file, before) for file in changed]
    down = [_undo(file, before) for file in reversed(changed)] + [part.text for part in gone]
    return "\n".join(up), "\n".join(down)


def frozen_parts(folders: Iterable[Path]) -> dict[str, FrozenPart]:
    """The newest frozen part of every source file, by name."""
    parts: dict[str, FrozenPart] = {}
    for folder in folders:
        pieces = _PART.split((folder / "up.sql").read_text(encoding="utf-8"))[1:]
        for name, digest, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
            parts[name] = FrozenPart(name, digest, text.rstrip("\n") + "\n")
    return parts


def _read(path: Path) -> SourceFile:
    return SourceFile(f"{path.parent.name}/{path.name}", path.read_text(encoding="utf-8").rstrip("\n") + "\n")


def _place(file: SourceFile, files: dict[str, SourceFile], ordered: list[SourceFile], above: tuple[str, ...]) -> None:
    if file in ordered:
        return
    if file.name in above:
        sys.exit(f"freeze: these files need each other: {' -> '.join([*above, file.name])}")
    for needed in file.needs:
        if needed not in files:
            sys.exit(f"freeze: {file.name} needs {needed}, which is not in sql/")
        _place(files[needed], files, ordered, (*above, file.name))
    ordered.append(file)


def _enter(file: SourceFile, before: dict[str, FrozenPart]) -> str:
    header = f"-- source: {file.name} {file.digest}\n"
    if file.is_schema and file.name in before:
        return f"{header}{_BY_HAND} {file.name}\n"
    return header + file.text


def _leave(part: FrozenPart) -> str:
    return f"-- source: {part.name} gone\n{_drops(part.text)}"


def _undo(file: SourceFile, before: dict[str, FrozenPart]) -> str:
    if file.name not in before or before[file.name].digest == "gone":
        return _drops(file.text)
    return f"{_BY_HAND} {file.name}\n" if file.is_schema else before[file.name].text


def _drops(text: str) -> str:
    objects = dict.fromkeys((found["kind"].lower(), found["name"]) for found in _OBJECT.finditer(text))
    return "".join(f"drop {kind} if exists {name};\n" for kind, name in reversed(objects))


def _frozen_folders(versions: Path) -> list[Path]:
    return sorted(path.parent for path in versions.glob("*/up.sql"))


def _folder(versions: Path, name: str) -> Path:
    taken = [path.stem for path in sorted(versions.glob("[0-9]*.py"))]
    if [f"0001_{name}"] == taken:
        return versions / taken[0]
    if any(stem.split("_", 1)[1] == name for stem in taken):
        sys.exit(f"freeze: there is a revision {name} already; delete its file and folder first, with what was written by hand")
    return versions / f"{len(taken) + 1:04d}_{name}"


def _create_revision(migrations: Path, revision: str, name: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s")
    command.revision(config, name.replace("_", " "), rev_id=revision)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(r"[a-z][a-z0-9_]*", sys.argv[1]):
        sys.exit("usage: make revision NAME=what_changes   (lower case, digits and _)")
    main(sys.argv[1])
