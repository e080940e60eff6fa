"""Commit groups without a thread or a loop, on a database in memory: for properties that run hundreds of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from jobhall_server.hall.store import Group as GroupProtocol
from jobhall_server.hall.store import Unit
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.group import Group
from jobhall_server.storage.schema import tables
from tests.support.stores import START_US, Act

TABLES = tables()
"""One for all: statements are made ready once for each."""


class Groups:
    """A database whose every group is run by the test; time goes on by a microsecond at each."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execution = Execution(connection, TABLES)
        self.now = START_US

    def run(self, units: Sequence[Unit[Any]]) -> list[Any]:
        """One group of those units; an exception stands where a unit raised it."""
        self.now += 1
        self.execution.begin()
        group = Group(self.execution, now=self.now)
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
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(_empty())
        yield Groups(connection)


@lru_cache(maxsize=1)
def _empty() -> bytes:
    """A database with the schema and nothing in it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for table in TABLES.metadata.sorted_tables:
            connection.execute(str(CreateTable(table).compile(dialect=_DIALECT)))
            for index in table.indexes:
                connection.execute(str(CreateIndex(index).compile(dialect=_DIALECT)))
        connection.execute("INSERT INTO jobhall_counters (key) VALUES (0)")
        return connection.serialize()


_DIALECT = sqlite.dialect()


def _decided(group: Group, unit: Unit[Any]) -> Any:
    try:
        return group.decide(unit)
    except Exception as error:  # noqa: BLE001 - the writer hands it to whoever awaits the unit
        return error
