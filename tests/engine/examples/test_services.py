"""The accounts service as any client sees it: real HTTP on a real port."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.examples.services import Failures, Services, start_services

JANE = {"email": "Jane@Example.com", "name": "Jane Smith", "plan": "pro"}


def send(service: Services, method: str, path: str, body: Any = None, *, key: str = "", **options: Any) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=10) as client:
        return client.request(method, service.url + path, json=body, headers={"Idempotency-Key": key} if key else {}, **options)


def a_user(service: Services) -> int:
    user_id: int = send(service, "POST", "/users", JANE).json()["user_id"]
    return user_id


def test_a_user_is_created_once(service: Services) -> None:
    first = send(service, "POST", "/users", JANE)
    assert (first.status_code, first.json()["email"], first.json()["status"]) == (201, "jane@example.com", "created")
    assert send(service, "POST", "/users", JANE).status_code == 409


def test_the_same_key_gets_the_same_answer(service: Services) -> None:
    first, second = (send(service, "POST", "/users", JANE, key="task:create") for _ in range(2))
    assert (second.status_code, second.json()) == (201, first.json())


def test_a_refusal_is_not_kept_for_its_key(service: Services) -> None:
    assert send(service, "POST", "/preferences", {"user_id": 1}, key="task:prefs").status_code == 404
    a_user(service)
    assert send(service, "POST", "/preferences", {"user_id": 1}, key="task:prefs").status_code == 201


def test_a_user_is_found_by_email_in_any_case(service: Services) -> None:
    user_id = a_user(service)
    assert send(service, "GET", "/users", params={"email": "JANE@example.COM"}).json()["user_id"] == user_id
    assert send(service, "GET", "/users", params={"email": "nobody@example.com"}).status_code == 404


def test_a_user_is_activated(service: Services) -> None:
    assert send(service, "PATCH", f"/users/{a_user(service)}", {"status": "active"}).json()["status"] == "active"
    assert send(service, "PATCH", "/users/999", {"status": "active"}).status_code == 404


def test_a_paid_plan_needs_a_payment_method(service: Services) -> None:
    user_id = a_user(service)
    assert send(service, "POST", "/billing_profiles", {"user_id": user_id, "plan": "pro"}).status_code == 402
    paid = {"user_id": user_id, "plan": "pro", "payment_method": "credit_card"}
    assert send(service, "POST", "/billing_profiles", paid).json()["plan"] == "pro"
    assert send(service, "POST", "/billing_profiles", paid).status_code == 409


def test_a_user_gets_ten_welcomes_a_minute(service: Services) -> None:
    user_id = a_user(service)
    answers = [send(service, "POST", "/welcome_sequences", {"user_id": user_id, "plan": "free"}) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [201] * 10 + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert len({answer.json()["sequence_id"] for answer in answers[:10]}) == 10


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/users", {"name": "No Email"}, 422),
        ("POST", "/users", ["no", "object"], 400),
        ("GET", "/elsewhere", None, 404),
        ("POST", "/users/1", {}, 404),
        ("POST", "/billing_profiles", {"user_id": "1 or 1=1"}, 404),
        ("POST", "/users", {"email": "a@b.c", "name": "x" * 70_000}, 400),
    ],
)
def test_bad_requests_are_refused(service: Services, method: str, path: str, body: Any, status: int) -> None:
    answer = send(service, method, path, body)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_requests_at_the_same_time_create_one_user(service: Services) -> None:
    """Forbids: several requests look for the email, none finds it, all insert."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(service, "POST", "/users", JANE).status_code, range(16)))
    assert Counter(answers) == {201: 1, 409: 15}


def test_the_records_outlive_the_service(tmp_path: Path) -> None:
    with start_services(failure_rate=0, folder=tmp_path) as first:
        user_id = a_user(first)
    with start_services(failure_rate=0, folder=tmp_path) as second:
        assert send(second, "GET", "/users", params={"email": "jane@example.com"}).json()["user_id"] == user_id


def test_a_stopped_service_does_not_answer(tmp_path: Path) -> None:
    running = start_services(folder=tmp_path)
    running.stop()
    with pytest.raises(httpx.ConnectError):
        send(running, "GET", "/users")


# Failures


def test_failures_come_now_and_then_and_the_same_way_for_the_same_seed() -> None:
    one, other = (Failures(seed=3, rate=0.25) for _ in range(2))
    struck = [one.strike(f"key-{number}") for number in range(400)]
    assert struck == [other.strike(f"key-{number}") for number in range(400)]
    assert set(struck) == {None, 429, 500, 503}
    assert 60 < sum(status is not None for status in struck) < 140


def test_a_key_fails_once_at_most() -> None:
    failures = Failures(seed=3, rate=1.0)
    assert failures.strike("key") is not None
    assert [failures.strike("key") for _ in range(20)] == [None] * 20


def test_a_request_without_a_key_never_fails() -> None:
    failures = Failures(seed=3, rate=1.0)
    assert failures.strike("") is None


def test_what_was_done_before_a_500_is_not_done_again(tmp_path: Path) -> None:
    """Forbids: the work is done, the answer is lost, and the repetition finds a conflict with itself."""
    with start_services(seed=_seed_for(500), failure_rate=1.0, folder=tmp_path) as running:
        assert send(running, "POST", "/users", JANE, key="task:create").status_code == 500
        assert send(running, "POST", "/users", JANE, key="task:create").status_code == 201


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_says_when_to_come_back(tmp_path: Path, status: int) -> None:
    with start_services(seed=_seed_for(status), failure_rate=1.0, folder=tmp_path) as running:
        refused = send(running, "POST", "/users", JANE, key="task:create")
        assert (refused.status_code, refused.headers["Retry-After"]) == (status, "1")
        assert send(running, "GET", "/users", params={"email": "jane@example.com"}).status_code == 404


def _seed_for(status: int) -> int:
    return next(seed for seed in range(1000) if Failures(seed=seed, rate=1.0).strike("any") == status)
