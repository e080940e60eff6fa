"""Rows put straight into a database, for tests of the reader: states that the writer would need many moves to reach."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import sqlalchemy as sa

from jobhall.ids import new_id
from jobhall.states import EventType, JobState
from jobhall_server.domain.session import SessionState
from jobhall_server.storage.connections import open_connections
from jobhall_server.storage.engines import open_write_engine, parse_database_url
from jobhall_server.storage.reader import Reader
from jobhall_server.storage.schema import Tables, tables
from jobhall_server.storage.schema_groups import OF_THE_SERVICE
from tests.support.schemas import lay_schema

THIS_REPLICA = 1
NOW = 1_800_000_000_000_000
"""The reader's time, microseconds UTC; what is put in without a time happened at this one."""


class Rows:
    """A migrated file with one service row, and a way to put rows into it."""

    def __init__(self, path: Path, *, prefix: str) -> None:
        self.database = parse_database_url(f"sqlite:///{quote(str(path))}")
        lay_schema(path, prefix=prefix)
        self.engine = open_write_engine(self.database)
        self.tables: Tables = tables(prefix)
        self.now = NOW
        self.put(self.tables.service, key=1, log_id="log", created_at=0, resumed_at=0, last_at=NOW)
        self.put(self.tables.replicas, key=THIS_REPLICA, replica_id="this", started_at=0, renewed_at=NOW)

    def put(self, table: sa.Table, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.insert(table).values(**values))

    def put_many(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.insert(table), rows)

    def count_event(self, last: int) -> None:
        with self.engine.begin() as connection:
            counters = self.tables.counters
            connection.execute(sa.update(counters).where(counters.c.key == OF_THE_SERVICE).values(last_event=last))

    def resume(self, at: int) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.update(self.tables.service).values(resumed_at=at))

    def queue(self, key: int, *, namespace: str = "default", job_type: str = "score", type_namespace: str = "") -> int:
        """A queue of that key with its names, made where they are missing."""
        own = self._named(self.tables.namespaces, name=namespace)
        of_type = self._named(self.tables.namespaces, name=type_namespace or namespace)
        job_type_key = self._named(self.tables.job_types, namespace_key=of_type, name=job_type, created_at=NOW)
        self.put(self.tables.queues, key=key, namespace_key=own, job_type_key=job_type_key)
        return key

    def job(self, key: int, *, state: JobState = JobState.PENDING, **columns: Any) -> str:
        """A job; answers its id."""
        values = job_row(key, state=state, **columns)
        self.put(self.tables.jobs, **values)
        return str(UUID(bytes=values["job_id"]))

    def session(self, key: int, state: SessionState = SessionState.ATTACHED, **columns: Any) -> str:
        words = {"worker_name": "w", "namespaces": "[]", "job_types": "[]", "labels": "{}", "runtime": "{}"}
        numbers = {"tasks_max": 1, "replica_key": THIS_REPLICA, "created_at": NOW}
        session = {"key": key, "session_id": f"session-{key}", "resume_digest": "d", "state": state, **words, **numbers}
        self.put(self.tables.sessions, **session | columns)
        return f"session-{key}"

    def event(self, number: int, job_key: int, event_type: EventType = EventType.SUBMITTED, **columns: Any) -> None:
        keys = {"namespace_key": 1, "queue_key": 1, "job_id": bytes(16), "at": NOW}
        values = {"state": JobState.PENDING, "revision": 1, "attempt": 0, **keys, **columns}
        self.put(self.tables.events, number=number, job_key=job_key, event_type=event_type, **values)

    def _named(self, table: sa.Table, **values: Any) -> int:
        same = sa.and_(*(table.c[name] == value for name, value in values.items()))
        with self.engine.begin() as connection:
            key = connection.execute(sa.select(table.c.key).where(same)).scalar()
            if key is None:
                key = (connection.execute(sa.select(sa.func.max(table.c.key))).scalar() or 0) + 1
                connection.execute(sa.insert(table).values(key=key, **values))
        return int(key)


def job_row(key: int, *, state: JobState = JobState.PENDING, **columns: Any) -> dict[str, Any]:
    """The columns of a job in that state, in queue 1 of namespace 1 unless told otherwise."""
    held_back = bool(columns.get("held_back"))
    resting = state in (JobState.SCHEDULED, JobState.FAILED, JobState.CANCELLED) or held_back
    fixed = {
        "key": key,
        "job_id": UUID(columns.pop("job_id", None) or new_id()).bytes,
        "state": int(state),
        "ready": NOW if state is JobState.PENDING and not held_back else None,
        "aside": int(state) if resting else None,
        "held_by": columns.get("session_key") if state.held else None,
        "terminal": NOW if state.terminal else None,
        "due_at": NOW if state in (JobState.SCHEDULED, JobState.CANCELLING) else None,
        "queue_key": 1,
        "namespace_key": 1,
        "max_attempts": 4,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return fixed | columns


@contextmanager
def rows_in(folder: Path, *, prefix: str = "jobhall_") -> Iterator[Rows]:
    """A new database in the folder."""
    rows = Rows(folder / "jobhall.db", prefix=prefix)
    try:
        yield rows
    finally:
        rows.engine.dispose()


@asynccontextmanager
async def reading(rows: Rows) -> AsyncIterator[Reader]:
    """A reader of those rows, at their time."""
    async with open_connections(rows.database) as connections:
        yield Reader(connections, rows.tables, now=lambda: rows.now, replica_key=lambda: THIS_REPLICA)
