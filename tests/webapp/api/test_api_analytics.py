"""`/api/v1/analytics`: the same figures for programs, and by the client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calls import Caller

from engine import rollups
from engine.db import Database
from engine.measures import analytics, spans
from engine.measures.figures import Scope


def test_the_answers_are_the_engines(api: Caller, db: Database, launch: Callable[..., str], engine: Any, failed_task: str) -> None:
    engine.complete(launch(), "validate", "charge", "reserve", "ship")
    assert rollups.catch_up(db)
    asked = spans.last(spans.HOUR, analytics.now(db))
    here = analytics.performance(db, Scope("shop"), asked)
    there = api.get("/analytics/performance?period=hour&namespace=shop").json
    assert there["tasks"]["ended_count"] == here.ends.ended_count == 2
    assert (there["tasks"]["completion_rate"], there["tasks"]["error_rate"]) == (0.5, 0.5)
    assert there["step_seconds"]["p95"] == here.step.p95
    assert there["uncounted_count"] == 0
    assert sum(slot["tasks"]["ended_count"] for slot in there["slots"]) == 2
    found = api.get("/analytics/bottlenecks?period=hour&namespace=shop&name=process_order").json
    assert [row["step_name"] for row in found["retry_hot_spots"]] == ["charge"]
    assert found["critical_path"]["task_count"] == 1
    assert {row["task_id"] for row in found["slowest_tasks"]} != {failed_task}


def test_a_range_that_is_none_is_refused(api: Caller) -> None:
    for query in ("period=fortnight", "period=day&from=2026-01-01T00:00:00Z", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from=0001-01-01T00:00:00Z", "to=0001-01-01T00:00:00Z", "from=soon"):
        answer = api.get(f"/analytics/performance?{query}")
        assert answer.status_code == 422, query
        assert answer.json["errors"][0]["path"] in ("period", "from"), query
    assert api.get("/analytics/performance?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z").status_code == 200
    assert api.get("/analytics/performance?namespace=nowhere").status_code == 404
