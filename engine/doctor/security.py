"""Whether an installation is closed to others: where it listens, its keys, its accounts and tokens, and as what it connects to the database."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from engine import database_roles, queries
from engine.access import accounts, tokens
from engine.db import Database, connect
from engine.doctor.checks import Check, Surroundings, ok, problem, warning
from engine.errors import TaskerError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHORTEST_KEY = 32
SAMPLES = ("change", "secret", "example", "sample", "password", "development", "insecure")
LONG_LIFE = timedelta(days=180)
UNUSED = timedelta(days=90)
NAMED = 5


def security_checks(around: Surroundings) -> list[Check]:
    """Every check; those of the database as far as it can be reached."""
    return [check for look in (_listening, _hosts, _cookies, _key, _outside, _database) for check in look(around)]


def _is_open(around: Surroundings) -> bool:
    return around.host not in LOOPBACK


def _listening(around: Surroundings) -> Iterator[Check]:
    if not _is_open(around):
        yield ok("listening", f"on {around.host}: this machine alone reaches the dashboard")
    elif not around.settings.proxy_hops:
        yield problem("listening", f"on {around.host} in plain text", "Put a proxy with TLS before it, listen on 127.0.0.1 behind that, and set TASKER_PROXY_HOPS=1.")
    else:
        yield warning("listening", f"on {around.host}, behind {around.settings.proxy_hops}", "See to it that nothing but the proxy reaches that address: whoever does may forge the forwarded headers.")


def _hosts(around: Surroundings) -> Iterator[Check]:
    listed = [name.strip() for name in around.environ.get("TASKER_ALLOWED_HOSTS", "").split(",") if name.strip()]
    if "*" in listed:
        yield problem("host names", "any is answered for", "List the dashboard's own names in TASKER_ALLOWED_HOSTS instead of *.")
    elif not listed and around.settings.proxy_hops:
        yield warning("host names", "only this machine's own are answered for, and there is a proxy", "Set TASKER_ALLOWED_HOSTS to the name that people type.")
    else:
        yield ok("host names", f"answered for: this machine's own{', ' if listed else ''}{', '.join(listed)}")


def _cookies(around: Surroundings) -> Iterator[Check]:
    if around.settings.proxy_hops:
        yield ok("cookies", "HttpOnly and SameSite; Secure wherever the proxy says that it was asked by https")
    elif _is_open(around):
        yield problem("cookies", "are not Secure, as no proxy is believed to speak TLS", "Set TASKER_PROXY_HOPS to the number of proxies before the dashboard.")
    else:
        yield ok("cookies", "HttpOnly and SameSite; not Secure, which plain text on this machine alone does not need")


def _key(around: Surroundings) -> Iterator[Check]:
    key, file = around.settings.secret_key, around.settings.data_dir / "secret_key"
    if key is None:
        yield from _kept_key(file)
    elif len(key) < SHORTEST_KEY or any(word in key.lower() for word in SAMPLES):
        fault = f"has {len(key)} characters" if len(key) < SHORTEST_KEY else "reads like a sample"
        yield problem("secret key", f"TASKER_SECRET_KEY {fault}", 'Make one: python -c "import secrets; print(secrets.token_hex(32))"')
    else:
        yield ok("secret key", f"from TASKER_SECRET_KEY, {len(key)} characters")


def _kept_key(file: Path) -> Iterator[Check]:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except FileNotFoundError:
        yield ok("secret key", f"none yet; the dashboard makes one in {file.parent}")
    except OSError as error:
        yield warning("secret key", f"{file} cannot be read ({error.strerror}), so every dashboard has a key of its own", "Set TASKER_SECRET_KEY, or give the account the folder.")
    else:
        if mode & 0o077:
            yield problem("secret key", f"{file} may be read by others (mode {mode:o})", f"chmod 600 {file}")
        else:
            yield ok("secret key", f"in {file}, for this account alone")


def _outside(around: Surroundings) -> Iterator[Check]:
    oidc = around.settings.oidc
    if oidc is None:
        return
    if urlsplit(oidc.issuer).scheme != "https" and urlsplit(oidc.issuer).hostname not in LOOPBACK:
        yield problem("sign-in provider", f"{oidc.issuer} is asked in plain text", "Use its https address in TASKER_OIDC_ISSUER.")
    if oidc.role:
        yield warning("sign-in provider", f"whoever it knows is let in as {oidc.role}", "If that is not meant, unset TASKER_OIDC_ROLE and make accounts with --outside-id.")
    else:
        yield ok("sign-in provider", "lets in those for whom an account was made")


def _database(around: Surroundings) -> Iterator[Check]:
    if around.url is None:
        yield warning("database", "there is none to look at", "Set TASKER_DATABASE_URL, or start the embedded one.")
        return
    database = Database(around.url, max_size=1, application_name="tasker doctor")
    try:
        for look in (_role, _audit, _accounts, _tokens):
            yield from _may_not(look, database, around)
        yield from _transport(around.url)
    except (TaskerError, psycopg.Error) as error:
        yield problem("database", str(error).splitlines()[0], "Look with `tasker doctor` first.")
    finally:
        database.close()


def _may_not(look: Callable[[Database, Surroundings], Iterator[Check]], database: Database, around: Surroundings) -> Iterator[Check]:
    """The check, unless the role that we are must not see what it looks at."""
    try:
        yield from list(look(database, around))
    except psycopg.errors.InsufficientPrivilege:
        yield warning(look.__name__.removeprefix("_"), "this database role may not look at them", "Run the doctor with the address of the owner, or of the dashboard.")


def _role(database: Database, around: Surroundings) -> Iterator[Check]:
    name, is_super, bypasses, makes_roles, owns = database.rows(
        """select r.rolname, r.rolsuper, r.rolbypassrls, r.rolcreaterole or r.rolcreatedb,
                  coalesce((select pg_has_role(current_user, c.relowner, 'member') from pg_class c where c.oid = to_regclass('tasker_task')), false)
             from pg_roles r where r.rolname = current_user"""
    )[0]
    if is_super or bypasses:
        yield problem("database role", f"{name} is a superuser of the server", "Let Tasker own a database as a plain role: create role tasker login; create database tasker owner tasker.")
    elif makes_roles:
        yield warning("database role", f"{name} may make roles or databases", "Take that away once it is not needed: alter role … nocreaterole nocreatedb.")
    else:
        yield ok("database role", f"{name} is a plain role{', and owns the tables' if owns else ''}")
    with connect(str(around.url), application_name="tasker doctor") as connection:
        known = database_roles.known_roles(connection)
    if known and owns and not is_super:
        yield warning("database role", f"engine and dashboard have roles of their own ({', '.join(sorted(known.values()))}), and this is the owner's", "Keep the owner's address for migrations; see `tasker db roles`.")


def _audit(database: Database, around: Surroundings) -> Iterator[Check]:
    kept = database.value("select count(*) from pg_trigger t where t.tgrelid = to_regclass('tasker_audit') and t.tgname like 'tasker_audit%%' and t.tgenabled in ('O', 'A')", {})
    if kept == 2:
        yield ok("audit", "the database refuses to change or remove an entry")
    else:
        yield problem("audit", "entries can be changed: a trigger is switched off or missing", "alter table tasker_audit enable trigger all, and find out who switched it off.")


def _accounts(database: Database, around: Surroundings) -> Iterator[Check]:
    known = [each for each in accounts.accounts(database) if not each.disabled]
    if not known:
        make = "Make one: tasker user create NAME --role admin --password-stdin"
        yield problem("accounts", "there are none, and it listens beyond this machine", make) if _is_open(around) else warning("accounts", "there are none", make)
        return
    admins = [each for each in known if "admin" in {role for role, _ in each.grants}]
    bare = [each.name for each in admins if each.has_password and not each.has_second_factor]
    if bare:
        yield warning("accounts", f"administrators without a second factor: {_some(bare)}", "Let them set one up under their name, at the top of every page.")
    idle = [each.name for each in known if (each.signed_in_at or each.created_at) < queries.clock(database) - UNUSED]
    if idle:
        yield warning("accounts", f"not signed in for {UNUSED.days} days: {_some(idle)}", "Disable who is gone: tasker user disable NAME")
    if not bare and not idle:
        yield ok("accounts", f"{len(known)}, {len(admins)} of them administrators")


def _tokens(database: Database, around: Surroundings) -> Iterator[Check]:
    now = queries.clock(database)
    counting = [each for each in tokens.tokens(database) if each.words == "counts"]
    findings = (
        ([each for each in counting if each.expires_at - now > LONG_LIFE], f"count for more than {LONG_LIFE.days} days", "Make ones that live shorter: tasker token create --days 90"),
        ([each for each in counting if each.scopes is None and each.namespace is None], "may all that their owner may", "Make ones for what they are for: --scope, --namespace"),
        ([each for each in counting if (each.used_at or each.created_at) < now - UNUSED], f"were not used for {UNUSED.days} days", "Revoke them: tasker token revoke ID"),
    )
    for found, said, advice in findings:
        if found:
            yield warning("tokens", f"{_some([f'{each.label} of {each.account}' for each in found])} {said}", advice)
    if not any(found for found, _, _ in findings):
        yield ok("tokens", f"{len(counting)} that count, each with an end")


def _transport(url: str) -> Iterator[Check]:
    with connect(url, application_name="tasker doctor") as connection:
        encrypted = (connection.execute("select s.ssl from pg_stat_ssl s where s.pid = pg_backend_pid()").fetchone() or (False,))[0]
        host = connection.info.host
        strict = dict(psycopg.conninfo.conninfo_to_dict(connection.info.dsn)).get("sslmode") in ("verify-ca", "verify-full")
    if host.startswith("/") or host in (*LOOPBACK, ""):
        yield ok("way to the database", "does not leave this machine")
    elif not encrypted:
        yield problem("way to the database", f"to {host} in plain text", "Switch TLS on at the server, and add sslmode=verify-full to TASKER_DATABASE_URL.")
    elif not strict:
        yield warning("way to the database", f"to {host} encrypted, but the server's certificate is not checked", "Add sslmode=verify-full to TASKER_DATABASE_URL.")
    else:
        yield ok("way to the database", f"to {host} encrypted, its certificate checked")


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
