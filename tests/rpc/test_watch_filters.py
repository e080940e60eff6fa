"""Watches by batch and by labels that change: ENTERED, LEFT, and the end of a batch; the same by ListJobEvents."""

import asyncio
from typing import Any

import grpc
import pytest

from jobhall.ids import new_id
from jobhall.states import EventType
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.batch_calls import change, create
from tests.support.calls import register, submit
from tests.support.servers import Running
from tests.support.unary_calls import SOON, claim, report

_E = EventType
RED: dict[str, str] = {"team": "red"}


async def begin(server: Running, **fields: Any) -> Any:
    """A watch that has had its first answer."""
    call: Any = server.jobs.WatchJobs(pb.WatchJobsRequest(**fields), timeout=20)
    await call.read()
    return call


async def told(call: Any, count: int) -> list[tuple[EventType, str]]:
    found: list[tuple[EventType, str]] = []
    while len(found) < count:
        found += [(EventType(event.event_type), event.job_id) for event in (await call.read()).events]
    call.cancel()
    return found


async def relabel(server: Running, job_id: str, **labels: str) -> None:
    request = pb.UpdateJobRequest(job=job_pb2.Job(id=job_id, labels=labels))
    request.update_mask.paths.append("labels")
    await server.jobs.UpdateJob(request)


async def cancel(server: Running, *job_ids: str) -> None:
    for job_id in job_ids:
        await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job_id))


async def listed(server: Running, **fields: Any) -> list[tuple[EventType, str]]:
    answer = await server.jobs.ListJobEvents(pb.ListJobEventsRequest(page_size=1000, **fields))
    assert answer.end_reached
    return [(EventType(event.event_type), event.job_id) for event in answer.events]


async def test_a_job_that_gets_the_label_has_entered_and_one_that_loses_it_has_left(server: Running) -> None:
    await register(server)
    call = await begin(server, labels=RED)
    before, after = await submit(server), await submit(server, labels=RED)

    await relabel(server, before.id, team="red", tier="gold")
    await relabel(server, after.id, team="red", tier="iron")
    await relabel(server, after.id, team="blue")
    await cancel(server, before.id, after.id)

    expected = [
        (_E.SUBMITTED, after.id),
        (_E.ENTERED, before.id),
        (_E.UPDATED, after.id),
        (_E.LEFT, after.id),
        (_E.CANCELLED, before.id),
    ]
    assert await told(call, len(expected)) == expected
    assert await listed(server, labels=RED) == expected


async def test_what_entered_and_left_says_how_it_was_before(server: Running) -> None:
    await register(server)
    call = await begin(server, labels=RED, event_types=[_E.ENTERED, _E.LEFT])
    job = await submit(server, labels={"tier": "gold"})

    await relabel(server, job.id, team="red")
    await relabel(server, job.id)
    events: list[Any] = []
    while len(events) < 2:
        events += (await call.read()).events

    assert [event.event_type for event in events] == [_E.ENTERED, _E.LEFT]
    assert [event.revision for event in events] == [2, 3]
    assert [dict(event.attributes.labels) for event in events] == [RED, {}]
    assert [dict(event.previous_attributes.labels) for event in events] == [{"tier": "gold"}, RED]
    assert all(event.previous_attributes.owner == event.attributes.owner for event in events)
    call.cancel()


async def test_a_change_that_is_in_no_watchers_way_is_an_update_without_a_before(server: Running) -> None:
    await register(server)
    call = await begin(server, job_ids=[(job := await submit(server)).id])

    await server.jobs.UpdateJob(
        pb.UpdateJobRequest(job={"id": job.id, "priority": 3}, update_mask={"paths": ["priority"]})  # type: ignore[arg-type]
    )
    [event] = (await call.read()).events

    assert event.event_type == _E.UPDATED
    assert not event.HasField("previous_attributes")
    call.cancel()


async def test_a_batch_is_watched_from_its_first_job_to_its_last(server: Running) -> None:
    await register(server)
    batch = (await create(server, jobs=1)).batch
    other = (await create(server, jobs=1)).batch
    call: Any = server.jobs.WatchJobs(
        pb.WatchJobsRequest(batch_id=batch.id, include_snapshot=True, stop_when_terminal=True), timeout=20
    )
    snapshot: list[str] = []
    while not (answer := await call.read()).snapshot_complete:
        snapshot += [job.id for job in answer.snapshot_jobs]
    snapshot += [job.id for job in answer.snapshot_jobs]
    joined = await submit(server, batch_id=batch.id)
    await submit(server, batch_id=other.id)

    await cancel(server, *snapshot, joined.id)
    await change(server, batch.id, closed=True)
    seen: list[tuple[int, str, str]] = []
    while (answer := await call.read()) is not grpc.aio.EOF:
        seen += [(event.event_type, event.job_id, event.attributes.batch_id) for event in answer.events]

    assert len(snapshot) == 1
    assert seen == [
        (_E.SUBMITTED, joined.id, batch.id),
        (_E.CANCELLED, snapshot[0], batch.id),
        (_E.CANCELLED, joined.id, batch.id),
    ]


async def test_a_watch_of_a_batch_that_is_over_tells_how_and_ends(server: Running) -> None:
    await register(server)
    batch = (await create(server, jobs=2, closed=True)).batch
    cursor = await _here(server)
    jobs = await listed(server, batch_id=batch.id)
    await cancel(server, *[job_id for _, job_id in jobs])

    late: Any = server.jobs.WatchJobs(
        pb.WatchJobsRequest(batch_id=batch.id, stop_when_terminal=True, cursor=cursor), timeout=20
    )
    seen = [event.event_type for answer in [answer async for answer in late] for event in answer.events]

    assert seen == [_E.CANCELLED, _E.CANCELLED]


async def _here(server: Running) -> str:
    call: Any = server.jobs.WatchJobs(pb.WatchJobsRequest(), timeout=20)
    cursor: str = (await call.read()).cursor
    call.cancel()
    return cursor


async def test_all_that_is_asked_for_must_hold(server: Running) -> None:
    await register(server)
    batch = (await create(server)).batch
    inside = await submit(server, batch_id=batch.id, labels=RED)
    outside = await submit(server, labels=RED)
    plain = await submit(server, batch_id=batch.id)

    both = await listed(server, batch_id=batch.id, labels=RED)
    named = await listed(server, batch_id=batch.id, job_ids=[outside.id, plain.id])
    nobody = await listed(server, labels=RED, owner="somebody else")

    assert both == [(_E.SUBMITTED, inside.id)]
    assert named == [(_E.SUBMITTED, plain.id)]
    assert nobody == []


async def test_a_job_is_watched_by_its_id_before_it_is_there_and_when_another_takes_its_place(server: Running) -> None:
    await register(server)
    job_id = new_id()
    call = await begin(server, job_ids=[job_id])

    for _ in range(3):
        await submit(server, job_id=job_id)
        await server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=job_id))

    assert await told(call, 6) == [(_E.SUBMITTED, job_id), (_E.DELETED, job_id)] * 3


async def test_a_claim_that_nothing_follows_is_told_to_who_watches_the_job_by_its_id(server: Running) -> None:
    """What follows would bring it along, at the latest when the delivery goes back after ten seconds."""
    await register(server)
    jobs = [await submit(server) for _ in range(3)]
    calls = [await begin(server, job_ids=[job.id]) for job in jobs]

    await claim(server, tasks_max=3, timeout=SOON)

    async with asyncio.timeout(5):
        assert [await told(call, 1) for call in calls] == [[(_E.CLAIMED, job.id)] for job in jobs]


async def test_an_event_of_a_task_names_its_worker_and_fence_and_how_it_failed(server: Running) -> None:
    await register(server)
    job = await submit(server, max_attempts=1)
    given = await claim(server, accept=True, timeout=SOON)
    failed: Any = {"lease_token": given.tasks[0].lease_token, "failed": {"code": "BROKEN", "retryable": False}}
    await report(server, given.session_id, failed)

    answer = await server.jobs.ListJobEvents(pb.ListJobEventsRequest(job_ids=[job.id]))

    claimed, running, over = answer.events[1:]
    assert [_E(event.event_type) for event in (claimed, running, over)] == [_E.CLAIMED, _E.RUNNING, _E.FAILED]
    assert {event.worker_name for event in (claimed, running, over)} == {"cron"}
    assert {event.fence for event in (claimed, running, over)} == {given.tasks[0].fence}
    assert (over.failure_code, over.attempt) == ("BROKEN", 1)
    assert answer.events[0].fence == 0


async def test_pages_lead_to_the_end_and_a_watch_goes_on_from_there(server: Running) -> None:
    await register(server)
    jobs = [(await submit(server)).id for _ in range(5)]
    pages: list[list[str]] = []
    page = pb.ListJobEventsResponse()
    while not page.end_reached:
        page = await server.jobs.ListJobEvents(pb.ListJobEventsRequest(cursor=page.cursor, page_size=2))
        pages.append([event.job_id for event in page.events])
    call: Any = server.jobs.WatchJobs(pb.WatchJobsRequest(cursor=page.cursor), timeout=20)
    await call.read()

    last = await submit(server)

    assert [job_id for each in pages for job_id in each] == jobs
    assert max(map(len, pages)) == 2
    assert await told(call, 1) == [(_E.SUBMITTED, last.id)]


async def test_progress_of_a_batch_and_of_labels_is_told_to_its_watchers_only(server: Running) -> None:
    await register(server)
    batch = (await create(server)).batch
    watchers = {
        "batch": await begin(server, batch_id=batch.id),
        "label": await begin(server, labels=RED),
        "other": await begin(server, labels={"team": "blue"}),
    }
    job = await submit(server, batch_id=batch.id, labels=RED)
    given = await claim(server, accept=True, timeout=SOON)
    progress: Any = {"lease_token": given.tasks[0].lease_token, "progress": {"percent": 50}}
    await report(server, given.session_id, progress)

    for name in ("batch", "label"):
        seen: list[Any] = []
        while not seen or seen[-1].event_type != _E.PROGRESS:
            seen += (await asyncio.wait_for(watchers[name].read(), 10)).events
        assert (seen[-1].job_id, seen[-1].progress.percent, seen[-1].attributes.batch_id) == (job.id, 50, batch.id)
    await relabel(server, job.id, team="blue")
    assert await told(watchers["other"], 1) == [(_E.ENTERED, job.id)]


@pytest.mark.parametrize("named", [False, True], ids=["everything", "the named job"])
async def test_a_bookmark_moves_the_cursor_of_a_watcher_whom_nothing_concerns(server: Running, named: bool) -> None:
    """Else its cursor would grow old, and expire, though it had missed nothing."""
    await register(server)
    job = await submit(server)
    watched: Any = {"job_ids": [job.id]} if named else {"namespace": "elsewhere"}
    call = await begin(server, **watched)
    await submit(server)
    head = await _here(server)

    bookmark = await asyncio.wait_for(call.read(), 15)

    assert not bookmark.events
    assert bookmark.cursor == head
    call.cancel()
