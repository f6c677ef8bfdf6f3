"""The environment variables, read at the door."""

from pathlib import Path

import pytest

from engine.settings import Settings


@pytest.fixture(autouse=True)
def _outside_any_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_project_folder_keeps_its_own_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".tasker").mkdir()
    (tmp_path / "deep" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "below")
    assert Settings.from_environ({"HOME": "/home/ada"}).data_dir == tmp_path / ".tasker"
    assert Settings.from_environ({"TASKER_DATA_DIR": "/srv/t"}).data_dir == Path("/srv/t")


def test_an_empty_environment_has_an_answer_for_everything() -> None:
    settings = Settings.from_environ({})
    assert (settings.database_url, settings.handlers, settings.secret_key) == (None, (), None)
    assert settings.env == "development"
    assert settings.data_dir.is_absolute()


def test_each_variable_is_read() -> None:
    settings = Settings.from_environ(
        {
            "TASKER_DATABASE_URL": "postgresql://here/it",
            "TASKER_HANDLERS": "shop.handlers",
            "TASKER_SECRET_KEY": "key",
            "TASKER_DATA_DIR": "/srv/tasker",
            "TASKER_ENV": "production",
        }
    )
    assert settings == Settings("postgresql://here/it", ("shop.handlers",), "key", Path("/srv/tasker"), "production")


def test_handlers_are_separated_by_commas_and_blanks_do_not_count() -> None:
    assert Settings.from_environ({"TASKER_HANDLERS": " a.b, ./handlers ,,"}).handlers == ("a.b", "./handlers")


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_variable_counts_as_not_set(blank: str) -> None:
    names = ("TASKER_DATABASE_URL", "TASKER_HANDLERS", "TASKER_SECRET_KEY", "TASKER_DATA_DIR", "TASKER_ENV")
    assert Settings.from_environ(dict.fromkeys(names, blank)) == Settings.from_environ({})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_DATA_HOME": "/data", "HOME": "/home/ada"}, "/data/tasker"),
        ({"XDG_DATA_HOME": "", "HOME": "/home/ada"}, "/home/ada/.local/share/tasker"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/home/ada"}, "/home/ada/.local/share/tasker"),
        ({"TASKER_DATA_DIR": "/srv/t", "XDG_DATA_HOME": "/data"}, "/srv/t"),
    ],
)
def test_the_data_folder_is_where_the_platform_keeps_data(environ: dict[str, str], expected: str) -> None:
    assert Settings.from_environ(environ).data_dir == Path(expected)


def test_an_empty_home_falls_back_to_the_accounts_own() -> None:
    assert Settings.from_environ({"HOME": ""}).data_dir.parts[-3:] == (".local", "share", "tasker")


def test_an_account_without_a_name_uses_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 987_654)
    assert Settings.from_environ({}).data_dir == Path.cwd() / ".local" / "share" / "tasker"


def test_secrets_are_not_printed() -> None:
    printed = repr(Settings(database_url="postgresql://u:hush@h/d", secret_key="hush"))
    assert "hush" not in printed
