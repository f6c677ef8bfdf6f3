"""What keeps the dashboard safe to open: the content policy, the list of hosts it answers for, its secret key, and cookies that keep to themselves."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from flask import Flask, Response, abort, current_app, g, request
from flask.sessions import SecureCookieSessionInterface
from flask_wtf.csrf import CSRFProtect

POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; img-src 'self' data:"
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")

csrf = CSRFProtect()


class CarefulCookies(SecureCookieSessionInterface):
    """The cookie of form tokens and notices: over TLS it is sent back over TLS only, and no other host of the domain can set it."""

    def get_cookie_name(self, app: Flask) -> str:
        return f"__Host-{super().get_cookie_name(app)}" if request.is_secure else super().get_cookie_name(app)

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure


def init_app(app: Flask) -> None:
    """Put every guard in place; a secret key nobody gave is made once and kept in the data folder."""
    app.config["SECRET_KEY"] = app.config["SECRET_KEY"] or kept_secret(app.config["DATA_DIR"])
    app.config.setdefault("WTF_CSRF_TIME_LIMIT", None)
    app.config.setdefault("EMBEDDED", False)
    app.session_interface = CarefulCookies()
    app.config.setdefault("ALLOWED_HOSTS", allowed_hosts(os.environ.get("TASKER_ALLOWED_HOSTS", "")))
    app.before_request(refuse_unknown_host)
    app.before_request(refuse_impossible_name)
    app.after_request(harden)


def allowed_hosts(listed: str) -> tuple[str, ...]:
    """The host names a request may ask for: this machine's own, and those listed with commas; `*` admits any."""
    return (*OWN_NAMES, *(name.strip().lower() for name in listed.split(",") if name.strip()))


def allow_host(app: Flask, host: str) -> None:
    """Answer for one more name; the server tells the address it listens on."""
    app.config["ALLOWED_HOSTS"] = (*app.config["ALLOWED_HOSTS"], f"[{host}]" if ":" in host else host)


def refuse_unknown_host() -> None:
    """A page of another name that resolves to this machine must not reach the dashboard through the reader's browser."""
    allowed: tuple[str, ...] = current_app.config["ALLOWED_HOSTS"]
    if "*" not in allowed and _name(request.host) not in allowed:
        abort(400, "This dashboard does not answer for this host name. List it in TASKER_ALLOWED_HOSTS.")


def refuse_impossible_name() -> None:
    """PostgreSQL keeps no NUL, so nothing is called so, and asking it would be an error."""
    if "\0" in request.path:
        abort(404)


def _name(host: str) -> str:
    """The name in a Host header, without its port; brackets stay around an IPv6 address."""
    end = host.rfind("]") + 1
    return (host[:end] if end else host.partition(":")[0]).lower()


def harden(response: Response) -> Response:
    """The headers of every answer."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    if request.endpoint != "static":
        headers.setdefault("Cache-Control", "no-store")
        response.vary.add("Cookie")
    return response


def actor() -> str:
    """Who acts, for the history: the name of whoever is signed in."""
    return str(g.caller.name)


def from_this_machine() -> bool:
    """Whether the caller is on the loopback; a proxy's header does not count. Inside another application nobody is: its proxy may be."""
    return request.remote_addr in LOOPBACK and not current_app.config["EMBEDDED"]


def kept_secret(folder: Path) -> str:
    """The key of this data folder, made by the first process that asks; where nothing can be kept, one for this process."""
    try:
        return _read_or_make(folder / "secret_key")
    except OSError:
        return secrets.token_hex(32)


def _read_or_make(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _make(path)
    return path.read_text().strip() or secrets.token_hex(32)


def _make(path: Path) -> None:
    # Written aside and linked: two processes that start together must not read half a key or keep two.
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
