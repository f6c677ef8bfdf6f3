"""A database goes from empty to the newest revision and back, whoever else is at it."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from engine import migrate
from engine.db import connect
from engine.errors import DatabaseUnavailable, NotFound

BROKEN = '''
from alembic import op

revision = "9999_broken"
down_revision = "{head}"


def upgrade():
    op.execute("create table tasker_half_done (id int)")
    op.execute("select 1 / 0")
'''

ALTERED = '''
from alembic import op

revision = "9999_broken"
down_revision = "{head}"


def upgrade():
    op.execute("alter table tasker_task add column altered int")
'''

INDEXED = '''
from engine.migrate import build_index

revision = "9999_broken"
down_revision = "{head}"


def upgrade():
    build_index("tasker_left_over", "tasker_worker (name)")
'''


def objects(url: str) -> set[str]:
    """Every relation, function and type of ours, without the version table."""
    query = """
      select 'relation ' || relname from pg_class where relnamespace = 'public'::regnamespace
      union all select 'function ' || proname from pg_proc where pronamespace = 'public'::regnamespace
      union all select 'type ' || typname from pg_type where typnamespace = 'public'::regnamespace
    """
    with psycopg.connect(url) as conn:
        return {name for (name,) in conn.execute(query) if migrate.VERSION_TABLE not in name}


def head() -> str:
    script = sorted(migrate.migrations_folder().glob("versions/[0-9]*.py"))[-1]
    return script.stem


@pytest.fixture
def broken_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same revisions and one more, which fails after its first statement; the fixture's value is the last good one."""
    good = head()
    folder = shutil.copytree(migrate.migrations_folder(), tmp_path / "with space % and sign")
    (folder / "versions" / "9999_broken.py").write_text(BROKEN.format(head=good))
    monkeypatch.setattr(migrate, "migrations_folder", lambda: folder)
    return good


def test_an_empty_database_arrives_at_the_newest_revision(empty_database_url: str) -> None:
    before = migrate.status(empty_database_url)
    assert before.current is None
    assert before.pending[-1] == before.head == head()

    migrate.upgrade(empty_database_url)

    assert migrate.status(empty_database_url) == migrate.MigrationStatus(head(), head(), ())
    assert "relation tasker_task" in objects(empty_database_url)


def test_status_leaves_an_empty_database_empty(empty_database_url: str) -> None:
    migrate.status(empty_database_url)
    with psycopg.connect(empty_database_url) as conn:
        assert conn.execute("select to_regclass(%s)", [migrate.VERSION_TABLE]).fetchone() == (None,)


def test_a_database_is_current_from_the_newest_revision_on(empty_database_url: str, broken_head: str) -> None:
    migrate.upgrade(empty_database_url, broken_head)
    assert not migrate.is_current(empty_database_url), "there is a newer one"


def test_a_database_is_current_at_the_newest_revision_and_not_before(empty_database_url: str) -> None:
    assert not migrate.is_current(empty_database_url)
    migrate.upgrade(empty_database_url)
    assert migrate.is_current(empty_database_url)
    assert migrate.status(empty_database_url).pending == ()


def test_a_second_upgrade_changes_nothing(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    once = objects(empty_database_url)
    migrate.upgrade(empty_database_url)
    assert objects(empty_database_url) == once


def test_a_downgrade_to_base_leaves_nothing_behind(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    migrate.downgrade(empty_database_url, "base")
    assert objects(empty_database_url) == set()
    assert migrate.status(empty_database_url).current is None


def test_what_was_downgraded_can_be_upgraded_again(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    once = objects(empty_database_url)
    migrate.downgrade(empty_database_url, "base")
    migrate.upgrade(empty_database_url)
    assert objects(empty_database_url) == once


def test_two_migrators_at_once_are_safe(empty_database_url: str) -> None:
    # Forbids: both see an empty database, and the slower one fails on tables that exist by now.
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate.upgrade, [empty_database_url] * 4))
    assert migrate.status(empty_database_url).pending == ()


def test_a_table_in_use_stops_the_migration_and_not_the_application(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as application:
        application.execute("select from tasker_task")
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            migrate.downgrade(empty_database_url, "base", lock_timeout=timedelta(milliseconds=50), patience=timedelta())
    assert migrate.status(empty_database_url).current == head()


def test_a_migration_waits_for_a_long_transaction_and_holds_nobody_up_for_long(
    database_url: str, broken_head: str, caplog: pytest.LogCaptureFixture
) -> None:
    (migrate.migrations_folder() / "versions" / "9999_broken.py").write_text(ALTERED.format(head=broken_head))
    with psycopg.connect(database_url) as long, psycopg.connect(database_url, autocommit=True) as reader, ThreadPoolExecutor(1) as pool:
        long.execute("select from tasker_task")
        holder = long.info.backend_pid
        upgraded = pool.submit(migrate.upgrade, database_url)
        waits = []
        begun = time.monotonic()
        while not upgraded.done() and time.monotonic() - begun < 6:
            asked = time.monotonic()
            reader.execute("select from tasker_task")
            waits.append(time.monotonic() - asked)
            time.sleep(0.02)
        assert not upgraded.done()
        long.commit()
        upgraded.result(60)
    assert 0.25 < max(waits) < 1.5, "a reader queues behind the migration, but not for long"
    assert sum(wait > 0.25 for wait in waits) >= 2, "it tries again and again"
    assert f"session {holder} " in caplog.text
    assert migrate.is_current(database_url)


def test_a_migration_gives_up_when_its_patience_is_over(
    database_url: str, broken_head: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (migrate.migrations_folder() / "versions" / "9999_broken.py").write_text(ALTERED.format(head=broken_head))
    monkeypatch.setattr(migrate, "FIRST_PAUSE_SECONDS", 0.1)
    with psycopg.connect(database_url) as long:
        long.execute("select from tasker_task")
        with pytest.raises(DatabaseUnavailable, match=f"busy.*session {long.info.backend_pid} "):
            migrate.upgrade(database_url, lock_timeout=timedelta(milliseconds=50), patience=timedelta(seconds=1))
    assert caplog.text.count("the migration waits and tries again") == 1
    assert migrate.status(database_url).current == broken_head


def test_a_revision_that_fails_leaves_nothing_of_itself(empty_database_url: str, broken_head: str) -> None:
    with pytest.raises(Exception, match="division by zero"):
        migrate.upgrade(empty_database_url)
    assert "relation tasker_half_done" not in objects(empty_database_url)
    assert migrate.status(empty_database_url) == migrate.MigrationStatus(broken_head, "9999_broken", ("9999_broken",))


def test_an_index_that_a_killed_migrator_left_unfinished_is_built_anew(database_url: str, broken_head: str) -> None:
    (migrate.migrations_folder() / "versions" / "9999_broken.py").write_text(INDEXED.format(head=broken_head))
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "insert into tasker_worker (name, runner, concurrency, definitions, started_at, seen_at, lease_until)"
            " select 'twice', 'threads', 1, '{}', now(), now(), now() from generate_series(1, 2)"
        )
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("create unique index concurrently tasker_left_over on tasker_worker (name)")

        migrate.upgrade(database_url)

        found = conn.execute("select indisvalid, indisunique from pg_index where indexrelid = 'tasker_left_over'::regclass").fetchall()
        assert found == [(True, False)]


def test_an_application_keeps_an_alembic_of_its_own(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as application:
        application.execute("create table alembic_version (version_num varchar(32) primary key)")
        application.execute("insert into alembic_version values ('theirs')")
    migrate.upgrade(empty_database_url)
    migrate.downgrade(empty_database_url, "base")
    with psycopg.connect(empty_database_url) as application:
        assert application.execute("select version_num from alembic_version").fetchall() == [("theirs",)]


def test_sqlalchemy_urls_are_taken_too(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url.replace("postgresql://", "postgresql+psycopg://"))
    assert migrate.status(empty_database_url).pending == ()


def test_an_unknown_revision_is_named(empty_database_url: str) -> None:
    with pytest.raises(NotFound, match="9876_nowhere"):
        migrate.upgrade(empty_database_url, "9876_nowhere")
    assert objects(empty_database_url) == set()


def test_a_database_ahead_of_this_version_is_left_alone(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as conn:
        conn.execute(f"update {migrate.VERSION_TABLE} set version_num = '9000_future'")
    assert migrate.status(empty_database_url) == migrate.MigrationStatus("9000_future", head(), ())
    with pytest.raises(NotFound, match="9000_future"):
        migrate.upgrade(empty_database_url)


def test_an_unreachable_database_is_one_line_without_the_password() -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        migrate.upgrade("postgresql://someone:secret@127.0.0.1:1/nowhere")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_tables_may_live_in_a_schema_beside_the_applications_own(empty_database_url: str) -> None:
    """The URL's search path leads there, whatever the application has in its own schema."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        conn.execute("create schema workflow")
        conn.execute("create table tasker_task (whose text default 'the application''s')")
        conn.execute("create table alembic_version (version_num text)")
    url = f"{empty_database_url}?options=-csearch_path%3Dworkflow"
    migrate.upgrade(url)
    assert migrate.is_current(url)
    with connect(url) as conn:
        assert conn.execute("select count(*) from tasker_task").fetchone() == (0,)
        assert conn.execute("select count(*) from tasker_get_ready_steps('shop', 'order', gen_random_uuid())").fetchone() == (0,)
    assert objects(empty_database_url) == {"relation tasker_task", "type tasker_task", "type _tasker_task", "relation alembic_version", "type alembic_version", "type _alembic_version"}
    migrate.downgrade(url, "base")
    with psycopg.connect(empty_database_url) as conn:
        assert conn.execute("select count(*) from tasker_task").fetchone() == (0,)
