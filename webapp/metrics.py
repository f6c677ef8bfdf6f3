"""`/metrics` for Prometheus: what the installation has done and how it stands, the same from every process, and how this process answers requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, request
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from engine.access.permissions import Namespaces
from engine.monitoring.metrics import EngineFigures, Measures, Moves, Spread, Standing, read_measures
from engine.monitoring.own_figures import SECONDS, SIZES, CallTimes, Histogram
from engine.states import FINAL_TASK
from webapp.access import allowed_namespaces
from webapp.database import call_times, database
from webapp.glance import Glance
from webapp.live import feed_if_any
from webapp.security import from_this_machine

SECONDS_KEPT = 1.0
MOST_READERS = 50
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
"""Limits of the histograms of durations; each is one of tasker_bin_limits."""
METHODS = ("GET", "HEAD", "OPTIONS", "POST")
WORKFLOW = ("namespace", "name")

blueprint = Blueprint("metrics", __name__)


class Requests:
    """How long this process took for requests, by method and the first figure of the status."""

    def __init__(self) -> None:
        self._book = threading.Lock()
        self._found: dict[tuple[str, str], Histogram] = {}

    def note(self, method: str, status: int, seconds: float) -> None:
        """One more."""
        key = method if method in METHODS else "other", f"{status // 100}xx"
        with self._book:
            self._found.setdefault(key, Histogram(SECONDS)).note(seconds)

    def written(self) -> dict[tuple[str, str], dict[str, Any]]:
        """As the figures of an engine are."""
        with self._book:
            return {key: histogram.written() for key, histogram in self._found.items()}


def init_app(app: Flask) -> None:
    """Count requests from now on; streams are no requests that end."""
    app.config.setdefault("METRICS_SECONDS", SECONDS_KEPT)
    app.extensions["tasker_requests"], app.extensions["tasker_measures"] = Requests(), {}
    app.after_request(_note)


def _note(response: Response) -> Response:
    if "began" in g and response.mimetype != "text/event-stream":
        current_app.extensions["tasker_requests"].note(request.method, response.status_code, time.perf_counter() - g.began)
    return response


@blueprint.get("/metrics")
def index() -> Response:
    """Everything for callers on this machine and tokens that may see metrics everywhere; for others the counts of their namespaces."""
    namespaces = None if from_this_machine() else allowed_namespaces("tasker.metrics:index")
    encode, kind = choose_encoder(request.headers.get("Accept", ""))
    told = _Told([*_of_installation(_measures(namespaces)), *(_own() if namespaces is None else ())])
    response = Response(encode(told), content_type=kind)
    response.headers["Cache-Control"] = "no-store"
    return response


class _Told(list[Metric]):
    """What prometheus_client takes for a registry."""

    def collect(self) -> Iterable[Metric]:
        return self


def _measures(namespaces: Namespaces) -> Measures:
    """As it was within the last second, however many ask."""
    kept: dict[Namespaces, Glance[Measures]] = current_app.extensions["tasker_measures"]
    if len(kept) > MOST_READERS:
        kept.clear()
    glance = kept.setdefault(namespaces, Glance())
    return glance.answer(lambda: read_measures(database(), namespaces=namespaces), None, current_app.config["METRICS_SECONDS"])


def _of_installation(measures: Measures) -> Iterator[Metric]:
    yield from _of_workflows(measures.workflows, measures.limits)
    if measures.standing is not None:
        yield from _of_standing(measures.standing, len(measures.engines), sum(engine.draining for engine in measures.engines))
        yield from _of_engines(measures.engines)


# ---- what workflows have done


def _of_workflows(workflows: Mapping[tuple[str, str], Moves], limits: Sequence[float]) -> Iterator[Metric]:
    # a series that begins at 20 has no increase: of what is worth an alert there is a 0 before
    tasks = {key: dict.fromkeys(map(str, FINAL_TASK), 0) | moves.tasks for key, moves in workflows.items()}
    yield _by_state("tasker_tasks", "Tasks that came into a state; running: that began.", tasks)
    steps = {key: {state: count for state, count in moves.steps.items() if state != "retrying"} for key, moves in workflows.items()}
    yield _by_state("tasker_steps", "Steps that came into a state; running: attempts that began.", steps)
    yield _counted("tasker_step_retries", "Retries that were set after an attempt had failed.", {key: moves.steps.get("retrying", 0) for key, moves in workflows.items()})
    yield _counted("tasker_step_timeouts", "Attempts that were ended by their time limit.", {key: moves.timeouts for key, moves in workflows.items()})
    yield _counted("tasker_step_crashes", "Attempts whose process or engine died.", {key: moves.crashes for key, moves in workflows.items()})
    moved = {key: moves for key, moves in workflows.items() if moves.tasks or moves.steps}
    yield _spread("tasker_task_duration_seconds", "From a task's first step to its end.", {key: moves.task_seconds for key, moves in moved.items()}, limits)
    yield _spread("tasker_step_duration_seconds", "How long attempts took.", {key: moves.step_seconds for key, moves in moved.items()}, limits)
    yield _spread("tasker_step_queue_seconds", "How long ready steps waited for an engine.", {key: moves.queue_seconds for key, moves in moved.items()}, limits)


def _by_state(name: str, meaning: str, counts: Mapping[tuple[str, str], Mapping[str, int]]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=(*WORKFLOW, "state"))
    for key, states in counts.items():
        for state, count in sorted(states.items()):
            family.add_metric((*key, state), count)
    return family


def _counted(name: str, meaning: str, counts: Mapping[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=WORKFLOW)
    for key, count in counts.items():
        family.add_metric(key, count)
    return family


def _spread(name: str, meaning: str, spreads: Mapping[tuple[str, str], Spread], limits: Sequence[float]) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=WORKFLOW)
    last_bins = [limits.index(limit) for limit in BUCKETS]
    for key, spread in spreads.items():
        up_to = [*accumulate(spread.bins)]
        total = up_to[-1] if up_to else 0
        below = [(_limit(limit), up_to[at] if at < len(up_to) else total) for limit, at in zip(BUCKETS, last_bins, strict=True)]
        family.add_metric(key, [*below, ("+Inf", total)], spread.seconds)
    return family


def _limit(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text


# ---- how the installation stands


def _of_standing(standing: Standing, alive: int, draining: int) -> Iterator[Metric]:
    yield _gauge("tasker_open_tasks", "Tasks that have not ended, up to 100,001.", standing.open_tasks)
    yield _gauge("tasker_ready_steps", "Steps that wait for an engine, up to 100,001.", standing.ready_steps)
    yield _gauge("tasker_oldest_ready_seconds", "How long the first in line has waited for an engine.", standing.oldest_ready_seconds)
    yield _gauge("tasker_delayed_steps", "Steps that wait for their time, up to 100,001.", standing.delayed_steps)
    yield _gauge("tasker_oldest_expired_lease_seconds", "How long ago the lease of a dead engine ran out whose steps nobody has taken back.", standing.oldest_expired_lease_seconds)
    yield _gauge("tasker_overdue_schedules", "Schedules whose run is more than a minute late.", standing.overdue_schedules)
    yield GaugeMetricFamily("tasker_schedule_runs_refused", "Runs of the present schedules whose task was refused.", value=standing.refused_runs)
    yield GaugeMetricFamily("tasker_schedule_runs_missed", "Runs of the present schedules that made no task since no engine was there in time.", value=standing.missed_runs)
    yield _gauge("tasker_uncounted_moves", "Moves that are not in the counters yet.", standing.uncounted_moves)
    engines = GaugeMetricFamily("tasker_engines", "Engines by state.", labels=("state",))
    for state, count in (("alive", alive - draining), ("draining", draining), ("gone", standing.engines_gone)):
        engines.add_metric((state,), count)
    yield engines


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


# ---- what engines count of themselves


def _of_engines(engines: Sequence[EngineFigures]) -> Iterator[Metric]:
    yield _of_each("tasker_engine_heartbeat_age_seconds", "Since the engine was last heard of.", engines, lambda engine: engine.heartbeat_seconds)
    yield _of_each("tasker_engine_concurrency", "Steps that the engine runs at a time.", engines, lambda engine: engine.concurrency)
    yield _of_each("tasker_engine_steps_in_hand", "Steps that the engine held at its last heartbeat.", engines, lambda engine: engine.figures.get("running"))
    silent = "Since the engine's listener last heard of the database, at its last heartbeat."
    yield _of_each("tasker_engine_listener_silent_seconds", silent, engines, lambda engine: engine.figures.get("listener_seconds"))
    losses = CounterMetricFamily("tasker_engine_lease_losses", "Leases that ran out while their engine lived.", labels=("engine",))
    late = CounterMetricFamily("tasker_engine_late_duties", "Rounds of a duty that were due while the last was under way.", labels=("engine", "duty"))
    sizes = HistogramMetricFamily("tasker_engine_batch_size", "Outcomes that were reported in one round trip.", labels=("engine",))
    calls = HistogramMetricFamily("tasker_engine_call_seconds", "How long calls of the database took.", labels=("engine", "call"))
    for engine in engines:
        losses.add_metric((engine.name,), engine.figures.get("lease_losses", 0))
        for duty, count in sorted(engine.figures.get("late", {}).items()):
            late.add_metric((engine.name, duty), count)
        _add(sizes, (engine.name,), engine.figures.get("batches"), SIZES)
        for call, written in sorted(engine.figures.get("calls", {}).items()):
            _add(calls, (engine.name, call), written, SECONDS)
    yield from (losses, late, sizes, calls)


def _of_each(name: str, meaning: str, engines: Sequence[EngineFigures], value: Any) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=("engine",))
    for engine in engines:
        if (known := value(engine)) is not None:
            family.add_metric((engine.name,), known)
    return family


def _add(family: HistogramMetricFamily, labels: Sequence[str], written: Mapping[str, Any] | None, limits: Sequence[float]) -> None:
    if written:
        names = [*map(_limit, limits), "+Inf"]
        family.add_metric(labels, list(zip(names, accumulate(written["bins"]), strict=True)), written["sum"])


# ---- this process


def _own() -> Iterator[Metric]:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    feed = feed_if_any(app)
    return _of_process(app.extensions["tasker_requests"], call_times(app), feed.count() if feed else 0)


def _of_process(requests: Requests, calls: CallTimes, streams: int) -> Iterator[Metric]:
    yield _gauge("tasker_web_live_streams", "Live pages that this process of the dashboard feeds.", streams)
    family = HistogramMetricFamily("tasker_web_request_seconds", "How long this process of the dashboard took for requests.", labels=("method", "status"))
    for key, written in sorted(requests.written().items()):
        _add(family, key, written, SECONDS)
    yield family
    times = HistogramMetricFamily("tasker_web_call_seconds", "How long calls of the database by this process of the dashboard took.", labels=())
    _add(times, (), calls.written(), SECONDS)
    yield times
