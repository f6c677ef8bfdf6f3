"""The calls of engine.client that act on many at once, keep views and change limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote


class DeskCalls:
    """A part of the client: answers are as the API writes them. Whoever inherits this knows how to ask."""

    def batches(self) -> list[dict[str, Any]]:
        """The newest batches."""
        found: list[dict[str, Any]] = self._get("/batches")["batches"]
        return found

    def batch(self, batch_id: int, *, cursor: str | None = None, limit: int | None = None) -> dict[str, Any]:
        """How far a batch is, with a page of its items."""
        return self._get(f"/batches/{batch_id}", {"cursor": cursor, "limit": limit})

    def preview_batch(self, noun: str, *, filter: Mapping[str, Any] | None = None, failure: str | None = None) -> dict[str, Any]:
        """What would be done to how many; `noun` is that of the address, such as `retry` or `step-resolution`. Nothing is done."""
        return self._post(f"/batches/new/{quote(noun, safe='')}", {"filter": filter, "failure": failure}, query={"dry_run": "true"})

    def begin_batch(self, noun: str, *, count: int, filter: Mapping[str, Any] | None = None, failure: str | None = None, **given: Any) -> dict[str, Any]:
        """The engines are at it, if there are still `count`; else raises `ChangedSince`. `given` is `reason`, `result` or `idempotency_key`."""
        return self._post(f"/batches/new/{quote(noun, safe='')}", {"filter": filter, "failure": failure, "count": count, **given})

    def stop_batch(self, batch_id: int, *, reason: str | None = None) -> dict[str, Any]:
        """What of the batch is not done yet will not be."""
        return self._post(f"/batches/{batch_id}/stop", {"reason": reason})

    def views(self) -> list[dict[str, Any]]:
        """The views that the token's account sees, with their counts."""
        found: list[dict[str, Any]] = self._get("/views")["views"]
        return found

    def keep_view(
        self, name: str, filter: Mapping[str, Any] | None = None, *, failures: Mapping[str, Any] | None = None, namespace: str | None = None
    ) -> dict[str, Any]:
        """The filter of tasks, or of `failures`, is kept under a name, for all who see the namespace or for the token's account alone."""
        chosen = {"filter": dict(filter or {})} if failures is None else {"failures": dict(failures)}
        return self._post("/views", {"name": name, "namespace": namespace, **chosen})

    def remove_view(self, view_id: int) -> None:
        """The view is kept no longer."""
        self._send("DELETE", f"/views/{view_id}")

    def set_alert(
        self, view_id: int, threshold: int, *, webhook: str | None = None, secret: str | None = None, email: str | None = None, rest: str | None = None
    ) -> dict[str, Any]:
        """The view tells once when it holds more tasks than `threshold`, and once when it does no more; `rest` between two alerts is such as `15m`."""
        given = {"threshold": threshold, "webhook": webhook, "secret": secret, "email": email, "rest": rest}
        return self._put(f"/views/{view_id}/alert", {name: value for name, value in given.items() if value is not None})

    def remove_alert(self, view_id: int) -> dict[str, Any]:
        """The view tells nothing."""
        return self._told(self._send("DELETE", f"/views/{view_id}/alert"))

    def limits(self, namespace: str | None = None) -> list[dict[str, Any]]:
        """The limits of all namespaces, or of one."""
        found: list[dict[str, Any]] = self._get("/limits", {"namespace": namespace})["limits"]
        return found

    def limit(self, namespace: str, name: str, step: str | None = None) -> dict[str, Any]:
        """A limit with what holds its places and what waits."""
        return self._get(_limit(namespace, name), {"step": step})

    def set_limit(self, namespace: str, name: str, step: str | None = None, *, dry_run: bool = False, **given: Any) -> dict[str, Any]:
        """The limit is changed; `given` is `at_once`, `per_period`, `reason` or `seen`, with which it raises `ChangedSince`. A dry run changes nothing."""
        return self._post(f"{_limit(namespace, name)}/change", given, query={"step": step, "dry_run": "true" if dry_run else None})

    def reset_limit(self, namespace: str, name: str, step: str | None = None, *, reason: str | None = None) -> dict[str, Any]:
        """The limit is as its definition declares it."""
        return self._post(f"{_limit(namespace, name)}/reset", {"reason": reason}, query={"step": step})

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        raise NotImplementedError

    def _post(self, path: str, body: Mapping[str, Any], *, query: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        raise NotImplementedError

    def _put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def _send(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, **options: Any) -> Any:
        raise NotImplementedError

    def _told(self, response: Any) -> dict[str, Any]:
        raise NotImplementedError


def _limit(namespace: str, name: str) -> str:
    return f"/limits/{quote(namespace, safe='')}/{quote(name, safe='')}"
