"""Commit groups without a thread or a loop, on a database in memory: for properties that run hundreds of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from jobhall_server.hall.store import Group as GroupProtocol
from jobhall_server.hall.store import Unit
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.group import Group
from jobhall_server.storage.schema import COUNTERS, tables
from tests.support.stores import START_US, Act


class Groups:
    """A database whose every group is run by the test; time goes on by a microsecond at each."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execution = Execution(connection, tables())
        self.now = START_US

    def run(self, units: Sequence[Unit[Any]]) -> list[Any]:
        """One group of those units; an exception stands where a unit raised it."""
        self.now += 1
        self.execution.begin()
        group = Group(self.execution, now=self.now, replica_key=1)
        group.load(units)
        answers = {unit: _decided(group, unit) for unit in units if not unit.after_save}
        group.save()
        answers |= {unit: _decided(group, unit) for unit in units if unit.after_save}
        group.finish()
        self.execution.commit()
        return [answers[unit] for unit in units]

    def act(self, decide: Callable[[GroupProtocol], Any], **named: Any) -> Any:
        """One group of one unit."""
        [answer] = self.run([Act(decide, **named)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement).fetchall()


@contextmanager
def groups_in_memory() -> Iterator[Groups]:
    engine = sa.create_engine("sqlite://", connect_args={"isolation_level": None})
    opened = engine.raw_connection()
    connection = opened.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    known = tables()
    for text in _schema():
        connection.execute(text)
    connection.executemany(f"INSERT INTO {known.counters.name} (name) VALUES (?)", [(name,) for name in COUNTERS])
    try:
        yield Groups(connection)
    finally:
        opened.close()
        engine.dispose()


def _schema() -> Iterator[str]:
    from sqlalchemy.dialects import sqlite
    from sqlalchemy.schema import CreateIndex, CreateTable

    for table in tables().metadata.sorted_tables:
        yield str(CreateTable(table).compile(dialect=sqlite.dialect()))
        for index in table.indexes:
            yield str(CreateIndex(index).compile(dialect=sqlite.dialect()))


def _decided(group: Group, unit: Unit[Any]) -> Any:
    try:
        return group.decide(unit)
    except Exception as error:  # noqa: BLE001 - the writer hands it to whoever awaits the unit
        return error
