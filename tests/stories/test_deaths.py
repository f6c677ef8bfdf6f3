"""Engines that die, freeze or are asked to go, in the middle of their work."""

from __future__ import annotations

import re
import signal
import statistics
import time
from collections.abc import Callable

import pytest
from story import EngineProcess, Story, below, is_alive, until

RESCUE_SECONDS = 2.0
MARGIN_SECONDS = 1.0
LOADED_SECONDS = 4.0
"""What a machine that others use as well may add."""

FLOWS = """
held = Workflow("held")

@held.step(retry_limit=2)
def work(task, step):
    note("work", task.task_id, step.attempt)
    wait_for("gate")
    return step.attempt

@held.step(depends_on_step="work")
def after(work):
    return work


mixed = Workflow("mixed")

@mixed.step()
def work(task):
    if "hold" in task.context:
        note("hold", task.task_id)
        wait_for("gate")


stubborn = Workflow("stubborn")

@stubborn.step()
def work(task, step):
    note("stubborn", task.task_id, step.attempt)
    if not (HERE / "gate").exists():
        time.sleep(60)


poison = Workflow("poison")

@poison.step(retry_limit=2, backoff={"base": 0.05, "jitter": 0.0})
def work(task):
    note("poison", task.task_id)
    os.kill(os.getpid(), task.context["signal"])


busy = Workflow("busy")

@busy.step(retryable=False, timeout=1_500)
def work():
    import re
    re.match("(a+)+$", "a" * 40 + "b")          # holds the interpreter lock for hours


quick = Workflow("quick")

@quick.step()
def work(task):
    return task.context
"""


@pytest.fixture
def stage(story: Story) -> Story:
    story.write(FLOWS)
    return story


def hold(stage: Story, count: int) -> list[str]:
    """So many tasks whose step runs and will not end before the gate opens."""
    before = len(stage.ledger("work"))
    ids = stage.launch_many("held", count)
    stage.noted("work", times=before + count)
    return ids


def seconds_until_restarted(stage: Story, tasks: list[str], since: int) -> list[float]:
    """From `since`, a moment of the machine's monotonic clock, to the second attempt of each task's step."""
    lines = [stage.noted("work", task, "2")[0] for task in tasks]
    return [(int(line[-1]) - since) / 1e9 for line in lines]


def kill(engine: EngineProcess) -> int:
    """The engine is dead; when that was."""
    moment = time.monotonic_ns()
    engine.kill()
    return moment


@pytest.mark.parametrize("runner", ["processes", "threads"])
def test_steps_of_a_killed_engine_go_on_elsewhere_within_two_seconds(
    stage: Story, runner: str, record_property: Callable[[str, object], None]
) -> None:
    doomed = stage.start(runner=runner)
    taken = hold(stage, 4)
    stage.start(runner=runner, concurrency=16)
    kept = hold(stage, 3)
    moment = kill(doomed)
    seconds = seconds_until_restarted(stage, taken, moment)
    record_property("median_recovery_seconds", statistics.median(seconds))
    assert max(seconds) <= RESCUE_SECONDS + MARGIN_SECONDS
    stage.open("gate")
    assert set(stage.all_ended(taken + kept)) == {"completed"}
    assert [stage.step(task, "after")["result"] for task in taken] == [2] * 4
    assert [stage.step(task, "work")["attempts"] for task in kept] == [1] * 3
    assert len(stage.ledger("work")) == 4 * 2 + 3


def test_steps_of_the_only_engine_go_on_when_a_new_one_starts(stage: Story) -> None:
    doomed = stage.start()
    tasks = hold(stage, 3)
    doomed.kill()
    stage.open("gate")
    stage.start()
    assert stage.all_ended(tasks) == ["completed"] * 3
    assert [stage.step(task, "work")["attempts"] for task in tasks] == [2] * 3


def test_a_step_whose_engine_died_in_every_attempt_fails_as_worker_crashed(stage: Story) -> None:
    engine = stage.start()
    (task,) = hold(stage, 1)
    engine.kill()
    second = stage.start()
    stage.noted("work", task, "2")
    second.kill()
    stage.start()
    step = stage.ended(task)["steps"]["work"]
    assert (step["state"], step["attempts"], step["error"]["type"]) == ("failed", 2, "worker_crashed")


def test_no_process_is_left_of_a_killed_engine(stage: Story) -> None:
    engine = stage.start()
    hold(stage, 2)
    children = below(engine.pid)
    assert len(children) >= 3
    engine.kill()
    until(lambda: not any(map(is_alive, children)), "the handler processes to be gone", 2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_step_that_kills_its_process_ends_failed_and_harms_no_other(stage: Story, number: signal.Signals) -> None:
    stage.start(concurrency=2)
    poisoned = [stage.launch("poison", {"signal": int(number)}) for _ in range(3)]
    healthy = [stage.launch("quick", {"n": n}) for n in range(20)]
    assert set(stage.all_ended(healthy)) == {"completed"}
    assert {stage.step(task, "work")["attempts"] for task in healthy} == {1}
    for task in poisoned:
        step = stage.ended(task)["steps"]["work"]
        assert (step["state"], step["attempts"], step["error"]["type"]) == ("failed", 2, "worker_crashed")
        assert number.name in step["error"]["message"]
        assert len(stage.ledger("poison", task)) == 2


def test_a_step_that_holds_the_interpreter_neither_stops_the_heartbeat_nor_outlives_its_limit(stage: Story) -> None:
    engine = stage.start("--lease", "1", concurrency=2)
    worker = stage.worker_of(engine)
    step = stage.run("busy")["steps"]["work"]
    assert (step["state"], step["error"]["type"]) == ("failed", "timeout")
    assert stage.worker_of(engine) == worker


def test_handlers_that_take_longer_to_load_than_the_lease_do_not_cost_it(stage: Story) -> None:
    stage.write("import sys\nif 'tasker-handlers' in sys.argv:\n    time.sleep(1.3)\n", "slow.py")
    engine = stage.start("--lease", "1")
    worker = stage.worker_of(engine)
    assert stage.run("quick")["state"] == "completed"
    assert stage.worker_of(engine) == worker
    assert "lease" not in engine.said()


# ---- asked to go


@pytest.mark.parametrize("runner", ["processes", "threads"])
def test_a_drain_lets_running_steps_end_and_hands_the_others_back_uncharged(stage: Story, runner: str) -> None:
    engine = stage.start(runner=runner, concurrency=1)
    stage.all_ended(stage.launch_many("mixed", 100))  # steps of this kind are quick: it now takes several at a time
    tasks = [stage.launch("mixed", {"hold": True}) for _ in range(10)]
    stage.noted("hold")
    engine.send(signal.SIGTERM)
    until(lambda: stage.db.value("select bool_and(draining) from tasker_worker"), "the engine to say that it drains")
    until(lambda: stage.held() == 1, "what never started to be handed back")
    stage.open("gate")
    assert engine.process.wait(5) == 0
    (ran,) = stage.ledger("hold")
    states = {task: stage.step(task, "work") for task in tasks}
    assert (states[ran[1]]["state"], states[ran[1]]["attempts"]) == ("completed", 1)
    del states[ran[1]]
    assert {(step["state"], step["attempts"]) for step in states.values()} == {("ready", 0)}
    assert stage.db.value("select count(*) from tasker_worker") == 0
    assert stage.db.value("select count(*) from tasker_claim") == 0


@pytest.mark.parametrize("runner", ["processes", "threads"])
def test_what_outlives_the_grace_time_is_handed_back_uncharged_and_goes_on_elsewhere(stage: Story, runner: str) -> None:
    engine = stage.start("--grace", "0.3", runner=runner)
    task = stage.launch("stubborn")
    (first,) = stage.noted("stubborn", task)
    other = stage.start(runner=runner)
    stage.open("gate")
    begun = time.monotonic()
    assert engine.drained() == 0
    assert time.monotonic() - begun < 0.3 + 1 + LOADED_SECONDS
    assert stage.ended(task, 3)["steps"]["work"]["attempts"] == 1
    assert len(stage.ledger("stubborn", task, "1")) == 2
    assert [row[0] for row in stage.db.rows("select worker_id from tasker_worker")] == [stage.worker_of(other)]
    if runner == "processes":
        assert not is_alive(int(first[-2]))


def test_a_second_signal_ends_the_engine_at_once_and_its_steps_go_on_elsewhere(stage: Story) -> None:
    engine = stage.start("--grace", "60")
    (task,) = hold(stage, 1)
    stage.start()
    engine.send(signal.SIGTERM)
    until(lambda: "drains" in engine.said(), "the drain to begin")
    engine.send(signal.SIGTERM)
    assert engine.process.wait(2) == 1
    stage.open("gate")
    assert stage.ended(task)["steps"]["work"]["attempts"] == 2


def test_an_engine_that_is_drained_while_it_claims_leaves_no_step_behind(stage: Story) -> None:
    stage.start(runner="threads")
    tasks = stage.launch_many("quick", 2_000)
    for _ in range(3):
        passing = stage.start("--grace", "1", runner="threads")
        assert passing.drained() == 0
    assert set(stage.all_ended(tasks, 30)) == {"completed"}
    assert stage.db.value("select max(attempts) from tasker_step") == 1


# ---- frozen


@pytest.mark.parametrize("runner", ["processes", "threads"])
def test_an_engine_that_was_frozen_beyond_its_lease_reports_in_vain_and_starts_anew(stage: Story, runner: str) -> None:
    frozen = stage.start("--lease", "1.5", runner=runner)
    before = stage.worker_of(frozen)
    (task,) = hold(stage, 1)
    other = stage.start("--lease", "1.5", runner=runner)
    frozen.send(signal.SIGSTOP)
    stage.noted("work", task, "2")
    stage.open("gate")  # both attempts end now; only the second may count
    outcome = stage.ended(task)
    frozen.send(signal.SIGCONT)
    anew = until(lambda: (now := stage.worker_of(frozen)) != before and now, "the frozen engine to start anew", 5)
    assert anew is not None
    assert outcome == stage.outcome(task)
    assert outcome["steps"]["work"] == {"state": "completed", "attempts": 2, "result": 2, "error": None}
    assert "lease" in frozen.said()
    other.drained()
    assert stage.run("quick", {"n": 7})["steps"]["work"]["result"] == {"n": 7}
    assert not re.search("Traceback|ERROR", frozen.said()), frozen.said()
