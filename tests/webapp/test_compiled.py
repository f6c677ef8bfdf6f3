"""Templates are compiled once for all starts of the dashboard."""

import tempfile
from pathlib import Path

import pytest
from jinja2 import Environment

from engine.settings import Settings
from webapp import create_app

PAGE = "tasks/index.html"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the templates that were compiled."""
    names: list[str] = []
    original = Environment._compile

    def _compile(self: Environment, source: str, filename: str) -> object:
        names.append(filename)
        return original(self, source, filename)

    monkeypatch.setattr(Environment, "_compile", _compile)
    return names


def _start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    create_app(Settings(secret_key="a key for tests", data_dir=folder)).jinja_env.get_template(PAGE)


def test_a_page_is_compiled_at_the_first_start_and_not_at_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]) -> None:
    _start(tmp_path, monkeypatch)
    assert any(name.endswith(PAGE) for name in compiled)
    compiled.clear()
    _start(tmp_path, monkeypatch)
    assert not compiled


def test_where_no_folder_is_safe_every_start_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]) -> None:
    """Else whoever may write to the temporary folder could leave code there for the dashboard to run."""
    monkeypatch.setattr("os.lstat", lambda path, **_: _Foreign())
    for _ in range(2):
        compiled.clear()
        _start(tmp_path, monkeypatch)
        assert any(name.endswith(PAGE) for name in compiled)


class _Foreign:
    st_uid, st_mode = -1, 0o40777
