"""Several databases behind one dashboard: an application for each, the home's at the root and the others below `/db/<name>`.

So every address says which database it is about. Accounts, sign-in, settings and saved views are the home's: their addresses in another application lead
there, and who asks is looked up there. A task or namespace that lives in another database is led to, with its method and form.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from urllib.parse import quote

import psycopg
from flask import Flask, current_app, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.routing import RequestRedirect

from engine import queries
from engine.db import Database, end_calls_within
from engine.errors import DatabaseUnavailable, NotFound, Problem, RequestError, TaskerError
from engine.settings import Settings
from engine.shards import Shard, Shards
from webapp.database import CALL_SECONDS, primary_of

PREFIX = "/db/"
HOME_BLUEPRINTS = ("signing_in", "settings", "roles", "views", "api_accounts", "api_views")
HOME_ENDPOINTS = ("tasks.follow", "tasks.unfollow")


class Elsewhere(RequestRedirect):
    """The same request is to be made at another address; its method and form go along."""

    code = 307


@dataclass(frozen=True, slots=True)
class Place:
    """One database and its application; `prefix` is empty for the home."""

    shard: Shard
    prefix: str
    app: Flask

    @property
    def words(self) -> str:
        """Which namespaces are meant to live there."""
        return ", ".join(self.shard.namespaces) or "all others"


@dataclass(frozen=True, slots=True)
class Front:
    """All applications of one dashboard, the home's first."""

    shards: Shards
    places: tuple[Place, ...]


def init_app(app: Flask) -> None:
    """An application that stands alone, until `join` says otherwise."""
    app.extensions["tasker_front"] = None
    app.context_processor(lambda: {"place": current_place(), "is_home": is_home(), "databases_address": databases_address()})


def join(home: Flask, settings: Settings, make: Callable[[Settings], Flask]) -> None:
    """The application answers for every database of the settings: those of the others are made and mounted below it."""
    shards = settings.shards
    if shards is None:
        return
    alone = replace(settings, shards=None, read_database_url=None)
    others = [Place(each, f"{PREFIX}{each.name}", make(replace(alone, database_url=each.url))) for each in shards.all if not each.is_home]
    front = Front(shards, (Place(shards.home, "", home), *others))
    for place in front.places:
        place.app.extensions["tasker_front"] = front
        # one server carries the streams and downloads of all
        place.app.extensions["tasker_live_crowd"] = home.extensions["tasker_live_crowd"]
        place.app.extensions["tasker_downloads"] = home.extensions["tasker_downloads"]
    # the others share the home's key, whether it was given or made: a form's token holds in all of them
    for place in others:
        place.app.config["SECRET_KEY"] = home.config["SECRET_KEY"]
    home.wsgi_app = DispatcherMiddleware(home.wsgi_app, {place.prefix: place.app.wsgi_app for place in others})  # type: ignore[method-assign]


def front_of(app: Flask) -> Front | None:
    """The dashboard of several databases that the application is a part of."""
    found: Front | None = app.extensions["tasker_front"]
    return found


def apps_of(app: Flask) -> tuple[Flask, ...]:
    """The application, and those mounted below it."""
    front = front_of(app)
    return tuple(place.app for place in front.places) if front else (app,)


def current_place() -> Place | None:
    """The database that this request is about, where there are several."""
    front = front_of(current_app)
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    return next(place for place in front.places if place.app is app) if front else None


def is_home() -> bool:
    """Whether this request is about the database that has the accounts."""
    place = current_place()
    return place is None or place.shard.is_home


def home() -> Database:
    """The database that has the accounts. Raises `DatabaseUnavailable`."""
    front = front_of(current_app)
    return primary_of(front.places[0].app if front else current_app._get_current_object())  # type: ignore[attr-defined]


def address_of(place: Place, path: str) -> str:
    """The address of a page of that database, from any of the others."""
    here = current_place()
    return request.script_root.removesuffix(here.prefix if here else "") + place.prefix + path


def databases_address() -> str | None:
    """The page of all databases; None where there is one."""
    front = front_of(current_app)
    return address_of(front.places[0], "/databases") if front else None


def lead_home(endpoint: str | None) -> None:
    """What is the home's is asked for there. Raises `Elsewhere`, or `NotFound` for what only tasks of the home can have."""
    front = front_of(current_app)
    if front is None or endpoint is None or is_home():
        return
    if endpoint in HOME_ENDPOINTS:
        raise NotFound(f"who is told of a task is kept with the accounts, and so for tasks of the database {front.shards.home.name} alone")
    if endpoint.partition(".")[0] in HOME_BLUEPRINTS:
        raise _elsewhere(front.places[0])


def lives_elsewhere(namespace: str) -> bool:
    """Whether TASKER_SHARDS gives the namespace to another database than this request's."""
    front, here = front_of(current_app), current_place()
    return front is not None and here is not None and front.shards.of(namespace) != here.shard


def lead_to_namespace(namespace: str) -> None:
    """Raises `Elsewhere` when the namespace lives in another database."""
    front = front_of(current_app)
    if front is not None and lives_elsewhere(namespace):
        raise _elsewhere(_place_of(front, namespace))


def lead_to_namespaces(namespaces: Collection[str]) -> None:
    """Raises `Elsewhere` when all of them live in one other database, `RequestError` when they live in several."""
    front = front_of(current_app)
    if front is None or not namespaces:
        return
    if len({front.shards.of(each) for each in namespaces}) > 1:
        words = f"the namespaces {', '.join(sorted(namespaces))} live in different databases, and one transaction cannot be in both: send them apart"
        raise RequestError([Problem("tasks", "two_databases", words)])
    lead_to_namespace(next(iter(namespaces)))


def task_elsewhere(task_id: str) -> tuple[str, Place] | None:
    """The namespace of a task that another database has, and which. Raises `DatabaseUnavailable` when it may be in one that does not answer."""
    front, here = front_of(current_app), current_place()
    silent: list[str] = []
    for place in front.places if front else ():
        if place is here:
            continue
        end_calls_within(CALL_SECONDS)  # each has its own time: one that does not answer hides nothing in another
        try:
            namespace = queries.task_namespace(primary_of(place.app), task_id)
        except (TaskerError, psycopg.Error):
            silent.append(place.shard.name)
            continue
        if namespace is not None:
            return namespace, place
    if silent:
        raise DatabaseUnavailable(f"the task is in no database that answers; {' and '.join(silent)} may have it, and cannot be asked now")
    return None


def go(place: Place) -> RequestRedirect:
    """What leads this request to the same address of that database."""
    return _elsewhere(place)


def _elsewhere(place: Place) -> Elsewhere:
    # quoted anew, as what stands in a path decoded may be a question mark or the end of a line
    query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
    return Elsewhere(address_of(place, quote(request.path) + query))


def _place_of(front: Front, namespace: str) -> Place:
    shard = front.shards.of(namespace)
    return next(place for place in front.places if place.shard == shard)


def app_and_path(path: str) -> tuple[Flask, str]:
    """Which application answers the path of a whole address, and what the path is there."""
    front = front_of(current_app)
    for place in front.places[1:] if front else ():
        if path.startswith(f"{place.prefix}/"):
            return place.app, path.removeprefix(place.prefix)
    return current_app, path
