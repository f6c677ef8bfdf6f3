"""`tasker limit`: how many steps or tasks of a workflow may go on at once, or begin within a period."""

from __future__ import annotations

import click

from engine import limits as keeping
from engine.cli.output import print_json, print_table, short_time
from engine.cli.setting import actor, json_option, note, open_database
from engine.rows import LimitRow

_Place = tuple[str, str, str | None]
_step = click.option("--step", "step", metavar="STEP", help="The step whose limit is meant; without it the limit on the workflow's tasks.")


@click.group("limit")
def limit() -> None:
    """Say how many steps or tasks may go on at once, or begin within a period. Definitions declare limits; here their numbers are changed."""


@limit.command("list")
@json_option
def list_limits(as_json: bool) -> None:
    """List every limit, what holds its places and what waits. Example: tasker limit list --json"""
    with open_database() as db:
        found = keeping.limits(db)
    if as_json:
        print_json({"limits": [_facts(row) for row in found]})
        return
    print_table(("workflow", "step", "limit", "taken", "waiting", "changed by", "changed at"), [_line(row) for row in found])


@limit.command("set")
@click.argument("workflow", metavar="NAMESPACE/NAME")
@_step
@click.option("--at-once", type=click.IntRange(0), help="So many at once; 0: nothing begins.")
@click.option("--per-period", type=click.IntRange(0), help="So many begin within the period that the definition names.")
@click.option("--reason", metavar="TEXT")
@json_option
def set_limit(workflow: str, step: str | None, at_once: int | None, per_period: int | None, reason: str | None, as_json: bool) -> None:
    """Change a limit until it is reset. Example: tasker limit set payments/charge --step call_bank --at-once 2"""
    if at_once is None and per_period is None:
        raise click.UsageError("say how many: --at-once N, or --per-period N; a number that is left out stays as it is")
    place = _place(workflow, step)
    with open_database() as db:
        row = keeping.limit_of(db, *place)
        before = row.limit
        keeping.set_limit(
            db,
            *place,
            at_once=before.at_once if at_once is None else at_once,
            per_period=before.per_period if per_period is None else per_period,
            actor=actor(),
            reason=reason,
            seen=row.seen,  # a number that stays must be the one that was read
        )
        row = keeping.limit_of(db, *place)
        note(db, "tasker.workflow:update", f"limit of {keeping.words(*place)}", namespace=place[0], act=f"set {row.limit}" + (f": {reason}" if reason else ""))
    _print(row, as_json)


@limit.command("reset")
@click.argument("workflow", metavar="NAMESPACE/NAME")
@_step
@click.option("--reason", metavar="TEXT")
@json_option
def reset_limit(workflow: str, step: str | None, reason: str | None, as_json: bool) -> None:
    """A limit is again as its definition declares it. Example: tasker limit reset payments/charge --step call_bank"""
    place = _place(workflow, step)
    with open_database() as db:
        keeping.limit_of(db, *place)
        keeping.reset_limit(db, *place, actor=actor())
        row = keeping.limit_of(db, *place)
        note(db, "tasker.workflow:update", f"limit of {keeping.words(*place)}", namespace=place[0], act="reset" + (f": {reason}" if reason else ""))
    _print(row, as_json)


def _place(workflow: str, step: str | None) -> _Place:
    namespace, slash, name = workflow.partition("/")
    if not slash or not namespace or not name:
        raise click.UsageError(f"{workflow!r} must be NAMESPACE/NAME, such as payments/charge; a step is named by --step")
    return namespace, name, step


def _print(row: LimitRow, as_json: bool) -> None:
    print_json(_facts(row)) if as_json else click.echo(f"{keeping.words(row.namespace, row.name, row.step_name)}: {row.limit or 'any number'}")


def _facts(row: LimitRow) -> dict[str, object]:
    return {
        "namespace": row.namespace,
        "name": row.name,
        "step": row.step_name,
        "at_once": row.limit.at_once,
        "per_period": row.limit.per_period,
        "period": row.limit.period_name,
        "key": row.limit.key,
        "declared": str(row.declared),
        "changed_by": row.changed_by,
        "changed_at": row.changed_at,
        "change_reason": row.change_reason,
        "taken_count": row.taken_count,
        "waiting_count": row.waiting_count,
    }


def _line(row: LimitRow) -> tuple[str, ...]:
    changed = short_time(row.changed_at) if row.changed_at else ""
    return f"{row.namespace}/{row.name}", row.step_name or "", str(row.limit), str(row.taken_count), str(row.waiting_count), row.changed_by or "", changed
