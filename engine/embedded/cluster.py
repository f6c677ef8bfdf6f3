"""The cluster, PostgreSQL's own data folder: made once by initdb, refused when another major version made it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from engine.embedded.binaries import Binaries
from engine.embedded.identity import Identity, can_write, drop, hand_over, reachable
from engine.embedded.place import Place, State, write_state
from engine.errors import DatabaseUnavailable

ADMIN = "tasker_admin"


def refuse_other_major(cluster: Path, binaries: Binaries) -> None:
    if not cluster.exists():
        return
    made_by = (cluster / "PG_VERSION").read_text().strip()
    if made_by != str(binaries.major):
        raise DatabaseUnavailable(
            f"The database in {cluster} was made by PostgreSQL {made_by}, but {binaries.source} is version {binaries.version}. "
            f"Set TASKER_POSTGRES_BIN to the folder of PostgreSQL {made_by}'s binaries, or dump with {made_by}, move the folder away and restore."
        )


def make_cluster(
    place: Place, state: State, binaries: Binaries, identity: Identity, options: Mapping[str, str]
) -> State:
    home, fresh = _new_home(place, identity)
    state = replace(state, elsewhere=None if home == place.folder else str(home))
    # Written first: a cluster whose passwords nobody knows would be lost.
    write_state(place, state)
    _initdb(fresh, state, reachable(binaries, identity, home), identity, options)
    # A half-made cluster is never taken for a whole one.
    fresh.rename(place.cluster(state))
    return state


def _new_home(place: Place, identity: Identity) -> tuple[Path, Path]:
    """A folder where `identity` can work, with an empty `pgdata.new` of its own in it.

    The data folder, unless the identity cannot enter it: root's home is closed to every account a root must drop to.
    """
    fresh = _new_folder(place.folder, identity)
    if can_write(identity, fresh):
        return place.folder, fresh
    fresh.rmdir()
    elsewhere = Path(tempfile.mkdtemp(prefix="tasker-postgres-", dir=_system_folder()))
    fresh = _new_folder(elsewhere, identity)
    if can_write(identity, fresh):
        return elsewhere, fresh
    raise DatabaseUnavailable(
        f"PostgreSQL does not run as root, and the account it would run as can neither use {place.folder} nor {elsewhere}. "
        "Set TASKER_DATA_DIR to a folder every account can enter, run as a plain user, or set TASKER_DATABASE_URL."
    )


def _system_folder() -> str:
    return "/var/lib" if os.access("/var/lib", os.W_OK) else tempfile.gettempdir()


def _new_folder(home: Path, identity: Identity) -> Path:
    if identity.account:
        home.chmod(0o711)
    fresh = home / "pgdata.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    hand_over(fresh, identity)
    return fresh


def _initdb(fresh: Path, state: State, binaries: Binaries, identity: Identity, options: Mapping[str, str]) -> None:
    output = ""
    with _password_file(fresh.parent, state, identity) as password_file:
        for locale in _locales(binaries):
            done = _run_initdb(fresh, binaries, identity, [f"--pwfile={password_file}", *locale, *_sync(options)])
            if done.returncode == 0:
                return
            output = done.stdout + done.stderr
    raise DatabaseUnavailable(
        f"PostgreSQL could not make a database in {fresh.parent} (initdb of {binaries.source}):\n{tail(output)}"
    )


def _run_initdb(
    fresh: Path, binaries: Binaries, identity: Identity, arguments: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    command = [
        str(binaries.initdb),
        "-D",
        str(fresh),
        "-U",
        ADMIN,
        "-A",
        "scram-sha-256",
        "-E",
        "UTF8",
        "--data-checksums",
    ]
    return subprocess.run(
        [*identity.prefix, *command, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=fresh.parent,
        env=server_environ(),
        **drop(identity),
    )


def _locales(binaries: Binaries) -> list[list[str]]:
    """One byte order on every platform, whatever LANG says; the later ones only where C.UTF-8 is unknown."""
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    if binaries.major >= 18:
        return [builtin]
    if binaries.major == 17:  # its text search asks the system what is a letter, and not the provider
        return [[*builtin, "--lc-ctype=C.UTF-8"], builtin]
    return [["--locale=C.UTF-8"], ["--locale=C"]]


def _sync(options: Mapping[str, str]) -> list[str]:
    return ["--no-sync"] if options.get("fsync") == "off" else []


@contextmanager
def _password_file(folder: Path, state: State, identity: Identity) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(state.admin_password + "\n")
        hand_over(Path(name), identity)
        yield Path(name)
    finally:
        os.unlink(name)


def server_environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    # English messages: a failed start is read from them.
    return {**kept, "LC_ALL": "C"}


def tail(output: str) -> str:
    return "\n".join(f"  {line}" for line in output.strip().splitlines()[-12:])
