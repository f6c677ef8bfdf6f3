"""Runs the test suite with a Chromium for the browser tests; `make test` calls it inside .venv.

Chromium comes from TASKER_CHROMIUM, the PATH, Playwright's download or, for root, apt-get. Without one the browser tests are
skipped and the last line says so; where CI is set that is a failure.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# The first has no window to draw, and needs two thirds of the others' processor time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_APPS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
# A developer's own settings must not lead the tests to a database that matters.
OWN_SETTINGS = ("TASKER_DATABASE_URL", "TASKER_HANDLERS", "TASKER_SECRET_KEY", "TASKER_DATA_DIR", "TASKER_ENV")
# The tests start hundreds of processes: each would compile the whole project anew.
SLOW_STARTS = ("PYTHONDONTWRITEBYTECODE",)
FAILED, FEW = 1, 5
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}
_LAUNCH = """
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    playwright.chromium.launch(executable_path=playwright.chromium.executable_path, args=["--no-sandbox"]).close()
    print(playwright.chromium.executable_path)
"""


def main(arguments: list[str]) -> int:
    """Run pytest with `arguments` and end with one line on how it went; returns the exit status. With `--find-chromium` alone that is all it does."""
    started = time.monotonic()
    chromium = find_chromium()
    if arguments == ["--find-chromium"]:
        print(chromium or "no Chromium was found")
        return 0 if chromium else 1
    if chromium is None and IN_CI:
        print("make test: FAILED, no Chromium could be found or installed and CI must run the browser tests", file=sys.stderr)
        return 1
    status = _pytest(chromium, arguments)
    print(_closing_line(status, chromium, time.monotonic() - started), flush=True)
    return status


def find_chromium() -> str | None:
    """The first Chromium that starts; looks before it downloads."""
    ways: tuple[Callable[[], str | None], ...] = (_named, _on_path, _of_playwright, _downloaded, _from_apt)
    return next((found for way in ways if (found := way())), None)


def _named() -> str | None:
    named = os.environ.get("TASKER_CHROMIUM")
    if named and not _starts(named):
        sys.exit(f"make test: TASKER_CHROMIUM={named} does not start")
    return named


def _on_path() -> str | None:
    candidates = [shutil.which(name) for name in NAMES] + [app for app in MAC_APPS if Path(app).exists()]
    return next((found for found in candidates if found and _starts(found)), None)


def _starts(executable: str) -> bool:
    # Ubuntu's chromium-browser is a notice about snap that exits with an error.
    try:
        return subprocess.run([executable, "--version"], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _of_playwright() -> str | None:
    result = _quietly([sys.executable, "-c", _LAUNCH], seconds=60)
    return result.stdout.strip() if result.returncode == 0 else None


def _downloaded() -> str | None:
    print("Looking for a Chromium to download ...", flush=True)
    download = [sys.executable, "-m", "playwright", "install", "--no-shell", "chromium"]
    if _quietly(download, seconds=300, PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT="5000").returncode != 0:
        return None
    return _of_playwright() or (_with_system_libraries() if _may_use_apt() else None)


def _with_system_libraries() -> str | None:
    _quietly([sys.executable, "-m", "playwright", "install-deps", "chromium"], seconds=300)
    return _of_playwright()


def _from_apt() -> str | None:
    if not _may_use_apt():
        return None
    print("Installing chromium with apt-get ...", flush=True)
    _apt_get("update")
    for name in ("chromium-headless-shell", "chromium"):
        _apt_get("install", "-y", "--no-install-recommends", name)
        if found := _on_path():
            return found
    return None


def _apt_get(*arguments: str) -> None:
    _quietly(["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", *arguments], seconds=400, DEBIAN_FRONTEND="noninteractive")


def _may_use_apt() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _quietly(command: list[str], *, seconds: float, **environment: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, **environment},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", "")


def _pytest(chromium: str | None, arguments: list[str]) -> int:
    environment: Mapping[str, str] = {name: value for name, value in os.environ.items() if name not in OWN_SETTINGS + SLOW_STARTS}
    if chromium:
        environment = {**environment, "TASKER_CHROMIUM": chromium}
    with _folder_of_this_run() as folder:
        environment = {**environment, "TMPDIR": str(folder)}
        slowest = ["--durations=150"] if IN_CI else []
        status = _call(["-n", str(_workers()), "--dist", "worksteal", *slowest, *arguments], environment)
        return _again(arguments, environment) if status == FAILED and 0 < len(_failed()) <= FEW else status


def _again(arguments: list[str], environment: Mapping[str, str]) -> int:
    """A few tests that failed beside others, on a machine that was busy, are tried once more by themselves; which they were is said either way.

    None is where one of them found a promise broken: that it is kept the next time proves nothing.
    """
    names, final = sorted(_failed()), sorted(_kept("tasker/final"))
    if final:
        print("\nmake test: these found a promise broken and are not tried again:", *final, sep="\n  ", flush=True)
        return FAILED
    print("\nmake test: these failed beside others and are tried again alone:", *names, sep="\n  ", flush=True)
    status = _call(["--last-failed", "--last-failed-no-failures", "none", *arguments], environment)
    print(f"make test: {len(names)} tests needed a second try, alone: {', '.join(names)}", flush=True)
    return status


def _call(arguments: list[str], environment: Mapping[str, str]) -> int:
    return subprocess.call([sys.executable, "-m", "pytest", *arguments], env=dict(environment))


def _failed() -> list[str]:
    """The tests that failed last."""
    return _kept("cache/lastfailed")


def _kept(name: str) -> list[str]:
    """What pytest keeps under that name of its last run."""
    try:
        return list(json.loads(Path(".pytest_cache/v", name).read_text()))
    except (OSError, ValueError):
        return []


@contextmanager
def _folder_of_this_run() -> Iterator[Path]:
    """Where tests make their files, in memory where that has room; gone afterwards, and what killed runs left goes too."""
    from engine.testing.server import roomy_folder

    folder = roomy_folder() / f"tasker-run-{os.getpid()}"
    for left in folder.parent.glob("tasker-run-*"):
        if not _is_alive(left.name.rpartition("-")[2]):
            shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(mode=0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def _workers() -> int:
    """One more than there are cores: many tests wait for leases, limits and other processes."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available + 1, 8)


def _closing_line(status: int, chromium: str | None, seconds: float) -> str:
    outcome = "passed" if status == 0 else "FAILED"
    browser = f"the browser tests had {chromium}" if chromium else (
        "the browser tests were SKIPPED: no Chromium here (put one on the PATH or name it in TASKER_CHROMIUM)"
    )
    return f"make test: {outcome} in {seconds:.0f} s; {browser}"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
