"""The threads runner: every call gets exactly one outcome, in time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.runners import CANCELLED, COMPLETED, FAILED, RELEASED
from engine.runners.threads import ThreadsRunner

Start = Callable[..., ThreadsRunner]


@pytest.fixture
def start(inbox: Any) -> Iterator[Start]:
    """Starts a runner that is stopped when the test is over."""
    runners: list[ThreadsRunner] = []

    def begin(concurrency: int = 2, lookup: Any = lambda call, names: {}, **options: Any) -> ThreadsRunner:
        runner = ThreadsRunner(concurrency, **options)
        runners.append(runner)
        runner.start(inbox.deliver, lookup, inbox.hear)
        return runner

    yield begin
    for runner in runners:
        runner.stop(0)


def test_every_call_gets_its_own_outcome(start: Start, calls: Any, inbox: Any) -> None:
    batch = [calls("echo", value=number) for number in range(500)]
    start().submit(batch)
    assert inbox.wait(*batch) == [(COMPLETED, number) for number in range(500)]


def test_an_exception_is_a_failure_and_the_thread_goes_on(start: Start, calls: Any, inbox: Any) -> None:
    failing, fine = calls("raises"), calls("echo", value=1)
    start(1).submit([failing, fine])
    kind, error = inbox.wait(failing)
    assert (kind, error["type"], error["message"]) == (FAILED, "ValueError", "as it should")
    assert inbox.wait(fine) == (COMPLETED, 1)


def test_sys_exit_ends_the_step_and_nothing_else(start: Start, calls: Any, inbox: Any) -> None:
    leaving, fine = calls("exits"), calls("echo", value=1)
    start(1).submit([leaving, fine])
    assert inbox.wait(leaving)[0] == FAILED
    assert inbox.wait(fine) == (COMPLETED, 1)


def test_a_timeout_is_reported_at_its_limit_and_retryable(start: Start, calls: Any, inbox: Any) -> None:
    call = calls("leaves_no_trace_but_time", seconds=0.6)
    began = time.monotonic()
    start().submit([call])
    kind, error = inbox.wait(call)
    assert (kind, error["type"], error["retryable"]) == (FAILED, "timeout", True)
    assert 0.2 <= inbox.times[call] - began < 0.5


def test_a_thread_that_timed_out_is_replaced_and_its_late_result_dropped(start: Start, calls: Any, inbox: Any) -> None:
    late, next_one = calls("leaves_no_trace_but_time", seconds=0.6), calls("echo", value=1)
    start(1).submit([late, next_one])
    assert inbox.wait(next_one) == (COMPLETED, 1)
    assert inbox.wait(late)[0] == FAILED
    time.sleep(0.5)  # the abandoned thread comes to its end; the inbox refuses a second outcome
    assert inbox.outcomes[late][0] == FAILED


def test_cancelling_what_has_not_started_ends_it_at_once(
    start: Start, calls: Any, inbox: Any, eventually: Callable[..., bool]
) -> None:
    runner = start(1)
    running, queued = calls("sleep", seconds=0.3), calls("nothing")
    runner.submit([running, queued])
    assert eventually(lambda: running in runner._running)
    runner.cancel(queued)
    assert inbox.wait(queued) == (CANCELLED, None)
    assert inbox.wait(running)[0] == COMPLETED
    assert inbox.order == [queued, running]


def test_a_handler_that_looks_stops_when_it_is_asked(
    start: Start, calls: Any, inbox: Any, tmp_path: Path, eventually: Callable[..., bool]
) -> None:
    runner, file = start(), tmp_path / "started"
    call = calls("stops_when_asked", file=str(file))
    runner.submit([call])
    assert eventually(file.exists)
    runner.cancel(call)
    assert inbox.wait(call, seconds=2)[0] == CANCELLED


def test_a_handler_that_does_not_look_is_cancelled_after_the_grace_time(
    start: Start, calls: Any, inbox: Any, eventually: Callable[..., bool]
) -> None:
    runner = start(grace=0.1)
    call = calls("sleep", seconds=0.5)
    runner.submit([call])
    assert eventually(lambda: call in runner._running)
    began = time.monotonic()
    runner.cancel(call)
    assert inbox.wait(call) == (CANCELLED, None)
    assert 0.1 <= inbox.times[call] - began < 0.3


def test_a_drain_releases_what_never_started_and_waits_for_the_rest(
    start: Start, calls: Any, inbox: Any, eventually: Callable[..., bool]
) -> None:
    runner = start(1)
    running, queued = calls("sleep", seconds=0.2), calls("nothing")
    runner.submit([running, queued])
    assert eventually(lambda: runner._running)
    runner.stop(5)
    assert inbox.outcomes[queued] == (RELEASED, None)
    assert inbox.outcomes[running][0] == COMPLETED


def test_a_drain_releases_what_outlives_the_grace_time(
    start: Start, calls: Any, inbox: Any, eventually: Callable[..., bool]
) -> None:
    runner = start(1)
    call = calls("sleep", seconds=0.5)
    runner.submit([call])
    assert eventually(lambda: runner._running)
    began = time.monotonic()
    runner.stop(0.1)
    assert inbox.outcomes[call] == (RELEASED, None)
    assert time.monotonic() - began < 5


def test_nothing_starts_after_a_stop(start: Start, calls: Any, inbox: Any) -> None:
    runner = start()
    runner.stop(0)
    call = calls("nothing")
    runner.submit([call])
    assert inbox.outcomes[call] == (RELEASED, None)
    assert runner.room() == 0


def test_nothing_begins_after_the_lease(start: Start, calls: Any, inbox: Any) -> None:
    runner = start()
    runner.may_start_until = time.monotonic() - 0.01
    call = calls("nothing")
    runner.submit([call])
    assert inbox.wait(call) == (RELEASED, None)


def test_stop_and_submit_at_once_lose_nothing(start: Start, calls: Any, inbox: Any) -> None:
    # Forbids: a batch that enters between the release of the queue and the end of the threads.
    runner = start(4)
    batches = [[calls("nothing") for _ in range(20)] for _ in range(50)]
    feeder = threading.Thread(target=lambda: [runner.submit(batch) for batch in batches])
    feeder.start()
    runner.stop(5)
    feeder.join()
    inbox.wait(*[call for batch in batches for call in batch])


def test_room_grows_with_quick_steps_and_shrinks_with_slow_ones(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(2)
    assert runner.room() == 2
    quick = [calls("nothing") for _ in range(200)]
    runner.submit(quick)
    inbox.wait(*quick)
    assert runner.room() > 20
    slow = [calls("sleep", seconds=0.02) for _ in range(30)]
    runner.submit(slow)
    inbox.wait(*slow)
    assert runner.room() < 10


def test_an_ancestors_result_is_looked_up(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(lookup=lambda call, names: dict.fromkeys(names, '{"from": "afar"}'))
    call = calls("asks", inputs={"middle": "null"})
    runner.submit([call])
    assert inbox.wait(call) == (COMPLETED, {"from": "afar"})


# ---- what attempts say


def test_what_a_step_says_is_heard_before_its_outcome(start: Start, calls: Any, inbox: Any) -> None:
    call = calls("talks")
    start().submit([call])
    inbox.wait(call)
    assert inbox.lines(call) == ["begins", "page 1", "page 2", "page 3", "ends"]
    assert inbox.progress(call)[-1][1:] == (3.0, 3.0, "page 3")


def test_a_step_that_says_nothing_is_not_heard(start: Start, calls: Any, inbox: Any) -> None:
    call = calls("nothing")
    start().submit([call])
    inbox.wait(call)
    assert inbox.said == {}


def test_an_abandoned_thread_is_not_heard_any_more(start: Start, calls: Any, inbox: Any, tmp_path: Path) -> None:
    """The inbox refuses what comes after an outcome."""
    gate, done = tmp_path / "gate", tmp_path / "done"
    call, other = calls("leaves_a_thread_that_talks", gate=str(gate), done=str(done)), calls("opens_a_gate", gate=str(gate), done=str(done))
    start(1).submit([call, other])
    assert inbox.wait(other)[0] == COMPLETED
    assert inbox.said == {}


def test_logging_is_as_it_was_when_the_runner_has_stopped(start: Start) -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    runner = start()
    assert len(root.handlers) == len(before[1]) + 1
    runner.stop(0)
    runner.stop(0)
    assert (root.level, root.handlers) == before
