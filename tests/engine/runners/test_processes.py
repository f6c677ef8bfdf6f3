"""The processes runner: whatever a handler does to its process, every call gets exactly one outcome and the engine none of the harm."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.errors import TaskerError
from engine.runners import CANCELLED, COMPLETED, FAILED, RELEASED, Outcome, StepCall, TaskInfo
from engine.runners.failures import LACKING_SECONDS
from engine.runners.processes import ProcessesRunner

HANDLERS = Path(__file__).parent / "handlers"
TYPED = Path(__file__).parents[2] / "samples" / "typed_shop"
Start = Callable[..., ProcessesRunner]
Eventually = Callable[..., bool]


@pytest.fixture
def start(inbox: Any) -> Iterator[Start]:
    """Starts a runner that is stopped when the test is over."""
    runners: list[ProcessesRunner] = []

    def begin(concurrency: int = 2, lookup: Any = lambda call, names: {}, **options: Any) -> ProcessesRunner:
        runner = ProcessesRunner(concurrency, **{"sources": [str(HANDLERS)], **options})
        runners.append(runner)
        runner.start(inbox.deliver, lookup, inbox.hear)
        return runner

    yield begin
    for runner in runners:
        runner.stop(0)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ---- the ordinary day


def test_every_call_gets_its_own_outcome(start: Start, calls: Any, inbox: Any) -> None:
    runner = start()
    batch = [calls("echo", value=number) for number in range(2000)]
    runner.submit(batch)
    assert inbox.wait(*batch) == [(COMPLETED, number) for number in range(2000)]


def test_while_the_last_outcome_is_reported_the_processes_are_heard_all_the_same(start: Start, calls: Any, inbox: Any) -> None:
    first, second, answer, waited = calls("nothing"), calls("nothing"), threading.Event(), []
    take = inbox.deliver

    def deliver(outcomes: list[Outcome]) -> None:
        take(outcomes)
        if outcomes[0][0] is first and runner.may_wait:  # as for a round trip to the database
            waited.append(answer.wait(10))

    inbox.deliver = deliver
    runner = start(2)
    runner.submit([first])
    inbox.wait(first)
    runner.submit([second])
    assert inbox.wait(second, seconds=5) == (COMPLETED, None)
    answer.set()
    runner.stop(5)
    assert waited == [True]


def test_handlers_with_models_receive_and_return_objects_in_their_processes_too(start: Start, inbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TYPED))
    definition = importlib.import_module("flows").orders.definition
    del sys.modules["flows"]  # other tests have modules of that name
    runner = start(sources=[str(TYPED)])
    task = TaskInfo(1, str(uuid.uuid4()), definition.namespace, definition.name, definition.version, definition, '{"order_id": 7}')
    paid = StepCall(task, definition.numbers["charge"], 1, 3, {})
    told = StepCall(task, definition.numbers["receipt"], 1, 3, {"charge": '{"payment_id": "p7", "amount": 9.5}'})
    runner.submit([paid, told])
    assert inbox.wait(paid, told) == [(COMPLETED, {"payment_id": "p7", "amount": 9.5}), (COMPLETED, "normal: p7 over 9.50")]


def test_handlers_never_run_in_the_engine(start: Start, calls: Any, inbox: Any) -> None:
    runner = start()
    batch = [calls("pid") for _ in range(20)]
    runner.submit(batch)
    assert os.getpid() not in {pid for _, pid in inbox.wait(*batch)}


def test_handlers_see_the_environment_without_the_keys_of_the_dashboard(start: Start, calls: Any, inbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["TASKER_SECRET_KEY", "TASKER_OIDC_CLIENT_SECRET", "SHOP_API_KEY"]
    for name in names:
        monkeypatch.setenv(name, "x")
    runner = start(1)
    call = calls("environment", names=names)
    runner.submit([call])
    assert inbox.wait(call) == (COMPLETED, ["SHOP_API_KEY"])


def test_an_exception_costs_no_process(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(1)
    batch = [calls("pid"), calls("raises"), calls("exits"), calls("pid")]
    runner.submit(batch)
    (_, before), (kind, error), (left, _), (_, after) = inbox.wait(*batch)
    assert before == after
    assert (kind, error["type"], error["retryable"], left) == (FAILED, "ValueError", False, FAILED)


def test_large_values_go_both_ways(start: Start, calls: Any, inbox: Any) -> None:
    runner = start()
    text = "ä" * 500_000
    batch = [calls("echo", value=text) for _ in range(20)]
    runner.submit(batch)
    assert [len(value) for _, value in inbox.wait(*batch)] == [len(text)] * 20


def test_slow_calls_are_spread_over_the_children(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(4)
    batch = [calls("sleep", seconds=0.15) for _ in range(4)]
    runner.submit(batch)
    assert len({pid for _, pid in inbox.wait(*batch)}) == 4


def test_quick_calls_are_not_queued_behind_a_slow_one(start: Start, calls: Any, inbox: Any) -> None:
    # The runner learns that `sleep` is quick and sends it in batches; then one is not, and the rest is recalled.
    runner = start(2)
    lesson = [calls("sleep", seconds=0) for _ in range(300)]
    runner.submit(lesson)
    inbox.wait(*lesson)
    slow, *quick = [calls("sleep", seconds=1.5), *[calls("sleep", seconds=0) for _ in range(60)]]
    runner.submit([slow, *quick])
    inbox.wait(*quick, seconds=0.8)
    assert slow not in inbox.outcomes
    runner.stop(0)


def test_results_before_a_slow_step_do_not_wait_for_it(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(1)
    lesson = [calls("sleep", seconds=0) for _ in range(300)]
    runner.submit(lesson)
    inbox.wait(*lesson)
    first, slow = calls("sleep", seconds=0), calls("sleep", seconds=1.5)
    runner.submit([first, slow])
    inbox.wait(first, seconds=0.8)
    runner.stop(0)


def test_room_is_for_what_can_start_soon(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(2)
    assert runner.room() == 2
    quick = [calls("nothing") for _ in range(300)]
    runner.submit(quick)
    inbox.wait(*quick)
    assert 100 < runner.room() <= 1000
    slow = [calls("sleep", seconds=0.03) for _ in range(40)]
    runner.submit(slow)
    inbox.wait(*slow)
    assert runner.room() <= 6


def test_calls_that_cannot_start_are_released_for_other_engines(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(1)
    stuck = calls("sleep", seconds=3)
    behind = [calls("nothing") for _ in range(5)]
    runner.submit([stuck, *behind])
    assert {kind for kind, _ in inbox.wait(*behind, seconds=2.5)} == {RELEASED}
    assert runner.room() == 0
    runner.stop(0)


def test_nothing_begins_after_the_lease(start: Start, calls: Any, inbox: Any) -> None:
    runner = start()
    runner.may_start_until = time.monotonic() - 0.01
    late = [calls("nothing") for _ in range(5)]
    runner.submit(late)
    assert {kind for kind, _ in inbox.wait(*late, seconds=2.5)} == {RELEASED}


def test_what_a_child_holds_does_not_begin_after_the_lease_it_was_given_with(
    start: Start, calls: Any, inbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine may be frozen and its children not: each of them looks for itself."""
    monkeypatch.setattr("engine.runners.processes.RECALL_SECONDS", 60.0)
    runner = start(1)
    quick = [calls("sleep", seconds=0) for _ in range(50)]
    runner.submit(quick)
    inbox.wait(*quick)
    runner.may_start_until = time.monotonic() + 0.2
    longer, behind = calls("sleep", seconds=0.4), calls("sleep", seconds=0)
    runner.submit([longer, behind])
    assert inbox.wait(longer)[0] == COMPLETED
    assert inbox.wait(behind, seconds=2.5)[0] == RELEASED


def test_a_renewed_lease_lets_what_waited_begin(start: Start, calls: Any, inbox: Any) -> None:
    runner = start()
    runner.may_start_until = time.monotonic() - 0.01
    call = calls("nothing")
    runner.submit([call])
    runner.may_start_until = time.monotonic() + 60
    assert inbox.wait(call)[0] == COMPLETED


def test_an_ancestors_result_is_looked_up(start: Start, calls: Any, inbox: Any) -> None:
    asked = []

    def lookup(call: Any, names: list[str]) -> dict[str, str]:
        asked.append((call, names))
        return {"nothing": '{"from": "afar"}'}

    runner = start(lookup=lookup)
    call = calls("asks", inputs={"middle": "null"})
    runner.submit([call])
    assert inbox.wait(call) == (COMPLETED, {"from": "afar"})
    assert asked == [(call, ["nothing"])]


def test_a_lookup_that_fails_may_be_tried_again(start: Start, calls: Any, inbox: Any) -> None:
    def lookup(call: Any, names: list[str]) -> dict[str, str]:
        raise ConnectionError("no database")

    runner = start(lookup=lookup)
    call = calls("asks", inputs={"middle": "null"})
    runner.submit([call])
    kind, error = inbox.wait(call)
    assert (kind, error["retryable"]) == (FAILED, True)
    assert "no database" in error["message"]


# ---- death


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("vanishes", "exited with code 7"),
        ("segfaults", "SIGSEGV"),
        ("kills_itself", "SIGKILL"),
        ("closes_every_file", "connection"),
    ],
)
def test_a_death_charges_the_call_that_was_running_and_no_neighbour(
    start: Start, calls: Any, inbox: Any, step: str, words: str
) -> None:
    runner = start(1)
    lesson = [calls("nothing") for _ in range(100)]
    runner.submit(lesson)
    inbox.wait(*lesson)
    before, deadly, after = [calls("nothing") for _ in range(20)], calls(step), [calls("nothing") for _ in range(20)]
    runner.submit([*before, deadly, *after])
    kind, error = inbox.wait(deadly)
    assert (kind, error["type"], error["retryable"]) == (FAILED, "worker_crashed", True)
    assert words in error["message"]
    assert inbox.wait(*before, *after) == [(COMPLETED, None)] * 40


def test_poison_among_quick_steps_charges_the_poison_alone(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(2)
    # the runner believes that `echo` and `vanishes` are quick, so they travel in one batch
    runner._paces.of(calls.definition).seconds[:] = [1e-5] * len(calls.definition.steps)
    runner._paces.mean = 1e-5
    batch = [calls("vanishes") if number % 20 == 7 else calls("echo", value=number) for number in range(400)]
    runner.submit(batch)
    for number, (kind, payload) in enumerate(inbox.wait(*batch, seconds=15)):
        assert kind == (FAILED if number % 20 == 7 else COMPLETED), payload


def test_a_dead_child_is_replaced_at_once(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(1)
    deadly, after = calls("kills_itself"), calls("nothing")
    runner.submit([deadly, after])
    inbox.wait(deadly, after)
    assert inbox.times[after] - inbox.times[deadly] < 0.5


def test_the_death_of_the_host_costs_no_running_step(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(2)
    first, running = calls("pid"), calls("sleep", seconds=0.5)
    runner.submit([first])
    inbox.wait(first)
    runner.submit([running])
    os.kill(runner._host._process.pid, signal.SIGKILL)
    assert inbox.wait(running)[0] == COMPLETED


def test_a_host_that_dies_is_replaced_and_so_are_the_children_after_it(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(2)
    os.kill(runner._host._process.pid, signal.SIGKILL)
    crowd = [calls("kills_itself"), calls("kills_itself"), calls("kills_itself"), *[calls("nothing") for _ in range(5)]]
    runner.submit(crowd)
    assert [kind for kind, _ in inbox.wait(*crowd)][:3] == [FAILED] * 3
    runner.submit(again := [calls("nothing")])
    assert inbox.wait(*again)[0] == COMPLETED


@pytest.mark.parametrize("step", ["loops", "holds_the_interpreter"])
def test_a_timeout_ends_the_process_and_the_attempt(start: Start, calls: Any, inbox: Any, step: str) -> None:
    runner = start(2)
    call, neighbours = calls(step), [calls("nothing") for _ in range(10)]
    began = time.monotonic()
    runner.submit([call, *neighbours])
    kind, error = inbox.wait(call)
    assert (kind, error["type"], error["retryable"]) == (FAILED, "timeout", True)
    assert 0.2 <= inbox.times[call] - began < 0.7
    assert inbox.wait(*neighbours) == [(COMPLETED, None)] * 10


def test_a_timeout_ends_the_programs_that_the_step_had_started(
    start: Start, calls: Any, inbox: Any, tmp_path: Path, eventually: Eventually
) -> None:
    file = tmp_path / "pid"
    call = calls("leaves_a_program_running", file=str(file))
    start().submit([call])
    assert inbox.wait(call)[1]["type"] == "timeout"
    assert eventually(lambda: not is_running(int(file.read_text())))


# ---- strange habits


def test_what_a_handler_leaves_behind_does_not_hit_the_next(start: Start, calls: Any, inbox: Any, capfd: Any) -> None:
    runner = start(1)
    batch = [calls("where"), calls("makes_a_mess"), calls("where")]
    runner.submit(batch)
    before, mess, after = inbox.wait(*batch)
    assert mess == (COMPLETED, None)
    assert before == after
    out, err = capfd.readouterr()
    assert (out, "noise" in err) == ("", True)


def test_a_handler_that_forks_answers_once(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(1)
    batch = [calls("forks_and_comes_back_twice"), *[calls("nothing") for _ in range(20)]]
    runner.submit(batch)
    assert inbox.wait(*batch)[0] == (COMPLETED, "parent")


def test_a_copy_that_a_handler_makes_can_be_terminated(start: Start, calls: Any, inbox: Any) -> None:
    # Forbids: SIGTERM swallowed between the fork and the end of the copy's inheritance.
    runner = start(1)
    batch = [calls("terminates_its_copy") for _ in range(20)]
    runner.submit(batch)
    assert inbox.wait(*batch) == [(COMPLETED, -signal.SIGTERM)] * 20


def test_the_children_ignore_the_signals_that_are_for_the_engine(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(1)
    first = calls("pid")
    runner.submit([first])
    pid = inbox.wait(first)[1]
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    again = calls("pid")
    runner.submit([again])
    assert inbox.wait(again) == (COMPLETED, pid)


# ---- cancelling and stopping


def test_cancelling_what_has_not_started_ends_it_at_once(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(1)
    running, queued = calls("sleep", seconds=0.3), calls("nothing")
    runner.submit([running, queued])
    runner.cancel(queued)
    assert inbox.wait(queued) == (CANCELLED, None)
    assert running not in inbox.outcomes


def test_a_handler_that_looks_stops_when_it_is_asked(
    start: Start, calls: Any, inbox: Any, tmp_path: Path, eventually: Eventually
) -> None:
    runner, file = start(), tmp_path / "started"
    call = calls("stops_when_asked", file=str(file))
    runner.submit([call])
    assert eventually(file.exists)
    runner.cancel(call)
    assert inbox.wait(call, seconds=2)[0] == CANCELLED


def test_a_handler_that_does_not_look_is_killed_after_the_grace_time(
    start: Start, calls: Any, inbox: Any, tmp_path: Path, eventually: Eventually
) -> None:
    runner, file = start(grace=0.1), tmp_path / "pid"
    call = calls("never_stops", file=str(file))
    runner.submit([call])
    assert eventually(lambda: file.exists() and file.read_text())
    runner.cancel(call)
    assert inbox.wait(call, seconds=2) == (CANCELLED, None)
    assert eventually(lambda: not is_running(int(file.read_text())))


def test_a_drain_releases_what_never_started_and_waits_for_the_rest(start: Start, calls: Any, inbox: Any) -> None:
    runner = start(1)
    running, queued = calls("sleep", seconds=0.3), [calls("nothing") for _ in range(10)]
    runner.submit([running, *queued])
    time.sleep(0.1)
    runner.stop(5)
    assert [inbox.outcomes[call] for call in queued] == [(RELEASED, None)] * 10
    assert inbox.outcomes[running][0] == COMPLETED
    assert inbox.order[-1] is running


def test_a_drain_ends_what_outlives_the_grace_time_uncharged(
    start: Start, calls: Any, inbox: Any, tmp_path: Path, eventually: Eventually
) -> None:
    runner, file = start(2), tmp_path / "pid"
    batch = [calls("never_stops", file=str(file)), calls("never_stops"), calls("never_stops")]
    runner.submit(batch)
    assert eventually(lambda: file.exists() and file.read_text())
    began = time.monotonic()
    runner.stop(0.2)
    assert time.monotonic() - began < 5
    assert [inbox.outcomes[call] for call in batch] == [(RELEASED, None)] * 3
    assert not is_running(int(file.read_text()))


def handler_processes() -> set[psutil.Process]:
    """Ours, without the test server's, which come and go with its connections."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {child} if "postgres" not in child.name() else set()
    return found


def test_an_orderly_end_says_nothing(start: Start, calls: Any, inbox: Any, capfd: Any) -> None:
    runner, call = start(2), calls("nothing")
    runner.submit([call])
    inbox.wait(call)
    runner.stop(5)
    assert capfd.readouterr() == ("", "")


def test_a_stopped_runner_leaves_no_process(start: Start, calls: Any, inbox: Any) -> None:
    before = handler_processes()
    runner = start(3)
    call = calls("pid")
    runner.submit([call])
    pid = inbox.wait(call)[1]
    runner.stop(1)
    assert not is_running(pid)
    assert handler_processes() <= before
    late = calls("nothing")
    runner.submit([late])
    assert inbox.outcomes[late] == (RELEASED, None)


@pytest.mark.parametrize("host_lives", [True, False])
def test_an_heir_goes_on_with_the_handlers_that_are_loaded_if_their_process_lives(start: Start, calls: Any, inbox: Any, host_lives: bool) -> None:
    before = handler_processes()
    former = start(2)
    host = former._host._process.pid
    running = calls("sleep", seconds=30)
    former.submit([running])
    heir = former.heir()
    former.stop(0)
    assert inbox.wait(running)[0] == RELEASED
    if not host_lives:
        os.kill(host, signal.SIGKILL)
        former._host._process.wait()
        former._host.receive()
    heir.start(inbox.deliver, lambda call, names: {}, inbox.hear)
    assert (heir._host._process.pid == host) == host_lives
    heir.submit(crowd := [calls("pid"), calls("kills_itself"), calls("pid")])
    assert [kind for kind, _ in inbox.wait(*crowd)] == [COMPLETED, FAILED, COMPLETED]
    heir.stop(1)
    assert handler_processes() <= before


def test_an_heir_that_never_starts_leaves_no_process(start: Start) -> None:
    before = handler_processes()
    former = start(1)
    heir = former.heir()
    former.stop(0)
    heir.forget()
    assert handler_processes() <= before


def test_the_death_of_the_engine_ends_its_children(tmp_path: Path, eventually: Eventually) -> None:
    program = textwrap.dedent(
        """
        import importlib, json, sys, time
        sys.path[:0] = sys.argv[1:3]
        import conftest, misbehaving
        from engine.runners.processes import ProcessesRunner
        runner = ProcessesRunner(2, sources=[sys.argv[2]])
        runner.start(lambda outcomes: None, lambda call, names: {})
        calls = conftest.Calls(misbehaving.misbehaving.definition)
        runner.submit([calls("never_stops", file=sys.argv[3]), calls("holds_the_interpreter_for_long")])
        time.sleep(60)
        """
    )
    file = tmp_path / "pid"
    here = str(Path(__file__).parent)
    engine = subprocess.Popen([sys.executable, "-c", program, here, str(HANDLERS), str(file)], cwd=HANDLERS.parents[3])
    try:
        assert eventually(lambda: file.exists() and file.read_text(), seconds=10)
        assert eventually(lambda: len(psutil.Process(engine.pid).children(recursive=True)) >= 3, seconds=10)
        family = psutil.Process(engine.pid).children(recursive=True)
    finally:
        engine.kill()
        engine.wait()
    assert eventually(lambda: not any(is_running(one.pid) for one in family), seconds=2)


# ---- loading


def test_a_module_that_fails_is_named_with_its_cause_and_the_others_load(
    start: Start, calls: Any, inbox: Any, tmp_path: Path, caplog: Any
) -> None:
    (tmp_path / "broken_handlers.py").write_text("import no_such_module_anywhere")
    runner = start(1, sources=[str(tmp_path), str(HANDLERS)])
    assert "broken_handlers: ModuleNotFoundError: No module named 'no_such_module_anywhere'" in caplog.text
    call = calls("echo", value=1)
    runner.submit([call])
    assert inbox.wait(call) == (COMPLETED, 1)


def test_a_runner_without_any_handlers_does_not_start(inbox: Any, tmp_path: Path) -> None:
    (tmp_path / "broken_handlers.py").write_text("import no_such_module_anywhere")
    runner = ProcessesRunner(1, sources=[str(tmp_path)])
    with pytest.raises(TaskerError, match=r"(?s)broken_handlers.*no_such_module_anywhere"):
        runner.start(inbox.deliver, lambda call, names: {})


def test_a_module_that_kills_the_host_is_named(inbox: Any, tmp_path: Path) -> None:
    (tmp_path / "deadly_handlers.py").write_text("import os; os._exit(5)")
    runner = ProcessesRunner(1, sources=[str(tmp_path)])
    with pytest.raises(TaskerError, match="exited with code 5"):
        runner.start(inbox.deliver, lambda call, names: {})


def test_children_start_afresh_when_a_module_starts_threads(
    start: Start, calls: Any, inbox: Any, tmp_path: Path
) -> None:
    # A fork copies one thread only: what the module's thread was doing would never be done.
    (tmp_path / "threading_handlers.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    runner = start(2, sources=[str(tmp_path), str(HANDLERS)])
    assert "thread" in str(runner._host.starts_afresh)
    batch = [calls("kills_itself"), calls("echo", value=1), calls("pid")]
    runner.submit(batch)
    killed, echoed, _ = inbox.wait(*batch, seconds=20)
    assert (killed[0], echoed) == (FAILED, (COMPLETED, 1))


def test_a_workflow_that_the_children_do_not_know_is_named_and_its_step_goes_back_uncharged(
    start: Start, inbox: Any, calls: Any, tmp_path: Path
) -> None:
    runner = start(1, sources=[])
    call = calls("nothing")
    runner.submit([call])
    kind, error = inbox.wait(call)
    assert (kind, error["type"], error["uncharged"], error["delay"]) == (FAILED, "handler_missing", True, LACKING_SECONDS)
    assert "tests/misbehaving@0.1.0" in error["message"]


# ---- what attempts say


def test_what_a_step_says_is_heard_before_its_outcome(start: Start, calls: Any, inbox: Any) -> None:
    call = calls("talks")
    start().submit([call])
    inbox.wait(call)
    assert inbox.lines(call) == ["begins", "page 1", "page 2", "page 3", "ends"]
    assert inbox.progress(call)[-1][1:] == (3.0, 3.0, "page 3")


def test_a_step_that_says_nothing_sends_no_message(start: Start, calls: Any, inbox: Any) -> None:
    batch = [calls("nothing") for _ in range(200)]
    start().submit(batch)
    inbox.wait(*batch)
    assert inbox.said == {}


def test_lines_of_a_step_that_kills_its_process_are_kept(start: Start, calls: Any, inbox: Any) -> None:
    call = calls("talks_and_vanishes")
    start(1).submit([call])
    assert inbox.wait(call)[1]["type"] == "worker_crashed"
    assert inbox.lines(call) == ["calls the library"]


def test_progress_is_handed_on_ten_times_a_second_however_often_it_is_reported(start: Start, calls: Any, inbox: Any) -> None:
    call = calls("reports_without_end", seconds=0.35)
    start(1).submit([call])
    _, times = inbox.wait(call)
    said = inbox.progress(call)
    assert times > 100
    assert said[-1].done == times
    assert 2 <= len(said) <= 3 + 10 * (said[-1].at - said[0].at)


def test_the_last_progress_is_heard_though_the_step_falls_silent(start: Start, calls: Any, inbox: Any, eventually: Eventually) -> None:
    call = calls("reports_and_falls_silent")
    runner = start(1)
    runner.submit([call])
    assert eventually(lambda: [said.done for said in inbox.progress(call)] == [1, 2])
    runner.cancel(call)
    inbox.wait(call)


def test_a_copy_that_a_handler_makes_speaks_to_nobody_and_lives(start: Start, calls: Any, inbox: Any) -> None:
    call = calls("talks_in_a_copy")
    start(1).submit([call])
    assert inbox.wait(call) == (COMPLETED, 0)
    assert inbox.lines(call) == ["from the step"]


def test_a_thread_left_behind_does_not_speak_for_the_next_step(start: Start, calls: Any, inbox: Any, tmp_path: Path) -> None:
    gate, done = tmp_path / "gate", tmp_path / "done"
    call, other = calls("leaves_a_thread_that_talks", gate=str(gate), done=str(done)), calls("opens_a_gate", gate=str(gate), done=str(done))
    start(1).submit([call, other])
    assert inbox.wait(other)[0] == COMPLETED
    assert inbox.said == {}


def test_a_signal_may_log_while_the_step_logs(start: Start, calls: Any, inbox: Any) -> None:
    """Forbidden: the signal's handler waits for a lock that the very thread it interrupts holds."""
    call = calls("logs_in_a_signal")
    start(1).submit([call])
    assert inbox.wait(call) == (COMPLETED, 300)
    lines = inbox.lines(call)
    assert [line for line in lines if line != "from the signal"] == [f"line {number}" for number in range(300)]


# ---- logging


def test_what_a_handler_process_logs_names_its_attempt(
    start: Start, calls: Any, inbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TASKER_LOG_FORMAT", "json")
    monkeypatch.setenv("TASKER_ENGINE_NAME", "host:7")
    (tmp_path / "flows.py").write_text("import structlog\nfrom engine import Workflow\nflow = Workflow('imports_structlog')\n")
    runner, call = start(1, sources=[str(HANDLERS), str(tmp_path)]), calls("logs_by_other_means")
    runner.submit([call])
    inbox.wait(call)
    runner.stop(0)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert [(line["event"], line["order"], line["task_id"], line["step"], line["attempt"], line["engine"]) for line in lines] == [
        ("by logging", 7, call.task.public_id, "logs_by_other_means", 1, "host:7"),
        ("by structlog", 8, call.task.public_id, "logs_by_other_means", 1, "host:7"),
    ]
    assert inbox.lines(call) == ["by logging", "by structlog"]
