"""Pages of a list while jobs come, move and go: who matches all the time is on exactly one page; on every engine."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobhall.states import JobState
from jobhall_server.domain import moves, worker_moves
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import JobRecord, Lease
from jobhall_server.hall.store import Group
from jobhall_server.hall.views import JobFilter, ListOrder, Page, Place
from jobhall_server.storage import reader_lists
from tests.support.stores import Act, Floor
from tests.support.task_steps import accept, fail, leases_of, run, take

S = JobState
WAITING = frozenset({S.SCHEDULED, S.PENDING})
HELD = frozenset({S.CLAIMED, S.RUNNING, S.CANCELLING})
STATES = [
    frozenset[JobState](),
    WAITING,
    HELD,
    WAITING | HELD,
    frozenset({S.FAILED, S.CANCELLED}),
    frozenset({S.FAILED}),
]
ACTIONS = ["submit", "schedule", "start", "complete", "fail", "cancel", "retry", "delete"]
_TYPES = count()


class Crowd:
    """Jobs of one queue, and what may happen to them."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.job_type = f"t{next(_TYPES)}"

    async def begin(self, jobs: int) -> None:
        self.floor = await Floor.of(self.floor.store, self.floor.folder, job_type=self.job_type)
        self.session = await self.floor.session()
        await self.floor.submit(jobs)

    async def matching(self, where: JobFilter) -> set[str]:
        return {job.job_id for job in (await self.floor.store.reads.jobs(ANYBODY, where, Page(1000))).jobs}

    async def act(self, action: str, number: int) -> None:
        floor = self.floor
        if action == "submit":
            await floor.submit(2)
        elif action == "schedule":
            await floor.submit(1, schedule_at=2**60)
        elif action in ("start", "complete", "fail"):
            leases = await leases_of(floor, self.session, 1)
            if leases:
                await run(floor, lambda group: self._work(group, action, leases[0]), jobs=leases)
        else:
            where = JobFilter(job_types=frozenset({self.job_type}))
            jobs = (await floor.store.reads.jobs(ANYBODY, where, Page(1000))).jobs
            if jobs:
                key = jobs[number % len(jobs)].key
                await floor.store.run(Act(lambda group: self._manage(group, action, group.job(key)), job_keys=[key]))

    def _work(self, group: Group, action: str, lease: Lease) -> None:
        accept(group, lease)
        if action == "complete":
            take(group, lease, worker_moves.complete(group.job(lease.job_key), lease, worker_moves.NO_RESULT_DIGEST))
        if action == "fail":
            fail(group, lease, retryable=False)

    def _manage(self, group: Group, action: str, job: JobRecord | None) -> None:
        assert job is not None
        if action == "delete":
            if moves.delete(job) is None:
                group.delete_job(job)
            return
        decision = moves.retry(job)
        values: tuple[int | str | None, ...] = ()
        if action == "cancel":
            decision, values = moves.cancel(job, reason="", by="", stop_at=2**60)
        if isinstance(decision, Change):
            group.change(job, decision, values)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.sampled_from(STATES),
    order=st.sampled_from([ListOrder.CREATED_DESC, ListOrder.CREATED]),
    size=st.integers(1, 4),
    jobs=st.integers(0, 12),
    actions=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 30)), max_size=30),
)
async def test_who_matches_all_the_time_is_on_exactly_one_page(
    floor: Floor,
    monkeypatch: pytest.MonkeyPatch,
    *,
    states: frozenset[JobState],
    order: ListOrder,
    size: int,
    jobs: int,
    actions: list[tuple[str, int]],
) -> None:
    monkeypatch.setattr(reader_lists, "FIRST_LOOK", 2)
    monkeypatch.setattr(reader_lists, "LOOK", 3)
    crowd = Crowd(floor)
    await crowd.begin(jobs)
    middle = len(actions) // 2
    for action, number in actions[:middle]:
        await crowd.act(action, number)
    where = JobFilter(namespace="default", job_types=frozenset({crowd.job_type}), states=states)
    always = await crowd.matching(where)
    left = iter(actions[middle:])

    found: list[tuple[int, str]] = []
    place: Place | None = None
    while True:
        page = await floor.store.reads.jobs(ANYBODY, where, Page(size, place, order=order))
        found += [(job.key, job.job_id) for job in page.jobs]
        assert all(not states or job.state in states for job in page.jobs)
        if page.next is None:
            break
        place = page.next
        for action, number in (next(left, ("", 0)), next(left, ("", 0))):
            if action:
                await crowd.act(action, number)
        always &= await crowd.matching(where)

    assert found == sorted(set(found), reverse=order is ListOrder.CREATED_DESC)
    assert always <= {job_id for _, job_id in found}
