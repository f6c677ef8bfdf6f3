"""Why a task or a step is where it is, in one plain sentence. Pages and `tasker why` ask; it only reads rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from engine.rows import StepRow, TaskDetail, TaskRow
from engine.states import FINAL_TASK, SATISFYING, StepState, TaskState
from engine.wording import ago, ended, label, plural, seconds, sentence

NAMES_SHOWN = 3


def why_task(detail: TaskDetail) -> str:
    """One plain sentence on what the task is doing, waiting for or ended with."""
    task = detail.task
    if task.state == TaskState.FAILED:
        return _why_failed(detail.steps)
    if task.state in FINAL_TASK:
        return _how_it_ended(task)
    if detail.cancel_requested_at:
        return "It was told to stop and waits for running steps to end."
    if task.paused:
        return "It is paused: running steps finish, nothing new starts."
    return _what_goes_on(detail.steps)


def why_step(step: StepRow) -> str:
    """One plain sentence on what the step is doing, waiting for or ended with."""
    if step.state == StepState.FAILED:
        return f"It failed after {plural(step.attempts, 'attempt')}: {ended(_message(step).strip())}"
    if step.waiting_for:
        return waits_for(step)
    if step.passed_over:
        return "It was passed over: no decision before it chose a way to it."
    took = f" It took {seconds(step.duration_seconds)}." if step.duration_seconds is not None and step.attempts else ""
    return ENDINGS.get(step.state, "") + took


ENDINGS = {
    "completed": "It completed.",
    "cancelled": "It was cancelled before it could complete.",
    "skipped": "It was skipped; the steps after it went on without its result.",
    "resolved": "An operator supplied its result; the steps after it went on with that.",
}


def waits_for(step: StepRow) -> str:
    """The engine's own words on what the step waits for, as a sentence; empty once it has ended."""
    words = step.waiting_for
    if not words:
        return ""
    if words.startswith("its handler to stop"):
        return f"Waits for {words}."
    if step.state == StepState.RUNNING:
        return f"Busy with {words}."
    if step.state == StepState.RETRYING and step.next_retry_at:
        return f"Waits for attempt {step.attempts + 1} of {step.retry_limit}, {_until(step.next_retry_at)}."
    if words.startswith("blocked"):
        return sentence(words)
    return f"Skips once {words} let it." if step.bypass else f"Waits for {words}."


def held_by(step: StepRow, steps: Sequence[StepRow]) -> list[StepRow]:
    """What the step waits for in the end: those before it, however far, that have not let it go on and wait for no other step themselves."""
    by_name = {each.name: each for each in steps if StepState(each.state) not in SATISFYING}
    seen: set[str] = set()
    waiting, found = list(step.parents), []
    while waiting:
        name = waiting.pop(0)
        if name in seen or name not in by_name:
            continue
        seen.add(name)
        unmet = [parent for parent in by_name[name].parents if parent in by_name]
        waiting += unmet
        found += [] if unmet else [by_name[name]]
    return found


def _until(at: datetime) -> str:
    coming = ago(at)
    return coming if coming.startswith("in ") else "due now"


def _why_failed(steps: Sequence[StepRow]) -> str:
    failed = [step for step in steps if step.state == StepState.FAILED]
    if not failed:
        return "It failed."
    held = sum(step.state == StepState.PENDING for step in steps)
    what = f"{listed(_in_state(steps, 'failed'))} failed" + (f": {_message(failed[0])}" if len(failed) == 1 else "")
    then = f" {plural(held, 'step')} {'waits' if held == 1 else 'wait'} behind it." if held else ""
    return what[:400].rstrip(".") + "." + then


def _how_it_ended(task: TaskRow) -> str:
    took = ""
    if task.started_at and task.finished_at:
        took = f" after {seconds(task.finished_at - task.started_at)}"
    done = f"{task.done_count} of {plural(task.step_count, 'step')} done"
    return f"{label(task.state)}{took}, {done}."


def _what_goes_on(steps: Sequence[StepRow]) -> str:
    for states, say in ((("running",), "{} {} running."), (("ready",), "{} {} ready.")):
        active = [step for step in steps if step.state in states]
        if active:
            names = _in_state(steps, *states)
            said = say.format(listed(names), "is" if len(names) == 1 and " items of " not in names[0] else "are")
            return said + _aside(steps, active)
    waiting = next((step for step in steps if step.state == StepState.RETRYING), None) or _first_waiting(steps)
    return _named(waiting) + _aside(steps, [waiting]) if waiting else "It is about to begin."


def _in_state(steps: Sequence[StepRow], *states: str) -> list[str]:
    """The steps in these states by name; several items of one map step as `12 items of charge`, as not all of them may be among the steps."""
    counts = {step.name: sum((step.item_states or {}).get(state, 0) for state in states) for step in steps if step.item_states}
    alone = [step.name for step in steps if step.state in states and counts.get(step.item_of or "", 1) == 1]
    return alone + [f"{number:,} items of {name}" for name, number in counts.items() if number > 1]


def _aside(steps: Sequence[StepRow], shown: Sequence[StepRow]) -> str:
    """What else is worth a word: a failure that blocks a branch, a back-off, a ready step that no engine takes."""
    failed = _in_state(steps, "failed")
    if failed:
        one = len(failed) == 1 and " items of " not in failed[0]
        return f" {listed(failed)} failed and {'holds its' if one else 'hold their'} branch."
    if shown[0].state == StepState.READY:
        return f" {waits_for(shown[0])}".replace(" Waits", " It waits", 1)
    backing = [step for step in steps if step.state == StepState.RETRYING and step not in shown]
    return f" {_named(backing[0])}" if backing else ""


def _named(step: StepRow) -> str:
    said = waits_for(step)
    return f"{step.name} {said[:1].lower()}{said[1:]}"


def _first_waiting(steps: Sequence[StepRow]) -> StepRow | None:
    return next((step for step in steps if step.waiting_for), None)


def _message(step: StepRow) -> str:
    error = step.error or {}
    kind, message = str(error.get("type") or ""), str(error.get("message") or "")
    says_little = " " not in message  # as that of a KeyError, which is the key
    return ": ".join(filter(None, (kind, message))) or "no message" if says_little else message


def listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and 4 more`."""
    known = list(names)
    if len(known) > NAMES_SHOWN:
        known = [*known[: NAMES_SHOWN - 1], f"{len(known) - NAMES_SHOWN + 1} more"]
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}"
