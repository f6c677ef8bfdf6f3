"""Tasks and steps as the database's own views show them, mapped read-only for Flask-SQLAlchemy; the filtered task list asks here."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import JSON, BigInteger, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry

from engine.db import POOL_TIMEOUT_SECONDS, Note, TimedConnection, connect, prepare_nothing
from webapp.database import CALL_SECONDS, call_times, reads_replica

# Where no database is configured the application still starts and says so on its pages.
NO_DATABASE = "postgresql://127.0.0.1:1/none"


class View(DeclarativeBase):
    """What the dashboard reads; every write goes through the engine's functions."""


REPLICA = "replica"


class ReadSession(Session):
    """Reads where the request does."""

    def get_bind(self, *arguments: Any, **options: Any) -> Any:
        """The primary's engine or the replica's."""
        return db.engines[REPLICA] if reads_replica() else super().get_bind(*arguments, **options)


db = SQLAlchemy(model_class=View, session_options={"class_": ReadSession})


class Task(View):
    """One row of `tasker_tasks`."""

    __tablename__ = "tasker_tasks"

    task_no: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    task_id: Mapped[UUID]
    namespace: Mapped[str]
    name: Mapped[str]
    version: Mapped[str]
    state: Mapped[str]
    paused: Mapped[bool]
    priority: Mapped[int]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    initiator: Mapped[str | None]
    source_system: Mapped[str | None]
    correlation_id: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    run_at: Mapped[datetime | None]
    step_count: Mapped[int]
    failed_count: Mapped[int]
    cancelled_count: Mapped[int]


class StoredTask(View):
    """One row of `tasker_task` itself, by which lists find the numbers of their tasks; `state` is a code."""

    __tablename__ = "tasker_task"

    task_no: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    task_id: Mapped[UUID]
    definition_id: Mapped[int]
    state: Mapped[int]
    paused: Mapped[bool]
    failed_count: Mapped[int]
    context: Mapped[Any] = mapped_column(JSONB)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    initiator: Mapped[str | None]
    source_system: Mapped[str | None]
    reason: Mapped[str | None]
    correlation_id: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Definition(View):
    """One row of `tasker_definition`: a version of a workflow."""

    __tablename__ = "tasker_definition"

    definition_id: Mapped[int] = mapped_column(primary_key=True)
    namespace: Mapped[str]
    name: Mapped[str]
    version: Mapped[str]
    schema: Mapped[Any] = mapped_column(JSON)


class Step(View):
    """One row of `tasker_steps`; always asked for with its task."""

    __tablename__ = "tasker_steps"

    task_no: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    step_no: Mapped[int] = mapped_column(primary_key=True)
    step_id: Mapped[int] = mapped_column(BigInteger)
    task_id: Mapped[UUID]
    name: Mapped[str]
    state: Mapped[str]
    attempts: Mapped[int]
    retry_limit: Mapped[int]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    result: Mapped[Any | None] = mapped_column(JSONB)
    error: Mapped[Any | None] = mapped_column(JSONB)


def init_app(app: Flask) -> None:
    """Bind the read side to the application's database; its connections cannot write and never wait for long."""
    app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql+psycopg://"
    note = call_times(app).note
    app.config.setdefault("SQLALCHEMY_ENGINE_OPTIONS", _engine_options(app.config["DATABASE_URL"] or NO_DATABASE, note))
    if elsewhere := app.config["READ_DATABASE_URL"]:
        app.config.setdefault("SQLALCHEMY_BINDS", {REPLICA: {"url": "postgresql+psycopg://", **_engine_options(elsewhere, note)}})
    db.init_app(app)


def _engine_options(url: str, note: Note) -> dict[str, Any]:
    return {"creator": lambda: _opened(url, note), "pool_events": [(_check, "checkout")], "pool_size": 4, "max_overflow": 4, "pool_timeout": 5}


def _opened(url: str, note: Note) -> TimedConnection:
    # in autocommit: the rollback at the end of a request would meet a line that died meanwhile, and spoil a page that is done
    read_only = "-c default_transaction_read_only=on"
    connection = connect(
        url, application_name="tasker dashboard", options=read_only, call_seconds=CALL_SECONDS, connect_seconds=POOL_TIMEOUT_SECONDS
    )
    prepare_nothing(connection)  # a pooler may lead each statement to another server
    connection.note = note
    return connection


def _check(connection: TimedConnection, record: ConnectionPoolEntry, _: object) -> None:
    """One that lay in the pool still answers. A new one is not asked: were it refused too, the pool would call that a mistake of ours."""
    try:
        if record.info.get("rested"):
            connection.check()
    except psycopg.Error as error:
        raise DisconnectionError from error  # the pool then makes another
    record.info["rested"] = True
