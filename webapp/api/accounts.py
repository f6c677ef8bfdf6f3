"""`/accounts`, `/roles` and `/tokens`: who may come in and what they may, for administrators. Nobody gives what they do not have."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Response, request

from engine.access import accounts, tokens
from engine.access.permissions import Rights
from webapp.access import known_caller, require_power_over, require_power_over_role, require_power_to_give
from webapp.api import access, shapes
from webapp.api.account_shapes import (
    AccountRequestSchema,
    AccountSchema,
    AccountsSchema,
    GrantSchema,
    MadeAccountSchema,
    MadeTokenSchema,
    PermissionsSchema,
    RoleSchema,
    RolesSchema,
    SignedOutSchema,
    TokenRequestSchema,
    TokensSchema,
    account,
    role,
    token,
)
from webapp.api.blueprint import PREFIX, Endpoints
from webapp.api.bodies import ReasonSchema
from webapp.database import database

endpoints = Endpoints("accounts", "Who may come in, and what they may")


def _by(given: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"actor": access.actor(), "address": request.remote_addr} | ({} if given is None else {"reason": given.get("reason")})


@endpoints.route("/accounts")
@endpoints.response(200, AccountsSchema)
@endpoints.may_answer()
def index() -> Response:
    """List the accounts"""
    return shapes.respond({"accounts": [account(row) for row in accounts.accounts(database())]})


@endpoints.route("/accounts", methods=["POST"])
@endpoints.arguments(AccountRequestSchema)
@endpoints.response(201, MadeAccountSchema)
@endpoints.may_answer(400, 409, 413, 415, 422)
def create(given: dict[str, Any]) -> Response:
    """Make an account

    Without a password the answer has the path of a link that signs in once, within the hour.
    """
    require_power_to_give(accounts.role_rights(database(), given["role"], given["namespace"]))
    accounts.create_account(database(), **given, **_by())
    link = None if given["password"] else f"/login/link/{accounts.make_sign_in_link(database(), given['name'], **_by())}"
    made = account(accounts.account(database(), given["name"]))
    return shapes.respond(made | {"sign_in_path": link}, 201, location=f"{PREFIX}/accounts/{made['name']}")


@endpoints.route("/accounts/<name>")
@endpoints.response(200, AccountSchema)
@endpoints.may_answer(404)
def show(name: str) -> Response:
    """Show an account"""
    return _shown(name)


@endpoints.route("/accounts/<name>/disabling", methods=["POST"])
@endpoints.arguments(ReasonSchema, required=False)
@endpoints.response(200, AccountSchema)
@endpoints.may_answer(400, 404, 409, 413, 415, 422)
def disable(given: dict[str, Any], name: str) -> Response:
    """Let nobody in by an account any more, and sign it out"""
    require_power_over(name)
    accounts.disable_account(database(), name, **_by(given))
    return _shown(name)


@endpoints.route("/accounts/<name>/enabling", methods=["POST"])
@endpoints.arguments(ReasonSchema, required=False)
@endpoints.response(200, AccountSchema)
@endpoints.may_answer(400, 404, 413, 415, 422)
def enable(given: dict[str, Any], name: str) -> Response:
    """Let a disabled account in again"""
    require_power_over(name)
    accounts.enable_account(database(), name, **_by(given))
    return _shown(name)


@endpoints.route("/accounts/<name>/sign-out", methods=["POST"])
@endpoints.arguments(ReasonSchema, required=False)
@endpoints.response(200, SignedOutSchema)
@endpoints.may_answer(400, 404, 413, 415, 422)
def sign_out(given: dict[str, Any], name: str) -> Response:
    """Sign an account out everywhere"""
    require_power_over(name)
    return shapes.respond({"session_count": accounts.sign_out(database(), name, **_by(given))})


@endpoints.route("/accounts/<name>/roles", methods=["POST"])
@endpoints.arguments(GrantSchema)
@endpoints.response(200, AccountSchema)
@endpoints.may_answer(400, 404, 413, 415, 422)
def grant(given: dict[str, Any], name: str) -> Response:
    """Give an account a role, everywhere or in one namespace"""
    require_power_over(name)
    require_power_to_give(accounts.role_rights(database(), given["role"], given["namespace"]))
    accounts.grant_role(database(), name, given["role"], given["namespace"], **_by(given))
    return _shown(name)


@endpoints.route("/accounts/<name>/roles/removal", methods=["POST"])
@endpoints.arguments(GrantSchema)
@endpoints.response(200, AccountSchema)
@endpoints.may_answer(400, 404, 409, 413, 415, 422)
def revoke(given: dict[str, Any], name: str) -> Response:
    """Take a role from an account"""
    require_power_over(name)
    accounts.revoke_role(database(), name, given["role"], given["namespace"], **_by(given))
    return _shown(name)


def _shown(name: str) -> Response:
    return shapes.respond(account(accounts.account(database(), name)))


# ---- roles


@endpoints.route("/roles")
@endpoints.response(200, RolesSchema)
@endpoints.may_answer()
def roles() -> Response:
    """List the roles and what they bundle"""
    return shapes.respond({"roles": [role(row) for row in accounts.roles(database())]})


@endpoints.route("/roles/<role>", methods=["PUT"])
@endpoints.arguments(PermissionsSchema)
@endpoints.response(200, RoleSchema)
@endpoints.may_answer(400, 413, 415, 422)
def keep_role(given: dict[str, Any], **address: str) -> Response:
    """Make a role of your own, or change what it bundles"""
    name = address["role"]
    require_power_over_role(name)
    require_power_to_give(Rights.of([("", None, given["permissions"])]))
    accounts.keep_role(database(), name, given["permissions"], **_by())
    return shapes.respond(next(role(row) for row in accounts.roles(database()) if row.role == name))


@endpoints.route("/roles/<role>", methods=["DELETE"])
@endpoints.response(204)
@endpoints.may_answer(404, 409)
def remove_role(**address: str) -> Response:
    """Remove a role of your own that no account has"""
    require_power_over_role(address["role"])
    accounts.remove_role(database(), address["role"], **_by())
    return Response(status=204)


# ---- tokens


@endpoints.route("/tokens")
@endpoints.response(200, TokensSchema)
@endpoints.may_answer()
def all_tokens() -> Response:
    """List the tokens of all accounts, without their secrets"""
    return shapes.respond({"tokens": [token(row) for row in tokens.tokens(database())]})


@endpoints.route("/tokens", methods=["POST"])
@endpoints.arguments(TokenRequestSchema)
@endpoints.response(201, MadeTokenSchema)
@endpoints.may_answer(400, 404, 413, 415, 422)
def make_token(given: dict[str, Any]) -> Response:
    """Make a token; it is in this answer and nowhere else"""
    owner = given["account"] or known_caller().name
    require_power_to_give(accounts.account_rights(database(), owner).within(given["scopes"], given["namespace"]))
    life = timedelta(days=given["days"])
    made = tokens.make_token(database(), owner, given["label"], scopes=given["scopes"], namespace=given["namespace"], life=life, **_by())
    return shapes.respond({"token": made, "token_id": made.split("_")[1]}, 201)


@endpoints.route("/tokens/<token_id>", methods=["DELETE"])
@endpoints.response(204)
@endpoints.may_answer(404)
def revoke_token(token_id: str) -> Response:
    """Revoke a token"""
    owner = tokens.token_owner(database(), token_id)
    if owner != known_caller().name:
        require_power_over(owner)
    tokens.revoke_token(database(), token_id, **_by())
    return Response(status=204)
