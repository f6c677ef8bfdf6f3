"""Presets: contexts kept under names, replaced by the same name, removed once."""

from __future__ import annotations

from typing import Any

import pytest

from engine import presets, tasks
from engine.db import Database
from engine.errors import NotFound, RequestError
from engine.handlers import Workflow


@pytest.fixture(autouse=True)
def workflow(db: Database) -> None:
    flow = Workflow("order", namespace="shop", version="1.0.0")

    @flow.step
    def check(task: Any) -> None: ...

    tasks.register_definition(db, flow.definition)


def test_a_preset_gives_back_what_was_kept_and_the_same_name_replaces_it(db: Database) -> None:
    presets.keep_preset(db, "shop", "order", "express", {"n": 9007199254740993}, actor="ana")
    presets.keep_preset(db, "shop", "order", "express", {"n": 2}, actor="ben")
    assert presets.presets(db, "shop", "order") == ["express"]
    assert presets.preset_context(db, "shop", "order", "express") == {"n": 2}


def test_a_removed_preset_is_unknown(db: Database) -> None:
    presets.keep_preset(db, "shop", "order", "express", {}, actor="ana")
    presets.remove_preset(db, "shop", "order", "express")
    with pytest.raises(NotFound):
        presets.preset_context(db, "shop", "order", "express")
    with pytest.raises(NotFound):
        presets.remove_preset(db, "shop", "order", "express")


def test_a_preset_of_an_unknown_workflow_is_refused(db: Database) -> None:
    with pytest.raises(NotFound):
        presets.keep_preset(db, "shop", "nothing", "express", {}, actor="ana")


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", "a\x00b"])
def test_a_preset_needs_one_line_of_a_name(db: Database, name: str) -> None:
    with pytest.raises(RequestError):
        presets.keep_preset(db, "shop", "order", name, {}, actor="ana")
    assert presets.presets(db, "shop", "order") == []
