"""The files of others that pages and tests use: each is the one its manifest names, with its licence beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import webapp

VENDOR = Path(webapp.__file__).parent / "static" / "vendor"
FOR_TESTS = Path(__file__).parent.parent / "browser" / "vendor"


def packages(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "manifest.json").read_text())["packages"])


@pytest.mark.parametrize("folder", [VENDOR, FOR_TESTS], ids=["webapp", "browser tests"])
def test_every_vendored_file_is_the_one_the_manifest_names(folder: Path) -> None:
    for package in packages(folder):
        assert package["version"]
        assert package["licence"]
        assert (folder / package["licence_file"]).stat().st_size > 100
        for entry in package["files"]:
            assert hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest() == entry["sha256"], entry["file"]


@pytest.mark.parametrize("folder", [VENDOR, FOR_TESTS], ids=["webapp", "browser tests"])
def test_nothing_is_vendored_that_the_manifest_does_not_name(folder: Path) -> None:
    named = {"manifest.json"}
    for package in packages(folder):
        named |= {package["licence_file"], *(entry["file"] for entry in package["files"])}
    assert {file.name for file in folder.iterdir()} == named
