"""The words of pages for what moved and how a step is tried again; `engine.why` says why it is where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask

from engine.rows import ActivityRow, StandingStep, TemplateRow
from engine.states import FINAL_TASK, StepState
from engine.why import waits_for
from engine.wording import seconds
from webapp.filters import visible

STUCK_WORDS = {
    "blocked": "Held by a failure",
    "unserved": "No engine for it",
    "late": "Longer than usual",
    "retrying": "Before a retry",
    "paused": "Paused",
}
"""Why a task is stuck, in two or three words, by the reasons of `engine.measures.standing`."""


def init_app(app: Flask) -> None:
    """Offer templates the words for a waiting step, a move, an error and a retry policy."""
    app.add_template_filter(waits_for)
    app.add_template_filter(standing_words)
    app.add_template_filter(move_words)
    app.add_template_filter(retry_policy)
    app.add_template_filter(error_line)


def standing_words(step: StandingStep) -> str:
    """Where a step of a queue runs, or what it waits for, in a few words."""
    if step.engine:
        return step.engine
    if step.until is None:
        return "a free place in an engine" if step.served else f"an engine {_needed(step)}; none is running now"
    return f"attempt {step.attempts + 1} of {step.retry_limit}" if step.state == StepState.RETRYING else "the time its task was launched for"


def _needed(step: StandingStep) -> str:
    if not step.labels:
        return "that has its handler"
    return f"with the {'label' if len(step.labels) == 1 else 'labels'} {', '.join(step.labels)}"


def error_line(error: Mapping[str, Any] | None, length: int = 200) -> str:
    """An error in one line, `type: message`; empty when there is none, as in a note that is no error."""
    known = error or {}
    words = [str(known[key]) for key in ("type", "message") if known.get(key)]
    line = " ".join(": ".join(words).split())
    return visible(line if len(line) <= length else line[: length - 1] + "…")


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
