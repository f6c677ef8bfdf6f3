"""JSON on a page: text whatever it holds, folded, and never more than a browser can carry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webapp.json_blocks import MAX_SHOWN, json_block


def test_json_is_text_whatever_it_holds() -> None:
    block = json_block({"<script>": "</code>", "n": 12345678901234567890, "x": None})
    assert "<script>" not in block
    assert "&lt;/code&gt;" in block
    assert "12345678901234567890" in block
    assert 'class="json-word">null' in block


def test_objects_and_lists_fold_and_say_how_much_they_hold() -> None:
    block = json_block({"lines": [{"sku": "a", "deep": {"er": 1}}]})
    assert block.count("<details") == 4
    assert block.count("<details open>") == 2
    assert "{1 field}" in block
    assert "[1 entry]" in block


@pytest.mark.parametrize(
    "value",
    [
        "x" * 1_048_576,
        ["y" * 100] * 10_000,
        {f"key {no}": no for no in range(50_000)},
        json.loads("[" * 64 + "]" * 64),
        [[["z" * 1000] * 100] * 100] * 3,
    ],
    ids=["one text", "many texts", "many keys", "deep", "nested"],
)
def test_a_megabyte_is_cut_and_can_be_downloaded(value: Any) -> None:
    block = json_block({"big": value}, "/all.json")
    assert len(block) < 20 * MAX_SHOWN
    assert '<a href="/all.json" download>' in block or "[" * 20 in block


def test_what_fits_is_not_cut() -> None:
    assert "download" not in json_block({"a": [1, 2, 3], "b": "x" * 1990}, "/all.json")
