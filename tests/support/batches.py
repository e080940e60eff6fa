"""Batches in a store, for tests of the store itself: opened, changed and read by units of one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobhall.ids import new_id
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.batch import BatchRecord, BatchView, NewBatch
from jobhall_server.domain.job import Lease
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.store import Group, Unit
from tests.storage.test_group_properties import acting
from tests.support.stores import Act, Floor


class OnBatches(Unit[Any]):
    """A unit of one function that names batches."""

    def __init__(self, decide: Callable[[Group], Any], *batch_keys: int) -> None:
        self._decide = decide
        self.batch_keys = batch_keys

    def decide(self, group: Group) -> Any:
        return self._decide(group)


async def opened(floor: Floor, **fields: Any) -> BatchRecord:
    new = NewBatch(new_id(), floor.namespace_key, "default", **fields)
    return await floor.store.run(Act(lambda group: group.open_batch(new)))


async def changed(floor: Floor, batch: BatchRecord, **values: Any) -> None:
    def decide(group: Group) -> None:
        found = group.batch(batch.key)
        assert found is not None
        group.save_batch(found.changed(**values))

    await floor.store.run(OnBatches(decide, batch.key))


async def view(floor: Floor, batch: BatchRecord) -> BatchView:
    found = await floor.store.reads.batch(ANYBODY, batch.batch_id)
    assert found is not None
    return found


async def record(floor: Floor, batch: BatchRecord) -> BatchRecord:
    return (await view(floor, batch)).record


async def held(floor: Floor, count: int) -> list[Lease]:
    session = await floor.session()
    [given] = await floor.claim(floor.want(session, count))
    return [job.lease for job in given]


async def step(floor: Floor, lease: Lease, *steps: str) -> None:
    for name in steps:
        await floor.store.run(acting(lease, name, 2))


def telling(lease: Lease, progress: Progress) -> Act[None]:
    return Act(lambda group: group.save_progress(lease.job_key, lease.fence, progress), job_keys=[lease.job_key])
