"""What is done to the installation while it works. Each function is one fault, written down by the arena, and leaves nothing broken behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from arena import GRACE_SECONDS, LEASE_SECONDS, Arena, Beside, EngineProcess, FaultRecord, until
from ledger import Run
from proxy import Link, Moment, Proxy, Snare

from engine.embedded import ensure_server

Fault = Callable[[Arena], None]
LONGEST_CALL_SECONDS = 10.0
PATIENT_LEASE_SECONDS = 9.0
"""A call is given up after a third of it. To open a connection over a way of 200 ms takes two seconds, more than the usual lease here leaves; outside, it is thirty."""
KILL, DRAIN, RESTART, DEAF = "kill -9 of an engine", "SIGTERM to an engine", "PostgreSQL crashed and restarted", "listeners dropped and flooded"
"""The kinds whose effect is timed."""
ROLES = {"claims": "^tasker engine$", "duties": "^tasker engine duties$", "listener": "^tasker listener$", "dashboard": "^tasker (dashboard|live)$"}
ASKS_SOON = {"dashboard": "^tasker dashboard$"}
"""Of several kinds of connections that one on which something is asked within a second."""

REPORT = "tasker_complete_(and_claim|few)"
"""How an engine reports what ended well: few at a time by a call of their own."""
REST_SECONDS = 4.0
REPORTED_SECONDS = 2
"""Of a step that ends while its engine drains."""
MET_SECONDS = 30.0
"""By when a fault has found what it is aimed at, on an installation that is busy, or just getting over the last one."""
JUST_BEFORE = 0.15
"""Seconds."""

NOTICED_SECONDS = {"claims": 5.0, "duties": 5.0, "listener": 18.0, "dashboard": 8.0}
"""By when each process has lost patience with a line that is dead: a listener asks every five seconds whether it is."""
GIVEN_UP_SECONDS = {"claims": LEASE_SECONDS, "duties": LEASE_SECONDS, "listener": LONGEST_CALL_SECONDS, "dashboard": 6.0}
"""How long a call lasts at most, on a busy machine: a third of the lease, ten seconds, five."""

STORM_SESSIONS, STORM_SECONDS, WAITED_FOR_SECONDS = 4, 3.0, 0.5
"""A call of an engine whose lease is three seconds is given up after one, so a deadlock has to be found before."""
CONFLICTS = ("40P01", "40001")
"""What a transaction is refused with that was in a deadlock, or met a row which another had changed."""
HOLD_TASKS = """
update tasker_task set priority = priority
 where task_no in (select t.task_no from tasker_task t where t.finished_at is null and exists (select from tasker_step s where s.task_no = t.task_no and s.state in (1, 2))
                    order by random() limit 5 for update skip locked)
returning task_no"""
IS_WAITED_FOR = "select exists (select from pg_locks where not granted and transactionid = pg_current_xact_id()::xid)"


def busy_engine(arena: Arena) -> EngineProcess:
    """One of the engines that run something, if there is one within a moment."""
    deadline = time.monotonic() + 3
    while True:
        busy = [engine for engine in arena.living() if arena.ledger.running(engine.label)]
        if busy or time.monotonic() > deadline:
            return arena.random.choice(busy or arena.living())
        time.sleep(0.01)


def await_work(arena: Arena, engine: EngineProcess | None = None) -> None:
    """Something runs, on this engine or on any."""
    until(lambda: arena.ledger.running(engine.label if engine else None), "something to run", MET_SECONDS)


def engine_at_one_of(arena: Arena, keys: Sequence[str]) -> tuple[EngineProcess, Run]:
    """An engine that has begun with one of these tasks, and what it runs of it."""
    wanted = {arena.accepted[key] for key in keys}

    def look() -> tuple[EngineProcess, Run] | None:
        living = {engine.label: engine for engine in arena.living()}
        return next(((living[run.engine], run) for run in arena.ledger.running() if run.task in wanted and run.engine in living), None)

    found = until(look, "slow steps to run")
    assert found is not None
    return found


def rest(_: Arena) -> None:
    """Nothing happens for as long as a session may take to come back."""
    time.sleep(REST_SECONDS)


# ---- F1, F2: engines


def kill_engine(arena: Arena) -> None:
    engine = busy_engine(arena)
    with arena.fault(KILL, engine):
        engine.end()
        time.sleep(arena.random.uniform(0.2, 1.0))
    arena.start_engine()


def kill_engines(arena: Arena) -> None:
    """One every two to five seconds, as long as a batch of work takes."""
    for _ in range(3):
        kill_engine(arena)
        time.sleep(arena.random.uniform(1.0, 4.0))


def freeze_engine(arena: Arena) -> None:
    engine = busy_engine(arena)
    workers = engine.workers()
    await_work(arena, engine)
    with arena.fault("an engine suspended beyond its lease", engine):
        engine.send(signal.SIGSTOP)
        _await_successors(arena, workers)
        engine.send(signal.SIGCONT)


def _await_successors(arena: Arena, workers: list[int]) -> None:
    """The lease of those workers is over, they hold nothing, and what others took from them has ended there."""
    open_still: list[tuple[Any, ...]] = []
    try:
        until(lambda: not _open_of(arena, workers, open_still), "others to do what the engine held")
    except AssertionError as error:
        raise AssertionError(f"{error}: {open_still}") from None


def _open_of(arena: Arena, workers: list[int], found: list[tuple[Any, ...]]) -> bool:
    """Whether anything of theirs is open, which `found` is then, or nobody can tell."""
    query = """
        select 'lease', worker_id, 0, (lease_until - tasker_clock())::text from tasker_worker where worker_id = any(%(all)s) and lease_until > tasker_clock()
        union all select 'claim', worker_id, 0, c::text from tasker_claim c where worker_id = any(%(all)s)
        union all select 'step', s.task_no, s.step_no, s::text from tasker_history h join tasker_step s using (task_no, step_no)
                   where h.worker_id = any(%(all)s) and h.from_state = 2 and h.to_state in (1, 3) and s.state in (1, 2, 3)"""
    with suppress(psycopg.OperationalError), arena.direct() as conn:
        found[:] = conn.execute(query.encode(), {"all": workers}).fetchall()
        return bool(found)
    return True


def kill_children(arena: Arena) -> None:
    """The handler processes of an engine, not the engine."""
    engine = busy_engine(arena)
    with arena.fault("kill -9 of handler processes", engine):
        for pid in _below(engine.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)


# ---- F4: replies


def cut_replies(arena: Arena) -> None:
    """The reply of every kind of report is lost once, after the server has carried it out; of creating tasks too."""
    with arena.fault("the reply of a COMMIT lost"), ExitStack() as release:
        reports = [_set(release, engine.proxy, REPORT, "at") for engine in arena.living()]
        for engine in arena.living():
            for pattern in ("tasker_fail_steps", "tasker_heartbeat"):
                _set(release, engine.proxy, pattern, "at")
        creation = _set(release, arena.client_proxy, "tasker_submit_tasks", "at")
        time.sleep(1.0)
        until(lambda: any(snare.sprung.is_set() for snare in reports), "the reply of a report to be cut", MET_SECONDS)
        until(creation.sprung.is_set, "the reply of a creation to be cut", MET_SECONDS)


def _set(release: ExitStack, proxy: Proxy, pattern: str, moment: Moment, times: int = 1) -> Snare:
    """A snare that is gone again when `release` ends."""
    snare = proxy.set_snare(pattern, moment, times=times)
    release.callback(proxy.release, snare)
    return snare


def cut_reports(arena: Arena) -> None:
    """Reports are lost on their way to the server, a few on each engine."""
    with arena.fault("reports lost before the server had them"), ExitStack() as release:
        snares = [_set(release, engine.proxy, REPORT, "before", times=5) for engine in arena.living()]
        time.sleep(1.5)
        until(lambda: any(snare.sprung.is_set() for snare in snares), "a report to be lost", MET_SECONDS)


def halve_reports(arena: Arena) -> None:
    """The last part of a report is lost with its connection, which nobody is told of: the server has done it, and waits for the rest with all its locks."""
    with arena.fault("the end of a report lost, and its line dead"), ExitStack() as release:
        snares = []
        for engine in arena.living():
            snare = engine.proxy.set_snare(REPORT, "half", engine.proxy.stall)
            release.callback(engine.proxy.release, snare)
            snares.append(snare)
        until(lambda: any(snare.ports for snare in snares), "a report to be halved", MET_SECONDS)
        newest = _newest_task(arena)
        until(lambda: not _is_open(arena, newest), "what was begun by then to end")


def _newest_task(arena: Arena) -> int:
    with arena.direct() as conn:
        row = conn.execute("select max(task_no) from tasker_task").fetchone()
    assert row is not None
    return int(row[0])


def _is_open(arena: Arena, newest: int) -> bool:
    """Whether one of the tasks up to there has not ended."""
    with arena.direct() as conn:
        return conn.execute("select exists (select from tasker_task where task_no <= %s and finished_at is null)", [newest]).fetchone() == (True,)


# ---- F5, F7, F8: the server


def restart_server(arena: Arena) -> None:
    """An immediate stop, a pause, and recovery."""
    with arena.fault(RESTART), arena.outage():
        crash_server(arena)
        time.sleep(arena.random.uniform(0, 2))
        start_server(arena)


def restart_server_thrice(arena: Arena) -> None:
    """As soon as work goes on, the server crashes again."""
    for _ in range(3):
        await_work(arena)
        restart_server(arena)


def crash_server(arena: Arena) -> None:
    """PostgreSQL is gone, without having tidied up."""
    pid = ensure_server(arena.server.data_dir, options=arena.options).pid
    os.kill(pid, signal.SIGQUIT)
    until(lambda: not _is_alive(pid), "PostgreSQL to be gone")


def start_server(arena: Arena) -> None:
    """PostgreSQL has recovered and answers."""
    ensure_server(arena.server.data_dir, options=arena.options)


# ---- F6: the server, at the worst moment


def crash_in_rescue(arena: Arena) -> None:
    """The server crashes just when the steps of a dead engine are taken back."""
    engine = busy_engine(arena)
    workers = engine.workers()
    others = [other for other in arena.living() if other is not engine]
    with arena.fault("PostgreSQL crashed in a rescue"), arena.outage():
        engine.end()
        enough = time.monotonic() + LEASE_SECONDS + 2  # it may have held nothing, or have lost it in a call that was just under way
        _crash_at(arena, others, "tasker_reap_workers", lambda: _holds_beyond_its_lease(arena, workers) or time.monotonic() > enough)
        start_server(arena)
    arena.start_engine()


def crash_in_drain(arena: Arena) -> None:
    """The server crashes while an engine that was told to end reports, if it has something to, hands back or signs off."""
    keys = [arena.submit("slow", 1, {"seconds": seconds, "again": 0})[0] for seconds in 6 * (GRACE_SECONDS + 2, REPORTED_SECONDS)]
    engine, _ = engine_at_one_of(arena, keys[::2])
    reports = [REPORT] if any(_has_just_begun(arena, engine, key) for key in keys[1::2]) else []
    with arena.fault("PostgreSQL crashed in a drain"), arena.outage():
        arena.drained.update(dict.fromkeys(engine.workers(), time.time()))
        engine.send(signal.SIGTERM)
        _crash_at(arena, [engine], arena.random.choice((*reports, "tasker_release_steps", "tasker_retire_worker")))
        start_server(arena)
        until(lambda: not engine.alive, f"{engine.label} to end:\n{engine.said()[-500:]}", 40)
        engine.end()
    arena.start_engine()


def _has_just_begun(arena: Arena, engine: EngineProcess, key: str) -> bool:
    return any(run.task == arena.accepted[key] and run.start > time.monotonic() - REPORTED_SECONDS / 2 for run in arena.ledger.running(engine.label))


def _holds_beyond_its_lease(arena: Arena, workers: list[int]) -> bool:
    """Whether there is something for the next engine that looks to take back."""
    query = "select exists (select from tasker_worker w join tasker_claim c using (worker_id) where w.worker_id = any(%s) and w.lease_until <= tasker_clock())"
    with suppress(psycopg.Error), arena.direct() as conn:
        return conn.execute(query, [workers]).fetchone() == (True,)
    return False


def _crash_at(arena: Arena, engines: list[EngineProcess], pattern: str, when: Callable[[], bool] = lambda: True) -> None:
    """The server is gone, at the next statement that matches: before it has it, while it is at it, or before its reply is read."""
    once = threading.Lock()

    def spring(_: Link) -> None:
        if once.acquire(blocking=False):
            crash_server(arena)

    moment = arena.random.choice(("before", "within", "at"))
    snares = [(engine, engine.proxy.set_snare(pattern, moment, spring, when=when)) for engine in engines]
    until(lambda: any(snare.sprung.is_set() for _, snare in snares) or not any(engine.alive for engine in engines), f"{pattern} to come by")
    for engine, snare in snares:
        engine.proxy.release(snare)
    assert any(snare.sprung.is_set() for _, snare in snares), f"{pattern} never came by: {[engine.said()[-300:] for engine in engines]}"


def kill_backend(arena: Arena) -> None:
    """kill -9 of one session's process: the server resets all of them."""
    with arena.fault("kill -9 of a PostgreSQL backend"), arena.outage():
        until(lambda: _kill_a_backend(arena), "a session of an engine to kill", MET_SECONDS)
        until(lambda: arena.open_tasks() >= 0, "PostgreSQL to be back")


def _kill_a_backend(arena: Arena) -> bool:
    with suppress(psycopg.Error, ProcessLookupError), arena.direct() as conn:
        row = conn.execute("select pid from pg_stat_activity where application_name = 'tasker engine' order by random() limit 1").fetchone()
        if row:
            os.kill(row[0], signal.SIGKILL)
            return True
    return False


def terminate_sessions(arena: Arena, seconds: float = 3.0) -> None:
    """A random session of the product every quarter of a second."""
    with arena.fault("sessions terminated by an administrator"), arena.outage():
        ended = 0
        for _ in range(int(4 * seconds)):
            with suppress(psycopg.Error), arena.direct() as conn:
                ended += len(conn.execute("select pg_terminate_backend(pid) from (select pid from pg_stat_activity where application_name like 'tasker%' order by random() limit 1) x").fetchall())
            time.sleep(0.25)
        assert ended, "no session was there to be ended"


# ---- F9, F11, F12: the network


def stall_role(role: str) -> Fault:
    """Nothing moves on the connections of one kind, and nobody is told, until each process has given up a call on one, or has had the time to.

    Who was just connecting has no call to give up; a listener that is connected has, soon. Whatever calls are under way then must be given up by their own deadline.
    """

    def stall(arena: Arena) -> None:
        proxies = _proxies_of(arena, role)
        until(lambda: all(proxy.sessions(ASKS_SOON.get(role, ROLES[role])) for proxy in proxies), f"connections of {role} to stall", MET_SECONDS)
        before = [len(proxy.given_up) for proxy in proxies]
        given_up = lambda: [len(proxy.given_up) > earlier for proxy, earlier in zip(proxies, before, strict=True)]  # noqa: E731
        kind = f"the connections of {role} stalled"
        with arena.fault_of_dashboard(kind) if role == "dashboard" else arena.fault(kind), arena.outage(), ExitStack() as stalled:
            for proxy in proxies:
                stalled.enter_context(proxy.behaving("stall", ROLES[role]))
            with suppress(AssertionError):
                until(lambda: all(given_up()), "calls to be given up", NOTICED_SECONDS[role])
            assert all(given_up()) if role == "listener" else any(given_up()), f"calls of {role} given up by each process: {given_up()}"
            _have_given_up(proxies, role)

    stall.__name__ = f"stall_{role}"
    return stall


def _proxies_of(arena: Arena, role: str) -> list[Proxy]:
    if role != "dashboard":
        return [engine.proxy for engine in arena.living()]
    assert arena.web_proxy is not None, "there is no dashboard to stall"
    return [arena.web_proxy]


def _have_given_up(proxies: list[Proxy], role: str) -> None:
    """Nobody waits any more for an answer to what is being asked now."""

    def under_way() -> set[tuple[Link, float]]:
        return {call for proxy in proxies for call in proxy.calls_under_way(ROLES[role])}

    asked = under_way()
    until(lambda: not asked & under_way(), f"calls of {role} to be given up", GIVEN_UP_SECONDS[role])


def deliver_late(arena: Arena) -> None:
    """All that one engine says is held back until its steps have run elsewhere, and then delivered."""
    engine = busy_engine(arena)
    workers = engine.workers()
    await_work(arena, engine)
    with arena.fault("an engine cut off beyond its lease, its packets delivered late", engine), engine.proxy.behaving("stall"):
        _await_successors(arena, workers)


def deliver_late_to_slow_steps(arena: Arena) -> None:
    """The same, with steps that end just after their engine was cut off, and run elsewhere when its report of them arrives."""
    engine, first = engine_at_one_of(arena, arena.submit("slow", 4 * len(arena.living()), {"seconds": 1, "again": 2 * LEASE_SECONDS}))
    time.sleep(max(0.0, first.start + 1 - JUST_BEFORE - time.monotonic()))  # nothing else is to be on its way then, that the report would wait for
    with arena.fault("an engine cut off just before it reports, its packets delivered late", engine), engine.proxy.behaving("stall"):
        time.sleep(2 * LEASE_SECONDS)


def _hardship(arena: Arena, kind: str) -> AbstractContextManager[FaultRecord]:
    return arena.hardship(kind) if arena.lease >= PATIENT_LEASE_SECONDS else arena.fault(kind)


def delay_all(arena: Arena) -> None:
    """A long way: it costs nobody a lease that leaves room for a connection made over it."""
    with _hardship(arena, "200 ms of delay on every connection"), ExitStack() as proxies:
        for engine in arena.living():
            proxies.enter_context(engine.proxy.behaving("delay"))
        time.sleep(5)


def throttle_all(arena: Arena) -> None:
    """A narrow one, as well."""
    with _hardship(arena, "64 KiB/s on every connection"), ExitStack() as proxies:
        for engine in arena.living():
            proxies.enter_context(engine.proxy.behaving("throttle"))
        time.sleep(5)


def reset_all(arena: Arena, seconds: float = 3) -> None:
    """Every connection is reset, old and new."""
    with arena.fault("every connection reset, old and new"), arena.outage(), ExitStack() as proxies:
        for engine in arena.living():
            proxies.enter_context(engine.proxy.behaving("reset"))
        if arena.web_proxy is not None:
            proxies.enter_context(arena.web_proxy.behaving("reset"))
        time.sleep(seconds)


def refuse_one(arena: Arena) -> None:
    """One engine alone finds nobody listening, for longer than its lease."""
    engine = busy_engine(arena)
    with arena.fault("an engine refused by the server for two leases", engine), engine.proxy.refusing():
        time.sleep(2 * LEASE_SECONDS)


def use_up_connections(arena: Arena) -> None:
    """No connection is left for those who have lost theirs."""
    with arena.fault("max_connections used up"), arena.outage(), ExitStack() as taken:
        with suppress(psycopg.OperationalError):
            while True:
                taken.enter_context(psycopg.connect(arena.server.url, connect_timeout=3))
        for engine in arena.living():
            engine.proxy.tear()
        time.sleep(2)


# ---- F19: drains


def drain_engine(arena: Arena) -> None:
    """SIGTERM in the middle of work."""
    _drain(arena, busy_engine(arena))


def _drain(arena: Arena, engine: EngineProcess) -> None:
    with arena.fault(DRAIN, engine):
        now = time.time()
        arena.drained.update(dict.fromkeys(engine.workers(), now))
        engine.send(signal.SIGTERM)
        until(lambda: not engine.alive, f"{engine.label} to end:\n{engine.said()[-500:]}", 20)
        engine.end()
    arena.start_engine()


def drain_engine_with_long_steps(arena: Arena) -> None:
    """SIGTERM while steps run that do not end within the grace time."""
    engine, _ = engine_at_one_of(arena, arena.submit("slow", 8, {"seconds": GRACE_SECONDS + 2}))
    _drain(arena, engine)


# ---- F21, F22: locks


def hold_rows(arena: Arena, seconds: float = 3) -> None:
    """Another session holds the rows of running steps, and rests in its transaction."""
    with arena.fault("rows of running steps locked"), arena.outage(), arena.direct() as conn, conn.transaction():
        until(lambda: conn.execute("select 1 from tasker_step where state = 2 limit 20 for update skip locked").fetchall(), "rows of running steps", MET_SECONDS)
        time.sleep(seconds)


def lock_table(arena: Arena, seconds: float = 4) -> None:
    """Another session locks the whole table of steps, as careless maintenance does."""
    with arena.fault("the table of steps locked"), arena.outage(), arena.direct() as conn:
        conn.execute("set lock_timeout = '5s'")
        until(lambda: _hold_table(conn, seconds), "the lock on the table", MET_SECONDS)


def _hold_table(conn: psycopg.Connection[Any], seconds: float) -> bool:
    with suppress(psycopg.errors.LockNotAvailable), conn.transaction():
        conn.execute("lock table tasker_step in access exclusive mode")
        time.sleep(seconds)
        return True
    return False


def deadlock_storm(arena: Arena) -> None:
    """Four sessions change tasks and then their steps, the order opposite to the product's, until its sessions were refused for a deadlock and for a conflict.

    At an isolation at which who waited for a row is refused when that has changed. Whoever provokes is more patient than the product's sessions, so that these are refused.
    """
    refused = arena.refusals()
    with arena.fault("deadlocks provoked"), arena.outage(), _server_set(arena, deadlock_timeout="50ms", default_transaction_isolation="repeatable read"):
        end, over = time.monotonic() + STORM_SECONDS, threading.Event()
        storm = [Beside(_change_in_reverse, arena, over) for _ in range(STORM_SESSIONS)]
        try:
            until(lambda: time.monotonic() > end and all(arena.refusals()[code] > refused[code] for code in CONFLICTS), "the product to be refused", MET_SECONDS)
        finally:
            over.set()
            for session in storm:
                session.end()
        print(f"refused for a deadlock, for a conflict: {[arena.refusals()[code] - refused[code] for code in CONFLICTS]}", flush=True)


@contextmanager
def _server_set(arena: Arena, **settings: str) -> Iterator[None]:
    """For the length of the block every session has them, those at work too."""
    with arena.direct() as conn:
        for name, value in settings.items():
            conn.execute(f"alter system set {name} = '{value}'".encode())
        conn.execute("select pg_reload_conf()")
        try:
            yield
        finally:
            for name in settings:
                conn.execute(f"alter system reset {name}".encode())
            conn.execute("select pg_reload_conf()")


def _change_in_reverse(arena: Arena, over: threading.Event) -> None:
    """Some tasks are held until somebody waits for one of them, and only then are their steps changed: one of the two has to give way."""
    while not over.is_set():
        with suppress(psycopg.Error), arena.direct() as conn:
            conn.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            conn.execute("set deadlock_timeout = '1s'")
            conn.execute("set lock_timeout = '2s'")
            with conn.transaction():
                held = conn.execute(HOLD_TASKS).fetchall()
                with suppress(AssertionError):
                    until(lambda: conn.execute(IS_WAITED_FOR).fetchone() == (True,), "somebody to wait", WAITED_FOR_SECONDS)
                conn.execute("update tasker_step set pending = pending where task_no = any(%s) and state in (1, 2)", [[row[0] for row in held]])


# ---- F28: notifications


def deafen(arena: Arena) -> None:
    """Every listener is dropped again and again, and others shout."""
    with arena.fault(DEAF):
        until(lambda: any(engine.proxy.tear(ROLES["listener"]) for engine in arena.living()), "a listener to drop", MET_SECONDS)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for engine in arena.living():
                engine.proxy.tear(ROLES["listener"])
            with suppress(psycopg.Error), arena.direct() as conn:
                conn.execute("select pg_notify('tasker_ready', n::text), pg_notify('tasker_news', n::text) from generate_series(1, 2000) n")
            time.sleep(0.1)


# ---- F27: migrations


def change_schema(arena: Arena) -> None:
    """The busiest tables get a column and an index, and lose them again, as migrations do."""
    with arena.fault("tables changed under load"), arena.outage(), arena.direct() as conn:
        conn.execute("set lock_timeout = '1s'")
        for table in ("tasker_step", "tasker_task", "tasker_worker", "tasker_history"):
            _in_the_end(conn, f"alter table {table} add column passing int default 1")
            _in_the_end(conn, f"create index concurrently passing on {table} (passing)")
            _in_the_end(conn, "drop index concurrently if exists passing")
            _in_the_end(conn, f"alter table {table} drop column passing")


def _in_the_end(conn: psycopg.Connection[Any], statement: str) -> None:
    """A migration that waits for longer than a second gives way and tries again."""
    for _ in range(20):
        with suppress(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            conn.execute(statement.encode())
            return
    raise AssertionError(f"never had its turn: {statement}")


NIGHTLY: tuple[Fault, ...] = (
    kill_engine,
    freeze_engine,
    kill_children,
    cut_replies,
    cut_reports,
    halve_reports,
    restart_server,
    kill_backend,
    terminate_sessions,
    crash_in_rescue,
    crash_in_drain,
    stall_role("claims"),
    stall_role("duties"),
    stall_role("listener"),
    stall_role("dashboard"),
    deliver_late,
    deliver_late_to_slow_steps,
    delay_all,
    throttle_all,
    reset_all,
    refuse_one,
    use_up_connections,
    drain_engine,
    drain_engine_with_long_steps,
    hold_rows,
    lock_table,
    deadlock_storm,
    deafen,
    change_schema,
)
HARDSHIPS: tuple[Fault, ...] = (delay_all, throttle_all)
"""Under which no engine may lose its steps."""
BRIEF: tuple[Fault, ...] = (kill_engine, kill_children, cut_replies, restart_server, kill_backend, drain_engine, deafen)
"""Those that are over in a second or two; a schedule takes them more often."""


def schedule(arena: Arena, count: int) -> list[Fault]:
    """Every fault once and then at random, brief ones more often, in an order that the arena's seed decides."""
    once = arena.random.sample(NIGHTLY, len(NIGHTLY))
    chosen = [*once, *(arena.random.choice((*NIGHTLY, *BRIEF, *BRIEF)) for _ in range(max(0, count - len(NIGHTLY))))][:count]
    arena.random.shuffle(chosen)
    return chosen


def _below(pid: int) -> list[int]:
    try:
        children = [int(child) for thread in Path(f"/proc/{pid}/task").iterdir() for child in (thread / "children").read_text().split()]
    except OSError:
        return []
    return [*children, *(deep for child in children for deep in _below(child))]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


