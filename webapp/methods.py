"""Ways to sign in beside the password: one small interface, and OpenID Connect as the one that comes along.

A method sends the browser somewhere and says who came back. What that person may do is the business of accounts and roles here alone.
It is the only place where the dashboard asks another server for anything, and that server is named by whoever installs it.
"""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.deprecate import AuthlibDeprecationWarning
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from engine.access.accounts import Denied
from engine.settings import Settings

CALL_SECONDS = 5.0
ALGORITHMS = ["RS256", "PS256", "ES256"]
LEEWAY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a method vouches for: `outside_id` is the same for good and nobody else's, `name` is what an account of theirs would be called."""

    outside_id: str
    name: str


class SignInMethod(Protocol):
    """A way to sign in; hand yours to `create_app(sign_in_methods=[…])`."""

    key: str
    """Stands in addresses: letters and digits."""
    title: str
    """Stands on the button, after "Sign in with"."""
    role: str | None
    """What somebody is who comes for the first time; with None only those come in for whom an account was made."""

    def begin(self, callback: str) -> tuple[str, dict[str, str]]:
        """Where to send the browser so that it comes back to `callback`, and what to remember until then. Raises `Denied`."""

    def finish(self, callback: str, address: str, remembered: Mapping[str, str]) -> Person:
        """Who came back to `address`, which is `callback` with a query. Raises `Denied` unless it is beyond doubt."""


class OpenIdConnect:
    """Sign-in at a provider of OpenID Connect: the code flow with PKCE; the identity token is checked against the provider's keys."""

    key = "oidc"

    def __init__(self, issuer: str, client_id: str, client_secret: str, *, title: str = "OpenID Connect", role: str | None = None) -> None:
        self.issuer, self.title, self.role = issuer, title, role
        self._id, self._secret = client_id, client_secret

    def begin(self, callback: str) -> tuple[str, dict[str, str]]:
        """To the provider's page, with a state, a nonce and a challenge of this one try."""
        nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        try:
            with self._client(callback) as client:
                url, state = client.create_authorization_url(self._facts()["authorization_endpoint"], nonce=nonce, code_verifier=verifier)
        except (httpx.HTTPError, AuthlibBaseError, KeyError, ValueError) as error:
            raise Denied("the sign-in provider does not answer; try again later") from error
        return url, {"state": state, "nonce": nonce, "verifier": verifier}

    def finish(self, callback: str, address: str, remembered: Mapping[str, str]) -> Person:
        """Whom the provider's signed token names, when it answers this very try."""
        query = parse_qs(urlsplit(address).query)
        state = remembered.get("state", "")
        if not state or not secrets.compare_digest(query.get("state", [""])[0].encode(), state.encode()):
            raise Denied("this answer belongs to no sign-in that was begun here")
        try:
            return self._person(self._token(callback, query["code"][0], remembered["verifier"]), remembered["nonce"])
        except (httpx.HTTPError, AuthlibBaseError, JoseError, KeyError, ValueError, TypeError) as error:
            raise Denied("the provider did not say who you are") from error

    def _token(self, callback: str, code: str, verifier: str) -> str:
        with self._client(callback) as client:
            answer = client.fetch_token(self._facts()["token_endpoint"], code=code, grant_type="authorization_code", code_verifier=verifier)
        token: str = answer["id_token"]
        return token

    def _person(self, token: str, nonce: str) -> Person:
        keys = KeySet.import_key_set(_json(self._facts()["jwks_uri"]))  # type: ignore[arg-type]
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            exp={"essential": True},
            sub={"essential": True},
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self._id},
            nonce={"essential": True, "value": nonce},
        )
        registry.validate(claims)
        name = claims.get("preferred_username") or claims.get("email") or claims["sub"]
        return Person(f"{self.issuer} {claims['sub']}", str(name))

    def _facts(self) -> dict[str, Any]:
        facts = _json(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if facts["issuer"] != self.issuer:
            raise ValueError("it speaks for another issuer")
        return facts

    def _client(self, callback: str) -> Any:
        with warnings.catch_warnings():
            # of a successor of httpx, which nothing else here needs
            warnings.simplefilter("ignore", AuthlibDeprecationWarning)
            from authlib.integrations.httpx_client import OAuth2Client

        return OAuth2Client(
            self._id, self._secret, scope="openid profile email", redirect_uri=callback, code_challenge_method="S256", timeout=CALL_SECONDS
        )


def _json(url: str) -> dict[str, Any]:
    answer = httpx.get(url, timeout=CALL_SECONDS)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def configured_methods(settings: Settings) -> tuple[SignInMethod, ...]:
    """Those that the environment names."""
    oidc = settings.oidc
    if oidc is None:
        return ()
    return (OpenIdConnect(oidc.issuer, oidc.client_id, oidc.client_secret, title=oidc.title, role=oidc.role),)
