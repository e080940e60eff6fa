"""The schema's history: it makes what schema.py says, on both engines, and knows a newer one when it sees it."""

import io
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql

from jobhall_server.storage import migrations
from jobhall_server.storage.engines import open_write_engine, parse_database_url
from jobhall_server.storage.errors import DatabaseUnusableError, SchemaTooNewError
from jobhall_server.storage.migrations import REVISIONS, migrate, schema_revision, version_table
from jobhall_server.storage.schema import PREFIX_DEFAULT, tables
from jobhall_server.storage.schema_groups import LAST_NUMBERS, OF_THE_SERVICE


@pytest.mark.parametrize("prefix", [PREFIX_DEFAULT, "", "host_app_"])
def test_the_migrations_make_exactly_the_tables_of_the_schema_on_sqlite(tmp_path: Path, prefix: str) -> None:
    migrated, created = _engine(tmp_path / "migrated.db"), _engine(tmp_path / "created.db")
    marker = version_table(prefix)

    migrate(migrated, prefix=prefix)
    with created.begin() as connection:
        tables(prefix).metadata.create_all(connection)
        marker.create(connection)

    assert _definitions(tmp_path / "migrated.db", but=marker.name) == _definitions(
        tmp_path / "created.db", but=marker.name
    )
    # Alembic makes this table and our column is added to it, so only the texts differ.
    assert _columns(migrated, marker.name) == _columns(created, marker.name)


def test_the_migrations_make_exactly_the_tables_of_the_schema_on_postgresql() -> None:
    made: list[str] = []
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    recorder = sa.create_mock_engine(
        "postgresql+psycopg://", lambda ddl, *_: made.append(str(ddl.compile(dialect=dialect)))
    )
    tables().metadata.create_all(recorder, checkfirst=False)

    config, output = Config(), io.StringIO()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.output_buffer = output
    config.attributes["dialect_name"] = "postgresql"
    command.upgrade(config, "head", sql=True)

    told = " ".join(output.getvalue().split())
    assert len(made) > 20
    assert not [ddl for ddl in made if " ".join(ddl.split()) not in told]


def test_a_new_database_has_no_revision_and_a_migrated_one_the_newest(tmp_path: Path) -> None:
    engine = _engine(tmp_path / "jobhall.db")

    assert schema_revision(engine) is None
    assert migrate(engine) == REVISIONS[-1]
    assert schema_revision(engine) == REVISIONS[-1]


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    engine = _engine(tmp_path / "jobhall.db")
    migrate(engine)
    before = (tmp_path / "jobhall.db").read_bytes()

    assert migrate(engine) == REVISIONS[-1]

    assert (tmp_path / "jobhall.db").read_bytes() == before


def test_every_counter_starts_at_zero(tmp_path: Path) -> None:
    engine = _engine(tmp_path / "jobhall.db")
    migrate(engine)

    with engine.connect() as connection:
        [counters] = connection.execute(sa.select(tables().counters)).mappings()

    assert counters["key"] == OF_THE_SERVICE
    assert {name: counters[name] for name in LAST_NUMBERS} == dict.fromkeys(LAST_NUMBERS, 0)


def test_two_prefixes_share_a_file_without_knowing_of_each_other(tmp_path: Path) -> None:
    engine = _engine(tmp_path / "jobhall.db")
    migrate(engine, prefix="one_")

    assert schema_revision(engine, prefix="two_") is None
    assert migrate(engine, prefix="two_") == REVISIONS[-1]
    assert schema_revision(engine, prefix="one_") == REVISIONS[-1]


def test_a_schema_that_only_a_newer_server_understands_is_refused(tmp_path: Path) -> None:
    engine = _engine(tmp_path / "jobhall.db")
    migrate(engine)
    _become(engine, revision="0999", oldest_server="0900")

    with pytest.raises(SchemaTooNewError, match="at revision 0999, made by a newer jobhall-server") as refused:
        migrate(engine)

    assert (refused.value.found, refused.value.known) == ("0999", REVISIONS[-1])
    assert str(tmp_path / "jobhall.db") in str(refused.value)


def test_a_newer_schema_that_this_server_may_still_use_is_left_as_it_is(tmp_path: Path) -> None:
    engine = _engine(tmp_path / "jobhall.db")
    migrate(engine)
    _become(engine, revision="0999", oldest_server=REVISIONS[-1])

    assert migrate(engine) == "0999"


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    engine = _engine(tmp_path / "jobhall.db")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {PREFIX_DEFAULT}queues (mine TEXT)")

    with pytest.raises(DatabaseUnusableError, match="jobhall_queues already exists; it was left as it was"):
        migrate(engine)

    assert list(_definitions(tmp_path / "jobhall.db")) == ["jobhall_queues"]


def _engine(path: Path) -> sa.Engine:
    return open_write_engine(parse_database_url(f"sqlite:///{path}"))


def _become(engine: sa.Engine, *, revision: str, oldest_server: str) -> None:
    with engine.begin() as connection:
        marker = version_table(PREFIX_DEFAULT)
        connection.execute(sa.update(marker).values(version_num=revision, oldest_server=oldest_server))


def _columns(engine: sa.Engine, table: str) -> list[tuple[str, str, bool]]:
    with engine.connect() as connection:
        return [(c["name"], str(c["type"]), c["nullable"]) for c in sa.inspect(connection).get_columns(table)]


def _definitions(path: Path, *, but: str = "-") -> dict[str, str]:
    """Every table and index with the text that made it, without the table `but` and its own index."""
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name <> ?", (but,)).fetchall()
    finally:
        connection.close()
    return dict(rows)
