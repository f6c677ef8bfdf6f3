"""The wheel alone is enough: installed in a fresh environment, far from the checkout, it has its command and its data."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UNPACKED = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11 has it from 3.11.4 on
# pip alone takes a minute to start where the machine is busy
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with our wheel; its dependencies are those of the environment that tests."""
    environment = tmp_path_factory.mktemp("far away")
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    # A folder named in a .pth file does not have its own .pth files read: the checkout stays out of sight.
    (site,) = environment.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin"


def run(*command: str, cwd: Path | None = None) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TASKER_"))}
    result = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def test_the_wheel_holds_every_data_file(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    homes = {"sql": "engine/_sql", "migrations": "engine/_migrations", "webapp/templates": "webapp/templates", "webapp/static": "webapp/static"}
    for folder, home in homes.items():
        files = [path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files, folder
        assert {f"{home}/{path.as_posix()}" for path in files} <= held


def test_the_wheel_holds_no_tests_and_no_caches(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("tests/") or "__pycache__" in name] == []


def test_the_source_archive_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path), cwd=ROOT)
    [archive] = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, **UNPACKED)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=tmp_path / archive.name.removesuffix(".tar.gz"))
    [again] = tmp_path.glob("*.whl")
    made, wanted = zipfile.ZipFile(again), zipfile.ZipFile(wheel)
    assert {each.filename: each.CRC for each in made.infolist()} == {each.filename: each.CRC for each in wanted.infolist()}


def test_the_command_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert "Usage: tasker" in run(str(installed / "tasker"), "--help", cwd=tmp_path)


def test_the_installed_package_finds_its_sql_and_migrations(installed: Path, tmp_path: Path) -> None:
    script = "from engine import paths; print(paths.sql_folder()); print(paths.migrations_folder())"
    sql, migrations = map(Path, run(str(installed / "python"), "-c", script, cwd=tmp_path).splitlines())
    assert sql.is_relative_to(installed.parent)
    assert list(sql.glob("functions/tasker_*.sql"))
    assert migrations.is_relative_to(installed.parent)
    assert (migrations / "env.py").is_file()


def test_the_installed_package_migrates_a_database(installed: Path, tmp_path: Path, empty_database_url: str) -> None:
    script = "import sys; from engine import migrate; migrate.upgrade(sys.argv[1]); print(migrate.status(sys.argv[1]).pending)"
    assert run(str(installed / "python"), "-c", script, empty_database_url, cwd=tmp_path).strip() == "()"
