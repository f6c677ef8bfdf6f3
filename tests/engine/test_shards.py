"""TASKER_SHARDS: which namespaces live in which database, and what is no answer to that."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import NotFound
from engine.settings import Settings
from engine.shards import BadShards, read_shards

TWO = "payments,refunds = postgresql://u:s3cret@one/p?application_name=a=b ; *=postgresql://u:s3cret@two/rest"


def test_a_namespace_lives_where_it_is_named_and_else_at_home(tmp_path: Path) -> None:
    shards = read_shards(TWO)
    assert [(each.name, each.is_home) for each in shards.all] == [("main", True), ("payments", False)]
    assert {name: shards.of(name).name for name in ("payments", "refunds", "orders")} == {"payments": "payments", "refunds": "payments", "orders": "main"}
    assert shards.of("refunds").url == "postgresql://u:s3cret@one/p?application_name=a=b"
    assert "s3cret" not in repr(shards)
    file = tmp_path / "shards"
    file.write_text("# where things live\n" + TWO.replace(";", "\n") + "\n")
    assert read_shards(f"@{file}") == shards


def test_the_settings_are_of_the_chosen_database_or_of_the_home() -> None:
    environ = {"TASKER_SHARDS": TWO, "TASKER_DATABASE_URL": "postgresql://ignored/x", "HOME": "/"}
    assert Settings.from_environ(environ).database_url == "postgresql://u:s3cret@two/rest"
    assert str(Settings.from_environ({**environ, "TASKER_SHARD": "payments"}).database_url).endswith("a=b")
    with pytest.raises(NotFound, match='no shard "refunds".* main, payments'):
        Settings.from_environ({**environ, "TASKER_SHARD": "refunds"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("payments=postgresql://u:s3cret@a/b", "no database is given for \\*"),
        ("*=postgresql://u:s3cret@a/b;*=postgresql://c/d", "more than one"),
        ("p=postgresql://u:s3cret@a/b;q,p=postgresql://c/d;*=postgresql://e/f", 'namespace "p" to two databases'),
        ("p,*=postgresql://u:s3cret@a/b", "\\* stands alone"),
        ("postgresql://u:s3cret@a/b?x=y;*=postgresql://c/d", "one of its entries does not"),
        ("p=s3cret;*=postgresql://c/d", "one of its entries does not"),
        ("main=postgresql://u:s3cret@a/b;*=postgresql://c/d", '"main" is what'),
        ("@/no/such/file", "cannot read"),
    ],
)
def test_what_is_no_answer_is_refused_in_words_and_without_a_password(text: str, words: str) -> None:
    with pytest.raises(BadShards, match=words) as refused:
        read_shards(text)
    assert "s3cret" not in str(refused.value)
