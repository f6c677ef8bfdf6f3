"""`tasker user` and `tasker token`: who may come in, and which programs may act for them. Whoever can reach the database may do this."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import timedelta

import click

from engine.access import accounts, tokens
from engine.access.accounts import AccountRow
from engine.cli.output import print_json, print_table, short_time
from engine.cli.setting import audit_actor, json_option, open_database, reason_option


@click.group("user")
def user() -> None:
    """Make, list and disable accounts."""


@user.command()
@click.argument("name")
@click.option("--role", required=True, metavar="ROLE", help="viewer, operator, developer, admin, or one of your own.")
@click.option("--namespace", metavar="NS", help="Where the role holds. Default: everywhere.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input. Without it the account signs in by a link, which is printed.")
@click.option("--outside-id", metavar="ID", help="Who this is at the sign-in provider: its issuer, a space, and the subject.")
@json_option
def create(name: str, role: str, namespace: str | None, password_stdin: bool, outside_id: str | None, as_json: bool) -> None:
    """Make an account. Example: tasker user create ada --role operator --namespace shop --password-stdin"""
    password = _read_password() if password_stdin else None
    with open_database() as db:
        accounts.create_account(db, name, role=role, namespace=namespace, password=password, outside_id=outside_id, actor=audit_actor())
        link = None if password_stdin or outside_id else accounts.make_sign_in_link(db, name, actor=audit_actor())
    facts = {"name": name, "role": role, "namespace": namespace, "sign_in_path": link and f"/login/link/{link}"}
    print_json(facts) if as_json else click.echo(_told(name, link))


def _told(name: str, link: str | None) -> str:
    return f"{name} may sign in" + (f" once, within the hour, at the dashboard's address followed by /login/link/{link}" if link else "")


def _read_password() -> str:
    return sys.stdin.readline().rstrip("\r\n")


@user.command("list")
@json_option
def list_users(as_json: bool) -> None:
    """List accounts and their roles. Example: tasker user list --json"""
    with open_database() as db:
        found = accounts.accounts(db)
    if as_json:
        print_json({"users": [_facts(row) for row in found]})
        return
    print_table(("name", "roles", "state", "signed in", "second factor"), [_line(row) for row in found])


@user.command()
@click.argument("name")
@reason_option
def disable(name: str, reason: str | None) -> None:
    """Let nobody in by an account any more; who is in is signed out. Example: tasker user disable ada"""
    with open_database() as db:
        accounts.disable_account(db, name, actor=audit_actor(), reason=reason)
    click.echo(f"{name} is disabled")


@user.command()
@click.argument("name")
@reason_option
def enable(name: str, reason: str | None) -> None:
    """Let a disabled account in again. Example: tasker user enable ada"""
    with open_database() as db:
        accounts.enable_account(db, name, actor=audit_actor(), reason=reason)
    click.echo(f"{name} may sign in")


@user.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, required=True, help="Read the password from standard input.")
def password(name: str, password_stdin: bool) -> None:
    """Give an account another password; it is signed out everywhere. Example: tasker user password ada --password-stdin"""
    given = _read_password()
    with open_database() as db:
        accounts.set_password(db, name, given, actor=audit_actor())
    click.echo(f"{name} has another password")


@user.command()
@click.argument("name")
@reason_option
@json_option
def link(name: str, reason: str | None, as_json: bool) -> None:
    """Print the path of a link that signs in once, without a second factor. Example: tasker user link ada"""
    with open_database() as db:
        path = f"/login/link/{accounts.make_sign_in_link(db, name, actor=audit_actor(), reason=reason)}"
    print_json({"sign_in_path": path}) if as_json else click.echo(path)


@user.command()
@click.argument("name")
@click.argument("role")
@click.option("--namespace", metavar="NS", help="Where the role holds. Default: everywhere.")
@click.option("--remove", is_flag=True, help="Take the role away.")
@reason_option
@json_option
def role(name: str, role: str, namespace: str | None, remove: bool, reason: str | None, as_json: bool) -> None:
    """Give an account a role, or take it away. Example: tasker user role ada developer --namespace shop"""
    with open_database() as db:
        change = accounts.revoke_role if remove else accounts.grant_role
        change(db, name, role, namespace, actor=audit_actor(), reason=reason)
        row = accounts.account(db, name)
    if as_json:
        print_json(_facts(row))
        return
    print_table(("name", "roles", "state", "signed in", "second factor"), [_line(row)])


def _facts(row: AccountRow) -> dict[str, object]:
    return {**asdict(row), "grants": [{"role": role, "namespace": namespace} for role, namespace in row.grants]}


def _line(row: AccountRow) -> tuple[str, str, str, str, str]:
    roles = ", ".join(f"{role} in {namespace}" if namespace else role for role, namespace in row.grants)
    return row.name, roles, "disabled" if row.disabled else "open", short_time(row.signed_in_at) or "never", "yes" if row.has_second_factor else "no"


@click.group("token")
def token() -> None:
    """Make, list and revoke API tokens."""


@token.command("create")
@click.option("--name", "label", required=True, metavar="LABEL", help="What it is for.")
@click.option("--user", "owner", required=True, metavar="NAME", help="Whose rights it has at most.")
@click.option("--scope", "scopes", multiple=True, metavar="S", help="A permission such as tasker.task:show, tasker.task:*, or a role; may be repeated. Default: all that the user may.")
@click.option("--namespace", metavar="NS", help="Default: wherever the user may.")
@click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True, help="How long it lives.")
@json_option
def create_token(label: str, owner: str, scopes: tuple[str, ...], namespace: str | None, days: int, as_json: bool) -> None:
    """Make a token, which is printed this once. Example: tasker token create --name ci --user ada --scope tasker.task:create"""
    with open_database() as db:
        made = tokens.make_token(
            db, owner, label, scopes=list(scopes) or None, namespace=namespace, life=timedelta(days=days), actor=audit_actor()
        )
    print_json({"token": made, "token_id": made.split("_")[1]}) if as_json else click.echo(made)


@token.command("list")
@json_option
def list_tokens(as_json: bool) -> None:
    """List tokens, without their secrets. Example: tasker token list"""
    with open_database() as db:
        found = tokens.tokens(db)
    if as_json:
        print_json({"tokens": [asdict(row) for row in found]})
        return
    head = ("id", "user", "name", "scopes", "namespace", "expires", "used", "state")
    print_table(head, [(*_token_line(row), row.words) for row in found])


def _token_line(row: tokens.TokenRow) -> tuple[str, ...]:
    scopes = "all" if row.scopes is None else " ".join(row.scopes)
    return row.token_id, row.account, row.label, scopes, row.namespace or "all", short_time(row.expires_at) or "", short_time(row.used_at) or "never"


@token.command()
@click.argument("token_id", metavar="ID")
def revoke(token_id: str) -> None:
    """Let a token count for nothing any more. Example: tasker token revoke 1a2b3c4d5e6f7a8b"""
    with open_database() as db:
        tokens.revoke_token(db, token_id.split("_")[1] if token_id.startswith("tasker_") and token_id.count("_") else token_id, actor=audit_actor())
    click.echo("revoked")
