"""Every page passes axe in light and dark, fits a phone, and can be walked with the keyboard."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

pytest.importorskip("playwright.sync_api")

from engine import batches, queries, rollups, tasks
from engine.access import accounts
from engine.db import Database
from engine.finding import failures, views
from engine.handlers import Workflow
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest
from engine.schedules import add_schedule, run_schedule
from engine.timing import cron

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
LAUNCH = "/workflows/shop/process_order/1.0.0/launch"
ERROR = '[{"type": "PermanentError", "message": "the gateway is down", "traceback": "line 1", "retryable": false}]'


@pytest.fixture
def failed_task(db: Database, conn: psycopg.Connection[Any], registry: HandlerRegistry) -> str:
    """A task with a completed, a failed, a running and a pending step."""
    known = [tasks.register_definition(db, definition) for definition in registry.definitions()]
    task_id = tasks.submit(
        db, TaskRequest("process_order", "shop", context={"order_id": 1}, tags=("vip",), initiator="ana")
    )
    found = conn.execute(
        "select tasker_register_worker('one', 'threads', 4, %s, interval '1 hour', true)", [known]
    ).fetchone()
    task_no = conn.execute("select task_no from tasker_task").fetchone()
    assert found
    assert task_no
    conn.execute("select * from tasker_claim_steps(%s, 1, 9, %s)", [found[0], known])
    conn.execute("select * from tasker_complete_batch(%s, 2, %s, '{0}', '{1}', '[{}]', 9)", [found[0], [task_no[0]]])
    conn.execute("select tasker_fail_steps(%s, %s, '{1}', '{1}', %s)", [found[0], [task_no[0]], ERROR])
    lines = '[[1, 0, 20, "asks the gateway", {"amount": 40}], [1, 0, 40, "no answer", null]]'
    keep = "select tasker_keep_journal(%s, 1, %s, '{1,2}', '{1,1}', %s::jsonb, '[[2, 0, 1200, 5000, \"page 3\"]]')"
    conn.execute(keep.encode(), [found[0], [task_no[0], task_no[0]], lines])
    assert {step.state for step in queries.task(db, task_id).steps} == {"completed", "failed", "running", "pending"}
    return task_id


@pytest.fixture
def paths(failed_task: str, db: Database) -> list[str]:
    other = Workflow("process_order", namespace="shop", version="2.0.0", description="From payment to courier.")
    other.step(name="validate")(lambda task: None)
    other.step(name="ship", depends_on_step="validate", retry_limit=7)(lambda task: None)
    tasks.register_definition(db, other.definition)
    schedule = add_schedule(db, cron("30 2 * * *"), name="process_order", namespace="shop", context={"order_id": 1})
    run_schedule(db, schedule.schedule_id, actor="ana")
    return [
        "/",
        "/tasks",
        "/tasks?state=sleeping&context=nonsense&created_from=soon&namespace=nowhere",
        "/steps",
        f"/tasks/{failed_task}",
        f"/tasks/{failed_task}/timeline",
        f"/tasks/{failed_task}/steps/charge",
        f"/tasks/{failed_task}/steps/charge/preview/resolution",
        "/workflows",
        "/workflows/shop/process_order",
        "/workflows/shop/process_order/1.0.0",
        "/workflows/shop/process_order/diff",
        LAUNCH,
        "/schedules",
        "/engines",
        "/limits",
        "/analytics?period=hour",
        "/analytics/bottlenecks?namespace=shop&name=process_order",
        "/settings",
        "/settings/accounts",
        "/audit",
    ]


@pytest.fixture
def variants(failed_task: str) -> list[str]:
    """What differs little from one of those."""
    return [
        "/tasks?state=failed&cursor=nonsense",
        "/tasks?stuck=any",
        "/steps?queue=ready",
        f"/tasks/{failed_task}/steps/charge/log",
        f"/tasks/{failed_task}/steps/pack",
        f"/tasks/{failed_task}/steps/validate",
        f"/tasks/{failed_task}/preview/cancellation",
        "/workflows/shop",
        f"{LAUNCH}?mode=json",
        "/search?q=process",
    ]


ALL: dict[str, Any] = {"resultTypes": ["violations"]}
COLOURS: dict[str, Any] = ALL | {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""All in which one theme differs from the other."""


def violations(page: Any, impacts: tuple[str, ...] = ("moderate", "serious", "critical"), rules: dict[str, Any] = ALL) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found = page.evaluate("rules => axe.run(rules)", rules)["violations"]
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in impacts
    ]


@pytest.mark.long
def test_no_page_has_a_violation_in_light_or_dark_or_scrolls_sideways(page: Any, paths: list[str]) -> None:
    assert not problems_of(page, paths)


@pytest.mark.nightly
def test_no_variant_of_a_page_has_a_violation_in_light_or_dark_or_scrolls_sideways(page: Any, variants: list[str]) -> None:
    assert not problems_of(page, variants)


def test_views_keys_and_files_have_no_violation_in_light_or_dark_and_do_not_scroll_sideways(page: Any, failed_task: str, db: Database) -> None:
    owner = accounts.create_account(db, "ben", role="admin", actor="tests")
    kept = views.keep_view(db, "Failed orders", {"state": "failed"}, namespace="shop", owner_id=owner, alert=views.Alert(0, email="ops@example.com"))
    views.watch(db, threading.Event())
    assert not problems_of(page, ["/palette?q=process", f"{LAUNCH}/rows", f"/views/{kept}"])
    page.keyboard.press("Control+k")
    page.locator("#palette-lines [role=option]").first.wait_for()
    assert not violations(page)


@pytest.mark.nightly
def test_what_one_works_off_a_night_with_has_no_violation_in_light_or_dark_and_does_not_scroll_sideways(page: Any, failed_task: str, db: Database) -> None:
    other = tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 2}))
    [group] = failures.failure_groups(db)
    failures.keep_note(db, group, failures.FailureNote("payments", "the gateway", "https://wiki.example/gateway"), actor="ana")
    begun = batches.make_batch(db, "retry", [(failed_task, "charge"), (other, "charge")], about="what failed tonight", actor="ana", reason="the gateway is back")
    views.keep_view(db, "Charges", {"step": "charge"}, kind=views.FAILURES, namespace="shop", owner_id=accounts.create_account(db, "ben", role="admin", actor="tests"))
    assert not problems_of(page, [
        "/failures?step=charge",
        f"/failures/{group.key}",
        "/tasks?name=process_order",
        "/batches",
        f"/batches/{begun}",
        "/batches/new/step-resolution?name=process_order",
        f"/tasks/{failed_task}/compare",
        f"/tasks/{failed_task}/compare/{other}",
        f"/tasks/{failed_task}/replay",
        "/views",
    ])  # fmt: skip


def problems_of(page: Any, paths: list[str]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for path in paths:
        page.set_viewport_size({"width": 1440, "height": 844})
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        page.goto(path)
        found[path, "light"] = violations(page)
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        found[path, "dark"] = violations(page, rules=COLOURS)
        found[path, "width"] = [width for width in (1440, 1024, 768, 390) if too_wide(page, width)]
    return {path: problems for path, problems in found.items() if problems}


def too_wide(page: Any, width: int) -> bool:
    page.set_viewport_size({"width": width, "height": 844})
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def test_axe_sees_the_colours_of_the_dark_theme(page: Any, paths: list[str]) -> None:
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.goto(paths[0])
    page.evaluate("for (const one of document.querySelectorAll('.masthead a')) one.style.color = '#222'")
    found = violations(page, rules=COLOURS)
    assert found
    assert all(problem.startswith("color-contrast") for problem in found)


def test_the_way_in_has_no_violation_and_needs_no_script(chromium_browser: Any, site: str, db: Database) -> None:
    accounts.create_account(db, "ada", role="viewer", actor="tests", password="four grey horses")
    context = chromium_browser.new_context(base_url=site)
    page = context.new_page()
    page.goto("/tasks")
    assert not violations(page)
    context.close()
    scriptless = chromium_browser.new_context(base_url=site, java_script_enabled=False)
    page = scriptless.new_page()
    page.goto("/tasks")
    page.locator("input:focus").wait_for()
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type("four grey horses")
    page.keyboard.press("Enter")
    page.wait_for_url("**/tasks")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    scriptless.close()


def test_the_reference_of_the_api_has_no_violation_and_fits_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto("/api/docs")
    assert not violations(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("path", ["/nothing-here", "/workflows/shop/process_order/diff?from=9.9.9"])
def test_a_page_that_says_no_has_no_violation_either(browser: Any, site: str, paths: list[str], path: str) -> None:
    context = browser.new_context(base_url=site)
    page = context.new_page()
    page.goto(path)
    assert not violations(page)
    context.close()


def test_the_form_with_its_errors_has_no_violation(browser: Any, site: str, failed_task: str) -> None:
    context = browser.new_context(base_url=site)
    page = context.new_page()
    page.goto(LAUNCH)
    page.get_by_role("button", name="Launch", exact=True).click()
    page.locator("[aria-invalid=true]").first.wait_for()
    assert not violations(page)
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_component_has_a_serious_violation_in_any_state(page: Any, theme: str) -> None:
    # A region stands there more than once, so its landmarks do too.
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.goto("/patterns")
    assert not violations(page, ("serious", "critical"))
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


@pytest.mark.parametrize(("width", "menu", "most"), [(390, "nav.views", 1.5), (1200, ".masthead", 3)])
def test_a_menu_keeps_to_one_line_where_there_is_room(page: Any, failed_task: str, width: int, menu: str, most: float) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"/tasks/{failed_task}")
    lines = page.locator(menu).evaluate("one => one.clientHeight / parseFloat(getComputedStyle(one.querySelector('a')).lineHeight)")
    assert lines < most, "padding included"


def test_a_phone_breaks_the_name_of_a_workflow_among_bottlenecks_between_words_alone(page: Any, failed_task: str, db: Database) -> None:
    rollups.catch_up(db)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/analytics/bottlenecks")
    lines = page.locator("td.stretch a").evaluate_all("""links => links.map(link => {
      const words = document.createTreeWalker(link, NodeFilter.SHOW_TEXT), broken = [], range = document.createRange();
      while (words.nextNode()) {
        range.selectNodeContents(words.currentNode);
        if (range.getClientRects().length > 1) broken.push(words.currentNode.data);
      }
      return broken;
    })""")
    assert lines
    assert not any(lines)
    assert not too_wide(page, 390)


def test_the_keyboard_reaches_the_content_and_the_steps(page: Any, failed_task: str) -> None:
    page.goto(f"/tasks/{failed_task}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('.node')?.dataset.step ?? ''"))
    assert {"validate", "charge", "pack", "ship"} <= reached


def test_arrows_lead_from_step_to_step_and_plus_makes_the_graph_larger(page: Any, failed_task: str) -> None:
    page.goto(f"/tasks/{failed_task}")
    page.locator(".node[data-step=validate]").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.step") in ("charge", "pack")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.step") == "ship"
    width = "document.querySelector('#graph-drawing').width.baseVal.value"
    before = page.evaluate(width)
    page.keyboard.press("+")
    assert page.evaluate(width) > before
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    page.wait_for_url("**/steps/ship")


def test_the_graph_can_be_made_larger_and_stays_so(page: Any, failed_task: str) -> None:
    page.goto(f"/tasks/{failed_task}")
    width = "document.querySelector('#graph-drawing').width.baseVal.value"
    before = page.evaluate(width)
    page.get_by_role("button", name="Larger").click()
    larger = page.evaluate(width)
    assert larger > before
    with page.expect_response(lambda answer: answer.url.endswith(failed_task)):
        page.evaluate("htmx.trigger('#live [hx-get]', 'poll')")
    page.wait_for_timeout(100)
    assert page.evaluate(width) == larger


def test_times_are_shown_in_the_readers_zone_from_the_first_page_on(page: Any, failed_task: str) -> None:
    page.goto(f"/tasks/{failed_task}")
    first = page.locator("#task-state time").first.text_content()
    page.reload()
    assert page.locator("html").get_attribute("data-zone") == "Europe/Berlin"
    assert page.locator("#task-state time").first.text_content() == first
