"""The REST API under `/api/v1`: what the pages show and do, for programs. `docs/api.md` is the tour, `/api/docs` the reference.

A module for each group of endpoints; `bodies` and `answers` describe what goes in and out, `shapes` writes answers, `errors` failures, `access` decides.
"""

from __future__ import annotations

from flask import Flask

from webapp import security
from webapp.api import (
    accounts,
    actions,
    analytics,
    audit,
    batches,
    engines,
    errors,
    events,
    flow_limits,
    limits,
    reference,
    revelations,
    schedules,
    search,
    tasks,
    views,
    workflows,
)

GROUPS = (tasks.endpoints, actions.endpoints, workflows.endpoints, schedules.endpoints, events.endpoints, engines.endpoints, flow_limits.endpoints, batches.endpoints, views.endpoints, analytics.endpoints, revelations.endpoints, accounts.endpoints, audit.endpoints, search.endpoints)


def init_app(app: Flask) -> None:
    """Put the API in place. It knows no cookies, so it takes no form tokens either."""
    limits.init_app(app)
    errors.init_app(app)
    events.init_app(app)
    for group in GROUPS:
        security.csrf.exempt(group)
    reference.init_app(app, GROUPS)
