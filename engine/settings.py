"""What the surroundings say: the environment variables read once at the door, by the command line and the dashboard."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.shards import Shards, read_shards

PROJECT_FOLDER = ".tasker"

VARIABLES = {
    "TASKER_DATABASE_URL": "the PostgreSQL to use; without it an embedded one is started",
    "TASKER_READ_DATABASE_URL": "a replica of it, from which the dashboard reads what it only shows",
    "TASKER_SHARDS": "which namespaces live in which of several databases: `payments,refunds=postgresql://…;*=postgresql://…`, or `@` and a file with one a line; instead of TASKER_DATABASE_URL",
    "TASKER_SHARD": "the one of them that an engine or a command works on, by its first namespace, or `main` for that of `*`",
    "TASKER_HANDLERS": "modules, packages or folders with workflows, separated by commas",
    "TASKER_DATA_DIR": "where the embedded database and other files lie; without it a folder `.tasker` here or above, else the user's",
    "TASKER_SECRET_KEY": "signs the dashboard's sessions and forms; all processes of one installation need the same",
    "TASKER_ENV": "picks the `environments` entry of YAML workflows; `development` when it is not set",
    "TASKER_STEP_LOG": "from which level on what handlers log is kept with their attempt: `info`, another level, or `off`",
    "TASKER_SECRET_NAMES": "further words at the end of names whose values are masked, separated by commas; engines and dashboard need the same",
    "TASKER_LOG_FORMAT": "how the processes log: `json`, or `text` for reading; without it JSON in production and text elsewhere",
    "TASKER_LOG_LEVEL": "from which level on the processes log: `info` without it",
    "TASKER_TRACES": "`on` tells an OpenTelemetry collector of tasks and attempts; needs the extra `traces` and the usual OTEL variables",
    "TASKER_OBJECTS": "the object store for large results: `file:///srv/objects`, or an address that fsspec opens; engines, handlers and dashboard need the same",
    "TASKER_OBJECT_BYTES": "results of more bytes than this lie there; 65536 without it",
    "TASKER_PROXY_HOPS": "how many proxies before the dashboard are believed about address, scheme and host; none without it",
    "TASKER_ALLOWED_HOSTS": "host names beside this machine's own for which the dashboard answers, separated by commas",
    "TASKER_SMTP_URL": "the mail server by which engines send alerts: `smtp://user:password@host:587`, `smtps://host`, or `smtp://host:25?tls=no` without TLS",
    "TASKER_MAIL_FROM": "the address they are sent from; `tasker@` and the name of the machine without it",
    "TASKER_NOTICE_HOSTS": "hosts inside one's own network to which alerts may be sent by webhook, separated by commas; others must have public addresses",
    "TASKER_OIDC_ISSUER": "the provider of OpenID Connect at which people sign in; needs the next two",
    "TASKER_OIDC_CLIENT_ID": "what the dashboard is called there",
    "TASKER_OIDC_CLIENT_SECRET": "its secret there",
    "TASKER_OIDC_TITLE": "the word on the button of the sign-in page",
    "TASKER_OIDC_ROLE": "the role of those who come from there for the first time; without it only known accounts are let in",
    "TASKER_API_RATE": "how many requests a second a caller may send to the API for long; 0 is any number",
    "TASKER_API_BACKLOG": "while more steps than this are ready and wait, the API takes no new tasks; 0 is never",
    "TASKER_SERVER": "the address of a remote installation, for commands that act on one by its API",
    "TASKER_TOKEN": "the API token for it",
    "TASKER_BROKER_URL": "the broker of `tasker engine --runner celery` and of its workers, as `redis://host:6379/0`",
    "TASKER_QUEUE": "the broker's queue for steps; `tasker` without it",
    "TASKER_BROKER_FOLDER": "where the messages lie of a broker that is a folder, `filesystem://`",
    "TASKER_POSTGRES_BIN": "the folder of the PostgreSQL programs that the embedded database runs on, instead of those that came along",
    "TASKER_POSTGRES_AS": "how root starts the embedded database, which must not run as root: `namespace` or `account`; chosen by itself without it",
}
"""Every variable that this project reads, and what it means; the reference of the settings is made from it."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """The provider of OpenID Connect at which people sign in; `role` is what those are who come for the first time."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    title: str = "OpenID Connect"
    role: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "OidcSettings | None":
        """Those of TASKER_OIDC_ISSUER, _CLIENT_ID, _CLIENT_SECRET, _TITLE and _ROLE; None without the first three."""
        issuer, client_id, client_secret = (_text(environ, f"TASKER_OIDC_{name}") for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"))
        if not issuer or not client_id or not client_secret:
            return None
        title = _text(environ, "TASKER_OIDC_TITLE") or "OpenID Connect"
        return cls(issuer, client_id, client_secret, title, _text(environ, "TASKER_OIDC_ROLE"))


@dataclass(frozen=True, slots=True)
class Settings:
    """The answers of one environment; None or empty where it says nothing.

    `data_dir` holds the embedded database and other files of this machine; it need not exist yet. It is TASKER_DATA_DIR,
    else the folder `.tasker` of the project we stand in, else the user's. `proxy_hops` is the number of proxies in front of the dashboard
    whose forwarded headers are believed. Where there are `shards`, `database_url` is that of the chosen one, `shard`, else of the home.
    """

    database_url: str | None = field(default=None, repr=False)
    handlers: tuple[str, ...] = ()
    secret_key: str | None = field(default=None, repr=False)
    data_dir: Path = Path("tasker-data")
    env: str = "development"
    step_log: str = "info"
    oidc: OidcSettings | None = None
    proxy_hops: int = 0
    log_format: str | None = None
    log_level: str = "info"
    read_database_url: str | None = field(default=None, repr=False)
    shards: Shards | None = None
    shard: str | None = None
    objects: str | None = field(default=None, repr=False)
    object_bytes: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """The settings of `environ`; a variable that is set but blank counts as not set. Raises `BadShards`, `NotFound` for a shard that there is not."""
        shards, shard = _shards(environ), _text(environ, "TASKER_SHARD")
        return cls(
            database_url=(shards.named(shard) if shard else shards.home).url if shards else _text(environ, "TASKER_DATABASE_URL"),
            shards=shards,
            shard=shard if shards else None,
            handlers=_names(environ.get("TASKER_HANDLERS", "")),
            secret_key=_text(environ, "TASKER_SECRET_KEY"),
            data_dir=_data_dir(environ),
            env=environment_name(environ),
            step_log=(_text(environ, "TASKER_STEP_LOG") or "info").lower(),
            oidc=OidcSettings.from_environ(environ),
            proxy_hops=_count(environ, "TASKER_PROXY_HOPS"),
            log_format=(_text(environ, "TASKER_LOG_FORMAT") or "").lower() or None,
            log_level=(_text(environ, "TASKER_LOG_LEVEL") or "info").lower(),
            read_database_url=_text(environ, "TASKER_READ_DATABASE_URL"),
            objects=_text(environ, "TASKER_OBJECTS"),
            object_bytes=_text(environ, "TASKER_OBJECT_BYTES"),
        )


def environment_name(environ: Mapping[str, str] = os.environ) -> str:
    """Which entry of `environments` counts in YAML workflows: that of TASKER_ENV, else `development`."""
    return _text(environ, "TASKER_ENV") or "development"


def _text(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name, "").strip() or None


def _shards(environ: Mapping[str, str]) -> Shards | None:
    text = _text(environ, "TASKER_SHARDS")
    return read_shards(text) if text else None


def _count(environ: Mapping[str, str], name: str) -> int:
    """A number of 0 to 9; anything else counts as none, which believes nobody."""
    text = _text(environ, name) or "0"
    return int(text) if text.isascii() and text.isdigit() and len(text) == 1 else 0


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())


def _data_dir(environ: Mapping[str, str]) -> Path:
    chosen = _text(environ, "TASKER_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return _project_data() or _data_home(environ) / "tasker"


def _project_data() -> Path | None:
    """The nearest folder `.tasker` upwards from here: a checkout or project that keeps its database to itself."""
    here = Path.cwd()
    return next((folder / PROJECT_FOLDER for folder in (here, *here.parents) if (folder / PROJECT_FOLDER).is_dir()), None)


def _data_home(environ: Mapping[str, str]) -> Path:
    named = _text(environ, "XDG_DATA_HOME")
    # The XDG rule: a relative path there is invalid and to be ignored.
    if named and Path(named).is_absolute():
        return Path(named)
    return _home(environ) / ".local" / "share"


def _home(environ: Mapping[str, str]) -> Path:
    """HOME, else the account's folder, else the working folder: containers and services often have neither."""
    named = _text(environ, "HOME") or _text(environ, "USERPROFILE")
    if named:
        return Path(named).absolute()
    try:
        return _account_home()
    except (ImportError, KeyError):
        return Path.cwd()


def _account_home() -> Path:
    import pwd

    return Path(pwd.getpwuid(os.getuid()).pw_dir)
