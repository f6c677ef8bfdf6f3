"""A person stops a task in the very moment in which something else happens to its step: one of the two is first, and what comes out is that order's outcome.

Each pair meets many times, now the one and now the other a little ahead, while an engine claims whatever there is to claim.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import graphs
import psycopg
import pytest
from graphs import Conn, Held, Task, definition, given_worker, register, task_of, value
from invariants import assert_invariants

from engine import leases

ENGINE_SESSION = leases.SESSION + " -c statement_timeout=30s"
MEETINGS, NIGHTLY_MEETINGS = 10, 100
"""Of each pair with each graph."""
AHEAD_SECONDS = 0.008
"""By how much one of them is ahead at most: longer than a call takes, so that each is first now and then."""
GRAPHS = {"a": ["a"], "a -> b": ["a", "b"]}


@dataclass
class Meeting:
    """A task, its step `a` in the hands of a worker, and the last event before somebody stops the task."""

    task: Task
    worker: int
    held: Held
    last: int = 0


class Stage:
    """Who meets, each with a session: a person, an engine that has the step, and another engine that claims all the time."""

    def __init__(self, connect: Callable[..., Conn], conn: Conn, pool: ThreadPoolExecutor) -> None:
        self.conn, self.pool = conn, pool
        self.person, self.engine, self.other = connect(), connect(ENGINE_SESSION), connect(ENGINE_SESSION)
        self.worker = given_worker(self.other)
        quick = {"retry_limit": 5, "backoff": {"base": 0.001, "cap": 0.001}}
        self.known = {graph: register(conn, definition(graph, **quick)) for graph in GRAPHS}

    def meet(self, graph: str, prepare: "Act", rival: "Act", ahead: float) -> str:
        """The person is ahead of the rival by so many seconds, or behind; who was first, and what came out."""
        task = task_of(self.conn, self.known[graph], GRAPHS[graph])
        worker = given_worker(self.conn)
        meeting = Meeting(task, worker, graphs.start(self.conn, task, "a", worker=worker))
        prepare(self, meeting)
        meeting.last = value(self.conn, "select max(event_id) from tasker_history")
        over, gate = threading.Event(), threading.Barrier(3, timeout=30)
        claims = self.pool.submit(self.claim, gate, over)
        acts = self.pool.submit(late, gate, ahead, lambda: rival(self, meeting))
        accepted, started = late(gate, -ahead, lambda: self.cancel(task))
        acts.result(30)
        over.set()
        claims.result(30)
        self.work_off(task)
        return self.outcome(meeting, accepted, started)

    def cancel(self, task: Task) -> tuple[bool, list[int]]:
        """Whether it was accepted, and what had started when that was committed: whatever else starts does so after it."""
        try:
            graphs.insisting(graphs.cancel_task, self.person, task)
        except psycopg.Error as error:
            if error.sqlstate != "WF002":
                raise
            return False, []
        return True, starts(self.person, task)

    def claim(self, gate: threading.Barrier, over: threading.Event) -> None:
        gate.wait()
        while not over.wait(0.001):
            graphs.insisting(graphs.report, self.other, [], want=4, worker=self.worker)
            self.other.execute("select tasker_wake_due(100)")

    def work_off(self, task: Task) -> None:
        """What still runs comes to its end, in whoever's hands it is."""
        running = "select task_no, step_no, attempts, worker_id from tasker_step where task_no = %s and state = 2"
        while rows := self.conn.execute(running, [task.no]).fetchall():
            for task_no, step_no, attempt, worker in rows:
                graphs.report(self.conn, [Held(task_no, step_no, attempt)], worker=worker)
            graphs.claim(self.conn, worker=self.worker)

    def outcome(self, meeting: Meeting, accepted: bool, started: list[int]) -> str:
        """Wins or loses, never both, and nothing started in between."""
        task, conn = meeting.task, self.conn
        state, words = graphs.task_state(conn, task), history(conn, meeting)
        asked = value(conn, "select cancel_requested_at is not null from tasker_task where task_no = %s", task.no)
        by_person = [actor for actor, _ in words if actor == "ann"]
        assert asked == accepted == bool(by_person) == (state == "cancelled"), (accepted, state, words)
        if accepted:
            assert starts(conn, task) == started, words
        assert ends_more_than_once(conn, task) == [], words
        return f"{'the cancellation' if words[0][0] == 'ann' else 'the other'} first: a {graphs.states(conn, task)['a']}, task {state}"


Act = Callable[[Stage, Meeting], object]


def late(gate: threading.Barrier, seconds: float, act: Callable[[], tuple[bool, list[int]]]) -> tuple[bool, list[int]]:
    gate.wait()
    time.sleep(max(0.0, seconds))
    return act()


def history(conn: Conn, meeting: Meeting) -> list[tuple[str, str]]:
    """(actor, move) of everything since the meeting began, in order."""
    query = """select coalesce(actor, 'engine'), coalesce(step_no::text, 'task') || ' ' || tasker_state_name(from_state) || ' > ' || tasker_state_name(to_state)
                 from tasker_history where task_no = %s and event_id > %s order by event_id"""
    return conn.execute(query, [meeting.task.no, meeting.last]).fetchall()


def starts(conn: Conn, task: Task) -> list[int]:
    query = "select event_id from tasker_history where task_no = %s and step_no is not null and to_state = 2 and from_state <> 2 order by event_id"
    return [row[0] for row in conn.execute(query, [task.no])]


def ends_more_than_once(conn: Conn, task: Task) -> list[tuple[int | None]]:
    """The steps, None for the task, that came to a final state more often than once."""
    query = "select step_no from tasker_history where task_no = %s and from_state <> to_state and to_state in (4, 5, 6, 7, 8) group by step_no having count(*) > 1"
    return conn.execute(query, [task.no]).fetchall()


# ---- what may happen to a step


def nothing(stage: Stage, meeting: Meeting) -> None: ...


def let_wait(stage: Stage, meeting: Meeting) -> None:
    """The attempt has failed, and the next one is due at once."""
    graphs.fail_all(stage.conn, [meeting.held], worker=meeting.worker, retryable=True, delay=0)


def let_die(stage: Stage, meeting: Meeting) -> None:
    stage.conn.execute("update tasker_worker set lease_until = tasker_clock() where worker_id = %s", [meeting.worker])


def completes(stage: Stage, meeting: Meeting) -> None:
    graphs.insisting(graphs.report, stage.engine, [meeting.held], want=2, worker=meeting.worker)


def fails(stage: Stage, meeting: Meeting) -> None:
    graphs.insisting(graphs.fail_all, stage.engine, [meeting.held], worker=meeting.worker)


def fails_for_now(stage: Stage, meeting: Meeting) -> None:
    graphs.insisting(graphs.fail_all, stage.engine, [meeting.held], worker=meeting.worker, retryable=True, delay=0)


def wakes_up(stage: Stage, meeting: Meeting) -> None:
    stage.engine.execute("select tasker_wake_due(100)")
    graphs.insisting(graphs.report, stage.engine, [], want=2, worker=meeting.worker)


def is_rescued(stage: Stage, meeting: Meeting) -> None:
    graphs.insisting(graphs.reap, stage.engine, worker=stage.worker)


def is_handed_back(stage: Stage, meeting: Meeting) -> None:
    graphs.insisting(graphs.release, stage.engine, [meeting.held], worker=meeting.worker)


RIVALS: dict[str, tuple[Act, Act]] = {
    "completion": (nothing, completes),
    "failure": (nothing, fails),
    "failure to be tried again": (nothing, fails_for_now),
    "retry that is due": (let_wait, wakes_up),
    "rescue from a dead engine": (let_die, is_rescued),
    "drain": (nothing, is_handed_back),
}


@pytest.fixture
def stage(connect: Callable[..., Conn], conn: Conn) -> Iterator[Stage]:
    with ThreadPoolExecutor(2) as pool:
        yield Stage(connect, conn, pool)


def check_pair(stage: Stage, pair: str, meetings: int) -> None:
    seen: dict[str, Counter[str]] = {}
    for graph in GRAPHS:
        spread = [AHEAD_SECONDS * (2 * number / (meetings - 1) - 1) for number in range(meetings)]
        seen[graph] = Counter(stage.meet(graph, *RIVALS[pair], ahead) for ahead in spread)
        print(f"{pair}, {graph}: {dict(seen[graph])}")
    assert_invariants(stage.conn)
    firsts = {outcome.partition(" first")[0] for outcomes in seen.values() for outcome in outcomes}
    assert firsts == {"the cancellation", "the other"}, "they never met"


@pytest.mark.parametrize("pair", RIVALS)
def test_a_cancellation_wins_or_loses_against(stage: Stage, pair: str) -> None:
    check_pair(stage, pair, MEETINGS)


@pytest.mark.nightly
@pytest.mark.parametrize("pair", RIVALS)
def test_a_cancellation_wins_or_loses_two_hundred_times_against(stage: Stage, pair: str) -> None:
    check_pair(stage, pair, NIGHTLY_MEETINGS)
