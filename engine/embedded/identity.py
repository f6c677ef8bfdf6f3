"""As whom the server runs, since PostgreSQL refuses root: as ourselves, in a user namespace, or as an existing account."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.embedded.binaries import Binaries
from engine.errors import DatabaseUnavailable

if sys.platform != "win32":
    import pwd

# The user namespace in which root's postgres believes to be "nobody": no account, no chmod, files stay root's.
NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")
ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom the server runs: `prefix` goes before each command, `account` is dropped to, neither means as ourselves."""

    prefix: tuple[str, ...] = ()
    account: tuple[int, int] | None = None

    @property
    def is_self(self) -> bool:
        return not self.prefix and self.account is None


def identity_for(cluster: Path) -> Identity:
    """Ourselves, unless we are root (which PostgreSQL refuses) or a number without a name (which it cannot look up)."""
    if sys.platform == "win32":
        return Identity()
    kind = os.environ.get("TASKER_POSTGRES_AS") or _suitable_kind(cluster)
    if kind == "namespace":
        return Identity(prefix=NAMESPACE)
    if kind == "account":
        return Identity(account=_account(cluster))
    return Identity()


def _suitable_kind(cluster: Path) -> str:
    if os.geteuid() != 0:
        return "self" if _has_name(os.geteuid()) or not _namespaces_work() else "namespace"
    if _owner(cluster) != 0 or not _namespaces_work():
        return "account"
    return "namespace"


def _owner(cluster: Path) -> int:
    return cluster.stat().st_uid if cluster.exists() else os.geteuid()


def _has_name(uid: int) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwuid(uid))
    return False


def _namespaces_work() -> bool:
    """False in most containers, whose seccomp profile forbids them, and where `unshare` is missing or old."""
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False, timeout=10).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _account(cluster: Path) -> tuple[int, int]:
    """The account the cluster belongs to already, else the first usual one that exists."""
    owner = _owner(cluster)
    with suppress(KeyError):
        if owner != 0:
            return owner, pwd.getpwuid(owner).pw_gid
    for name in ACCOUNTS:
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid
    raise DatabaseUnavailable(
        f"PostgreSQL does not run as root, and there is no account {' or '.join(ACCOUNTS)} to run it as. "
        "Run as a plain user, or set TASKER_DATABASE_URL."
    )


def drop(identity: Identity) -> dict[str, Any]:
    if identity.account is None:
        return {}
    uid, gid = identity.account
    return {"user": uid, "group": gid, "extra_groups": []}


def hand_over(path: Path, identity: Identity) -> None:
    """`path` and what is in it belong to the identity; PostgreSQL refuses a data folder of somebody else."""
    if sys.platform == "win32":
        return
    uid, gid = identity.account or (os.geteuid(), os.getegid())
    if path.stat().st_uid == uid:
        return
    for folder, _, files in os.walk(path):
        for name in files:
            os.chown(os.path.join(folder, name), uid, gid, follow_symlinks=False)
        os.chown(folder, uid, gid)
    os.chown(path, uid, gid)


def can_write(identity: Identity, folder: Path) -> bool:
    return _succeeds(identity, ["sh", "-c", 'test -w "$0" && test -x "$0"', str(folder)])


def _succeeds(identity: Identity, command: Sequence[str]) -> bool:
    if identity.is_self:
        return True
    try:
        done = subprocess.run([*identity.prefix, *command], capture_output=True, check=False, cwd="/", **drop(identity))
    except OSError:
        return False
    return done.returncode == 0


def reachable(binaries: Binaries, identity: Identity, home: Path) -> Binaries:
    """The binaries, or a copy of them in `home` where they lie below a folder closed to the identity."""
    if _succeeds(identity, [str(binaries.postgres), "-V"]):
        return binaries
    if not binaries.folders:
        raise DatabaseUnavailable(
            f"The account PostgreSQL must run as cannot run {binaries.postgres}. Set TASKER_DATABASE_URL instead."
        )
    copy = home / f"binaries-{binaries.version}"
    if not copy.exists():
        _copy(binaries, identity, copy)
    origin = binaries.folders[0].parent
    return replace(
        binaries,
        initdb=copy / binaries.initdb.relative_to(origin),
        postgres=copy / binaries.postgres.relative_to(origin),
    )


def _copy(binaries: Binaries, identity: Identity, copy: Path) -> None:
    fresh = copy.with_name("binaries.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for folder in binaries.folders:
        shutil.copytree(folder, fresh / folder.name, symlinks=True)
    hand_over(fresh, identity)
    fresh.rename(copy)
