"""Why a task or a step is where it is, in one plain sentence. Pages ask; it only reads rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from flask import Flask

from engine.rows import ActivityRow, StandingStep, StepRow, TaskDetail, TaskRow, TemplateRow
from engine.states import FINAL_TASK, StepState, TaskState
from webapp.filters import ago, label, plural, seconds, sentence

NAMES_SHOWN = 3
STUCK_WORDS = {
    "blocked": "Held by a failure",
    "unserved": "No engine for it",
    "late": "Longer than usual",
    "retrying": "Before a retry",
    "paused": "Paused",
}
"""Why a task is stuck, in two or three words, by the reasons of `engine.standing`."""


def init_app(app: Flask) -> None:
    """Offer templates the words for a waiting step, a move, an error and a retry policy."""
    app.add_template_filter(waits_for)
    app.add_template_filter(standing_words)
    app.add_template_filter(move_words)
    app.add_template_filter(retry_policy)
    app.add_template_filter(error_line)


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
        return f"It failed after {plural(step.attempts, 'attempt')}: {sentence(_message(step))}"
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
    if step.state == StepState.RUNNING:
        return f"Busy with {words}."
    if step.state == StepState.RETRYING and step.next_retry_at:
        return f"Waits for attempt {step.attempts + 1} of {step.retry_limit}, {_until(step.next_retry_at)}."
    if words.startswith("blocked"):
        return sentence(words)
    return f"Skips once {words} let it." if step.bypass else f"Waits for {words}."


def standing_words(step: StandingStep) -> str:
    """Where a step of a queue runs, or what it waits for, in a few words."""
    if step.engine:
        return step.engine
    if step.until is None:
        return "a free place in an engine" if step.served else "an engine that has its handler; none is running now"
    return f"attempt {step.attempts + 1} of {step.retry_limit}" if step.state == StepState.RETRYING else "the time its task was launched for"


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
    return str(error.get("message") or error.get("type") or "no message")


def error_line(error: Mapping[str, Any] | None, length: int = 200) -> str:
    """An error in one line, `type: message`; empty when there is none, as in a note that is no error."""
    known = error or {}
    words = [str(known[key]) for key in ("type", "message") if known.get(key)]
    line = " ".join(": ".join(words).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and 4 more`."""
    known = list(names)
    if len(known) > NAMES_SHOWN:
        known = [*known[: NAMES_SHOWN - 1], f"{len(known) - NAMES_SHOWN + 1} more"]
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}"


MOVES = {
    "pending": "waits for the steps before it",
    "ready": "became ready",
    "running": "started",
    "retrying": "failed and will be tried again",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "was cancelled",
    "skipped": "was skipped",
    "resolved": "was resolved",
}
COMEBACKS = {
    ("failed", "ready"): "runs again",
    ("retrying", "ready"): "may run again",
    ("running", "ready"): "was handed back",
}
NOTES = {"pending": "is to be skipped", "running": "was asked to stop"}


def move_words(move: ActivityRow) -> str:
    """What happened in one move, as the end of a sentence that begins with the step's name."""
    if move.from_state is None:
        return "was created"
    if move.is_note:
        return "has a note"
    if move.from_state == move.to_state:
        return _noted(move.error or {}) or NOTES.get(move.to_state, "was noted")
    if move.step_name and (move.error or {}).get("reset"):
        return "is to run again"
    if move.step_name is None and move.from_state in FINAL_TASK:
        return "was taken up again"
    if (move.from_state, move.to_state) == ("running", "pending"):
        return f"{move.reason or 'made its items'} and waits for them"
    if move.reason and not move.actor and move.to_state == "running":
        return move.reason
    if move.reason and not move.actor and move.to_state in ("skipped", "cancelled"):
        return f"{MOVES[move.to_state]}: {move.reason}"
    return COMEBACKS.get((move.from_state, move.to_state), MOVES[move.to_state]) + _attempt(move)


def _noted(detail: Mapping[str, Any]) -> str:
    if "paused" in detail:
        return "was paused" if detail["paused"] else "was resumed"
    return "got another context" if "context_before" in detail else ""


def _attempt(move: ActivityRow) -> str:
    if move.attempt is None or move.to_state not in ("running", "retrying", "failed"):
        return ""
    where = f" on {move.engine}" if move.engine and move.to_state == StepState.RUNNING else ""
    return f", attempt {move.attempt}{where}"


def retry_policy(step: TemplateRow) -> str:
    """How a step is tried again, in words."""
    if step.retry_limit == 1:
        return "one attempt"
    backoff = step.backoff
    waits = f"{seconds(backoff['base'])}, ×{backoff['multiplier']:g}, up to {seconds(backoff['cap'])}"
    return f"{step.retry_limit} attempts, {waits} between"
