"""The dashboard: a Flask application that shows tasks and their steps and hands an operator's actions to the engine.

`create_app` is called by the command line (`tasker web`, `up`, `demo`), by tests and by any WSGI server; `Tasker` puts it into another application.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flask import Flask
from jinja2 import StrictUndefined
from werkzeug.middleware.proxy_fix import ProxyFix

from engine.replicas import LAG_SECONDS
from engine.settings import Settings
from webapp import (
    access,
    addresses,
    analytics,
    api,
    appearance,
    auditing,
    batches,
    comparing,
    compiled,
    compression,
    database,
    databases,
    downloads,
    engines,
    failures,
    filters,
    glance,
    health,
    htmx,
    json_blocks,
    launch_sheets,
    launches,
    limits,
    live,
    metrics,
    models,
    overview,
    palette,
    patterns,
    previews,
    problems,
    replay,
    replica,
    request_log,
    revelations,
    roles,
    schedules,
    search,
    security,
    shards,
    signing_in,
    steps,
    tasks,
    tracebacks,
    views,
    waiting,
    why,
    workflows,
)
from webapp import (
    settings as settings_pages,
)
from webapp.embedding import Tasker
from webapp.methods import SignInMethod, configured_methods
from webapp.visitors import Visitor

__all__ = ["Tasker", "Visitor", "create_app"]

if TYPE_CHECKING:
    from engine.registry import HandlerRegistry

MAX_REQUEST_BYTES = 2 * 1024 * 1024

BLUEPRINTS = (
    overview.blueprint,
    workflows.blueprint,
    launches.blueprint,
    launch_sheets.blueprint,
    tasks.blueprint,
    comparing.blueprint,
    replay.blueprint,
    steps.blueprint,
    previews.blueprint,
    revelations.blueprint,
    roles.blueprint,
    schedules.blueprint,
    engines.blueprint,
    limits.blueprint,
    failures.blueprint,
    batches.blueprint,
    views.blueprint,
    analytics.blueprint,
    search.blueprint,
    palette.blueprint,
    waiting.blueprint,
    live.blueprint,
    appearance.blueprint,
    health.blueprint,
    metrics.blueprint,
    patterns.blueprint,
    signing_in.blueprint,
    settings_pages.blueprint,
    auditing.blueprint,
    databases.blueprint,
)


def create_app(
    settings: Settings | None = None,
    *,
    database_url: str | None = None,
    registry: HandlerRegistry | None = None,
    sign_in_methods: Sequence[SignInMethod] = (),
) -> Flask:
    """A dashboard on one database, or on all that TASKER_SHARDS names; nothing is connected before the first request.

    `database_url` comes before the one in `settings`. With `registry` the dashboard makes its definitions known to the
    database when it first connects; without, it offers what engines have made known.
    `sign_in_methods` are offered beside the password and what the settings name.
    """
    settings = settings or Settings.from_environ()
    app = Flask(__name__)
    _configure(app, settings, database_url or settings.database_url)
    app.extensions["tasker_registry"] = registry
    app.extensions["tasker_sign_in_methods"] = {each.key: each for each in (*configured_methods(settings), *sign_in_methods)}
    for part in (request_log, metrics, compiled, compression, database, shards, models, security, access, addresses, filters, json_blocks, tracebacks, why, htmx, problems, live, glance, health, downloads, api):
        part.init_app(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    replica.init_app(app)
    if settings.proxy_hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, **dict.fromkeys(("x_for", "x_proto", "x_host"), settings.proxy_hops))  # type: ignore[method-assign]
    if settings.shards and settings.shard is None and app.config["DATABASE_URL"] == settings.shards.home.url:
        shards.join(app, settings, lambda each: create_app(each, registry=registry, sign_in_methods=sign_in_methods))
    return app


def _configure(app: Flask, settings: Settings, database_url: str | None) -> None:
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config.from_mapping(
        DATABASE_URL=database_url,
        READ_DATABASE_URL=settings.read_database_url,
        REPLICA_LAG_SECONDS=LAG_SECONDS,
        DATA_DIR=settings.data_dir,
        TASKER_ENV=settings.env,
        PROXY_HOPS=settings.proxy_hops,
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=MAX_REQUEST_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_REQUEST_BYTES,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
        SESSION_COOKIE_NAME="tasker_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
