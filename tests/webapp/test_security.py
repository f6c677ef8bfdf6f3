"""The content policy, the host names that are answered, the secret key, and what every answer carries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from engine.settings import Settings
from webapp import create_app, security

TEMPLATES = Path(security.__file__).parent / "templates"
PAGES = ["/", "/tasks", "/workflows", "/engines", "/health/live", "/nothing-here", "/static/page.css"]


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_is_hardened(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_pages_are_not_kept_by_caches_but_static_files_are(client: FlaskClient) -> None:
    assert client.get("/").headers["Cache-Control"] == "no-store"
    assert "max-age" in client.get("/static/page.css").headers["Cache-Control"]


@pytest.mark.parametrize("template", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_no_template_needs_inline_script_or_style(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|hx-on|javascript:|<script(?![^>]*\bsrc=)", text)


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(client: FlaskClient) -> None:
    cookie = client.get("/tasks").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[::2]"])
def test_other_host_names_are_refused(client: FlaskClient, host: str) -> None:
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 400
    assert "TASKER_ALLOWED_HOSTS" in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1234", "[::1]:8080"])
def test_the_names_of_this_machine_are_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/health/live", headers={"Host": host}).status_code == 200


def test_further_names_can_be_listed(client: FlaskClient, app: Flask) -> None:
    app.config["ALLOWED_HOSTS"] = security.allowed_hosts("tasks.example.org, other.example")
    assert client.get("/health/live", headers={"Host": "tasks.example.org"}).status_code == 200
    assert client.get("/health/live", headers={"Host": "third.example"}).status_code == 400
    app.config["ALLOWED_HOSTS"] = security.allowed_hosts("*")
    assert client.get("/health/live", headers={"Host": "third.example"}).status_code == 200


def test_a_token_of_another_session_is_refused(app: Flask, client: FlaskClient) -> None:
    page = app.test_client().get("/tasks").text
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found
    assert client.post("/appearance", data={"csrf_token": found[1], "theme": "dark"}).status_code == 403


def test_a_secret_nobody_gave_is_kept_in_the_data_folder(tmp_path: Path) -> None:
    first = create_app(Settings(data_dir=tmp_path / "new")).secret_key
    assert create_app(Settings(data_dir=tmp_path / "new")).secret_key == first
    assert len(str(first)) == 64
    assert (tmp_path / "new" / "secret_key").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["secret_key"]


def test_a_secret_from_the_settings_comes_first(tmp_path: Path) -> None:
    assert create_app(Settings(secret_key="given", data_dir=tmp_path)).secret_key == "given"
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_kept_the_secret_lasts_for_this_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert len(security.kept_secret(tmp_path / "file")) == 64
