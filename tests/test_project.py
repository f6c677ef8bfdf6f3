"""What must hold for the tree as a whole: it names no machine and no package host, and imports point one way."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Written in pieces, or this file would find itself.
REGISTRIES = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com", "yarn" + "pkg.com", "crates" + ".io")
PATHS_OF_A_MACHINE = re.compile(r"(?<![\w.~$}>-])/(?:" + "ro" + r"ot|ho" + r"me/\w|Us" + r"ers/\w|wo" + r"rk)/[\w.]")
# Third-party files are as their makers ship them; tests of the vendored manifest look after those.
NOT_OURS = re.compile(r"(^|/)vendor/")


def project_files() -> list[Path]:
    """What is committed or would be; without git, everything outside hidden and generated folders."""
    listing = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z"], capture_output=True, text=True, check=False
    )
    names = [name for name in listing.stdout.split("\0") if name] if listing.returncode == 0 else unpacked_files()
    return [ROOT / name for name in names if not NOT_OURS.search(name) and (ROOT / name).is_file()]


def unpacked_files() -> list[str]:
    generated = {".venv", "build", "dist", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", ".hypothesis"}
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
    return [str(path) for path in paths if not generated.intersection(path.parts)]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in project_files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    return found


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def normalised(requirement: str) -> str:
    found = re.match(r"[\w-]+", requirement)
    assert found is not None, requirement
    return found[0].lower().replace("_", "-")


def test_no_file_names_a_package_host() -> None:
    assert lines_with(re.compile("|".join(re.escape(host) for host in REGISTRIES))) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert lines_with(PATHS_OF_A_MACHINE) == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_locked_version_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    for requirement in text.replace("\\\n", " ").splitlines():
        assert re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", requirement), requirement


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = {normalised(requirement) for requirement in pyproject["project"]["dependencies"]}
    groups = {normalised(requirement) for name, group in pyproject["dependency-groups"].items() for requirement in group if name != "installer"}
    assert runtime <= locked("requirements.lock").keys()
    assert locked("requirements-installer.lock").keys() == {normalised(requirement) for requirement in pyproject["dependency-groups"]["installer"]}
    assert runtime | groups <= locked("requirements-dev.lock").keys()


def test_development_runs_on_the_versions_that_users_get() -> None:
    assert locked("requirements.lock").items() <= locked("requirements-dev.lock").items()


def test_imports_point_from_the_commands_to_the_plain_values() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
