"""A launch written as a command line, as a call of the API and as Python, to be copied from the launch form."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.requests import TaskRequest


@dataclass(frozen=True, slots=True)
class Command:
    """One way to launch the same task without the form."""

    title: str
    text: str


def command_line(request: TaskRequest) -> Command:
    """The `tasker launch` that makes the task, quoted for a POSIX shell."""
    workflow = f"{request.namespace}/{request.name}@{request.version}"
    words = ["tasker", "launch", workflow, "--context", _json(request.context), *_options(request)]
    return Command("Command line", " ".join(shlex.quote(word) for word in words))


def _options(request: TaskRequest) -> Iterator[str]:
    for tag in request.tags:
        yield from ("--tag", tag)
    for step in request.bypass_steps:
        yield from ("--bypass", step)
    if request.priority:
        yield from ("--priority", str(request.priority))
    given = {
        "--reason": request.reason,
        "--correlation-id": request.correlation_id,
        "--key": request.idempotency_key,
        "--run-at": request.run_at.isoformat() if request.run_at else None,
    }
    for option, value in given.items():
        if value is not None:
            yield from (option, value)


def curl(request: TaskRequest, url: str) -> Command:
    """The POST to `url` that makes the task; the token is read from the environment."""
    words = ["curl", "--fail-with-body", "-X", "POST", url, "-H", "Content-Type: application/json"]
    head = " ".join(shlex.quote(word) for word in words)
    return Command("cURL", f'{head} -H "Authorization: Bearer $TASKER_TOKEN" -d {shlex.quote(_json(_fields(request)))}')


def python_code(request: TaskRequest) -> Command:
    """The same request for a program that uses the engine."""
    given = "".join(f"    {name}={value!r},\n" for name, value in _fields(request).items())
    return Command("Python", f"from engine import TaskRequest, submit\n\ntask_id = submit(TaskRequest(\n{given}))")


def _fields(request: TaskRequest) -> dict[str, Any]:
    """What was asked for; who asks is known to whoever takes the request."""
    given = {
        "name": request.name,
        "namespace": request.namespace,
        "version": request.version,
        "context": dict(request.context),
        "reason": request.reason,
        "tags": list(request.tags) or None,
        "bypass_steps": list(request.bypass_steps) or None,
        "priority": request.priority or None,
        "correlation_id": request.correlation_id,
        "idempotency_key": request.idempotency_key,
        "run_at": request.run_at.isoformat() if request.run_at else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _json(value: Any) -> str:
    return json.dumps(value if isinstance(value, dict) else dict(value), ensure_ascii=False)
