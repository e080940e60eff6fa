"""What every engine does that no single method says: nothing of the protocol is left out, and a start is a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobhall_server.domain.session import SessionState
from jobhall_server.hall.reads import Reads
from jobhall_server.hall.sessions import DetachSession
from jobhall_server.hall.store import Group, Store
from tests.support.memory.group import Group as MemoryGroup
from tests.support.memory.reads import MemoryReads
from tests.support.memory.store import MemoryStore
from tests.support.stores import Floor, SetClock, open_store

TTL_US = 15_000_000


@pytest.mark.parametrize(("protocol", "engine"), [(Group, MemoryGroup), (Reads, MemoryReads), (Store, MemoryStore)])
def test_the_engine_in_memory_has_every_method_of_the_protocol(protocol: type, engine: type) -> None:
    """It inherits from the protocol, whose methods do nothing: one that was forgotten would answer None."""
    named = [name for name in vars(protocol) if not name.startswith("_")]
    assert not [name for name in named if getattr(engine, name) is getattr(protocol, name)]


async def test_a_start_begins_the_served_time_however_short_the_outage(engine: str, tmp_path: Path) -> None:
    """A server left its workers, was away for a few seconds, and came back when their time to live was almost over: a
    worker that waited for its turn to come back lost what it ran, though it was there all the time.
    """
    clock = SetClock()
    async with open_store(engine, tmp_path, clock=clock) as store:
        floor = await Floor.of(store, tmp_path)
        session = await floor.session()
        detach = DetachSession(session.key, session.epoch, close=False)
        assert await store.run(detach) is SessionState.DETACHED
        clock.at += TTL_US // 3
        assert await store.renew()
        clock.at += TTL_US // 3

    clock.at += 1_000_000
    async with open_store(engine, tmp_path, clock=clock) as store:
        for _ in range(2):
            clock.at += TTL_US // 3
            assert await store.renew()
            assert (await store.reads.expired(ttl_us=TTL_US)).sessions == ()
        clock.at += TTL_US // 3
        assert await store.renew()
        assert (await store.reads.expired(ttl_us=TTL_US)).sessions == (session.key,)
