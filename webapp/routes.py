"""What each route of the dashboard asks for, in one table; `webapp.access` holds every request to it, and a route without an entry is closed."""

from __future__ import annotations

from collections.abc import Mapping

PUBLIC = "public"
"""For everybody: it shows nothing of anybody's."""
SIGNED_IN = "signed in"
"""For whoever is signed in: it is about their own account, or asks for its rights itself."""
LOOPBACK = "loopback"
"""For callers on this machine, and for tokens with the right to see metrics."""

Rule = str | Mapping[str, str]
"""One of the words above, a permission, or a permission for each `noun` of an address."""

_TASK = {"retry": "tasker.task:retry", "cancellation": "tasker.task:cancel", "pause": "tasker.task:update", "resumption": "tasker.task:update"}
_STEP = {
    "retry": "tasker.step:retry",
    "downstream-retry": "tasker.step:retry",
    "cancellation": "tasker.step:cancel",
    "skip": "tasker.step:update",
    "resolution": "tasker.step:update",
}

ROUTES: dict[str, Rule] = {
    "static": PUBLIC,
    "health.live": PUBLIC,
    "health.ready": PUBLIC,
    "health.status": LOOPBACK,
    "metrics.index": LOOPBACK,
    "appearance.choose": PUBLIC,
    "patterns.index": SIGNED_IN,
    "signing_in.form": PUBLIC,
    "signing_in.sign_in": PUBLIC,
    "signing_in.second_factor": PUBLIC,
    "signing_in.give_second_factor": PUBLIC,
    "signing_in.link": PUBLIC,
    "signing_in.use_link": PUBLIC,
    "signing_in.elsewhere": PUBLIC,
    "signing_in.back_from_elsewhere": PUBLIC,
    "signing_in.sign_out": SIGNED_IN,
    **dict.fromkeys(
        (
            "settings.index",
            "settings.password",
            "settings.second_factor",
            "settings.no_second_factor",
            "settings.end_session",
            "settings.make_token",
            "settings.revoke_token",
        ),
        SIGNED_IN,
    ),
    "settings.list_accounts": "tasker.account:index",
    "settings.create_account": "tasker.account:create",
    "settings.make_link": "tasker.account:update",
    "settings.disable": "tasker.account:update",
    "settings.enable": "tasker.account:update",
    "settings.grant": "tasker.account:update",
    "settings.revoke": "tasker.account:update",
    "auditing.index": "tasker.audit:index",
    "auditing.download": "tasker.audit:index",
    "overview.index": "tasker.task:index",
    "workflows.index": "tasker.workflow:index",
    "workflows.namespace": "tasker.workflow:show",
    "workflows.show": "tasker.workflow:show",
    "workflows.diff": "tasker.workflow:show",
    "workflows.version": "tasker.workflow:show",
    "launches.form": "tasker.task:create",
    "launches.launch": "tasker.task:create",
    "tasks.index": "tasker.task:index",
    "tasks.show": "tasker.task:show",
    "tasks.report": "tasker.task:show",
    "tasks.context": "tasker.task:show",
    "tasks.timeline": "tasker.task:show",
    "tasks.retry": _TASK["retry"],
    "tasks.cancellation": _TASK["cancellation"],
    "tasks.pause": _TASK["pause"],
    "tasks.resumption": _TASK["resumption"],
    "tasks.note": "tasker.task:update",
    "steps.show": "tasker.step:show",
    "steps.result": "tasker.step:show",
    "steps.log": "tasker.step:show",
    "steps.retry": _STEP["retry"],
    "steps.preview_downstream_retry": _STEP["downstream-retry"],
    "steps.downstream_retry": _STEP["downstream-retry"],
    "steps.cancellation": _STEP["cancellation"],
    "steps.skip": _STEP["skip"],
    "steps.resolution": _STEP["resolution"],
    "previews.of_task": _TASK,
    "previews.of_step": _STEP,
    "waiting.index": "tasker.step:index",
    "schedules.index": "tasker.schedule:index",
    "schedules.pause": "tasker.schedule:update",
    "schedules.resumption": "tasker.schedule:update",
    "schedules.run": "tasker.schedule:update",
    "engines.index": "tasker.metrics:index",
    "search.index": "tasker.task:show",
    "analytics.index": "tasker.analytics:index",
    "analytics.bottlenecks": "tasker.analytics:index",
    "live.live": "tasker.event:index",
    "api_reference.openapi": PUBLIC,
    "api_reference.docs": PUBLIC,
    "api_tasks.create": "tasker.task:create",
    "api_tasks.create_batch": "tasker.task:create",
    "api_tasks.index": "tasker.task:index",
    "api_tasks.show": "tasker.task:show",
    "api_tasks.steps": "tasker.step:index",
    "api_tasks.step": "tasker.step:show",
    "api_tasks.log": "tasker.step:show",
    "api_tasks.step_log": "tasker.step:show",
    **{f"api_actions.task_{noun.replace('-', '_')}": permission for noun, permission in _TASK.items()},
    **{f"api_actions.step_{noun.replace('-', '_')}": permission for noun, permission in _STEP.items()},
    "api_workflows.namespaces": "tasker.workflow:index",
    "api_workflows.index": "tasker.workflow:index",
    "api_workflows.of_namespace": "tasker.workflow:show",
    "api_workflows.latest": "tasker.workflow:show",
    "api_workflows.show": "tasker.workflow:show",
    "api_schedules.index": "tasker.schedule:index",
    "api_schedules.create": "tasker.schedule:create",
    "api_schedules.show": "tasker.schedule:show",
    "api_schedules.remove": "tasker.schedule:destroy",
    "api_schedules.pause": "tasker.schedule:update",
    "api_schedules.resumption": "tasker.schedule:update",
    "api_schedules.run": "tasker.schedule:update",
    "api_engines.index": "tasker.metrics:index",
    "api_events.index": "tasker.event:index",
    "api_search.index": "tasker.task:show",
    "api_analytics.performance": "tasker.analytics:index",
    "api_analytics.bottlenecks": "tasker.analytics:index",
}


def rule_of(endpoint: str, arguments: Mapping[str, object]) -> str | None:
    """What a request to this endpoint with these parts of its address asks for; None for one that is not in the table."""
    rule = ROUTES.get(endpoint)
    return rule if rule is None or isinstance(rule, str) else rule.get(str(arguments.get("noun")))
