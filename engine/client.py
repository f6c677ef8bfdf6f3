"""A remote installation, used by its API with the names, the rows and the errors of this engine: `Client("https://tasker.example", token)`.

`tasker --server URL` works by it. Every call has a deadline; nothing is sent twice by itself, so give an idempotency key where a repetition must not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

import httpx

from engine import json_text
from engine.client_desk import DeskCalls
from engine.errors import (
    ChangedSince,
    DatabaseUnavailable,
    KeyReused,
    NotFound,
    Problem,
    RequestError,
    TaskerError,
    WrongState,
)
from engine.requests import TaskRequest
from engine.rows import (
    AttemptRow,
    EffectRow,
    EngineRow,
    LinePage,
    LineRow,
    Preview,
    ProgressRow,
    StepRow,
    TaskDetail,
    TaskPage,
    TaskRow,
    WorkflowRow,
)

PREFIX = "/api/v1"
TIMEOUT_SECONDS = 10.0
MAX_PAGE = 200
MOST_REDIRECTS = 3
NOUNS = {"cancel": "cancellation", "resume": "resumption", "resolve": "resolution", "retry_downstream": "downstream-retry"}
"""The address of an action where it is not its name."""

Row = TypeVar("Row")
Event = dict[str, Any]


class ServerUnavailable(DatabaseUnavailable):
    """The server cannot be reached, did not answer in time, or turns requests away for now; `retry_after` is in seconds, if it said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotAllowed(TaskerError):
    """The token is missing, not valid, or has not the right."""


@dataclass(frozen=True, slots=True)
class RemoteStep:
    """A step with its result, what its parents gave it, and its attempts; `tag` is for `if_match`."""

    row: StepRow
    result: Any
    parent_results: dict[str, Any]
    attempts: tuple[AttemptRow, ...]
    tag: str


class Client(DeskCalls):
    """The API of one server. Raises what the engine's own functions raise, `NotAllowed`, and `ServerUnavailable`."""

    def __init__(self, url: str, token: str | None = None, *, timeout: float = TIMEOUT_SECONDS, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            self._http = httpx.Client(base_url=self.url + PREFIX, headers=headers, timeout=timeout, transport=transport)
        except (httpx.InvalidURL, ValueError) as error:
            raise RequestError([Problem("server", "bad_url", f"{url!r} is no address of a server: {error}")]) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No connection is left open."""
        self._http.close()

    # ---- tasks

    def submit(self, request: TaskRequest) -> str:
        """The id of a new task that is on record; with an idempotency key seen before, the first task's."""
        return str(self._post("/tasks", _fields(request))["task_id"])

    def submit_many(self, requests: Sequence[TaskRequest]) -> list[str]:
        """Ids in the order of the requests, all created in one transaction, or none."""
        if not requests:
            return []
        return [str(made["task_id"]) for made in self._post("/tasks/batch", {"tasks": [_fields(one) for one in requests]})["tasks"]]

    def tasks(self, *, limit: int = 50, cursor: str | None = None, **filters: Any) -> TaskPage:
        """Tasks, newest first, that match every given filter; filters are those of the API by their names."""
        found = self._get("/tasks", {**filters, "limit": min(limit, MAX_PAGE), "cursor": cursor})
        return TaskPage(tuple(_row(TaskRow, one) for one in found["tasks"]), found["next_cursor"])

    def task(self, task_id: str, *, items: int = MAX_PAGE) -> TaskDetail:
        """A task with its steps, of each map step the first `items`; see `tag` for its ETag."""
        found = self._get(f"/tasks/{_part(task_id)}")
        steps = [_row(StepRow, one) for one in found["steps"].values()]
        return _row(TaskDetail, {**found, "task": _row(TaskRow, found), "steps": tuple(_with_few_items(steps, items)), "definition_id": 0})

    def task_row(self, task_id: str) -> TaskRow:
        """A task without its steps."""
        return self.task(task_id, items=0).task

    def outcome(self, task_id: str) -> dict[str, Any]:
        """What became of a task: state, context and every step's state, attempts, result and error."""
        found = self._get(f"/tasks/{_part(task_id)}")
        steps = {name: {key: step[key] for key in ("state", "attempts", "result", "error")} for name, step in found["steps"].items()}
        return {name: found[name] for name in ("task_id", "namespace", "name", "version", "state", "context")} | {"steps": steps}

    def step(self, task_id: str, step_name: str) -> RemoteStep:
        """One step with its result and attempts."""
        response = self._send("GET", _step(task_id, step_name))
        found = self._told(response)
        attempts = tuple(_row(AttemptRow, one) for one in found["executions"])
        return RemoteStep(_row(StepRow, found), found["result"], found["parent_results"], attempts, response.headers["ETag"])

    def tag(self, task_id: str) -> str:
        """The ETag of a task, for `if_match`."""
        return str(self._send("GET", f"/tasks/{_part(task_id)}").headers["ETag"])

    def lines(
        self, task_id: str, step_name: str | None = None, *, attempt: int | None = None, level: str | None = None, after: int | None = 0, limit: int = MAX_PAGE
    ) -> LinePage:
        """What the attempts of a task or of a step have logged, behind the line `after`."""
        path = f"/tasks/{_part(task_id)}" if step_name is None else _step(task_id, step_name)
        found = self._get(f"{path}/log", {"attempt": attempt, "level": level, "cursor": after, "limit": min(limit, MAX_PAGE)})
        rows = tuple(_row(LineRow, one) for one in found["lines"])
        return LinePage(rows, None, None if found["next_cursor"] is None else int(found["next_cursor"]))

    # ---- actions

    def act(
        self, action: str, task_id: str, step_name: str | None = None, *, reason: str | None = None, seen: str | None = None, if_match: str | None = None, **given: Any
    ) -> str:
        """The state that the action leaves the step, or the task, in; `given` is `result` or `context`. With `seen` or `if_match` raises `ChangedSince`."""
        body = {"reason": reason, "seen": seen, **given}
        headers = {"If-Match": if_match} if if_match else {}
        return str(self._post(_action(action, task_id, step_name), body, headers=headers)["state"])

    def preview(self, action: str, task_id: str, step_name: str | None = None, **given: Any) -> Preview:
        """What the action would do now; nothing is done."""
        found = self._post(_action(action, task_id, step_name), given, query={"dry_run": "true"})
        rows = tuple(_row(EffectRow, one) for one in found["steps"])
        return Preview(found["action"], found["step_name"], _row(EffectRow, {"name": None, **found["task"]}), rows, found["seen"])

    def cancel_task(self, task_id: str, *, reason: str | None = None, seen: str | None = None) -> str:
        """Nothing of the task starts any more."""
        return self.act("cancel", task_id, reason=reason, seen=seen)

    def retry_task(self, task_id: str, *, reason: str | None = None, seen: str | None = None) -> str:
        """Every failed step of the task runs again."""
        return self.act("retry", task_id, reason=reason, seen=seen)

    def pause_task(self, task_id: str, *, reason: str | None = None, seen: str | None = None) -> str:
        """Nothing else of the task starts until it is resumed."""
        return self.act("pause", task_id, reason=reason, seen=seen)

    def resume_task(self, task_id: str, *, reason: str | None = None, seen: str | None = None) -> str:
        """A paused task goes on."""
        return self.act("resume", task_id, reason=reason, seen=seen)

    def retry_step(self, task_id: str, step_name: str, *, reason: str | None = None, seen: str | None = None) -> str:
        """A failed step runs again; a back-off ends early."""
        return self.act("retry", task_id, step_name, reason=reason, seen=seen)

    def cancel_step(self, task_id: str, step_name: str, *, reason: str | None = None, seen: str | None = None) -> str:
        """The step and what waits for it are cancelled."""
        return self.act("cancel", task_id, step_name, reason=reason, seen=seen)

    def skip_step(self, task_id: str, step_name: str, *, reason: str | None = None, seen: str | None = None) -> str:
        """The step is skipped and its children go on."""
        return self.act("skip", task_id, step_name, reason=reason, seen=seen)

    def resolve_step(self, task_id: str, step_name: str, *, result: Any, reason: str | None = None, seen: str | None = None) -> str:
        """The step counts as completed with `result`."""
        return self.act("resolve", task_id, step_name, reason=reason, seen=seen, result=result)

    # ---- the rest

    def workflows(self, namespace: str | None = None) -> list[WorkflowRow]:
        """The workflows of all namespaces, or of one."""
        return [_row(WorkflowRow, one) for one in self._get("/workflows", {"namespace": namespace})["workflows"]]

    def definition(self, namespace: str, name: str, version: str | None = None) -> dict[str, Any]:
        """A version of a workflow with its steps and schema, as the API writes it; without a version the highest release."""
        return self._get("/".join(["/workflows", *map(_part, filter(None, (namespace, name, version)))]))

    def schedules(self, namespace: str | None = None) -> list[dict[str, Any]]:
        """The schedules, as the API writes them."""
        found: list[dict[str, Any]] = self._get("/schedules", {"namespace": namespace})["schedules"]
        return found

    def engines(self) -> list[EngineRow]:
        """Every engine seen within the last hour, the living first."""
        return [_row(EngineRow, {"worker_id": 0, **one}) for one in self._get("/engines")["engines"]]

    def performance(self, **asked: Any) -> dict[str, Any]:
        """How many tasks ended in which way and how long they took, as the API writes it; `period`, `from`, `to` and filters are those of the API by their names."""
        return self._get("/analytics/performance", asked)

    def bottlenecks(self, **asked: Any) -> dict[str, Any]:
        """Which steps are slow, wait long or fail, as the API writes it; asked for as `performance`."""
        return self._get("/analytics/bottlenecks", asked)

    def search(self, text: str, **asked: Any) -> dict[str, Any]:
        """Tasks, steps that failed and workflows that bear the text, as the API writes it; `limit` of each, `tasks_before` and `steps_before` lead on."""
        return self._get("/search", {"q": text, **asked})

    def events(self, cursor: int | str | None = None, *, types: Iterable[str] = (), namespace: str | None = None, limit: int = MAX_PAGE) -> tuple[list[Event], str]:
        """The events after `cursor`, from the oldest without one, and the cursor that leads on, also to those still to come."""
        asked = {"cursor": cursor, "type": ",".join(types) or None, "namespace": namespace, "limit": limit}
        found = self._get("/events", asked)
        return found["events"], str(found["next_cursor"])

    # ---- who may come in, and what was done

    def reveal(self, task_id: str, place: Sequence[str], *, reason: str, step_name: str | None = None) -> Any:
        """One masked value of a task: in its context, or in the result of a step. It is on record."""
        return self._post(f"/tasks/{_part(task_id)}/revelation", {"step_name": step_name, "place": list(place), "reason": reason})["value"]

    def accounts(self) -> list[dict[str, Any]]:
        """The accounts with their roles, as the API writes them."""
        found: list[dict[str, Any]] = self._get("/accounts")["accounts"]
        return found

    def create_account(self, name: str, *, role: str, namespace: str | None = None, password: str | None = None) -> dict[str, Any]:
        """A new account; without a password `sign_in_path` is the path of a link that signs in once."""
        return self._post("/accounts", {"name": name, "role": role, "namespace": namespace, "password": password})

    def disable_account(self, name: str, *, reason: str | None = None) -> dict[str, Any]:
        """Nobody comes in by the account any more."""
        return self._post(f"/accounts/{_part(name)}/disabling", {"reason": reason})

    def enable_account(self, name: str, *, reason: str | None = None) -> dict[str, Any]:
        """The account may come in again."""
        return self._post(f"/accounts/{_part(name)}/enabling", {"reason": reason})

    def sign_out(self, name: str, *, reason: str | None = None) -> int:
        """How many sessions of the account were ended: all of them."""
        return int(self._post(f"/accounts/{_part(name)}/sign-out", {"reason": reason})["session_count"])

    def grant_role(self, name: str, role: str, namespace: str | None = None, *, reason: str | None = None) -> dict[str, Any]:
        """The account has the role there."""
        return self._post(f"/accounts/{_part(name)}/roles", {"role": role, "namespace": namespace, "reason": reason})

    def revoke_role(self, name: str, role: str, namespace: str | None = None, *, reason: str | None = None) -> dict[str, Any]:
        """The account has the role there no more."""
        return self._post(f"/accounts/{_part(name)}/roles/removal", {"role": role, "namespace": namespace, "reason": reason})

    def roles(self) -> list[dict[str, Any]]:
        """The roles and what they bundle."""
        found: list[dict[str, Any]] = self._get("/roles")["roles"]
        return found

    def keep_role(self, role: str, permissions: Sequence[str]) -> dict[str, Any]:
        """There is a role that bundles these permissions."""
        return self._put(f"/roles/{_part(role)}", {"permissions": list(permissions)})

    def remove_role(self, role: str) -> None:
        """There is no such role any more."""
        self._send("DELETE", f"/roles/{_part(role)}")

    def tokens(self) -> list[dict[str, Any]]:
        """The tokens of all accounts, without their secrets."""
        found: list[dict[str, Any]] = self._get("/tokens")["tokens"]
        return found

    def make_token(self, label: str, *, account: str | None = None, scopes: Sequence[str] | None = None, namespace: str | None = None, days: int = 90) -> str:
        """A new token, told this once; of the caller's own account unless another is named."""
        asked = {"label": label, "account": account, "scopes": None if scopes is None else list(scopes), "namespace": namespace, "days": days}
        return str(self._post("/tokens", asked)["token"])

    def revoke_token(self, token_id: str) -> None:
        """The token counts for nothing any more."""
        self._send("DELETE", f"/tokens/{_part(token_id)}")

    def audit(self, *, cursor: str | None = None, limit: int = MAX_PAGE, **filters: Any) -> tuple[list[dict[str, Any]], str | None]:
        """What was done, newest first, and the cursor of the page behind; filters are those of the API by their names."""
        found = self._get("/audit", {**filters, "cursor": cursor, "limit": limit})
        return found["entries"], found["next_cursor"]

    # ---- how it is asked

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._told(self._send("GET", path, query=query))

    def _post(self, path: str, body: Mapping[str, Any], *, query: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self._told(self._send("POST", path, query=query, headers=sent, content=json_text.dump(body).encode()))

    def _put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        sent = {"Content-Type": "application/json"}
        return self._told(self._send("PUT", path, headers=sent, content=json_text.dump(body).encode()))

    def _told(self, response: httpx.Response) -> dict[str, Any]:
        try:
            found = json_text.load(response.text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ServerUnavailable(f"{self.url} answers, but not with the API of Tasker: is there a sign-in before it, or is it another address?")
        return found

    def _send(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, **options: Any) -> httpx.Response:
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            response = self._answer(self._http.build_request(method, path, params=asked, **options))
        except httpx.RequestError as error:
            raise ServerUnavailable(f"cannot reach {self.url}: {error or type(error).__name__}") from None
        if response.has_redirect_location:
            raise ServerUnavailable(f"{self.url} leads elsewhere, to {response.headers['Location']}: give the address of the API itself")
        if response.status_code >= 300:
            _refuse(response)
        return response

    def _answer(self, request: httpx.Request) -> httpx.Response:
        """The last of it, where the same server leads on, as to another of its databases. Nothing else is followed: a POST would become a GET, or go to strangers."""
        response = self._http.send(request)
        for _ in range(MOST_REDIRECTS):
            onward = response.next_request
            if onward is None or response.status_code not in (307, 308) or _origin(onward.url) != _origin(request.url):
                break
            response = self._http.send(onward)
        return response


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _refuse(response: httpx.Response) -> NoReturn:
    """Raise what the engine would have raised."""
    found = _problems(response)
    words = "; ".join(one.message for one in found) or f"{response.url} answers {response.status_code}"
    status = response.status_code
    if status in (429, 502, 503, 504):
        after = response.headers.get("Retry-After", "")
        raise ServerUnavailable(words, float(after) if after.isdigit() else None)
    if status == 422 and [one.code for one in found] == ["key_reused"]:
        raise KeyReused(words)
    if status in (400, 413, 415, 422) and found:
        raise RequestError(found)
    raise REFUSALS.get(status, TaskerError)(words)


REFUSALS: Mapping[int, type[TaskerError]] = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 409: WrongState, 412: ChangedSince}


def _problems(response: httpx.Response) -> list[Problem]:
    """What the answer says is wrong; nothing for an answer that is not the API's, such as a proxy's page."""
    try:
        return [Problem(str(one["path"]), str(one["code"]), str(one["message"])) for one in json_text.load(response.text)["errors"]]
    except (ValueError, KeyError, TypeError):
        return []


def _fields(request: TaskRequest) -> dict[str, Any]:
    """The request as the API takes it, without what it leaves open; whose child a task is, is the engine's to say."""
    given = {one.name: getattr(request, one.name) for one in fields(request) if one.name not in ("parent_task_id", "parent_step")}
    if request.run_at is not None:
        given["run_at"] = request.run_at.isoformat()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value is not None}


def _row(kind: type[Row], found: Mapping[str, Any]) -> Row:
    """A row of this kind, of what the API wrote; times are times again and lists are tuples."""
    return kind(**{one.name: _value(one.name, found[one.name]) for one in fields(kind) if one.name in found})  # type: ignore[arg-type]


def _value(name: str, written: Any) -> Any:
    if isinstance(written, str) and (name.endswith("_at") or name == "at"):
        return datetime.fromisoformat(written)
    if name == "progress" and isinstance(written, dict):
        return _row(ProgressRow, written)
    return tuple(written) if isinstance(written, list) else written


def _with_few_items(steps: Iterable[StepRow], most: int) -> Iterator[StepRow]:
    """The steps, and of each map step no more than so many items."""
    count: dict[str, int] = {}
    for step in steps:
        if step.item_of is not None:
            count[step.item_of] = count.get(step.item_of, 0) + 1
        if step.item_of is None or count[step.item_of] <= most:
            yield step


def _action(action: str, task_id: str, step_name: str | None) -> str:
    path = f"/tasks/{_part(task_id)}" if step_name is None else _step(task_id, step_name)
    return f"{path}/{NOUNS.get(action, action)}"


def _step(task_id: str, step_name: str) -> str:
    return f"/tasks/{_part(task_id)}/steps/{_part(step_name)}"


def _part(text: str) -> str:
    """One part of an address: a slash, or dots alone, must not lead to another one."""
    return quote(text, safe="").replace(".", "%2E") if set(text) <= {"."} else quote(text, safe="")
