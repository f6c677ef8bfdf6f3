"""The dashboard inside another Flask application: `Tasker(app, who=…)` puts all of it, pages and API, below a prefix.

The application gets one blueprint, `tasker`, whose one view hands the request on to the dashboard's own application. So nothing of the
dashboard (endpoints, templates, error pages, form tokens, headers, sessions) can meet what the host calls by the same name, while the host's
hooks, proxies and sign-in still come before it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, current_app, request
from sqlalchemy import URL, Engine
from werkzeug.test import run_wsgi_app

from engine.settings import Settings
from webapp import visitors
from webapp.visitors import Door, Who

if TYPE_CHECKING:
    from engine.registry import HandlerRegistry

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
KEPT_BODY_BYTES = 2 * 1024 * 1024
EXTENSION = "tasker"


class Tasker:
    """The dashboard below `prefix` of an application, for whom `who` says to be signed in there.

    `who` is called in the application's own request and answers with a `Visitor` or None. `login` is the endpoint of its sign-in page, to which who is not
    signed in is led with `next=`. `database` is a URL, or SQLAlchemy's URL or engine; without it the application's TASKER_DATABASE_URL, else
    the environment's. `streams` is how many live pages the server can keep a thread for; the others ask every few seconds.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        who: Who,
        prefix: str = "/tasker",
        login: str | None = None,
        database: str | URL | Engine | None = None,
        registry: HandlerRegistry | None = None,
        streams: int = 0,
    ) -> None:
        if not prefix.startswith("/") or prefix.endswith("/"):
            raise ValueError(f'the prefix must begin with "/" and not end with one, as "/tasker" does; this one is "{prefix}"')
        self.prefix, self._who, self._login = prefix, who, login
        self._database, self._registry, self._streams = database, registry, streams
        self._making = Lock()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """The application has the dashboard below the prefix; `url_for("tasker.dashboard", path="tasks")` leads to its pages."""
        app.extensions[EXTENSION] = None
        app.register_blueprint(self._blueprint(), url_prefix=self.prefix)

    def dashboard(self, app: Flask) -> Flask:
        """The dashboard's own application in `app`, made at the first request, when `app` is wholly configured."""
        with self._making:
            if app.extensions[EXTENSION] is None:
                app.extensions[EXTENSION] = self._made(app)
            made: Flask = app.extensions[EXTENSION]
        return made

    def _blueprint(self) -> Blueprint:
        blueprint = Blueprint("tasker", __name__)
        # What is called by each request first: the host's own hooks may read a form, or ask for its token.
        blueprint.url_value_preprocessor(lambda endpoint, values: _prepare(self._view))
        for rule in ("/", "/<path:path>"):
            blueprint.add_url_rule(rule, "dashboard", self._view, methods=METHODS, provide_automatic_options=False)
        return blueprint

    def _view(self, path: str = "") -> Response:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        inner = _below(self.prefix, request.environ)
        inner[visitors.DOOR] = Door(app, self._who, self._login, copy_context(), request.environ)
        return Response(*run_wsgi_app(self.dashboard(app), inner))

    def _made(self, app: Flask) -> Flask:
        from webapp import create_app

        settings = _settings(app)
        database_url = _url(self._database or app.config.get("TASKER_DATABASE_URL") or settings.database_url)
        made = create_app(settings, database_url=database_url, registry=self._registry)
        # which hosts are answered, and who is on this machine, is for the host to know
        made.config.update({"EMBEDDED": True, "ALLOWED_HOSTS": ("*",), "LIVE_STREAMS_OFFERED": self._streams > 0, "LIVE_STREAM_LIMIT": self._streams})
        made.testing, made.debug = app.testing, False
        return made


def _prepare(view: Callable[..., Any]) -> None:
    if 0 < (request.content_length or 0) <= KEPT_BODY_BYTES:
        request.get_data()  # so that hooks may read it and the dashboard still finds it
    csrf = current_app.extensions.get("csrf")
    if csrf is not None:
        csrf.exempt(view)  # the dashboard's forms carry tokens of its own


def _below(prefix: str, environ: dict[str, Any]) -> dict[str, Any]:
    """The request as one below the prefix sees it."""
    inner = {name: value for name, value in environ.items() if not name.startswith("werkzeug.")}
    inner["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
    inner["PATH_INFO"] = environ["PATH_INFO"].removeprefix(prefix)
    if 0 < (request.content_length or 0) <= KEPT_BODY_BYTES:
        inner["wsgi.input"] = BytesIO(request.get_data())
    return inner


def _settings(app: Flask) -> Settings:
    """Those of the environment; without a key of Tasker's own, forms are signed by one that follows from the application's."""
    settings = Settings.from_environ()
    return replace(settings, secret_key=settings.secret_key or _derived(app.secret_key), oidc=None, proxy_hops=0, shards=None)


def _derived(key: str | bytes | None) -> str | None:
    # never the key itself: what one of the two has signed must mean nothing to the other
    secret = key.encode() if isinstance(key, str) else key
    return hmac.new(secret, b"tasker", "sha256").hexdigest() if secret else None


def _url(given: str | URL | Engine | None) -> str | None:
    """The address as the driver takes it, whichever of SQLAlchemy's drivers it names."""
    url = given.url if isinstance(given, Engine) else given
    return url.set(drivername="postgresql").render_as_string(hide_password=False) if isinstance(url, URL) else url

