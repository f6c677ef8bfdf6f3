"""The form of one account, which does six things, by keyboard and without scripts."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from engine.access import accounts
from engine.db import Database


def test_enter_in_a_field_gives_no_role_that_nobody_chose(scriptless: Any, db: Database) -> None:
    accounts.create_account(db, "grace", role="viewer", namespace="shop", actor="tests")
    scriptless.goto("/settings/accounts")
    row = scriptless.get_by_role("row", name="grace")
    row.get_by_text("Change", exact=True).click()
    row.get_by_label("Reason").fill("new here")
    row.get_by_label("Reason").press("Enter")
    row.get_by_role("button", name="Sign-in link").click()
    expect(scriptless.get_by_text("This link signs grace in")).to_be_visible()
    assert grants(db, "grace") == {("viewer", "shop")}

    row.get_by_text("Change", exact=True).click()
    row.get_by_role("button", name="Take it away").click()
    row.get_by_label("Role").select_option("operator")
    row.get_by_label("Reason").press("Enter")
    expect(scriptless.get_by_text("grace is operator now.")).to_be_visible()
    assert grants(db, "grace") == {("viewer", "shop"), ("operator", None)}


def grants(db: Database, name: str) -> set[tuple[str, str | None]]:
    return {(role, namespace) for role, namespace in accounts.account(db, name).grants}
