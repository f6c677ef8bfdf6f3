"""Which passwords are taken, and how they are kept."""

from __future__ import annotations

import threading

import pytest
from argon2 import PasswordHasher, extract_parameters

from engine.access import accounts, passwords
from engine.db import Database
from engine.errors import RequestError


@pytest.fixture(autouse=True)
def as_usual(costly: PasswordHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here they are hashed with all the work that it takes."""
    monkeypatch.setattr(passwords, "_hasher", costly)


@pytest.mark.parametrize(
    "password",
    ["short", "elevenchars", "password1234", "P@ssw0rd2024!", "passwordpassword", "aaaaaaaaaaaaaa", "abcabcabcabc", "qwertyuiop12", "123456789012", "ada-ada-ada-1", "administrator1!", "x" * 1_001, "nul \x00 within it"],
)
def test_passwords_that_are_tried_first_are_refused(password: str) -> None:
    with pytest.raises(RequestError):
        passwords.check_password(password, "ada")


@pytest.mark.parametrize("password", ["four grey horses", "x8-Kd02!mmQz", "пароль из слов", "tasker-admin-password-1", "long " * 40 + "enough"])
def test_anything_else_is_taken_however_it_is_written(password: str) -> None:
    passwords.check_password(password, "ada")


def test_what_is_kept_is_argon2id_and_costly() -> None:
    kept = passwords.hashed("four grey horses")
    parameters = extract_parameters(kept)
    assert kept.startswith("$argon2id$")
    assert (parameters.memory_cost, parameters.time_cost) >= (65_536, 3)
    assert passwords.is_right(kept, "four grey horses")
    assert not passwords.is_right(kept, "four grey horse")


def test_a_password_is_the_same_from_every_keyboard() -> None:
    kept = passwords.hashed("caf\u00e9 au lait noir")
    assert passwords.is_right(kept, "cafe\u0301 au lait noir")
    assert not passwords.is_right(kept, "cafe au lait noir")


def test_what_follows_the_longest_password_is_no_part_of_it() -> None:
    longest = ("four grey horses " * 60)[: passwords.LONGEST]
    kept = passwords.hashed(longest)
    assert passwords.is_right(kept, longest)
    assert not passwords.is_right(kept, longest + "x")


def test_an_unknown_name_costs_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", type("Hasher", (), {"verify": lambda _, kept, given: verified.append(kept) or hasher.verify(kept, given)})())
    assert not passwords.is_right(None, "anything at all")
    assert extract_parameters(verified[0]).memory_cost == 65_536


def test_no_more_than_two_are_worked_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most, book, go_on = 0, 0, threading.Lock(), threading.Event()

    def verify(kept: str, given: str) -> bool:
        nonlocal at_once, most
        with book:
            at_once += 1
            most = max(most, at_once)
        go_on.wait(0.05)
        with book:
            at_once -= 1
        return False

    monkeypatch.setattr(passwords, "_hasher", type("Hasher", (), {"verify": staticmethod(verify)})())
    threads = [threading.Thread(target=passwords.is_right, args=(None, "x")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == passwords.HASHES_AT_ONCE


def test_a_password_kept_by_weaker_parameters_is_kept_anew_when_it_is_next_seen(db: Database) -> None:
    account_id = accounts.create_account(db, "ada", role="viewer", actor="tests", password="four grey horses")
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("four grey horses")
    db.rows("update tasker_account set password_hash = %(weak)s returning 1", {"weak": weak})
    opened = accounts.check_credentials(db, "ada", "four grey horses", "192.0.2.1")
    kept = db.value("select password_hash from tasker_account")
    assert opened == (account_id, False, kept)
    assert extract_parameters(kept).memory_cost == 65_536
