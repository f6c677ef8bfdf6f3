"""Accounts, roles, tokens and the audit as the API reads and writes them."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields
from marshmallow.validate import Length, OneOf, Range

from engine.access import accounts
from engine.access.accounts import AccountRow, RoleRow
from engine.access.audit import AuditRow
from engine.access.permissions import PERMISSIONS
from engine.access.tokens import MAX_LABEL, TokenRow
from webapp.api.answers import PageSchema
from webapp.api.bodies import MAX_NAME, LimitQuery, StrictSchema
from webapp.api.fields import Number as Digits
from webapp.api.fields import maybe_text, maybe_time, names, said, text
from webapp.api.shapes import plain
from webapp.htmx import MAX_REASON
from webapp.task_filter import MAX_TASK_NO
from webapp.task_filter import MAX_TEXT as MAX_FILTER

OUTCOMES = ("done", "refused", "denied")


class AccountRequestSchema(StrictSchema):
    name = text(accounts.MAX_NAME, required=True)
    role = text(accounts.MAX_NAME, required=True)
    namespace = text(MAX_NAME, allow_none=True, load_default=None, metadata=said("Where the role holds; left out or null: everywhere"))
    password = text(1_000, allow_none=True, load_default=None, metadata={"format": "password", "writeOnly": True})


class GrantSchema(StrictSchema):
    role = text(accounts.MAX_NAME, required=True)
    namespace = text(MAX_NAME, allow_none=True, load_default=None, metadata=said("Left out or null: everywhere"))
    reason = text(MAX_REASON, allow_none=True, load_default=None)


class PermissionsSchema(StrictSchema):
    permissions = fields.List(fields.String(validate=OneOf(sorted(PERMISSIONS))), required=True, validate=Length(min=1, max=len(PERMISSIONS)))


class TokenRequestSchema(StrictSchema):
    label = text(MAX_LABEL, required=True, metadata=said("What it is for"))
    account = text(accounts.MAX_NAME, allow_none=True, load_default=None, metadata=said("Whose rights it has at most; left out or null: the caller's"))
    scopes = fields.List(text(100), allow_none=True, load_default=None, validate=Length(max=100), metadata=said("Permissions, tasker.task:* or roles; null: all that the account may"))
    namespace = text(MAX_NAME, allow_none=True, load_default=None)
    days = fields.Integer(strict=True, load_default=90, validate=Range(1, 366))


class AuditQuery(LimitQuery):
    actor = text(MAX_FILTER)
    action = text(MAX_FILTER, metadata=said("By its beginning, such as tasker.task:"))
    outcome = fields.String(validate=OneOf(OUTCOMES))
    namespace = text(MAX_FILTER)
    object = text(MAX_FILTER, metadata=said("By its beginning, such as an account's or a task's"))
    at_from = text(MAX_FILTER, metadata={"format": "date-time"})
    at_to = text(MAX_FILTER, metadata={"format": "date-time"})
    cursor = Digits(validate=Range(0, MAX_TASK_NO), load_default=None, metadata=said("next_cursor of the page before"))


class GrantedSchema(Schema):
    role = fields.String(required=True)
    namespace = maybe_text()


class AccountSchema(Schema):
    name = fields.String(required=True)
    disabled = fields.Boolean(required=True)
    has_password = fields.Boolean(required=True)
    has_second_factor = fields.Boolean(required=True)
    created_at = fields.DateTime(required=True)
    created_by = maybe_text()
    signed_in_at = maybe_time()
    grants = fields.List(fields.Nested(GrantedSchema), required=True)


class MadeAccountSchema(AccountSchema):
    sign_in_path = maybe_text()


class AccountsSchema(Schema):
    accounts = fields.List(fields.Nested(AccountSchema), required=True)


class SignedOutSchema(Schema):
    session_count = fields.Integer(required=True)


class RoleSchema(Schema):
    role = fields.String(required=True)
    permissions = names()
    built_in = fields.Boolean(required=True)
    account_count = fields.Integer(required=True)


class RolesSchema(Schema):
    roles = fields.List(fields.Nested(RoleSchema), required=True)


class TokenSchema(Schema):
    token_id = fields.String(required=True)
    account = fields.String(required=True)
    label = fields.String(required=True)
    scopes = fields.List(fields.String(), required=True, allow_none=True)
    namespace = maybe_text()
    created_at = fields.DateTime(required=True)
    expires_at = fields.DateTime(required=True)
    used_at = maybe_time()
    revoked_at = maybe_time()
    expired = fields.Boolean(required=True)


class TokensSchema(Schema):
    tokens = fields.List(fields.Nested(TokenSchema), required=True)


class MadeTokenSchema(Schema):
    token = fields.String(required=True, metadata=said("Shown this once"))
    token_id = fields.String(required=True)


class AuditEntrySchema(Schema):
    audit_no = fields.Integer(required=True)
    at = fields.DateTime(required=True)
    actor = fields.String(required=True)
    action = fields.String(required=True)
    outcome = fields.String(required=True, validate=OneOf(OUTCOMES))
    namespace = maybe_text()
    object = maybe_text()
    reason = maybe_text()
    address = maybe_text()
    detail = fields.Dict(required=True, allow_none=True)


class AuditPageSchema(PageSchema):
    entries = fields.List(fields.Nested(AuditEntrySchema), required=True)


def account(row: AccountRow) -> dict[str, Any]:
    """An account with its roles."""
    grants = [{"role": name, "namespace": namespace} for name, namespace in row.grants]
    return _picked(row, AccountSchema) | {"grants": grants}


def role(row: RoleRow) -> dict[str, Any]:
    """A role with what it bundles."""
    return _picked(row, RoleSchema)


def token(row: TokenRow) -> dict[str, Any]:
    """A token without its secret."""
    return _picked(row, TokenSchema)


def entry(row: AuditRow) -> dict[str, Any]:
    """One entry of the audit."""
    return _picked(row, AuditEntrySchema)


def _picked(row: Any, schema: type[Schema]) -> dict[str, Any]:
    return {name: plain(getattr(row, name)) for name in schema._declared_fields if hasattr(row, name)}
