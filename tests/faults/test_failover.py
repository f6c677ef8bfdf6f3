"""A standby takes the place of the server, which comes back read-only: engines move, nothing is written to the old one, and what was lost is known by name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import faults
import psycopg
import pytest
from arena import Arena, Where, until
from checker import Evidence, assert_none, broken_histories, lost_tasks, terminal_events
from standby import READ_ONLY, Standby

from engine.db import Database
from engine.embedded import ensure_server

pytestmark = pytest.mark.timeout(600)

MOVE_SECONDS = 15.0
READ_ONLY_SECONDS = 3.0
BEHIND_SECONDS = 2.0
LOADED_SECONDS = 15.0
"""What a machine that others use as well may add."""


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    installation = Arena(tmp_path, seed=29)
    yield installation
    installation.end()


def fail_over(standby: Standby) -> faults.Fault:
    """The server dies and the standby is promoted; the address leads to the old one once more, then to the new."""

    def failed_over(arena: Arena) -> None:
        old = arena.server
        with arena.fault("failover to a standby"), arena.outage():
            faults.crash_server(arena)
            standby.promote()
            # the wish for an answer from a standby would outlive it
            ensure_server(old.data_dir, options={**arena.options, **READ_ONLY, "synchronous_standby_names": ""})
            time.sleep(READ_ONLY_SECONDS)
            standby.take_over()
            began = time.time()
            until(lambda: claims_since(arena, began), "the first claim on the new server")
            took = time.time() - began
        print(f"first claim on the new server after {took:.1f} s")
        assert took < MOVE_SECONDS + LOADED_SECONDS
        with psycopg.connect(f"{old.admin_url.rpartition('/')[0]}/tasker", autocommit=True) as conn:
            assert conn.execute("select count(*) from tasker_history where at > to_timestamp(%s)", [began - READ_ONLY_SECONDS]).fetchone() == (0,)

    return failed_over


def claims_since(arena: Arena, wall: float) -> bool:
    with arena.direct() as conn:
        return conn.execute("select count(*) > 0 from tasker_history where to_state = 2 and step_no is not null and at > to_timestamp(%s)", [wall]).fetchone() == (True,)


@pytest.mark.release
def test_a_synchronous_standby_takes_over_with_everything(arena: Arena) -> None:
    standby = Standby(arena, synchronous=True)
    try:
        arena.start_engines(3)
        arena.start_web()
        arena.run_load([fail_over(standby)], trees=80)
        arena.assert_kept()
        assert arena.faults[-1].hit(arena.ledger.all())
    finally:
        standby.end()


@pytest.mark.release
def test_what_an_asynchronous_standby_did_not_have_is_lost_and_listed_and_the_rest_is_sound(arena: Arena) -> None:
    standby = Standby(arena, synchronous=False)
    try:
        arena.start_engines(3)
        arena.run_load([lambda _: standby.fall_behind(), fail_over(standby)], trees=80, pause=BEHIND_SECONDS)
        evidence = arena.evidence()
        lost = [key for key, task in evidence.accepted.items() if task not in evidence.records.tasks]
        print(f"{len(lost)} of {len(evidence.accepted)} accepted tasks lost: {lost}")
        violations = [violation for rule in (lost_tasks, terminal_events, broken_histories) for violation in rule(without(evidence, lost))]
        assert_none(violations)
        assert 0 < len(lost) < len(evidence.accepted)
    finally:
        standby.end()


@pytest.mark.nightly
def test_who_names_both_hosts_finds_the_new_primary_by_itself_and_no_accepted_task_is_lost(arena: Arena) -> None:
    """Nothing stands between: addresses of both servers in the URL, and libpq takes the one that can write."""
    standby = Standby(arena, synchronous=True)
    parts = psycopg.conninfo.conninfo_to_dict(arena.server.url)
    both = f"postgresql://{parts['user']}:{parts['password']}@127.0.0.1:{parts['port']},127.0.0.1:{standby.port}/{parts['dbname']}?target_session_attrs=read-write"
    arena.client.close()
    arena.client = Database(both, max_size=2, application_name="faults client", call_seconds=5)
    for _ in range(2):
        arena.start_engine(Where(environment={"TASKER_DATABASE_URL": both}))

    def failed_over(arena: Arena) -> None:
        with arena.fault("failover by name"), arena.outage():
            faults.crash_server(arena)
            standby.promote()
            # the wish for an answer from a standby would outlive the old server
            with arena.direct() as conn:
                conn.execute("alter system set synchronous_standby_names = ''")
                conn.execute("select pg_reload_conf()")
            began = time.time()
            until(lambda: claims_since(arena, began), "the first claim on the new server")

    try:
        until(lambda: all(engine.workers() for engine in arena.engines), "the engines to come up")
        arena.run_load([failed_over], trees=40)
        arena.assert_kept()
        assert arena.faults[-1].hit(arena.ledger.all())
    finally:
        standby.end()


def without(evidence: Evidence, lost: list[str]) -> Evidence:
    evidence.accepted = {key: task for key, task in evidence.accepted.items() if key not in lost}
    return evidence
