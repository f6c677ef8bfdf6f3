"""Where the SQL and the migrations lie: beside the packages in a checkout, inside `engine` in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def sql_folder() -> Path:
    """The folder with `schema/`, `functions/` and `views/`: today's truth about the database."""
    return _data_folder("sql")


def migrations_folder() -> Path:
    """Alembic's script folder, with `env.py` and `versions/`."""
    return _data_folder("migrations")


def _data_folder(name: str) -> Path:
    packaged = _PACKAGE / f"_{name}"
    return packaged if packaged.is_dir() else _PACKAGE.parent / name
