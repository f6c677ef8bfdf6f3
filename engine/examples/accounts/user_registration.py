"""`accounts/user_registration` 1.0.0 in the decorator form: five steps, each one request to the accounts service.

A parameter named after an earlier step receives that step's result. The service fails now and then; retries carry on from there.
"""

import hashlib
import time
from typing import Any

from engine import PermanentError, Workflow
from engine.examples import clock
from engine.examples.accounts.api import call
from engine.handlers import Task

PAID_PLAN_UNPAID = 402
NOT_FOUND = 404
WELCOME_LIMIT_SECONDS = 30.0
QUICK = {"base": 0.3, "multiplier": 2.0, "cap": 5.0, "jitter": 0.1}

FEATURES = {
    "free": ("basic_features", "community_support"),
    "pro": ("analytics", "priority_support", "integrations"),
    "enterprise": ("advanced_analytics", "priority_support", "custom_integrations", "dedicated_account_manager"),
}
ONBOARDING = ("complete_profile", "verify_email", "tour_dashboard")
MORE_ONBOARDING = {
    "free": ("upgrade_prompt",),
    "pro": ("setup_integrations", "configure_analytics"),
    "enterprise": ("schedule_onboarding_call", "setup_sso", "configure_integrations"),
}

SCHEMA = {
    "type": "object",
    "required": ["user_info"],
    "properties": {
        "user_info": {
            "type": "object",
            "title": "User",
            "required": ["email", "name"],
            "properties": {
                "email": {"type": "string", "format": "email", "title": "Email"},
                "name": {"type": "string", "minLength": 1, "title": "Full name"},
                "phone": {"type": "string", "title": "Phone"},
                "plan": {"type": "string", "enum": list(FEATURES), "default": "free", "title": "Plan"},
                "referral_code": {"type": "string", "title": "Referral code"},
                "company": {"type": "string", "title": "Company"},
                "source": {"type": "string", "enum": ["web", "mobile", "api"], "default": "web", "title": "Signed up through"},
            },
        },
        "billing_info": {
            "type": "object",
            "title": "Billing",
            "properties": {
                "payment_method": {"type": "string", "title": "Payment method", "description": "Needed for the paid plans."},
                "billing_address": {
                    "type": "object",
                    "title": "Billing address",
                    "properties": {
                        "street": {"type": "string", "title": "Street"},
                        "city": {"type": "string", "title": "City"},
                        "state": {"type": "string", "title": "State"},
                        "zip": {"type": "string", "title": "ZIP code"},
                    },
                },
            },
        },
        "preferences": {
            "type": "object",
            "title": "Preferences",
            "properties": {
                "marketing_emails": {"type": "boolean", "default": False, "title": "Marketing mails"},
                "product_updates": {"type": "boolean", "default": False, "title": "Product updates"},
                "newsletter": {"type": "boolean", "default": False, "title": "Weekly newsletter"},
                "timezone": {"type": "string", "title": "Time zone", "description": "For example Europe/Berlin; UTC if left empty."},
            },
        },
        "correlation_id": {"type": "string", "title": "Correlation id"},
    },
}

registration = Workflow(
    "user_registration",
    namespace="accounts",
    version="1.0.0",
    description="Registers a new user: opens the account, sets up billing and preferences side by side, sends the welcome mails "
    "and activates the user. Each step asks the accounts service over HTTP and tries again when the service is busy.",
    schema=SCHEMA,
)

Result = dict[str, Any]


@registration.step(retry_limit=3, backoff=QUICK)
def create_user_account(task: Task) -> Result:
    """Opens the account.

    An account that exists already with the same data counts as opened; with other data the registration stops,
    because two people cannot share one email address.
    """
    wanted = _wanted_user(task)
    correlation_id = _correlation_id(task)
    answer = call("POST", "/users", key=f"{task.task_id}:create_user_account", correlation_id=correlation_id, body=wanted)
    user = _registered_already(wanted, task, correlation_id) if answer.conflict else answer.body
    return {
        "user_id": _required(user, "user_id", "MISSING_USER_ID_IN_RESPONSE"),
        "email": _required(user, "email", "MISSING_EMAIL_IN_RESPONSE"),
        "plan": wanted["plan"],
        "created_at": user.get("created_at"),
        "correlation_id": correlation_id,
        "service_response_time": round(answer.seconds, 4),
        "status": "already_exists" if answer.conflict else "created",
    }


@registration.step(depends_on_step="create_user_account", retry_limit=3, backoff=QUICK)
def setup_billing_profile(task: Task, create_user_account: Result) -> Result:
    """Sets up billing for the chosen plan.

    A paid plan without a payment method is noted for the sales team and does not stop the registration.
    """
    user_id, plan = _user_id(create_user_account), _user_info(task).get("plan", "free")
    billing = task.context.get("billing_info") or {}
    answer = call(
        "POST",
        "/billing_profiles",
        key=f"{task.task_id}:setup_billing_profile",
        correlation_id=create_user_account.get("correlation_id", ""),
        body={"user_id": user_id, "plan": plan, **billing},
        accepted=(PAID_PLAN_UNPAID,),
    )
    if answer.status == PAID_PLAN_UNPAID:
        return {"user_id": user_id, "plan": plan, "status": "error", "error": answer.body.get("error"), "error_code": "PAYMENT_REQUIRED"}
    if answer.conflict:
        return {"profile_id": f"existing_profile_{user_id}", "user_id": user_id, "plan": plan, "status": "already_exists"}
    return {
        "profile_id": _required(answer.body, "profile_id", "MISSING_PROFILE_ID_IN_RESPONSE"),
        "user_id": user_id,
        "plan": _required(answer.body, "plan", "MISSING_PLAN_IN_RESPONSE"),
        "status": "created",
    }


@registration.step(depends_on_step="create_user_account", retry_limit=3, backoff=QUICK)
def initialize_preferences(task: Task, create_user_account: Result) -> Result:
    """Stores what the user wants to hear about, and sensible settings for the rest: light theme, English, UTC."""
    user_id = _user_id(create_user_account)
    answer = call(
        "POST",
        "/preferences",
        key=f"{task.task_id}:initialize_preferences",
        correlation_id=create_user_account.get("correlation_id", ""),
        body={"user_id": user_id, "preferences": _preferences(task)},
    )
    if answer.conflict:
        return {"preferences_id": f"existing_prefs_{user_id}", "user_id": user_id, "status": "already_exists"}
    return {
        "preferences_id": _required(answer.body, "preferences_id", "MISSING_PREFERENCES_ID"),
        "preferences": _required(answer.body, "preferences", "MISSING_PREFERENCES_DATA"),
        "user_id": user_id,
        "status": "created",
    }


@registration.step(depends_on_step=["setup_billing_profile", "initialize_preferences"], retry_limit=5, backoff=QUICK)
def send_welcome_sequence(task: Task, create_user_account: Result, setup_billing_profile: Result) -> Result:
    """Sends the welcome mails that fit the plan.

    The service sends a user ten sequences a minute at most; beyond that the step waits.
    """
    user_id = _user_id(create_user_account)
    plan = (setup_billing_profile or {}).get("plan") or _user_info(task).get("plan") or "free"
    answer = call(
        "POST",
        "/welcome_sequences",
        key=f"{task.task_id}:send_welcome_sequence",
        correlation_id=create_user_account.get("correlation_id", ""),
        body={
            "user_id": user_id,
            "plan": plan,
            "features": list(FEATURES[plan]),
            "onboarding_steps": [*ONBOARDING, *MORE_ONBOARDING[plan]],
        },
        rate_limit_seconds=WELCOME_LIMIT_SECONDS,
    )
    return {"plan": plan, "status": "sent", **{part: answer.body.get(part) for part in ("sequence_id", "emails_sent", "email_ids")}}


@registration.step(depends_on_step="send_welcome_sequence", retry_limit=2, backoff=QUICK)
def update_user_status(
    task: Task, create_user_account: Result, setup_billing_profile: Result, initialize_preferences: Result, send_welcome_sequence: Result
) -> Result:
    """Marks the user as registered and lists what was done."""
    done = {
        "create_user_account": create_user_account,
        "setup_billing_profile": setup_billing_profile,
        "initialize_preferences": initialize_preferences,
        "send_welcome_sequence": send_welcome_sequence,
    }
    user_id = _user_id(create_user_account)
    _activate(task, user_id, create_user_account.get("correlation_id", ""))
    return {
        "registration_complete": True,
        "user_id": user_id,
        "status": "registration_complete",
        "plan_type": _user_info(task).get("plan") or "free",
        "registration_source": _user_info(task).get("source", "web"),
        "completed_steps": list(done),
        "step_details": {name: (result or {}).get("status", "skipped") for name, result in done.items()},
        "completed_at": clock.now(),
    }


def _activate(task: Task, user_id: Any, correlation_id: str) -> None:
    answer = call(
        "PATCH",
        f"/users/{user_id}",
        key=f"{task.task_id}:update_user_status",
        correlation_id=correlation_id,
        body={"status": "registration_complete"},
        accepted=(NOT_FOUND,),
    )
    if answer.status == NOT_FOUND:
        raise PermanentError(f"The accounts service does not know user {user_id}.", error_code="USER_NOT_FOUND")


def _registered_already(wanted: Result, task: Task, correlation_id: str) -> Result:
    """The user that has this email, if it is the same person; else the registration cannot go on."""
    key = f"{task.task_id}:create_user_account"
    found = call("GET", "/users", key=key, correlation_id=correlation_id, query={"email": wanted["email"]}).body
    different = [part for part in ("email", "name", "plan") if found.get(part) != wanted[part]]
    if different:
        raise PermanentError(f"{wanted['email']} is registered already, with another {' and '.join(different)}.", error_code="USER_CONFLICT")
    return found


def _wanted_user(task: Task) -> Result:
    info = _user_info(task)
    optional = {part: info[part] for part in ("phone", "referral_code", "company") if info.get(part)}
    return {
        "email": _required(info, "email", "MISSING_EMAIL").lower(),
        "name": _required(info, "name", "MISSING_NAME"),
        "plan": info.get("plan") or "free",
        "source": info.get("source") or "web",
        **optional,
    }


def _preferences(task: Task) -> Result:
    chosen = task.context.get("preferences") or {}
    return {
        "marketing_emails": bool(chosen.get("marketing_emails")),
        "product_updates": bool(chosen.get("product_updates")),
        "newsletter_frequency": "weekly" if chosen.get("newsletter") else "never",
        "theme": "light",
        "language": "en",
        "timezone": chosen.get("timezone") or "UTC",
    }


def _user_info(task: Task) -> Result:
    return task.context.get("user_info") or {}


def _user_id(account: Result | None) -> Any:
    return _required(account or {}, "user_id", "MISSING_USER_ID")


def _correlation_id(task: Task) -> str:
    digest = hashlib.sha256(task.task_id.encode()).hexdigest()[:8]
    return task.context.get("correlation_id") or task.correlation_id or f"reg_{int(time.time())}_{digest}"


def _required(values: Result, name: str, error_code: str) -> Any:
    """`values[name]`, which must be there and not empty."""
    if values.get(name) in (None, "", {}):
        raise PermanentError(f"{name.replace('_', ' ').capitalize()} is missing.", error_code=error_code)
    return values[name]
