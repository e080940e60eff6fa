"""A store on each engine, units of one function, and the few steps that most tests of writing begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pytest

from jobhall.ids import new_id
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.job import JobRecord, JobView, Lease, NewJob
from jobhall_server.domain.session import NewSession, SessionRecord
from jobhall_server.hall.clock import Clock
from jobhall_server.hall.store import Claimed, Group, Store, Unit, Want
from jobhall_server.hall.views import EventRow, LogFilter
from jobhall_server.storage.engines import Synchronous
from jobhall_server.storage.schema import PREFIX_DEFAULT
from jobhall_server.storage.store import Store as SqlStore
from tests.support.memory.store import MemoryStore
from tests.support.memory.tables import Tables
from tests.support.schemas import lay_schema
from tests.support.stored import Stored

T = TypeVar("T")

SQL_ENGINES = ("sqlite",)
ENGINES = (*SQL_ENGINES, "memory")
"""What the conformance cases run on: whatever passes them all is a store. The simulation runs on the last one."""

sql_only = pytest.mark.parametrize("engine", SQL_ENGINES)
"""For cases that look at the rows themselves, or break what only a database on a disk has."""

FILE_NAME = "jobhall.db"
START_US = 1_800_000_000_000_000


class SetClock:
    """A clock that stands until it is moved."""

    def __init__(self, now_us: int = START_US) -> None:
        self.at = now_us

    def now_us(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / 1_000_000


_TABLES: dict[Path, Tables] = {}
"""The databases in memory, by the folder in which another engine would keep its file."""


@asynccontextmanager
async def open_store(
    engine: str,
    folder: Path,
    *,
    clock: Clock | None = None,
    prefix: str = PREFIX_DEFAULT,
    synchronous: Synchronous = Synchronous.FULL,
    on_fatal: Callable[[BaseException], None] | None = None,
) -> AsyncIterator[Store]:
    """A store of its own on that engine; opened again in the same folder it finds what was there."""
    if engine == "memory":
        kept = MemoryStore(_TABLES.setdefault(folder, Tables()), clock=clock or SetClock())
        yield kept
        kept.close()
        return
    lay_schema(folder / FILE_NAME, prefix=prefix)
    url = f"sqlite:///{quote(str(folder / FILE_NAME))}"
    fatal = on_fatal or _unexpected
    opening = SqlStore.open(url, prefix=prefix, clock=clock or SetClock(), synchronous=synchronous, on_fatal=fatal)
    async with opening as store:
        yield store


class Act(Unit[T]):
    """A unit of one function."""

    def __init__(
        self,
        decide: Callable[[Group], T],
        *,
        job_keys: Sequence[int] = (),
        job_ids: Sequence[str] = (),
        session_keys: Sequence[int] = (),
        session_ids: Sequence[str] = (),
        batch_ids: Sequence[str] = (),
    ) -> None:
        self._decide = decide
        self.job_keys = job_keys
        self.job_ids = job_ids
        self.session_keys = session_keys
        self.session_ids = session_ids
        self.batch_ids = batch_ids

    def decide(self, group: Group) -> T:
        return self._decide(group)


class ActAfterSave(Act[T]):
    """The same for a claim."""

    after_save = True


class Floor:
    """A store with a queue: what a test does on it in a word each."""

    def __init__(self, store: Store, folder: Path, namespace_key: int, queue_key: int) -> None:
        self.store = store
        self.folder = folder
        self.namespace_key = namespace_key
        self.queue_key = queue_key

    @classmethod
    async def of(cls, store: Store, folder: Path, *, job_type: str = "score") -> Floor:
        def decide(group: Group) -> Floor:
            namespace_key = group.namespace_key("default")
            job_type_key, _ = group.job_type_key(namespace_key, job_type)
            return cls(store, folder, namespace_key, group.queue_key(namespace_key, job_type_key))

        return await store.run(Act(decide))

    def new(self, **fields: Any) -> NewJob:
        fields = {"job_id": new_id(), "namespace_key": self.namespace_key, "queue_key": self.queue_key, **fields}
        return NewJob(**fields)

    async def submit(self, count: int = 1, **fields: Any) -> list[int]:
        return await self.submit_all([self.new(**fields) for _ in range(count)])

    async def submit_all(self, jobs: Sequence[NewJob]) -> list[int]:
        return await self.store.run(Act(lambda group: [group.insert_job(new) for new in jobs]))

    def hello(self, worker: str = "w", **fields: Any) -> NewSession:
        replica_key = self.store.replica_key
        new = NewSession(new_id(), "digest", worker, ("default",), ("score",), "{}", "{}", 10, replica_key, 1)
        return replace(new, **fields)

    async def session(self, worker: str = "w", **fields: Any) -> SessionRecord:
        new = self.hello(worker, **fields)
        return await self.store.run(Act(lambda group: group.open_session(new)))

    def want(self, session: SessionRecord, credit: int, **fields: Any) -> Want:
        given = {"epoch": session.epoch, "nonce": 7, "worker": "w", "queues": ((self.queue_key, credit),), **fields}
        return Want(session_key=session.key, credit=credit, **given)

    async def claim(self, *wants: Want) -> list[list[Claimed]]:
        return await self.store.run(claim_unit(*wants))

    async def claim_one(self) -> Lease:
        """Lease the first job of the queue to a new session."""
        session = await self.session()
        [[claimed]] = await self.claim(self.want(session, 1))
        return claimed.lease

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """What a database on disk holds, read beside the store; for cases that are `sql_only`."""
        return Stored(self.folder / FILE_NAME).rows(statement)

    async def record(self, key: int) -> JobRecord | None:
        return await self.store.run(Act(lambda group: group.job(key), job_keys=[key]))

    async def view(self, job_id: str) -> JobView | None:
        return await self.store.reads.job(ANYBODY, job_id)

    async def events(self) -> list[EventRow]:
        return (await self.store.reads.log(LogFilter(), after=0, limit=1000)).rows


def claim_unit(*wants: Want) -> ActAfterSave[list[list[Claimed]]]:
    return ActAfterSave(lambda group: group.claim(wants), session_keys=[want.session_key for want in wants])


def _unexpected(error: BaseException) -> None:
    raise AssertionError("the writer ended") from error
