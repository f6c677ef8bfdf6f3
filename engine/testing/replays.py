"""Recorded runs of production tasks as tests: what `tasker export` wrote is run again, and the first step that does otherwise is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine import json_text
from engine.definition import nearest
from engine.errors import PermanentError, Problem, RequestError, RetryableError
from engine.handlers import Step
from engine.hiding.masking import MASK
from engine.recording import FORMAT
from engine.registry import Handler
from engine.testing.workbench import FinishedStep, FinishedTask, Workbench

SATISFIED = ("completed", "resolved")
COMPARED = (*SATISFIED, "skipped", "failed")


class Diverged(AssertionError):
    """The run is not what was recorded; `step` is the first that differs, None where only the task's end does."""

    def __init__(self, step: str | None, difference: str, done: FinishedTask) -> None:
        super().__init__(f"{difference}\n{done}")
        self.step, self.difference, self.done = step, difference, done


def replay(
    tasker: Workbench,
    recording: str | Path | Mapping[str, Any],
    *,
    stubs: Sequence[str] = (),
    ignore: Sequence[str] = (),
    context: Mapping[str, Any] | None = None,
    workflow: Handler | type[Any] | str | None = None,
) -> FinishedTask:
    """The finished task, when every step ended as in the recording: its state, result and type of error. Raises `Diverged` with the first difference.

    Steps named in `stubs` are answered from the recording, as are those that an operator resolved; all others run. `ignore` names steps, or
    places in results such as `charge.paid_at`, that may differ; what the export has masked may always. `context` takes the place of those
    members of the recorded context, and `workflow` that of the recorded version.
    """
    recorded = _read(recording)
    steps: dict[str, Any] = recorded["steps"]
    _check_names([*stubs, *(place.partition(".")[0] for place in ignore)], steps)
    answered = {*stubs, *(name for name, one in steps.items() if one["state"] == "resolved")}
    for name in answered:
        tasker.stub(name, _answer(steps))
    skipped = [name for name, one in steps.items() if one["state"] == "skipped" and not name.endswith("]")]
    wanted = workflow or f"{recorded['namespace']}/{recorded['name']}@{recorded['version']}"
    done = tasker.run(wanted, {**recorded["context"], **(context or {})}, bypass_steps=skipped)
    for name, one in steps.items():
        found = None if name in ignore else _step_difference(name, one, done.steps.get(name), ignore, is_answered=name in answered)
        if found:
            raise Diverged(name, found, done)
    if done.state != recorded["state"] and recorded["state"] in ("completed", "failed"):
        raise Diverged(None, f"the task was {recorded['state']} when it was recorded and is {done.state}", done)
    return done


def _read(recording: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    given = recording if isinstance(recording, Mapping) else json_text.read_input(Path(recording).read_text("utf-8"))
    if not isinstance(given, Mapping) or given.get("format") != FORMAT:
        raise RequestError([Problem("recording", "bad_recording", f"is none that `tasker export` has written: its format must be {FORMAT!r}")])
    return given


def _check_names(names: Sequence[str], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            raise LookupError(f"the recording has no step {name!r}{nearest(name, known)}")


def _answer(steps: Mapping[str, Any]) -> Callable[[Step], Any]:
    """Answers as the recording says, at whatever step it is put: fails as often as was recorded, then ends in the same way."""

    def answer(step: Step) -> Any:
        one = steps[step.name]
        if step.attempt < min(one["attempts"], step.retry_limit):
            raise RetryableError("this attempt failed when it was recorded")
        if one["state"] in SATISFIED:
            return one["result"]
        error = one["error"] or {}
        raise PermanentError(str(error.get("message")), error_code=error.get("code"))

    return answer


def _step_difference(name: str, recorded: Mapping[str, Any], now: FinishedStep | None, ignore: Sequence[str], *, is_answered: bool) -> str | None:
    if recorded["state"] not in COMPARED:
        return None
    if now is None:
        return f"{name} was recorded and is no step any more"
    was, has = (("completed" if state in SATISFIED else state) for state in (recorded["state"], now.state))
    if was != has:
        return f"{name} was {recorded['state']}{_error(recorded['error'])} when it was recorded and is {now.state}{_error(now.error)}"
    if was == "failed" and not is_answered and _type(recorded["error"]) != _type(now.error):
        return f"{name} failed{_error(recorded['error'])} when it was recorded and fails{_error(now.error)}"
    return _difference(recorded["result"], now.result, name, ignore) if was == "completed" else None


def _type(error: Mapping[str, Any] | None) -> Any:
    return (error or {}).get("type")


def _error(error: Mapping[str, Any] | None) -> str:
    return f" with {error.get('type')}: {error.get('message')}" if error else ""


def _difference(was: Any, now: Any, place: str, ignore: Sequence[str]) -> str | None:
    """The first place where the results differ, in words; None when they are alike but for what is masked or ignored."""
    if place in ignore or _is_alike(was, now):
        return None
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [*was, *(key for key in now if key not in was)]
        found = (_member(was, now, key, f"{place}.{key}", ignore) for key in keys)
        return next((each for each in found if each), None)
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        each_found = (_difference(one, other, f"{place}.{no}", ignore) for no, (one, other) in enumerate(zip(was, now, strict=True)))
        return next((each for each in each_found if each), None)
    return f"{place} was {json_text.dump(was)} when it was recorded and is {json_text.dump(now)}"


def _member(was: Mapping[str, Any], now: Mapping[str, Any], key: str, place: str, ignore: Sequence[str]) -> str | None:
    if key in was and key in now:
        return _difference(was[key], now[key], place, ignore)
    if place in ignore:
        return None
    return f"{place} is missing; it was {json_text.dump(was[key])}" if key in was else f"{place} was not there when it was recorded and is {json_text.dump(now[key])}"


def _is_alike(was: Any, now: Any) -> bool:
    if isinstance(was, str) and MASK in was:
        return was == MASK or isinstance(now, str) and re.fullmatch(".*".join(map(re.escape, was.split(MASK))), now, re.DOTALL) is not None
    return bool(was == now) and isinstance(was, bool) == isinstance(now, bool)
