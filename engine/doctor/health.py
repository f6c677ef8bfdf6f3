"""Whether an installation works: its settings, its database, its engines and clocks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import psycopg

from engine import events, large_results, log_lines, migrate, objects, queries, replicas
from engine.db import Database, described
from engine.definition import nearest
from engine.discovery import is_there
from engine.doctor.checks import Check, Surroundings, ok, problem, warning
from engine.errors import TaskerError
from engine.journal import LEVELS
from engine.keeping import archives
from engine.measures import standing
from engine.settings import VARIABLES
from engine.shards import Shard, Shards
from engine.wording import seconds

KNOWN = (*VARIABLES, "TASKER_EXAMPLES_URL", "TASKER_SIGN_IN_LINK", "TASKER_PARENT", "TASKER_FAULTS", "TASKER_ENGINE_NAME")
OTHERS = ("TASKER_TEST_",)
"""How the names of further ones begin, which only tests read."""
OLDEST_SERVER = 15
SKEW_SECONDS, WRONG_SECONDS = 2.0, 30.0
FREE_BYTES = 512 << 20


def health_checks(around: Surroundings) -> list[Check]:
    """Every check; those of the database as far as it can be reached."""
    return [*_settings(around), *_folder(around), *_database(around), *_replica(around), *_shards(around)]


def _settings(around: Surroundings) -> Iterator[Check]:
    unknown = sorted(name for name in around.environ if name.startswith("TASKER_") and name not in KNOWN and not name.startswith(OTHERS))
    for name in unknown:
        yield warning("settings", f"nothing here reads {name}{nearest(name, KNOWN)}", "Correct the name, or remove the variable.")
    hops = around.environ.get("TASKER_PROXY_HOPS", "").strip()
    if hops and str(around.settings.proxy_hops) != hops:
        yield problem("settings", f"TASKER_PROXY_HOPS is {hops!r}, which counts as 0", "Give the number of proxies before the dashboard, 0 to 9.")
    if around.settings.step_log not in (*LEVELS, "off"):
        yield warning("settings", f"TASKER_STEP_LOG is {around.settings.step_log!r}, so nothing that handlers log is kept", f"Choose one of {', '.join(LEVELS)}, or off.")
    yield from _of_logs_and_traces(around)
    lost = [source for source in around.settings.handlers if not is_there(source)]
    for source in lost:
        yield problem("settings", f"TASKER_HANDLERS names {source}, and there is no folder, file or module of this name in {Path.cwd()}", "Correct the name, or start Tasker in the folder that holds it.")
    if not unknown and not lost:
        yield ok("settings", f"environment {around.settings.env}; handlers from {', '.join(around.settings.handlers) or 'nowhere (TASKER_HANDLERS is not set)'}")


def _of_logs_and_traces(around: Surroundings) -> Iterator[Check]:
    try:
        log_lines.check(around.settings)
    except TaskerError as error:
        yield problem("settings", str(error), "Correct the variable: engines and dashboard do not start with it.")
    traces = around.environ.get("TASKER_TRACES", "").strip()
    if traces.lower() not in ("", "on", "off"):
        yield warning("settings", f"TASKER_TRACES is {traces!r}, so nothing is traced", "Set it to on or off.")


def _folder(around: Surroundings) -> Iterator[Check]:
    folder = around.settings.data_dir
    there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    if not os.access(there, os.W_OK):
        yield warning("data folder", f"{folder} cannot be written to", "Set TASKER_DATA_DIR to a folder of this account.")
        return
    usage = os.statvfs(there)
    free = usage.f_bavail * usage.f_frsize
    if free < FREE_BYTES:
        yield warning("data folder", f"{folder} has {free >> 20:,} MiB left", "Make room: an embedded database stops when its disk is full.")
    else:
        yield ok("data folder", str(folder))


def _database(around: Surroundings) -> Iterator[Check]:
    if around.url is None:
        yield problem("database", "no TASKER_DATABASE_URL is set, and the embedded database does not run", "Set it, or start the embedded one: `tasker up`, or `tasker db upgrade`.")
        return
    database = Database(around.url, max_size=1, application_name="tasker doctor")
    try:
        yield ok("database", f"{described(around.url)} answers, {_server(database)}")
        yield from (check for look in LOOKS for check in look(database, around.url))
    except (TaskerError, psycopg.Error) as error:
        yield problem("database", str(error).splitlines()[0], "Is the server up, and are address, name and password in TASKER_DATABASE_URL right?")
    finally:
        database.close()


def _replica(around: Surroundings) -> Iterator[Check]:
    elsewhere = around.settings.read_database_url
    if elsewhere is None or around.url is None:
        return
    primary, replica = (Database(url, max_size=1, application_name="tasker doctor") for url in (around.url, elsewhere))
    try:
        seen = replicas.standing(primary, replica)
    except (TaskerError, psycopg.Error):
        return  # of the primary it is told already
    finally:
        primary.close()
        replica.close()
    if seen.is_usable:
        yield ok("replica", seen.said)
    else:
        yield warning("replica", f"{seen.said}; pages are read from the primary", "Let it follow again, or correct or remove TASKER_READ_DATABASE_URL.")


def _shards(around: Surroundings) -> Iterator[Check]:
    shards = around.settings.shards
    if shards is None:
        return
    for shard in shards.all:
        database = Database(shard.url, max_size=1, application_name="tasker doctor")
        try:
            yield from _shard(database, shards, shard)
        except (TaskerError, psycopg.Error) as error:
            yield problem(f"shard {shard.name}", str(error).splitlines()[0], "The other databases work on. Is the server up, and is its address in TASKER_SHARDS right?")
        finally:
            database.close()
    if around.environ.get("TASKER_DATABASE_URL", "").strip():
        yield warning("settings", "TASKER_DATABASE_URL is set beside TASKER_SHARDS, and not used", "Remove it; TASKER_SHARD or --shard chooses one of the databases.")


def _shard(database: Database, shards: Shards, shard: Shard) -> Iterator[Check]:
    name, found = f"shard {shard.name}", migrate.status(shard.url)
    if found.pending:
        yield problem(name, f"its schema is at {found.current or 'nothing'}; {len(found.pending)} to come", f"Run `tasker --shard {shard.name} db upgrade`.")
        return
    strange = [each for each in queries.namespace_names(database) if shards.of(each) != shard]
    if strange:
        said = f"it also has tasks or workflows of {', '.join(strange)}, which live elsewhere"
        yield warning(name, said, "What is there goes on there; new tasks go where TASKER_SHARDS says. Let no engine of another database make its workflows known here.")
    else:
        yield ok(name, f"{described(shard.url)} answers, for {', '.join(shard.namespaces) or 'all other namespaces'}")


def _server(database: Database) -> str:
    return f"PostgreSQL {database.value('show server_version')}"


def _version(database: Database, url: str) -> Iterator[Check]:
    number = int(database.value("show server_version_num")) // 10_000
    if number < OLDEST_SERVER:
        yield problem("version", f"PostgreSQL {number}", f"Tasker needs PostgreSQL {OLDEST_SERVER} or newer.")
    else:
        yield ok("version", f"PostgreSQL {number}")


def _schema(database: Database, url: str) -> Iterator[Check]:
    found = migrate.status(url)
    if found.pending:
        yield problem("schema", f"at {found.current or 'nothing'}; {len(found.pending)} to come", "Run `tasker db upgrade`.")
    elif found.current != found.head:
        yield problem("schema", f"at {found.current}, which this version does not know", "The database is of a newer Tasker: upgrade this one.")
    else:
        yield ok("schema", f"at {found.current}, the newest")


def _engines(database: Database, url: str) -> Iterator[Check]:
    found = queries.engines(database)
    alive = [each for each in found if each.alive]
    if not alive:
        seen = max((each.seen_at for each in found), default=None)
        last = f"; the last was seen at {_words(seen)}" if seen else ""
        yield warning("engines", f"none runs{last}", "Start one, or nothing is run: `tasker engine`.")
    else:
        yield ok("engines", f"{len(alive)} running, last heard of at {_words(max(each.seen_at for each in alive))}")
    waiting = sum(each.unserved_count for each in standing.queues(database))
    if alive and waiting:
        yield warning("handlers", f"{waiting:,} ready steps for which no engine has the handler or the labels", "Give an engine their module: --handlers, or TASKER_HANDLERS; and what they need: --labels.")


def _clock(database: Database, url: str) -> Iterator[Check]:
    before = time.time()
    theirs: datetime = database.value("select clock_timestamp()")
    off = theirs.timestamp() - (before + time.time()) / 2
    said = f"the database's clock is {abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} this machine's"
    if abs(off) > WRONG_SECONDS:
        yield problem("clock", said, "Let both follow the network's time: codes of authenticators and what logs say would be wrong.")
    elif abs(off) > SKEW_SECONDS:
        yield warning("clock", said, "Let both follow the network's time.")
    else:
        yield ok("clock", "the database's and this machine's agree")


def _transactions(database: Database, url: str) -> Iterator[Check]:
    found = standing.long_transaction(database)
    if found:
        said = f"{found.application} (process {found.pid}) has had one open for {seconds(found.open_seconds)}"
        yield warning("transactions", said, f"End it, or dead rows pile up: select pg_terminate_backend({found.pid})")


def _archives(database: Database, url: str) -> Iterator[Check]:
    found = [row for row in archives.archives(database) if row.place is not None]
    for row in found:
        if row.error is not None and row.failed_at is not None:
            said = f"that of {row.namespace} could not be written at {_words(row.failed_at)}, so nothing there is dropped: {row.error}"
            yield problem("archive", said, "Make room, or make the folder writable for the engines; or choose another: `tasker archive set`.")
    if found and not any(row.error for row in found):
        yield ok("archive", f"{sum(row.task_count for row in found):,} tasks written before they were dropped")


def _subscribers(database: Database, url: str) -> Iterator[Check]:
    found = [row for row in events.subscriptions(database) if row.undelivered_count]
    for row in found:
        said = f"{row.undelivered_count:,} events that {row.name} refused for good lie aside"
        yield warning("subscribers", said, f"See why with `tasker events --undelivered`, then deliver them again: `tasker events --redeliver {row.name}`.")


def _objects(database: Database, url: str) -> Iterator[Check]:
    left = large_results.left_count(database)
    try:
        keeper = objects.keeper()
        if keeper is not None:
            keeper.check()
            yield ok("objects", f"the store for large results answers; {left:,} folders of dropped tasks to be deleted")
        elif left:
            yield warning("objects", f"dropped tasks have left {left:,} folders in an object store, and none is set here", "Set TASKER_OBJECTS as it is for the engines.")
    except TaskerError as error:
        yield problem("objects", str(error), "Is the store up, and is TASKER_OBJECTS right? Until then steps that need it go back uncharged and are tried again.")


def _words(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


LOOKS: tuple[Callable[[Database, str], Iterator[Check]], ...] = (_version, _schema, _engines, _clock, _transactions, _archives, _subscribers, _objects)
