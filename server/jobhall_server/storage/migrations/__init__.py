"""The schema's history: which revision a database is at, and the way from there to the newest one."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from jobhall_server.storage.errors import DatabaseUnusableError, SchemaTooNewError
from jobhall_server.storage.schema import PREFIX_DEFAULT

_FOLDER = Path(__file__).parent

REVISIONS: tuple[str, ...] = tuple(sorted(path.stem[1:5] for path in _FOLDER.glob("versions/v[0-9]*.py")))
"""Every revision that this server knows, oldest first; read from the file names, since importing Alembic takes time."""


def schema_revision(engine: sa.Engine, *, prefix: str = PREFIX_DEFAULT) -> str | None:
    """The revision that the database is at; None when there is no jobhall in it yet."""
    found = _marker(engine, prefix)
    return found[0] if found else None


def migrate(engine: sa.Engine, *, prefix: str = PREFIX_DEFAULT) -> str:
    """Bring the schema to the newest revision that this server knows, and answer the one it is at then.

    All of it is one transaction. A database made by a newer server is left as it is: it is used if its oldest server
    is not newer than this one, else SchemaTooNewError.
    """
    found = _marker(engine, prefix)
    if found and found[0] not in REVISIONS:
        revision, oldest_server = found
        if oldest_server not in REVISIONS:
            raise SchemaTooNewError(_shown(engine), found=revision, known=REVISIONS[-1])
        return revision
    if not found or found[0] != REVISIONS[-1]:
        _upgrade(engine, prefix)
    return REVISIONS[-1]


def version_table(prefix: str) -> sa.Table:
    """The one row that Alembic keeps, with a column of ours beside it.

    `oldest_server` is the revision that a server must know to use this schema; the migration that an older server
    cannot live with raises it to itself.
    """
    return sa.Table(
        f"{prefix}schema",
        sa.MetaData(),
        sa.Column("version_num", sa.String(32), nullable=False),
        sa.Column("oldest_server", sa.String(32), nullable=False, server_default=REVISIONS[0]),
    )


def _shown(engine: sa.Engine) -> str:
    """The database as an error names it."""
    return engine.url.database if engine.dialect.name == "sqlite" and engine.url.database else str(engine.url)


def _marker(engine: sa.Engine, prefix: str) -> tuple[str, str] | None:
    table = version_table(prefix)
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(table.name):
            return None
        row = connection.execute(sa.select(table.c.version_num, table.c.oldest_server)).one_or_none()
    return (str(row[0]), str(row[1])) if row else None


def _upgrade(engine: sa.Engine, prefix: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            config.attributes.update(connection=connection, prefix=prefix)
            command.upgrade(config, "head")
    except sa.exc.DatabaseError as error:
        message = f"the schema of {_shown(engine)} cannot be brought up to date: {error.orig}; it was left as it was"
        raise DatabaseUnusableError(message) from error
