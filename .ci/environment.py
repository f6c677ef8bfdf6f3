"""Makes this checkout's .venv and installs a lock file and the project into it; returns at once when nothing changed.

Standard library only: it runs before anything is installed, with the interpreter that .ci/python found.
"""

import ast
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
STAMP = VENV / "installed.json"
# What pip may be told of where packages are, and how uv is told the same.
PLACES = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS", "no-index": "UV_NO_INDEX", "cert": "SSL_CERT_FILE"}
WAYS = {"proxy", "trusted-host", "client-cert", "keyring-provider", "no-binary", "only-binary"}
"""Settings of pip that uv is not told."""
# The development lock holds everything of the runtime lock, at the same versions.
INCLUDES = {"requirements.lock": [], "requirements-dev.lock": ["requirements.lock"]}


def main(lock: str) -> None:
    """Afterwards .venv holds what `lock` names, and `tasker` from this checkout."""
    with _alone():
        if _wanted(lock).items() <= _installed().items() and _python_works():
            return
        print(f"Setting up .venv with Python {sys.version.split()[0]} (the first time takes up to a minute) ...", flush=True)
        if not (_is_ours() and _python_works()):
            _run(sys.executable, "-I", "-m", "venv", "--clear", str(VENV))
        if not _installed_quickly(lock):
            _pip("--require-hashes", "--requirement", str(ROOT / lock))
        _pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
        STAMP.write_text(json.dumps(_wanted(lock, *INCLUDES[lock])))


@contextmanager
def _alone() -> Iterator[None]:
    # `make demo` and `make test` may be started at the same moment.
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _wanted(*locks: str) -> dict[str, str]:
    # The place is part of it: the scripts of a copied .venv would run the checkout that it was copied from.
    digests = {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in (*locks, "pyproject.toml")}
    return {"place": str(ROOT), **digests}


def _installed() -> dict[str, str]:
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def _is_ours() -> bool:
    return _installed().get("place") == str(ROOT)


def _python_works() -> bool:
    try:
        return subprocess.run([PYTHON, "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _installed_quickly(lock: str) -> bool:
    """Whether uv has installed the lock file, in a tenth of pip's time; where it cannot be had, or cannot reach what pip can, there is pip."""
    settings = _settings_of_pip()
    if settings.keys() & WAYS or not _succeeds(*_pip_command("--no-deps", "--require-hashes", "--requirement", str(ROOT / "requirements-installer.lock"))):
        return False
    return installed_by_uv(lock, PYTHON)


def installed_by_uv(lock: str, python: Path) -> bool:
    """Whether the uv of .venv, if there is one, has installed the lock file for that Python, from where pip would get it."""
    settings = _settings_of_pip()
    if settings.keys() & WAYS or not UV.exists():
        return False
    told = {PLACES[name]: value.replace(" ", ",") if name == "find-links" else value for name, value in settings.items() if name in PLACES}
    # The hashes say which file is right, whichever place it comes from.
    told |= {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_LINK_MODE": "copy"}
    return _succeeds(str(UV), "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "--requirement", str(ROOT / lock), **told)


def _settings_of_pip() -> dict[str, str]:
    """By the last part of their names; what the environment says counts more than files, and comes first in pip's list."""
    listed = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False).stdout
    found: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        found.setdefault(name.rpartition(".")[2], str(ast.literal_eval(value)).replace("\n", " ").strip())
    return found


def _pip(*arguments: str) -> None:
    _run(*_pip_command(*arguments))


def _pip_command(*arguments: str) -> tuple[str, ...]:
    return (str(PYTHON), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", *arguments)


def _run(*command: str) -> None:
    if not _succeeds(*command, loudly=True):
        sys.exit(f"The set-up stopped at: {' '.join(command[1:])}")


def _succeeds(*command: str, loudly: bool = False, **told: str) -> bool:
    # A user's setting such as PIP_USER=1 makes pip refuse a virtual environment.
    environment = {name: value for name, value in os.environ.items() if name not in {"PIP_USER", "PIP_TARGET", "PYTHONHOME"}} | told
    words = None if loudly else subprocess.DEVNULL
    return subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=words, stderr=words, check=False).returncode == 0


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except PermissionError as error:
        sys.exit(f"Cannot write {error.filename}: the checkout belongs to another user. Use a checkout of your own.")
    except KeyboardInterrupt:
        sys.exit(130)
