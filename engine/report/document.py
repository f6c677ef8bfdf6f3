"""A report in words and tables, independent of how it is written out. Words of ours are plain text; what came from outside is `Data`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from engine.report.facts import FAILURES, MOVES, TEXT, Attempt, Cut, Facts, StepFacts
from engine.rows import ActivityRow, TaskRow
from engine.states import FINAL_TASK, SATISFYING

STEPS = 2_000
NAMES = 40
LINE = 300
NOTES = {"cancel_requested": "asked to stop", "bypass": "to be skipped when its turn comes", "context_before": "given another context"}


@dataclass(frozen=True, slots=True)
class Data:
    """Text from outside: it means nothing to the document, whatever is in it."""

    text: str


@dataclass(frozen=True, slots=True)
class State:
    """A state, by its word."""

    word: str


Part = str | Data | State
Line = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Title:
    line: Line
    level: int = 2


@dataclass(frozen=True, slots=True)
class Words:
    line: Line


@dataclass(frozen=True, slots=True)
class Table:
    """Columns whose name is in `numbers` are set to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Line, ...], ...]
    numbers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Facing:
    """Names and what they stand for."""

    pairs: tuple[tuple[str, Line], ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Text of several lines, as it is."""

    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """Markup of ours that is drawn as it is; only a page has pictures."""

    svg: str


Piece = Title | Words | Table | Facing | Block | Picture
Document = tuple[Piece, ...]


def document(facts: Facts) -> Document:
    """The whole report."""
    task = facts.detail.task
    title = Title((Data(f"{task.namespace}/{task.name}"), " ", Data(task.version)), 1)
    parts = (_identity, _timings, _steps, _errors, _results, _actions, _engines, _input)
    pieces = [piece for part in parts for piece in part(facts)]
    ending = Words((f"Read on {clock(facts.read_at)} by Tasker. All times are UTC.",))
    return (title, Words((State(task.state), ": ", *outcome(facts))), *pieces, ending)


def outcome(facts: Facts) -> Line:
    """What became of the task, in a sentence or two."""
    task = facts.detail.task
    if task.state == "failed":
        return _why_failed(facts)
    if task.state == "cancelled":
        return _why_cancelled(facts)
    if task.state in FINAL_TASK:
        return (f"All {_count(task.step_count, 'step')} ended well{_took(task)}.{_how(facts)}",)
    done = sum(step.row.state in SATISFYING for step in facts.steps)
    return (f"It has not ended: {done} of {_count(task.step_count, 'step')} are done.",)


def _why_failed(facts: Facts) -> Line:
    failed = [step for step in facts.steps if step.row.state == "failed"]
    waiting = sum(step.row.state == "pending" for step in facts.steps)
    behind = f" {_count(waiting, 'step')} could not start." if waiting else ""
    if not failed:
        return (f"It failed.{behind}",)
    first, others = failed[0].row, len(failed) - 1
    error = first.error or {}
    more = f" {_count(others, 'other step')} failed too." if others else ""
    told: Line = (" with ", Data(plain(error.get("type"))), ": ", Data(one_line(error.get("message")))) if error else ()
    return ("Step ", Data(first.name), f" failed after {_count(first.attempts, 'attempt')}", *told, f".{more}{behind}")


def _why_cancelled(facts: Facts) -> Line:
    asked = [move for move in facts.actions if move.step_name is None or move.to_state == "cancelled"]
    done = sum(step.row.state in SATISFYING for step in facts.steps)
    rest = f". {done} of {_count(len(facts.steps), 'step')} had been done."
    if not asked:
        return (f"It was cancelled{rest}",)
    why: Line = (": ", Data(one_line(asked[-1].reason))) if asked[-1].reason else ()
    return ("It was cancelled by ", Data(plain(asked[-1].actor)), *why, rest)


def _how(facts: Facts) -> str:
    counts = Counter(step.row.state for step in facts.steps)
    retried = sum(step.was_retried for step in facts.steps)
    parts = [
        f"{counts['skipped']} skipped" if counts["skipped"] else "",
        f"{counts['resolved']} resolved by hand" if counts["resolved"] else "",
        f"{retried} needed more than one attempt" if retried else "",
    ]
    told = ", ".join(filter(None, parts))
    return f" Of these {told}." if told else ""


def _took(task: TaskRow) -> str:
    return f" in {length((task.finished_at - task.started_at).total_seconds())}" if task.finished_at and task.started_at else ""


def _identity(facts: Facts) -> list[Piece]:
    task, detail = facts.detail.task, facts.detail
    pairs: list[tuple[str, Line]] = [
        ("Workflow", (Data(f"{task.namespace}/{task.name}"),)),
        ("Version", (Data(task.version),)),
        ("Task", (Data(task.task_id),)),
        *_given("Correlation id", task.correlation_id),
        *_given("Started by", task.initiator),
        *_given("From", detail.source_system),
        *_given("Reason", detail.reason),
    ]
    if task.tags:
        pairs.append(("Tags", tuple(part for tag in task.tags for part in (Data(tag), ", "))[:-1]))
    if task.priority:
        pairs.append(("Priority", (str(task.priority),)))
    return [Title(("Task",)), Facing(tuple(pairs))]


def _given(name: str, text: str | None) -> list[tuple[str, Line]]:
    return [(name, (Data(one_line(text)),))] if text else []


def _timings(facts: Facts) -> list[Piece]:
    task = facts.detail.task
    begin = max(filter(None, (task.created_at, task.run_at)))
    pairs: list[tuple[str, Line]] = [("Queued", (clock(task.created_at),))]
    if task.run_at:
        pairs.append(("Not before", (clock(task.run_at),)))
    if task.started_at:
        pairs += [("Started", (clock(task.started_at),)), ("Waited for its start", (length((task.started_at - begin).total_seconds()),))]
    if task.finished_at:
        pairs += [("Finished", (clock(task.finished_at),)), ("Total", (length((task.finished_at - task.created_at).total_seconds()),))]
    if facts.path:
        pairs.append(("Critical path", _path(facts.path)))
    return [Title(("Timings",)), Facing(tuple(pairs))]


def _path(path: Sequence[StepFacts]) -> Line:
    ran = sum(step.ran_seconds or 0.0 for step in path)
    parts: list[Part] = []
    for step in path[:NAMES]:
        parts += [Data(step.row.name), f" {length(step.ran_seconds or 0.0)}", " → "]
    rest = f"… ({len(path) - NAMES} more)" if len(path) > NAMES else ""
    return (*(parts if rest else parts[:-1]), rest, f"; {_count(len(path), 'step')}, {length(ran)} of work")


def _steps(facts: Facts) -> list[Piece]:
    columns = ("Step", "State", "Attempts", "Waited", "Ran", "Between attempts", "Started", "Finished")
    rows = tuple(_step_line(step) for step in facts.steps[:STEPS])
    table = Table(columns, rows, frozenset({"Attempts", "Waited", "Ran", "Between attempts"}))
    left_out = len(facts.steps) - len(rows)
    return [Title(("Steps",)), table, *([Words((f"{_count(left_out, 'further step')} not shown.",))] if left_out else [])]


def _step_line(step: StepFacts) -> tuple[Line, ...]:
    started = step.attempts[0].started_at if step.attempts else None
    return (
        (Data(step.row.name),),
        (State(step.row.state),),
        (f"{step.row.attempts} of {step.row.retry_limit}",),
        (_length(step.waited_seconds),),
        (_length(step.ran_seconds),),
        (_length(step.paused_seconds),),
        (clock(started) if started else "",),
        (clock(step.row.finished_at) if step.row.finished_at else "",),
    )


def _errors(facts: Facts) -> list[Piece]:
    failures = facts.failures
    if not failures:
        return []
    pieces = [piece for step, attempt in failures[:FAILURES] for piece in _error(step, attempt)]
    left_out = len(failures) - FAILURES
    return [Title(("Errors",)), *pieces, *([Words((f"{_count(left_out, 'further error')} not shown.",))] if left_out > 0 else [])]


def _error(step: StepFacts, attempt: Attempt) -> list[Piece]:
    assert attempt.error is not None
    error = attempt.error
    code: Line = (", code ", Data(one_line(error["code"]))) if error.get("code") else ()
    engine: Line = (" on ", Data(attempt.engine)) if attempt.engine else ()
    said = Words((Data(plain(error.get("type"))), *code, f", on {clock(attempt.finished_at or attempt.started_at)} after {length(attempt.seconds)}", *engine))
    texts = [plain(error.get(name)).strip() for name in ("message", "traceback")]
    blocks = [Block(*_cut_text(text)) for text in texts if text]
    return [Title((Data(step.row.name), f", attempt {attempt.number}: ", State(attempt.state)), 3), said, *blocks]


def _results(facts: Facts) -> list[Piece]:
    if not facts.results:
        return []
    pieces = [piece for name, result in facts.results for piece in (Title((Data(name),), 3), *_cut(result))]
    left_out = facts.result_count - len(facts.results)
    return [Title(("Results",)), *pieces, *([Words((f"{_count(left_out, 'further result')} not shown.",))] if left_out else [])]


def _cut(given: Cut) -> list[Piece]:
    note = Words((f"The first {len(given.text):,} of {given.length:,} characters.",))
    return [Block(given.text, "json"), *([] if given.is_whole else [note])]


def _cut_text(text: str) -> tuple[str]:
    return (text if len(text) <= TEXT else f"{text[:TEXT]}\n… (the first {TEXT:,} of {len(text):,} characters)",)


def _actions(facts: Facts) -> list[Piece]:
    if not facts.actions:
        return []
    rows = tuple(_action(move) for move in facts.actions[:STEPS])
    note = f"Of a long history only the newest {MOVES:,} moves were read."
    return [Title(("What people did",)), Table(("When", "Who", "What", "Why"), rows), *([Words((note,))] if len(facts.moves) == MOVES else [])]


def _action(move: ActivityRow) -> tuple[Line, ...]:
    subject: Line = (Data(move.step_name), ": ") if move.step_name else ("task: ",)
    what: Line = _note(move) if move.from_state == move.to_state else (f"{move.from_state} → ", State(move.to_state))
    return (clock(move.at),), (Data(plain(move.actor)),), (*subject, *what), (Data(one_line(move.reason)),) if move.reason else ("",)


def _note(move: ActivityRow) -> Line:
    noted = move.error or {}
    if "paused" in noted:
        return ("paused" if noted["paused"] else "resumed",)
    words = [said for name, said in NOTES.items() if noted.get(name)]
    return (", ".join(words),) if words else (Data(one_line(", ".join(noted) or "noted")),)


def _engines(facts: Facts) -> list[Piece]:
    names = facts.engines
    return [Title(("Engines",)), Words(tuple(part for name in names for part in (Data(name), ", "))[:-1])] if names else []


def _input(facts: Facts) -> list[Piece]:
    return [Title(("Input",)), *_cut(facts.context)]


def clock(at: datetime) -> str:
    """`2024-01-15 10:30:00.123`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def length(seconds: float) -> str:
    """`0.012 s`, `3 min 20.5 s`, `2 h 5 min 0.0 s`."""
    if seconds < 60:
        return f"{max(seconds, 0.0):.3f} s"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join([*(f"{number} {unit}" for number, unit in parts if number), f"{rest:.1f} s"])


def _length(seconds: float | None) -> str:
    return "" if seconds is None else length(seconds)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def plain(value: object) -> str:
    """The value as text, nothing for None."""
    return "" if value is None else str(value)


def one_line(value: object, *, most: int = LINE) -> str:
    """The value as text on one line, cut to so many characters."""
    text = " ".join(plain(value).split())
    return text if len(text) <= most else f"{text[:most]}…"
