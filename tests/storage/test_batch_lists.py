"""Lists of batches: orders, pages and conditions, on every engine."""

from __future__ import annotations

from typing import Any

import pytest

from jobhall.states import BatchState
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.batch import BatchView
from jobhall_server.domain.job import Lease
from jobhall_server.hall.views import BatchFilter, BatchOrder
from tests.support.batches import held, opened, step
from tests.support.stores import Floor, SetClock


async def names(floor: Floor, where: BatchFilter, order: BatchOrder, *, limit: int = 9, skip: int = 0) -> list[str]:
    """Page by page."""
    found: list[BatchView] = []
    after: tuple[str, int] | None = None
    while page := await floor.store.reads.batches(
        ANYBODY, where, order=order, after=after, limit=limit, skip=0 if found else skip
    ):
        found += page
        last = page[-1].record
        after = (last.name if order is BatchOrder.NAME else "", last.key)
    return [one.record.name for one in found]


@pytest.mark.parametrize("limit", [1, 2, 9])
async def test_lists_come_in_each_order_page_by_page(floor: Floor, limit: int) -> None:
    for name in ("b", "a", "c", "a"):
        await opened(floor, name=name)

    for order, expected in (
        (BatchOrder.CREATED, ["b", "a", "c", "a"]),
        (BatchOrder.CREATED_DESC, ["a", "c", "a", "b"]),
        (BatchOrder.NAME, ["a", "a", "b", "c"]),
    ):
        assert await names(floor, BatchFilter(), order, limit=limit) == expected
        assert await names(floor, BatchFilter(namespace="default"), order, limit=limit, skip=2) == expected[2:]


async def test_each_condition_of_a_list_counts(floor: Floor, clock: SetClock) -> None:
    early = clock.at
    await opened(floor, name="over", closed=True, owner="ann")
    clock.at += 10
    failed = await opened(floor, name="failed", closed=True, owner="bob")
    [key] = await floor.submit(1, batch_key=failed.key)
    await step(floor, Lease(key, 0, 0), "cancel")
    await opened(floor, name="waits", active=False, owner="bob")
    running = await opened(floor, name="runs", owner="ann")
    await floor.submit(1, batch_key=running.key)
    [lease] = await held(floor, 1)
    await step(floor, lease, "accept")

    async def found(**where: Any) -> list[str]:
        return await names(floor, BatchFilter(**where), BatchOrder.CREATED)

    assert await found(namespace="elsewhere") == []
    assert await found(states=frozenset({BatchState.COMPLETED})) == ["over"]
    assert await found(states=frozenset({BatchState.FAILED, BatchState.PENDING})) == ["failed", "waits"]
    assert await found(states=frozenset({BatchState.PROCESSING})) == ["runs"]
    assert await found(owners=frozenset({"ann"})) == ["over", "runs"]
    assert await found(name="waits") == ["waits"]
    assert await found(active=False) == ["waits"]
    assert await found(closed=False, active=True) == ["runs"]
    assert await found(created_after=early + 1) == ["failed", "waits", "runs"]
    assert await found(created_before=early + 10) == ["over"]
