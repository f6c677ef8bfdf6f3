"""The steps of `user_registration` against the real service."""

from collections.abc import Callable
from typing import Any

import pytest

from engine import PermanentError, TaskRequest
from engine.binding import bindings
from engine.errors import RequestError
from engine.examples.accounts import user_registration as steps
from engine.examples.services import Services
from engine.requests import checked_context
from engine.testing import run_step

Answering = Callable[..., list[dict[str, str]]]
JANE: dict[str, Any] = {
    "user_info": {"email": "newuser@example.com", "name": "Jane Smith", "plan": "pro"},
    "billing_info": {"payment_method": "credit_card"},
    "preferences": {"newsletter": True},
}
DEFINITION = steps.registration.definition


def registered(context: dict[str, Any] = JANE) -> dict[str, Any]:
    return run_step(steps.create_user_account, context)  # type: ignore[no-any-return]


def permanent(handler: Any, code: str, **given: Any) -> None:
    with pytest.raises(PermanentError) as raised:
        run_step(handler, **given)
    assert raised.value.error_code == code


# The definition


def test_billing_and_preferences_run_side_by_side() -> None:
    assert [(step.name, step.depends_on, step.retry_limit) for step in DEFINITION.steps] == [
        ("create_user_account", (), 3),
        ("setup_billing_profile", ("create_user_account",), 3),
        ("initialize_preferences", ("create_user_account",), 3),
        ("send_welcome_sequence", ("setup_billing_profile", "initialize_preferences"), 5),
        ("update_user_status", ("send_welcome_sequence",), 2),
    ]
    assert all(binding.run and binding.template.description for binding in bindings(DEFINITION))


def test_left_out_choices_have_defaults() -> None:
    request = TaskRequest("user_registration", context={"user_info": {"email": "a@example.com", "name": "A"}, "preferences": {}})
    stored = checked_context(request, DEFINITION.schema)
    assert (stored["user_info"]["plan"], stored["user_info"]["source"]) == ("free", "web")
    assert stored["preferences"] == {"marketing_emails": False, "product_updates": False, "newsletter": False}


@pytest.mark.parametrize("user", [{"name": "A"}, {"email": "a@example.com", "name": ""}, {"email": "nobody", "name": "A"}])
def test_a_registration_needs_email_and_name(user: dict[str, str]) -> None:
    with pytest.raises(RequestError):
        checked_context(TaskRequest("user_registration", context={"user_info": user}), DEFINITION.schema)


# create_user_account


@pytest.mark.usefixtures("service")
def test_an_account_is_opened() -> None:
    result = registered()
    assert (result["user_id"], result["email"], result["status"]) == (1, "newuser@example.com", "created")
    assert result["service_response_time"] > 0
    assert result["correlation_id"].startswith("reg_")


@pytest.mark.usefixtures("service", "same_task")
def test_a_second_attempt_opens_no_second_account() -> None:
    assert registered()["status"] == registered()["status"] == "created"


@pytest.mark.usefixtures("service")
def test_the_same_person_again_finds_the_account() -> None:
    first, second = registered(), registered()
    assert (second["user_id"], second["status"]) == (first["user_id"], "already_exists")


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("change", [{"name": "Janet Smith"}, {"plan": "free"}])
def test_another_person_cannot_have_the_same_email(change: dict[str, str]) -> None:
    registered()
    permanent(steps.create_user_account, "USER_CONFLICT", context={"user_info": {**JANE["user_info"], **change}})


@pytest.mark.parametrize(("missing", "code"), [("email", "MISSING_EMAIL"), ("name", "MISSING_NAME")])
def test_an_account_needs_email_and_name(missing: str, code: str) -> None:
    permanent(steps.create_user_account, code, context={"user_info": {**JANE["user_info"], missing: ""}})


@pytest.mark.parametrize(
    ("reply", "code"), [({"email": "a@b.c"}, "MISSING_USER_ID_IN_RESPONSE"), ({"user_id": 1}, "MISSING_EMAIL_IN_RESPONSE")]
)
def test_an_account_without_what_others_need_ends_the_step(answering: Answering, reply: dict[str, Any], code: str) -> None:
    answering(201, reply)
    permanent(steps.create_user_account, code, context=JANE)


@pytest.mark.usefixtures("service")
def test_a_correlation_id_is_kept() -> None:
    assert registered({**JANE, "correlation_id": "mine"})["correlation_id"] == "mine"
    assert run_step(steps.create_user_account, JANE, correlation_id="req_1")["correlation_id"] == "req_1"


# setup_billing_profile


@pytest.mark.usefixtures("service")
def test_billing_is_set_up_once() -> None:
    account = {"create_user_account": registered()}
    first = run_step(steps.setup_billing_profile, JANE, account)
    assert (first["plan"], first["status"]) == ("pro", "created")
    second = run_step(steps.setup_billing_profile, JANE, account)
    assert (second["profile_id"], second["status"]) == ("existing_profile_1", "already_exists")


@pytest.mark.usefixtures("service")
def test_a_paid_plan_without_payment_is_noted_and_goes_on() -> None:
    result = run_step(steps.setup_billing_profile, {"user_info": JANE["user_info"]}, {"create_user_account": registered()})
    assert (result["status"], result["error_code"]) == ("error", "PAYMENT_REQUIRED")


@pytest.mark.parametrize(("reply", "code"), [({"plan": "pro"}, "MISSING_PROFILE_ID_IN_RESPONSE"), ({"profile_id": "b"}, "MISSING_PLAN_IN_RESPONSE")])
def test_a_profile_without_what_others_need_ends_the_step(answering: Answering, reply: dict[str, Any], code: str) -> None:
    answering(201, reply)
    permanent(steps.setup_billing_profile, code, context=JANE, results={"create_user_account": {"user_id": 1}})


# initialize_preferences


@pytest.mark.usefixtures("service")
def test_preferences_are_stored_once() -> None:
    account = {"create_user_account": registered()}
    first = run_step(steps.initialize_preferences, JANE, account)
    assert first["status"] == "created"
    assert first["preferences"] == {
        "marketing_emails": False,
        "product_updates": False,
        "newsletter_frequency": "weekly",
        "theme": "light",
        "language": "en",
        "timezone": "UTC",
    }
    assert run_step(steps.initialize_preferences, JANE, account)["preferences_id"] == "existing_prefs_1"


@pytest.mark.parametrize(
    ("reply", "code"), [({"preferences": {"a": 1}}, "MISSING_PREFERENCES_ID"), ({"preferences_id": "p"}, "MISSING_PREFERENCES_DATA")]
)
def test_preferences_without_what_others_need_end_the_step(answering: Answering, reply: dict[str, Any], code: str) -> None:
    answering(201, reply)
    permanent(steps.initialize_preferences, code, context=JANE, results={"create_user_account": {"user_id": 1}})


# send_welcome_sequence, update_user_status


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(("plan", "mails"), [("free", 2), ("pro", 3), ("enterprise", 4)])
def test_the_welcome_fits_the_plan(plan: str, mails: int) -> None:
    account = registered()
    result = run_step(
        steps.send_welcome_sequence, JANE, {"create_user_account": account, "setup_billing_profile": {"plan": plan, "status": "created"}}
    )
    assert (result["plan"], result["emails_sent"], len(result["email_ids"])) == (plan, mails, mails)


@pytest.mark.usefixtures("service", "same_task")
def test_a_second_attempt_welcomes_nobody_twice() -> None:
    results = {"create_user_account": registered(), "setup_billing_profile": None}
    first, second = (run_step(steps.send_welcome_sequence, JANE, results) for _ in range(2))
    assert first == second


def test_a_user_is_marked_as_registered(service: Services) -> None:
    results = {
        "create_user_account": registered(),
        "setup_billing_profile": {"status": "created"},
        "initialize_preferences": None,
        "send_welcome_sequence": {"status": "sent"},
    }
    result = run_step(steps.update_user_status, JANE, results)
    assert result["registration_complete"] is True
    assert result["step_details"] == {
        "create_user_account": "created",
        "setup_billing_profile": "created",
        "initialize_preferences": "skipped",
        "send_welcome_sequence": "sent",
    }


@pytest.mark.usefixtures("service")
def test_a_user_that_is_gone_ends_the_step() -> None:
    results = {
        "create_user_account": {"user_id": 99},
        "setup_billing_profile": None,
        "initialize_preferences": None,
        "send_welcome_sequence": None,
    }
    permanent(steps.update_user_status, "USER_NOT_FOUND", context=JANE, results=results)


@pytest.mark.parametrize(
    ("step", "others"),
    [
        (steps.setup_billing_profile, ()),
        (steps.initialize_preferences, ()),
        (steps.send_welcome_sequence, ("setup_billing_profile",)),
        (steps.update_user_status, ("setup_billing_profile", "initialize_preferences", "send_welcome_sequence")),
    ],
)
def test_every_later_step_needs_the_account(step: Any, others: tuple[str, ...]) -> None:
    permanent(step, "MISSING_USER_ID", context=JANE, results={"create_user_account": None, **dict.fromkeys(others)})
