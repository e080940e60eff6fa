"""Steps of tasks and sessions in a store, a word each: moves taken in a unit, time that is served, what is over."""

from __future__ import annotations

from typing import Any

from jobhall.states import FailureKind
from jobhall_server.domain import moves, server_moves, worker_moves
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import JobRecord, Lease
from jobhall_server.domain.session import SessionRecord
from jobhall_server.hall.store import Group
from jobhall_server.hall.views import Expired
from tests.support.stores import Act, Floor, SetClock

SECOND = 1_000_000
TTL_US = 15 * SECOND


async def serve(floor: Floor, clock: SetClock, seconds: int) -> None:
    """Let time pass in which the service is there."""
    for _ in range(seconds):
        clock.at += SECOND
        assert await floor.store.renew()


async def expired(floor: Floor) -> Expired:
    return await floor.store.reads.expired(ttl_us=TTL_US)


def take(group: Group, lease: Lease, decision: tuple[moves.Decision, Values]) -> JobRecord:
    """Make the change, and see the job after it."""
    change, values = decision
    job = group.job(lease.job_key)
    assert job is not None
    assert isinstance(change, Change), change
    group.change(job, change, values)
    after = group.job(lease.job_key)
    assert after is not None
    return after


def accept(group: Group, lease: Lease) -> JobRecord:
    return take(group, lease, worker_moves.accept(group.job(lease.job_key), lease, group.now))


def lose(group: Group, lease: Lease) -> JobRecord:
    job = group.job(lease.job_key)
    assert job is not None
    return take(group, lease, server_moves.lose(job, confirmed=True))


def resume(group: Group, lease: Lease, session: SessionRecord) -> JobRecord:
    job = group.job(lease.job_key)
    told = server_moves.resume(job, lease, session_key=session.key, started=True, now=group.now)
    return take(group, lease, (told.change, told.values))


def fail(group: Group, lease: Lease, **told: Any) -> JobRecord:
    said: dict[str, Any] = {"kind": FailureKind.APPLICATION, "code": "E", "now": group.now, "chance": 0.0, **told}
    return take(group, lease, worker_moves.fail(group.job(lease.job_key), lease, 9, **said))


def release(group: Group, lease: Lease, session: SessionRecord) -> None:
    """Give it back as not this session's."""
    said: dict[str, Any] = {"now": group.now, "chance": 0.0, "not_mine": True}
    take(group, lease, worker_moves.release(group.job(lease.job_key), lease, 9, **said))
    group.exclude(lease.job_key, session.key)


async def leases_of(floor: Floor, session: SessionRecord, count: int, **fields: Any) -> list[Lease]:
    [claimed] = await floor.claim(floor.want(session, count, **fields))
    return [task.lease for task in claimed]


async def run(floor: Floor, *acts: Any, jobs: list[Lease]) -> Any:
    """All of it as one unit; answers what the last said."""
    return await floor.store.run(
        Act(lambda group: [act(group) for act in acts][-1], job_keys=[lease.job_key for lease in jobs])
    )
