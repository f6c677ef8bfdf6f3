"""The wheel, built from the source archive, on every Python and every PostgreSQL that is supported and found here; `make versions` calls it.

A Python is found as pythonX.Y on the PATH; a PostgreSQL as its folder of programs, given as arguments or in a usual place. What is not found is
named at the end: a release wants nothing on that list. The tests are those of the database, the engine, its runners and the dashboard's door;
with --quick a few of each, for a look in between. --only 3.12 (or --only postgresql-17) leaves out the others.
"""

import argparse
import glob
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from environment import installed_by_uv

ROOT = Path(__file__).resolve().parents[1]
UNPACKED = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11 has it from 3.11.4 on
PYTHONS = ("3.11", "3.12", "3.13")
SERVERS = ("15", "16", "17", "18")
FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
ON_PYTHON = ("tests/engine/test_handlers.py", "tests/engine/test_discovery.py", "tests/engine/test_worker.py", "tests/engine/runners", "tests/engine/testing", "tests/webapp/test_embedding.py", "tests/webapp/test_task.py")
ON_SERVER = ("tests/sql", "--ignore=tests/sql/test_histories.py", "--ignore=tests/sql/test_plans.py", "tests/engine/test_migrate.py", "tests/engine/test_events.py", "tests/engine/test_schedules.py", "tests/test_schema_truth.py")
QUICK_ON_PYTHON = ("tests/engine/test_handlers.py", "tests/engine/test_definition.py", "tests/engine/test_discovery.py", "tests/engine/testing/test_workbench.py", "tests/webapp/test_task.py")
QUICK_ON_SERVER = ("tests/engine/testing/test_workbench.py", "tests/test_schema_truth.py")


def main(arguments: list[str]) -> int:
    """0 when everything that was found passed."""
    asked = options().parse_args(arguments)
    pythons = [version for version in PYTHONS if asked.only in (None, version)]
    versions = [version for version in SERVERS if asked.only in (None, f"postgresql-{version}")]
    servers = servers_in([*asked.folders, *(found for pattern in FOLDERS for found in sorted(glob.glob(pattern)))])
    results: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="tasker-versions-") as place:
        wheel = built(Path(place)) if pythons else Path()
        for version in pythons:
            results[f"Python {version}"] = on_python(version, wheel, Path(place), QUICK_ON_PYTHON if asked.quick else ON_PYTHON)
    for version in versions:
        results[f"PostgreSQL {version}"] = on_server(version, servers, QUICK_ON_SERVER if asked.quick else ON_SERVER)
    for subject, words in results.items():
        print(f"{subject:15} {words}")
    return int(any(words.startswith("FAILED") for words in results.values()))


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a few tests of each")
    parser.add_argument("--only", metavar="VERSION", choices=[*PYTHONS, *(f"postgresql-{version}" for version in SERVERS)])
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="further folders with PostgreSQL's programs")
    return parser


def built(place: Path) -> Path:
    """The wheel that the source archive makes, which is what a user without ours would get."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(place), cwd=ROOT)
    [archive] = place.glob("*.tar.gz")
    shutil.unpack_archive(archive, place, **UNPACKED)
    [unpacked] = (each for each in place.iterdir() if each.is_dir())
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place), cwd=unpacked)
    [wheel] = place.glob("*.whl")
    return wheel


def on_python(version: str, wheel: Path, place: Path, what: tuple[str, ...]) -> str:
    """How the tests went in an environment of that Python in which the wheel is installed, from a folder without the sources of the packages."""
    found = shutil.which(f"python{version}")
    if not found or subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
        return "not found here"
    python = place / version / "bin" / "python"
    run(found, "-m", "venv", str(place / version))
    if not installed_by_uv("requirements-dev.lock", python):
        run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(ROOT / "requirements-dev.lock"))
    run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", str(wheel))
    apart = place / f"tests-{version}"
    apart.mkdir()
    shutil.copytree(ROOT / "tests", apart / "tests")
    for name in ("pyproject.toml", "sql", "migrations"):
        (apart / name).symlink_to(ROOT / name)
    return tested(python, apart, what, {})


def on_server(version: str, servers: dict[str, str], what: tuple[str, ...]) -> str:
    """How the tests of the database went on that PostgreSQL."""
    if version not in servers:
        return "not found here"
    return tested(Path(sys.executable), ROOT, what, {"TASKER_TEST_POSTGRES_BIN": servers[version]})


def servers_in(folders: list[str]) -> dict[str, str]:
    """The folders of PostgreSQL's programs by major version, the wheel's own among them."""
    from engine.embedded.binaries import find_binaries

    own = find_binaries({})
    found = {str(own.major): str(own.postgres.parent)}
    for folder in folders:
        try:
            other = find_binaries({"TASKER_POSTGRES_BIN": folder})
        except Exception as error:
            print(f"{folder}: {error}", file=sys.stderr)
            continue
        found.setdefault(str(other.major), folder)
    return found


def tested(python: Path, folder: Path, what: tuple[str, ...], variables: dict[str, str]) -> str:
    command = [str(python), "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *what]
    ended = subprocess.run(command, cwd=folder, env={**os.environ, **variables}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    last = (ended.stdout.strip().splitlines() or ["no output"])[-1].strip("= ")
    if ended.returncode:
        print(ended.stdout[-4000:] + ended.stderr[-1000:], file=sys.stderr)
    return last if ended.returncode == 0 else f"FAILED: {last}"


def run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
