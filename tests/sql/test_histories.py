"""Random histories of random graphs: after every move the database and a small model in plain Python say the same.

100 histories, the same each time, and 2,000 longer ones in a night.
"""

from dataclasses import dataclass, field
from typing import Any

import graphs
import psycopg
import pytest
from graphs import Conn, Held, Task
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from invariants import assert_invariants, stale_rows

from engine.states import FINAL_TASK, STEP_MOVES, StepState, TaskState

MODELLED = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.generate, Phase.shrink]}
OPEN = {"pending", "ready", "running", "retrying"}
SATISFYING = {"completed", "skipped", "resolved"}
BASE_SECONDS, MULTIPLIER, CAP_SECONDS = 60.0, 2.0, 600.0
NO_JITTER = {"base": BASE_SECONDS, "multiplier": MULTIPLIER, "cap": CAP_SECONDS, "jitter": 0.0}


@dataclass
class Step:
    name: str
    parents: tuple[str, ...]
    retry_limit: int
    granted: int
    state: str = "pending"
    attempts: int = 0
    worker: int | None = None
    bypass: bool = False
    asked_to_stop: bool = False
    due_at: float | None = None
    decision: bool = False
    chosen: set[str] | None = None
    passed_over: bool = False
    for_each: str | None = None
    has_items: bool = False

    @property
    def is_plain(self) -> bool:
        return not self.decision and self.for_each is None


@dataclass
class Model:
    """One task as the contract describes it."""

    task: Task
    steps: dict[str, Step]
    state: str = "pending"
    started: bool = False
    cancel_requested: bool = False
    paused: bool = False
    final_events: list[tuple[str, str]] = field(default_factory=list)

    def children(self, name: str) -> list[Step]:
        return [step for step in self.steps.values() if name in step.parents]

    def open_parents(self, step: Step) -> list[str]:
        return [parent for parent in step.parents if self.steps[parent].state not in SATISFYING]

    def waiting_below(self, name: str) -> list[Step]:
        found: list[Step] = []
        for child in self.children(name):
            if child.state == "pending" and child not in found:
                found += [child, *self.waiting_below(child.name)]
        return found

    def reset(self, name: str) -> list[str]:
        """The step and all below it, but for what waits for a step that stays cancelled and what no decision leads to; parents first."""
        found: list[str] = []
        for step in sorted(self.steps.values(), key=lambda one: self.task.step_no(one.name)):
            reached = step.name == name or any(parent in found for parent in step.parents)
            if reached and not self._stays(step, found):
                found.append(step.name)
        return found

    def _stays(self, step: Step, reset: list[str]) -> bool:
        parents = [self.steps[parent] for parent in step.parents if "[" not in parent]
        kept = [parent for parent in parents if parent.name not in reset]
        cancelled = any(parent.state == "cancelled" for parent in kept)
        unchosen = any(parent.state in ("completed", "resolved") and parent.chosen is not None and step.name not in parent.chosen for parent in kept)
        return cancelled or unchosen or bool(parents) and kept == parents and all(parent.passed_over for parent in parents)

    def forget_items(self, step: Step) -> None:
        """Its items are made anew; what of them could still move is over, and their numbers are not given again."""
        for name in [parent for parent in step.parents if "[" in parent]:
            item, number = self.steps.pop(name), self.task.items.pop(name)
            if item.state not in SATISFYING:
                self.final_events.append((name, "skipped"))
            kept = f"{name} of before, {number}"
            self.task.items[kept] = number
            self.final_events = [(kept if event[0] == name else event[0], event[1]) for event in self.final_events]
        step.parents = tuple(parent for parent in step.parents if "[" not in parent)
        step.has_items = False

    def unlock(self, now: float) -> None:
        """Pending steps whose parents are done go on; roots with a time of their own wait for it."""
        for step in self.steps.values():
            due = step.due_at is None or step.due_at <= now
            if step.state == "pending" and due and not self.open_parents(step):
                step.due_at = None
                step.passed_over = bool(step.parents) and all(self.steps[parent].passed_over for parent in step.parents)
                self.move(step, "skipped" if step.bypass or step.passed_over else "ready")

    def pass_over(self, decision: str, chosen: set[str]) -> None:
        self.steps[decision].chosen = chosen
        for child in self.children(decision):
            if child.state == "pending" and child.name not in chosen:
                child.passed_over = True
                self.move(child, "skipped")

    def wake(self, now: float) -> None:
        for step in self.steps.values():
            if step.state == "retrying" and step.due_at is not None and step.due_at <= now:
                step.due_at = None
                self.move(step, "ready")
        self.unlock(now)

    def move(self, step: Step, state: str) -> None:
        step.state = state
        if state != "running":
            step.worker = None
        if state not in ("retrying", "pending"):
            step.due_at = None
        if state not in OPEN:
            self.final_events.append((step.name, state))

    def cancel(self, step: Step) -> None:
        lost = self.waiting_below(step.name)
        self.move(step, "cancelled")
        for child in lost:
            if child.state == "pending":
                self.move(child, "cancelled")

    def settle(self) -> None:
        """The task's state by the rules: it ends when nothing in it can progress."""
        states = [step.state for step in self.steps.values()]
        blocked = {child.name for step in self.steps.values() if step.state == "failed" for child in self.waiting_below(step.name)}
        free = [step for step in self.steps.values() if step.state in OPEN and step.name not in blocked]
        if free:
            self.state = "running" if self.started else "pending"
        elif self.cancel_requested:
            self.state = "cancelled"
        else:
            self.state = "failed" if "failed" in states else "cancelled" if "cancelled" in states else "completed"

    @property
    def ended(self) -> bool:
        return self.state in FINAL_TASK


class Histories(RuleBasedStateMachine):
    """Every rule does one thing to the database and the same to the model, then compares them."""

    conn: Conn

    def __init__(self) -> None:
        super().__init__()
        graphs.empty(self.conn)
        self.now = 0.0
        self.models: list[Model] = []
        self.workers = [graphs.given_worker(self.conn), graphs.given_worker(self.conn)]

    # ---- rules: creation, claims, reports

    @precondition(lambda self: len(self.models) < 3)
    @rule(data=st.data(), size=st.integers(1, 8), later=st.sampled_from([None, None, None, 60.0]))
    def create(self, data: st.DataObject, size: int, later: float | None) -> None:
        names = [f"s{no}" for no in range(size)]
        parents = {name: tuple(data.draw(st.sets(st.sampled_from(names[:no]), max_size=3))) if no else () for no, name in enumerate(names)}
        limits = {name: data.draw(st.integers(1, 3)) for name in names}
        bypass = data.draw(st.sets(st.sampled_from(names), max_size=2)) if data.draw(st.booleans()) else set()
        graph = ", ".join([*names, *(f"{parent} -> {name}" for name in names for parent in sorted(parents[name]))])
        before = {parent for name in names for parent in parents[name]}
        decisions = data.draw(st.sets(st.sampled_from(sorted(before)), min_size=1, max_size=2)) if before and data.draw(st.booleans()) else set()
        sources: dict[str, str] = {}
        for name in names:
            possible = sorted(parent for parent in parents[name] if parent not in decisions and parent not in sources)
            if possible and name not in decisions and data.draw(st.booleans()):
                sources[name] = possible[0]
        kinds = {
            **{name: {"decision": True, "handler_class": "flows.decide"} for name in decisions},
            **{name: {"for_each": source, "handler_class": "flows.work"} for name, source in sources.items()},
        }
        run_at = graphs.value(self.conn, "select tasker_clock() + %s * interval '1 second'", later) if later else None
        task = graphs.given_task(
            self.conn,
            graph,
            backoff=NO_JITTER,
            steps={name: {"retry_limit": limits[name], **kinds.get(name, {})} for name in names},
            bypass_steps=sorted(bypass),
            run_at=run_at,
        )
        steps = {
            name: Step(name, parents[name], limits[name], limits[name], bypass=name in bypass, decision=name in decisions, for_each=sources.get(name))
            for name in task.names
        }
        model = Model(task, steps)
        self.models.append(model)
        for step in steps.values():
            step.due_at = self.now + later if later and not step.parents else None
            if not step.parents and not step.bypass and not later:
                model.move(step, "ready")
        self._wake()

    @precondition(lambda self: self.models)
    @rule(want=st.integers(1, 6), who=st.integers(0, 1))
    def claim(self, want: int, who: int) -> None:
        self._wake()
        waiting = self._waiting()
        taken = graphs.claim(self.conn, want=want, worker=self.workers[who])
        assert len(taken) == min(want, waiting)
        self._started(taken, self.workers[who])
        self._compare()

    @precondition(lambda self: any(step.is_plain for _, step in self._held()))
    @rule(data=st.data(), want=st.integers(0, 6))
    def complete(self, data: st.DataObject, want: int) -> None:
        self._wake()
        worker, held = self._some_held(data, [(model, step) for model, step in self._held() if step.is_plain])
        self._complete(worker, held, want)

    def _complete(self, worker: int, held: list[tuple[Model, Step]], want: int) -> None:
        for model, step in held:
            model.move(step, "completed")
        for model, _ in held:
            model.unlock(self.now)
        waiting = self._waiting()
        taken = graphs.report(self.conn, [self._handle(model, step) for model, step in held], want=want, worker=worker)
        assert len(taken) == min(want, waiting)
        self._started(taken, worker)
        self._compare()

    @precondition(lambda self: any(step.decision for _, step in self._held()))
    @rule(data=st.data())
    def decide(self, data: st.DataObject) -> None:
        self._decide(data, *self._some_held(data, [(model, step) for model, step in self._held() if step.decision]))

    def _decide(self, data: st.DataObject, worker: int, held: list[tuple[Model, Step]]) -> None:
        choices = [self._some_choice(data, model, step) for model, step in held]
        graphs.decide_all(self.conn, [self._handle(model, step) for model, step in held], choices, worker=worker)
        for (model, step), chosen in zip(held, choices, strict=True):
            model.move(step, "completed")
            model.pass_over(step.name, set(chosen))
            model.unlock(self.now)
        self._compare()

    @precondition(lambda self: any(step.for_each for _, step in self._held()))
    @rule(data=st.data(), count=st.integers(0, 3))
    def expand(self, data: st.DataObject, count: int) -> None:
        worker, held = self._some_held(data, [(model, step) for model, step in self._held() if step.for_each])
        self._expand(worker, *held[0], count)

    def _expand(self, worker: int, model: Model, step: Step, count: int) -> None:
        source = model.steps[step.for_each or ""]
        self.conn.execute(
            "update tasker_step set result = to_jsonb(array_fill(7, array[%s])) where task_no = %s and step_no = %s",
            [count, model.task.no, model.task.step_no(source.name)],
        )
        graphs.expand_held(self.conn, self._handle(model, step), worker=worker)
        if step.asked_to_stop:
            model.cancel(step)
        elif step.has_items or not count or source.state == "skipped":
            model.move(step, "completed")
            model.unlock(self.now)
        else:
            self._made_items(model, step, count)
        self._compare()

    @precondition(lambda self: self.models)
    @rule(data=st.data(), who=st.integers(0, 1), turns=st.integers(1, 4))
    def work(self, data: st.DataObject, who: int, turns: int) -> None:
        """An engine takes on all there is and ends it well, a few times over: so that histories get somewhere."""
        worker = self.workers[who]
        for _ in range(turns):
            self.claim(want=6, who=who)
            held = [(model, step) for model, step in self._held() if step.worker == worker]
            for model, step in held:
                if step.for_each:
                    self._expand(worker, model, step, data.draw(st.integers(0, 3)))
            for kind, end in (
                ([(model, step) for model, step in held if step.decision], lambda some: self._decide(data, worker, some)),
                ([(model, step) for model, step in held if step.is_plain], lambda some: self._complete(worker, some, 0)),
            ):
                if kind:
                    end(kind)

    @precondition(lambda self: self._held())
    @rule(data=st.data(), retryable=st.booleans(), delay=st.sampled_from([None, None, 0.0, 300.0]))
    def fail(self, data: st.DataObject, retryable: bool, delay: float | None) -> None:
        worker, held = self._some_held(data)
        graphs.fail_all(self.conn, [self._handle(model, step) for model, step in held], worker=worker, retryable=retryable, delay=delay)
        for model, step in held:
            self._failed(model, step, retryable=retryable, delay=delay)
        self._wake()

    @precondition(lambda self: self._held())
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        worker, held = self._some_held(data)
        assert graphs.release(self.conn, [self._handle(model, step) for model, step in held], worker=worker) == len(held)
        for model, step in held:
            if step.asked_to_stop:
                model.cancel(step)
            else:
                step.attempts -= 1
                model.move(step, "ready")
        self._compare()

    @precondition(lambda self: self._held())
    @rule(data=st.data(), wrong=st.sampled_from(["worker", "attempt"]))
    def report_too_late(self, data: st.DataObject, wrong: str) -> None:
        worker, held = self._some_held(data)
        handles = [self._handle(model, step) for model, step in held]
        if wrong == "worker":
            worker = next(other for other in self.workers if other != worker)
        else:
            handles = [handle._replace(attempt=handle.attempt + 1) for handle in handles]
        graphs.report(self.conn, handles, worker=worker)
        graphs.fail_all(self.conn, handles, worker=worker)
        assert graphs.release(self.conn, handles, worker=worker) == 0
        self._compare()

    @precondition(lambda self: self.models)
    @rule(who=st.integers(0, 1))
    def die(self, who: int) -> None:
        dead, alive = self.workers[who], self.workers[1 - who]
        lost = [(model, step) for model in self.models for step in model.steps.values() if step.worker == dead]
        self.conn.execute("update tasker_worker set lease_until = tasker_clock() where worker_id = %s", [dead])
        assert graphs.reap(self.conn, worker=alive) == len(lost)
        for model, step in lost:
            self._failed(model, step, retryable=True, delay=0.0)
        self.workers[who] = graphs.given_worker(self.conn)
        self._wake()

    @precondition(lambda self: self.models)
    @rule(seconds=st.sampled_from([60.0, 120.0, 600.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds
        graphs.move_clock(self.conn, seconds=seconds)
        self._wake()

    # ---- rules: operators

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def cancel_task(self, data: st.DataObject) -> None:
        model = self._some_model(data)
        if model.ended:
            self._refused(lambda: graphs.cancel_task(self.conn, model.task))
            return
        model.cancel_requested = True
        for step in model.steps.values():
            if step.state == "running":
                step.asked_to_stop = True
            elif step.state in OPEN:
                model.move(step, "cancelled")
        graphs.cancel_task(self.conn, model.task)
        self._compare()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def cancel_step(self, data: st.DataObject) -> None:
        model, step = self._some_step(data)
        if step.state not in OPEN:
            self._refused(lambda: graphs.cancel_step(self.conn, model.task, step.name))
            return
        if step.state == "running":
            step.asked_to_stop = True
        else:
            model.cancel(step)
        assert graphs.cancel_step(self.conn, model.task, step.name) == step.state
        self._compare()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def retry_step(self, data: st.DataObject) -> None:
        model, step = self._some_step(data, "failed", "retrying")
        if step.state not in ("failed", "retrying") or model.cancel_requested:
            self._refused(lambda: graphs.retry_step(self.conn, model.task, step.name))
            return
        self._granted(model, step)
        graphs.retry_step(self.conn, model.task, step.name)
        self._compare()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def retry_task(self, data: st.DataObject) -> None:
        model = self._some_model(data)
        failed = [step for step in model.steps.values() if step.state == "failed"]
        if not failed or model.cancel_requested:
            self._refused(lambda: graphs.retry_task(self.conn, model.task))
            return
        for step in failed:
            self._granted(model, step)
        assert graphs.retry_task(self.conn, model.task) == "running"
        self._compare()

    @precondition(lambda self: self.models)
    @rule(data=st.data(), context=st.sampled_from([None, {"edited": True}]))
    def retry_downstream(self, data: st.DataObject, context: Any) -> None:
        model, step = self._some_step(data, "completed", "failed", "resolved", "skipped")
        running = any(other.state == "running" for other in model.steps.values())
        reset = model.reset(step.name)
        if "[" in step.name or step.state in OPEN or running or model.cancel_requested or not reset:
            self._refused(lambda: graphs.retry_downstream(self.conn, model.task, step.name, context))
            return
        for name in reset:
            other = model.steps[name]
            other.state, other.due_at, other.worker, other.asked_to_stop = "pending", None, None, False
            other.bypass = other.bypass and name != step.name
            other.retry_limit = other.attempts + other.granted
            other.passed_over, other.chosen = False, None
            model.forget_items(other)
        if not model.open_parents(step):
            step.state = "ready"
        assert graphs.retry_downstream(self.conn, model.task, step.name, context) == step.state
        self._compare()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        model = self._some_model(data)
        if model.ended or model.paused or model.cancel_requested:
            self._refused(lambda: graphs.pause_task(self.conn, model.task))
            return
        model.paused = True
        graphs.pause_task(self.conn, model.task)
        self._compare()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        model = self._some_model(data)
        if model.ended or not model.paused:
            self._refused(lambda: graphs.resume_task(self.conn, model.task))
            return
        model.paused = False
        graphs.resume_task(self.conn, model.task)
        self._compare()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def skip(self, data: st.DataObject) -> None:
        model, step = self._some_step(data)
        if step.state not in ("pending", "ready", "retrying", "failed") or model.cancel_requested:
            self._refused(lambda: graphs.skip_step(self.conn, model.task, step.name))
            return
        if step.state == "pending":
            step.bypass = True
        else:
            model.move(step, "skipped")
        assert graphs.skip_step(self.conn, model.task, step.name) == step.state
        self._wake()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def resolve(self, data: st.DataObject) -> None:
        model, step = self._some_step(data)
        if step.state not in ("pending", "ready", "retrying", "failed") or model.cancel_requested:
            self._refused(lambda: graphs.resolve_step(self.conn, model.task, step.name))
            return
        result: Any = self._some_choice(data, model, step) if step.decision else {"by": "hand"}
        model.move(step, "resolved")
        if step.decision:
            model.pass_over(step.name, set(result))
        assert graphs.resolve_step(self.conn, model.task, step.name, result) == "resolved"
        self._wake()

    @precondition(lambda self: self.models)
    @rule(data=st.data(), end=st.sampled_from(list(StepState)))
    def move_by_hand(self, data: st.DataObject, end: StepState) -> None:
        """One move recorded, then the task brought to where its steps say: the same as the engine's own path."""
        model, step = self._some_step(data)
        state, to = step.state, str(end)
        blocked = state == "pending" and to in ("ready", "running") and bool(model.open_parents(step))
        refused = end not in STEP_MOVES[StepState(state)] or blocked or (model.cancel_requested and to in ("ready", "running", "retrying", "skipped", "resolved"))
        if refused:
            self._refused(lambda: graphs.update_status(self.conn, model.task, step.name, state, to))
            return
        assert graphs.update_status(self.conn, model.task, step.name, state, to)
        step.bypass = step.bypass and state != "pending"
        step.attempts += to == "running"
        model.started = model.started or to == "running"
        if state == "failed" and to == "ready":
            step.retry_limit = step.attempts + 1
        if to == "retrying":
            step.due_at = self.now + self._back_off(step)
        if to == "cancelled":
            model.cancel(step)
        else:
            model.move(step, to)
        step.worker = 0 if to == "running" else None
        step.asked_to_stop = step.asked_to_stop and state != "running"
        graphs.resolve_dependencies(self.conn, model.task)
        self._wake()

    # ---- the model's side

    def _made_items(self, model: Model, step: Step, count: int) -> None:
        step.attempts -= 1
        step.has_items = True
        model.move(step, "pending")
        lowest = graphs.value(self.conn, "select first_item from tasker_step where task_no = %s and step_no = %s", model.task.no, model.task.step_no(step.name))
        for place in range(count):
            name = f"{step.name}[{place}]"
            model.task.items[name] = lowest + place
            model.steps[name] = Step(name, (), step.granted, step.granted)
            model.move(model.steps[name], "ready")
            step.parents += (name,)

    def _failed(self, model: Model, step: Step, *, retryable: bool, delay: float | None) -> None:
        if step.asked_to_stop:
            model.cancel(step)
        elif retryable and step.attempts < step.retry_limit:
            model.move(step, "retrying")
            step.due_at = self.now + (self._back_off(step) if delay is None else delay)
        else:
            model.move(step, "failed")

    def _back_off(self, step: Step) -> float:
        return float(min(CAP_SECONDS, BASE_SECONDS * MULTIPLIER ** (step.attempts - 1)))

    def _granted(self, model: Model, step: Step) -> None:
        if step.state == "failed":
            step.retry_limit = step.attempts + step.granted
        model.move(step, "ready")

    def _started(self, taken: list[Held], worker: int) -> None:
        by_no = {model.task.no: model for model in self.models}
        assert len({(one.task_no, one.step_no) for one in taken}) == len(taken)
        for one in taken:
            model = by_no[one.task_no]
            step = model.steps[model.task.name_of(one.step_no)]
            assert step.state == "ready", f"{step.name} was handed out while {step.state}"
            step.attempts += 1
            assert step.attempts == one.attempt
            model.move(step, "running")
            step.worker, model.started = worker, True

    def _wake(self) -> None:
        self.conn.execute("select tasker_wake_due(1000)")
        for model in self.models:
            model.wake(self.now)
        self._compare()

    # ---- choices

    def _waiting(self) -> int:
        return sum(step.state == "ready" for model in self.models if not model.paused for step in model.steps.values())

    def _held(self) -> list[tuple[Model, Step]]:
        return [(model, step) for model in self.models for step in model.steps.values() if step.worker]

    def _some_held(self, data: st.DataObject, held: list[tuple[Model, Step]] | None = None) -> tuple[int, list[tuple[Model, Step]]]:
        """Some steps of one worker: few of them, or so many that the batched path is taken."""
        held = self._held() if held is None else held
        worker = data.draw(st.sampled_from(sorted({step.worker for _, step in held if step.worker})))
        mine = [(model, step) for model, step in held if step.worker == worker]
        return worker, mine[: data.draw(st.integers(1, len(mine)))]

    def _some_model(self, data: st.DataObject) -> Model:
        return data.draw(st.sampled_from(self.models))

    def _some_step(self, data: st.DataObject, *preferred: str) -> tuple[Model, Step]:
        model = self._some_model(data)
        wanted = [step for step in model.steps.values() if step.state in preferred] or list(model.steps.values())
        return model, data.draw(st.sampled_from(wanted))

    def _some_choice(self, data: st.DataObject, model: Model, step: Step) -> list[str]:
        return sorted(data.draw(st.sets(st.sampled_from([child.name for child in model.children(step.name)]))))

    def _handle(self, model: Model, step: Step) -> Held:
        return Held(model.task.no, model.task.step_no(step.name), step.attempts)

    def _refused(self, act: Any) -> None:
        with graphs.refused("WF002"):
            act()
        self._compare()

    # ---- both say the same

    def _compare(self) -> None:
        for model in self.models:
            model.settle()
            steps = {step.name: (step.state, step.attempts, step.retry_limit, step.worker) for step in model.steps.values()}
            rows = self.conn.execute("select step_no, state, attempts, retry_limit, worker_id from tasker_steps where task_no = %s", [model.task.no]).fetchall()
            found = {model.task.name_of(row[0]): tuple(row[1:]) for row in rows}
            assert {name: row for name, row in found.items() if "of before" not in name} == steps
            assert graphs.task_state(self.conn, model.task) == model.state
            assert sorted(self._final_moves(model)) == sorted(model.final_events)
        assert_invariants(self.conn)
        assert stale_rows(self.conn) == 0

    def _final_moves(self, model: Model) -> list[tuple[str, str]]:
        """Every end of a step once: history has no second one, and misses none."""
        rows = self.conn.execute(
            "select step_no, tasker_state_name(to_state) from tasker_history where task_no = %s and step_no is not null and to_state >= 4", [model.task.no]
        ).fetchall()
        return [(model.task.name_of(row[0]), row[1]) for row in rows]


# one failing history takes minutes to shrink
@pytest.mark.long
@pytest.mark.timeout(7200)
def test_random_histories_go_as_the_model_says(conn: psycopg.Connection[Any]) -> None:
    tell_histories(conn, settings(max_examples=100, derandomize=True, stateful_step_count=22, **MODELLED))


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_two_thousand_long_histories_go_as_the_model_says(conn: psycopg.Connection[Any]) -> None:
    tell_histories(conn, settings(max_examples=2000, stateful_step_count=60, **MODELLED))


def tell_histories(conn: psycopg.Connection[Any], how: settings) -> None:
    run_state_machine_as_test(type("HistoriesHere", (Histories,), {"conn": conn}), settings=how)


def test_the_model_knows_the_states() -> None:
    assert OPEN | SATISFYING | {"failed", "cancelled"} == {str(state) for state in StepState}
    assert {str(state) for state in FINAL_TASK} < {str(state) for state in TaskState}
