"""Commands about tasks that exist: list, show, and an operator's actions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from engine import queries
from engine.actions import EFFECTS
from engine.cli.output import print_json, print_table, short_error, short_time
from engine.cli.place import Place, open_place, written_incident, written_report
from engine.cli.setting import json_option, preview_options, read_context, reason_option
from engine.errors import Problem, RequestError
from engine.journal import LEVELS
from engine.json_text import read_input
from engine.rows import LineRow, Preview, StepRow, TaskDetail, TaskRow
from engine.states import FINAL_TASK, StepState, TaskState

ITEMS_SHOWN = 20
EFFECTS_SHOWN = 200
LINES_AT_ONCE = 1_000


@click.command()
@click.option("--namespace", metavar="NS")
@click.option("--name", metavar="NAME")
@click.option("--version", metavar="VERSION")
@click.option("--state", type=click.Choice([state.value for state in TaskState]))
@click.option("--tag", metavar="TAG")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, queries.MAX_PAGE))
@click.option("--cursor", metavar="CURSOR", help="Where the page before ended.")
@json_option
def tasks(
    namespace: str | None, name: str | None, version: str | None, state: str | None, tag: str | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    """List tasks, newest first. Example: tasker tasks --state failed"""
    with open_place() as place:
        page = place.tasks(namespace=namespace, name=name, version=version, state=state, tag=tag, limit=limit, cursor=cursor)
    if as_json:
        print_json({"tasks": page.items, "next_cursor": page.next_cursor})
        return
    print_table(("task", "workflow", "state", "steps", "created", "finished"), [_line(task) for task in page.items])
    if page.next_cursor:
        click.echo(f"more: tasker tasks --cursor {page.next_cursor}", err=True)


@click.command()
@click.argument("task")
@json_option
@click.option("--report", "as_report", is_flag=True, help="A report on the task, as Markdown.")
@click.option("--html", is_flag=True, help="With --report: as one HTML page.")
@click.option("--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="With --report: write it to a file.")
@click.option("--log", "log_of", metavar="[STEP]", is_flag=False, flag_value="", help="What its attempts have logged, or those of one step.")
@click.option("--level", type=click.Choice(list(LEVELS)), help="With --log: lines of this level and above.")
def show(task: str, as_json: bool, as_report: bool, html: bool, output: Path | None, log_of: str | None, level: str | None) -> None:
    """Show a task and what each of its steps waits for. Example: tasker show 5d1c… --log charge"""
    if (html or output) and not as_report:
        raise click.UsageError("--html and --output go with --report")
    if as_report and (as_json or log_of is not None):
        raise click.UsageError("--report goes without --json and --log")
    if level and log_of is None:
        raise click.UsageError("--level goes with --log")
    with open_place() as place:
        if log_of is not None:
            _print_log(_whole_log(place, task, log_of or None, level), as_json=as_json)
        elif as_json:
            print_json(place.outcome(task))
        elif as_report:
            _print_report(written_report(place, task, html=html), output)
        else:
            print_task(place.task(task, items=ITEMS_SHOWN))


@click.command()
@click.argument("task")
def incident(task: str) -> None:
    """All that is on record of a task as one HTML page that needs nothing else. Example: tasker incident 5d1c… > incident.html"""
    with open_place() as place:
        click.echo(written_incident(place, task), nl=False)


@click.command()
@click.argument("task")
@click.argument("step", required=False)
@click.option("--downstream", is_flag=True, help="Run a step that has ended and everything below it again; their results are cleared.")
@click.option("--context", metavar="JSON|@FILE", help="With --downstream: the context from now on.")
@reason_option
@preview_options
def retry(
    task: str, step: str | None, downstream: bool, context: str | None, reason: str | None, dry_run: bool, as_json: bool, seen: str | None
) -> None:
    """Let a failed step, or every failed step of a task, try again. Example: tasker retry 5d1c… charge --reason "gateway is back" """
    if (downstream and not step) or (context is not None and not downstream):
        raise click.UsageError("--downstream goes with a STEP, and --context with --downstream")
    given = {} if context is None else {"context": read_context(context)}
    _carry_out("retry_downstream" if downstream else "retry", task, step, reason, dry_run, as_json, seen, **given)


@click.command()
@click.argument("task")
@click.argument("step", required=False)
@reason_option
@preview_options
def cancel(task: str, step: str | None, reason: str | None, dry_run: bool, as_json: bool, seen: str | None) -> None:
    """Stop a task, or one step and what waits for it. Example: tasker cancel 5d1c… --reason "ordered twice" """
    _carry_out("cancel", task, step, reason, dry_run, as_json, seen)


@click.command()
@click.argument("task")
@reason_option
@preview_options
def pause(task: str, reason: str | None, dry_run: bool, as_json: bool, seen: str | None) -> None:
    """Start nothing more of a task; running steps may end. Example: tasker pause 5d1c… --reason "bank holiday" """
    _carry_out("pause", task, None, reason, dry_run, as_json, seen)


@click.command()
@click.argument("task")
@reason_option
@preview_options
def resume(task: str, reason: str | None, dry_run: bool, as_json: bool, seen: str | None) -> None:
    """Let a paused task go on. Example: tasker resume 5d1c…"""
    _carry_out("resume", task, None, reason, dry_run, as_json, seen)


@click.command()
@click.argument("task")
@click.argument("step")
@click.option("--result", required=True, metavar="JSON", help="What the step's children receive as its result.")
@reason_option
@preview_options
def resolve(task: str, step: str, result: str, reason: str | None, dry_run: bool, as_json: bool, seen: str | None) -> None:
    """Supply the outcome of a step by hand. Example: tasker resolve 5d1c… charge --result '{"payment_id": "p1"}'"""
    _carry_out("resolve", task, step, reason, dry_run, as_json, seen, result=_json(result))


@click.command()
@click.argument("task")
@click.argument("step")
@reason_option
@preview_options
def skip(task: str, step: str, reason: str | None, dry_run: bool, as_json: bool, seen: str | None) -> None:
    """Go on without a step. Example: tasker skip 5d1c… send_mail --reason "no address" """
    _carry_out("skip", task, step, reason, dry_run, as_json, seen)


def _carry_out(
    action: str, task: str, step: str | None, reason: str | None, dry_run: bool, as_json: bool, seen: str | None, **given: Any
) -> None:
    """Print what the action would do, or do it and print the state it leads to."""
    with open_place() as place:
        if dry_run:
            print_preview(place.preview(action, task, step, **given), as_json)
            return
        state = place.act(action, task, step, reason=reason, seen=seen, **given)
    if as_json:
        print_json({"task_id": task, "step": step, "state": state})
        return
    click.echo(f"{state}, paused" if action == "pause" else state)


def print_preview(preview: Preview, as_json: bool) -> None:
    """What an action would do: the steps it changes and how many it leaves, or all of it as one JSON document."""
    if as_json:
        print_json(preview)
        return
    changed = [row for row in preview.steps if row.effect != "kept"]
    print_table(
        ("step", "now", "then", "effect"), [(row.name, row.from_state, row.to_state, EFFECTS[row.effect]) for row in changed[:EFFECTS_SHOWN]]
    )
    if len(changed) > EFFECTS_SHOWN:
        click.echo(f"{len(changed) - EFFECTS_SHOWN:,} more; all of them: --dry-run --json")
    task = preview.task
    then = f"stays {task.to_state}" if task.from_state == task.to_state else f"{task.from_state} -> {task.to_state}"
    click.echo(f"steps left as they are: {len(preview.steps) - len(changed):,}")
    click.echo(f"task: {then}{'' if task.effect in ('kept', 'reopened', 'ended') else ', ' + EFFECTS[task.effect]}")
    click.echo("Nothing was done.")


def print_task(detail: TaskDetail) -> None:
    """A task and its steps as text; of a map step's items those that are there, and how many more there are."""
    task = detail.task
    paused = ", paused" if task.paused and task.state not in FINAL_TASK else ""
    click.echo(f"{task.namespace}/{task.name}@{task.version}  {task.task_id}  {task.state}{paused}")
    click.echo(f"context: {json.dumps(detail.context, ensure_ascii=False)}")
    if detail.parent_task_id:
        click.echo(f"submitted by: step {detail.parent_step} of task {detail.parent_task_id}")
    rows: list[tuple[str, ...]] = []
    for step, following in zip_longest(detail.steps, detail.steps[1:]):
        indent = "" if step.item_of is None else "  "
        rows.append((indent + step.name, step_standing(step), f"{step.attempts}/{step.retry_limit}", _seconds(step.duration_seconds), _said_of(step)))
        if following is None or following.item_of is None:
            rows += _more_items(detail, step.item_of or step.name)
    print_table(("step", "state", "attempts", "took", "waits for / error"), rows)


def _more_items(detail: TaskDetail, name: str) -> list[tuple[str, ...]]:
    count = next(step.item_count for step in detail.steps if step.name == name)
    hidden = count - sum(step.item_of == name for step in detail.steps)
    return [(f"  {hidden:,} more of {name}", "", "", "", "all of them: tasker show --json")] if hidden else []


def step_standing(step: StepRow) -> str:
    """A step's state, and of a map step how many of its items are done."""
    return f"{step.state} {step.items_done:,}/{step.item_count:,}" if step.item_states else step.state


def _said_of(step: StepRow) -> str:
    if step.state == StepState.RUNNING and step.progress:
        return " · ".join(filter(None, (step.progress.words, step.progress.note)))
    return "passed over" if step.passed_over else step.waiting_for or short_error(step.error)


def _whole_log(place: Place, task: str, step: str | None, level: str | None) -> Iterator[LineRow]:
    after: int | None = 0
    while after is not None:
        page = place.lines(task, step, level=level, after=after, limit=LINES_AT_ONCE)
        yield from page.items
        after = page.later


def _print_log(lines: Iterator[LineRow], *, as_json: bool) -> None:
    if as_json:
        print_json({"lines": list(lines)})
        return
    for line in lines:
        said = [line.message.replace("\n", "\n    "), *(f"{name}={_field(value)}" for name, value in (line.fields or {}).items())]
        click.echo(f"{short_time(line.at)} {line.level:<8} {line.step_name} {line.attempt}  {'  '.join(said)}")


def _field(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_report(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError([Problem("--output", "not_writable", f"{output} cannot be written: {error.strerror}")]) from None
    click.echo(output)


def _line(task: TaskRow) -> tuple[str, ...]:
    return (
        task.task_id,
        f"{task.namespace}/{task.name}@{task.version}",
        task.state,
        f"{task.done_count}/{task.step_count}",
        short_time(task.created_at),
        short_time(task.finished_at),
    )


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f} s"


def _json(text: str) -> object:
    try:
        return read_input(text)
    except RequestError as error:
        raise RequestError([Problem("--result", problem.code, problem.message) for problem in error.problems]) from None
