"""`/analytics`: how workflows fare over a range of time, and what holds them up. All that is asked stands in the address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, make_response, redirect, request, url_for

from engine import queries
from engine.access.permissions import Namespaces
from engine.errors import NotFound
from engine.measures import analytics, spans
from engine.measures.figures import Ends, Scope, Slot, StepFigures, WorkflowFigures
from engine.measures.quantiles import Spread
from engine.measures.spans import Range
from webapp.access import allowed_namespaces
from webapp.charts import durations_chart, ends_chart, ends_words, unit, when
from webapp.database import database
from webapp.downloads import Row, asked_format, list_file
from webapp.filters import local_text, read_local, sentence, utc_text
from webapp.htmx import page

READ = "tasker.analytics:index"
TEXTS = ("namespace", "name", "version")
TIMES = ("from", "to")
PERIODS = {"hour": "Last hour", "4hours": "Last 4 hours", "day": "Last day", "week": "Last 7 days", "month": "Last 30 days", "quarter": "Last 90 days", "range": "From … to"}
USUAL = "day"
MAX_TEXT = 200
EARLIEST = datetime(2001, 1, 1, tzinfo=UTC)
SLOT_COLUMNS = ("begins_at", "ended", "completed", "failed", "cancelled", "resolved", "seconds_mean", "seconds_p50", "seconds_p95", "seconds_p99", "seconds_longest")
WORKFLOW_COLUMNS = (
    "namespace", "name", "version", "ended", "completed", "failed", "cancelled", "resolved", "completion_rate", "error_rate",
    "seconds_mean", "seconds_p50", "seconds_p95", "seconds_p99", "seconds_longest",
)  # fmt: skip
STEP_COLUMNS = (
    "namespace", "name", "version", "step_name", "started", "completed", "retried", "failed", "timed_out", "crashed", "failed_seconds",
    "seconds_mean", "seconds_p50", "seconds_p95", "seconds_p99", "seconds_longest", "waits", "wait_mean", "wait_p50", "wait_p95", "wait_p99", "wait_longest",
)  # fmt: skip

blueprint = Blueprint("analytics", __name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for, as it was typed, and what is wrong with it."""

    typed: Mapping[str, str]
    problems: dict[str, str]
    scope: Scope
    range: Range
    times: Mapping[str, datetime]

    @property
    def kept(self) -> dict[str, str]:
        """The parameters that ask for the same, of every reader."""
        texts = {name: text for name, text in self.typed.items() if text and name not in self.problems}
        return texts | {name: utc_text(at) for name, at in self.times.items()}


@blueprint.get("/analytics")
def index() -> Response:
    """Throughput, rates and durations; as a file every workflow that has any."""
    asked = read_asked(request.args)
    try:
        if form := asked_format():
            found_rows = analytics.all_workflows(database(), asked.scope, asked.range, namespaces=_here())
            return list_file("workflow-figures", WORKFLOW_COLUMNS, [[_workflow_row(row) for row in found_rows]], form)
        found = analytics.performance(database(), asked.scope, asked.range, namespaces=_here())
    except NotFound as error:
        return _page("analytics/nothing.html", asked, view="performance", why=sentence(error))
    charts = [ends_chart(found.slots, asked.range.slot), durations_chart(found.slots, asked.range.slot)]
    return _page("analytics/index.html", asked, view="performance", found=found, charts=charts, ends_words=ends_words, unit=unit(asked.range.slot), when=when)


@blueprint.get("/analytics/slots")
def slots() -> Response:
    """What ended in each part of the time, and how long it ran, as a file; the page has the same as charts."""
    asked, form = read_asked(request.args), asked_format()
    if form is None:
        kept: dict[str, Any] = {**asked.kept}
        return make_response(redirect(url_for("analytics.index", **kept), code=303))
    found = analytics.performance(database(), asked.scope, asked.range, namespaces=_here())
    return list_file("figures-over-time", SLOT_COLUMNS, [[_slot_row(slot) for slot in found.slots]], form)


@blueprint.get("/analytics/bottlenecks")
def bottlenecks() -> Response:
    """What is slow, waits or fails, and which step would shorten a workflow; as a file every step that anything happened to."""
    asked = read_asked(request.args)
    try:
        if form := asked_format():
            found_rows = analytics.all_steps(database(), asked.scope, asked.range, namespaces=_here())
            return list_file("step-figures", STEP_COLUMNS, [[_step_row(row) for row in found_rows]], form)
        found = analytics.bottlenecks(database(), asked.scope, asked.range, namespaces=_here())
    except NotFound as error:
        return _page("analytics/nothing.html", asked, view="bottlenecks", why=sentence(error))
    return _page("analytics/bottlenecks.html", asked, view="bottlenecks", found=found)


def read_asked(arguments: Mapping[str, str]) -> Asked:
    """What these parameters ask for; what cannot be read narrows nothing, with a sentence on it."""
    typed = {name: arguments.get(name, "").replace("\x00", "").strip()[:MAX_TEXT] for name in ("period", *TIMES, *TEXTS)}
    problems: dict[str, str] = {}
    if typed["period"] not in ("", *PERIODS):
        problems["period"] = f"There is no period “{typed['period']}”."
    times = {name: at for name in TIMES if (at := _time(typed[name], name, problems))}
    scope = Scope(*(typed[name] or None for name in TEXTS))
    typed |= {name: local_text(at) for name, at in times.items()}
    return Asked(typed, problems, scope, _range(typed["period"], times, analytics.now(database())), times)


def _range(period: str, times: Mapping[str, datetime], now: datetime) -> Range:
    """Times that are given count, unless a period is chosen; a day is asked for where nothing is."""
    if period in spans.PERIODS or not times:
        return spans.last(spans.PERIODS.get(period, spans.PERIODS[USUAL]), now)
    to_at = times.get("to") or now
    return spans.between(times.get("from") or to_at - spans.PERIODS[USUAL], to_at, now)


def _time(text: str, name: str, problems: dict[str, str]) -> datetime | None:
    if not text:
        return None
    try:
        at = read_local(text)
    except (ValueError, OverflowError):
        problems[name] = f"“{text}” is no time. It reads like 2026-01-31T08:30."
        return None
    return max(at, EARLIEST)


def _slot_row(slot: Slot) -> Row:
    return {"begins_at": slot.begins_at, **_counts(slot.ends), **_spread(slot.took, "seconds")}


def _workflow_row(row: WorkflowFigures) -> Row:
    rates = {"completion_rate": row.ends.completion_rate, "error_rate": row.ends.error_rate}
    return {"namespace": row.namespace, "name": row.name, "version": row.version, **_counts(row.ends), **rates, **_spread(row.took, "seconds")}


def _step_row(row: StepFigures) -> Row:
    of = {name: getattr(row, name) for name in ("namespace", "name", "version", "step_name", "failed_seconds")}
    counts = {"started": row.start_count, "completed": row.took.count, "retried": row.retry_count, "failed": row.failed_count}
    troubles = {"timed_out": row.timeout_count, "crashed": row.crash_count, "waits": row.waited.count}
    return {**of, **counts, **troubles, **_spread(row.took, "seconds"), **_spread(row.waited, "wait")}


def _counts(ends: Ends) -> Row:
    return {name: getattr(ends, f"{name}_count") for name in ("ended", "completed", "failed", "cancelled", "resolved")}


def _spread(found: Spread, what: str) -> Row:
    return {f"{what}_{name}": getattr(found, name) for name in ("mean", "p50", "p95", "p99", "longest")}


def _here() -> Namespaces:
    return allowed_namespaces(READ)


def _page(name: str, asked: Asked, **context: Any) -> Response:
    """A whole page with the filter that led to it."""
    scope = {key: asked.kept[key] for key in TEXTS if key in asked.kept}
    time = {key: asked.kept[key] for key in ("period", *TIMES) if key in asked.kept}
    names = queries.namespace_names(database(), only=_here())
    return page(name, asked=asked, periods=PERIODS, usual=USUAL, namespaces=names, scope=scope, time=time, **context)
