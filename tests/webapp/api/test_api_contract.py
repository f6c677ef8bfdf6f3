"""The API keeps what its description promises: whatever is sent, no error of its own, no answer that is not described, nothing wrong let through.

`SCHEMA_CASES` says how many requests the nightly run makes at most (some kinds there are few of), `SCHEMA_SEED` repeats one.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from engine import batches
from engine.access import accounts, tokens
from engine.db import Database
from engine.finding import views
from webapp.server import Server, bind

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sql"))

from invariants import assert_invariants
from signed_in import token_for

EACH_TIME = 300
NIGHTLY = int(os.environ.get("SCHEMA_CASES", "22500"))
SEED = int(os.environ.get("SCHEMA_SEED", "777"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
ORDER = {"namespace": "shop", "name": "process_order", "version": "1.0.0", "context": {"order_id": 7}}
SOUND: dict[str, Callable[[Any], Any]] = {
    "POST /api/v1/tasks": lambda body: {**body, **ORDER, "bypass_steps": KNOWN_STEPS[:1]},
    "POST /api/v1/tasks/batch": lambda body: {"tasks": [{**one, **ORDER, "bypass_steps": []} for one in body["tasks"]]},
    "POST /api/v1/schedules": lambda body: {**body, **ORDER, "cron": None, "every": "15m"},
}
"""Bodies that a random one would hardly ever be, though it fits the description: of a workflow that there is."""
PATIENCE = 10.0
KNOWN_STEPS = ["validate", "charge", "reserve", "ship"]


@pytest.fixture(autouse=True)
def _propagate(app: Flask) -> None:
    """A handler that raises answers 500, as it would in production; and nobody is too fast."""
    app.config.update(PROPAGATE_EXCEPTIONS=False, API_RATE=0)


@pytest.fixture
def known(failed_task: str, launch: Callable[..., str], db: Database) -> dict[str, list[Any]]:
    """What there is to be asked for, by the name of its parameter: an account has the name of the workflow, as both are a `name`."""
    tasks = [failed_task, *(launch(number) for number in range(2, 12))]
    accounts.keep_role(db, "packer", ["tasker.task:show"], actor="tests")
    for _ in range(5):
        token_for(db.url, "process_order", role="viewer")
    others = [token.token_id for token in tokens.tokens(db) if token.account == "process_order"]
    made = [batches.make_batch(db, "pause", [(tasks[-1], None)], about="tests", actor="tests") for _ in range(3)]
    owner = accounts.account(db, "dashboard").account_id
    kept = [views.keep_view(db, f"Failed orders {number}", {"state": "failed"}, namespace="shop", owner_id=owner) for number in range(4)]
    return {"task_id": tasks, "role": ["packer"], "token_id": others, "batch_id": made, "noun": ["pause", "resumption", "step-skip"], "view_id": kept, "step_name": KNOWN_STEPS, "namespace": ["shop"], "name": ["process_order"], "version": ["1.0.0"], "schedule_id": [1, 2]}


@pytest.fixture
def caller(token: str) -> Iterator[requests.Session]:
    """A program that may do all that the API does."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        yield session


@pytest.fixture
def url(app: Flask) -> Iterator[str]:
    """Where the real server answers."""
    running = Server(app, "127.0.0.1", bind("127.0.0.1", 0))
    thread = threading.Thread(target=running.run)
    thread.start()
    yield running.url
    running.stop()
    thread.join(PATIENCE)


def operations(url: str, caller: requests.Session) -> list[Any]:
    """Every operation of the description. Tokens are left out of it: they have tests of their own, and every request brings one."""
    document = caller.get(f"{url}/api/v1/openapi.json", timeout=PATIENCE).json()
    del document["security"], document["components"]["securitySchemes"]
    schema = schemathesis.openapi.from_dict(document)
    return [found.ok() for found in schema.get_all_operations()]


def ask(operation: Any, mode: GenerationMode, count: int, known: dict[str, list[Any]], answered: Counter[tuple[str, int]], url: str, caller: requests.Session) -> None:
    """Send `count` requests that fit the description, or do not; raises for the first answer that is wrong."""
    label = f"{operation.method.upper()} {operation.path}"

    @seed(SEED)
    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), choice=st.integers(0, 10**6))
    def send(case: Any, choice: int) -> None:
        if mode is GenerationMode.POSITIVE and choice % 4:
            for name in case.path_parameters or ():
                case.path_parameters[name] = known[name][choice % len(known[name])]
            if choice % 3 and label in SOUND:
                case.body = SOUND[label](case.body)
        answer = case.call(base_url=url, session=caller)
        answered[label, answer.status_code] += 1
        too_large = answer.status_code == 413  # that check knows no 413, and takes it for a request that got through
        case.validate_response(answer, checks=[one for one in CHECKS if not (too_large and one is negative_data_rejection)])

    send()


def visit(url: str, caller: requests.Session, known: dict[str, list[Any]], total: int) -> Iterator[str]:
    """What went wrong over so many requests, an entry for each operation and kind of request."""
    found = operations(url, caller)
    answered: Counter[tuple[str, int]] = Counter()
    for operation in found:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                ask(operation, mode, max(1, total // (2 * len(found))), known, answered, url, caller)
            except Unsatisfiable:
                pass  # there is nothing about such a request that could be against its description
            except (Exception, FailureGroup) as error:
                yield f"SCHEMA_SEED={SEED} {operation.label} {mode.name}: {error}"
    statuses = Counter(status for _, status in answered.elements())
    print(f"\n{statuses.total():,} requests: {dict(sorted(statuses.items()))}")
    if statuses[401] or not statuses[200]:
        yield f"the requests did not get past the door: {statuses}"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_request_is_answered_against_the_description(url: str, caller: requests.Session, known: dict[str, list[Any]], conn: psycopg.Connection[Any]) -> None:
    wrong = list(visit(url, caller, known, EACH_TIME))
    assert not wrong, "\n".join(wrong[:5])
    assert_invariants(conn)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_no_request_of_a_night_is_answered_against_the_description(url: str, caller: requests.Session, known: dict[str, list[Any]], conn: psycopg.Connection[Any]) -> None:
    wrong = list(visit(url, caller, known, NIGHTLY))
    assert not wrong, f"{len(wrong)} kinds of request\n" + "\n".join(wrong[:20])
    assert_invariants(conn)
