"""Core: runs the frozen SQL in the folder of the same name."""

from pathlib import Path

from alembic import op

revision = "0001_core"
down_revision = None

_FROZEN = Path(__file__).with_suffix("")


def upgrade() -> None:
    _run("up.sql")


def downgrade() -> None:
    _run("down.sql")


def _run(name: str) -> None:
    # The driver's own connection: SQLAlchemy would read `:name` and `%` in a function body as parameters.
    op.get_bind().connection.driver_connection.execute((_FROZEN / name).read_bytes())
