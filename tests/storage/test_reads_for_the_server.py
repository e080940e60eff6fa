"""What the server asks of a store for itself: who is ahead, what is over, what falls due; on every engine."""

from __future__ import annotations

from jobhall.states import EventType, JobState
from jobhall_server.domain import moves, worker_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import NewJob
from jobhall_server.hall.store import Group
from jobhall_server.hall.views import JobTypeView, PurgeStep, Retention
from tests.support.stores import Act, Floor, SetClock
from tests.support.task_steps import SECOND, accept, expired, fail, leases_of, lose, release, run, take

DAY = 86_400 * SECOND
FOR_EVER = Retention()


async def end(floor: Floor, state: JobState) -> int:
    """Bring the next job of the queue to that end; answers its key."""
    session = await floor.session()
    [lease] = await leases_of(floor, session, 1)

    def act(group: Group) -> None:
        accept(group, lease)
        job = group.job(lease.job_key)
        if state is JobState.COMPLETED:
            take(group, lease, worker_moves.complete(job, lease, worker_moves.NO_RESULT_DIGEST))
        elif state is JobState.FAILED:
            fail(group, lease, retryable=False)
        else:
            assert job is not None
            take(group, lease, moves.cancel(job, reason="", by="", stop_at=group.now))
            fail(group, lease, retryable=True)

    await run(floor, act, jobs=[lease])
    return lease.job_key


# --- who is ahead ---


async def test_jobs_ahead_are_those_that_a_claim_takes_before(floor: Floor, clock: SetClock) -> None:
    [late] = await floor.submit(priority=-1)
    clock.at += SECOND
    [first, second] = await floor.submit(2)
    clock.at += SECOND
    [urgent] = await floor.submit(priority=5)
    await floor.submit(schedule_at=clock.at + DAY)
    other = await Floor.of(floor.store, floor.folder, job_type="other")
    await other.submit(3, priority=9)
    reads = floor.store.reads

    assert [await reads.jobs_ahead(key, limit=100) for key in (urgent, first, second, late)] == [0, 1, 2, 3]
    assert await reads.jobs_ahead(late, limit=2) == 2
    assert await reads.jobs_ahead(10**9, limit=2) == 0
    leases = await leases_of(floor, await floor.session(), 4)
    assert [lease.job_key for lease in leases] == [urgent, first, second, late]
    assert await reads.jobs_ahead(late, limit=100) == 0


async def test_a_job_that_was_lost_before_has_its_turn_by_its_priority_like_others(
    floor: Floor, clock: SetClock
) -> None:
    [lost] = await floor.submit(priority=1)
    [lease] = await leases_of(floor, await floor.session(), 1)
    [plain, later] = await floor.submit(2)
    clock.at += SECOND
    await run(floor, lambda group: lose(group, lease), jobs=[lease])
    reads = floor.store.reads

    assert [await reads.jobs_ahead(key, limit=9) for key in (lost, plain, later)] == [0, 1, 2]


async def test_who_gave_a_job_back_as_not_theirs_is_known(floor: Floor) -> None:
    [key] = await floor.submit()
    session = await floor.session()
    [lease] = await leases_of(floor, session, 1)
    await run(floor, lambda group: release(group, lease, session), jobs=[lease])

    assert await floor.store.reads.excluded_sessions(key) == {session.key}
    assert await floor.store.reads.excluded_sessions(key + 1) == frozenset()


# --- what is over ---


async def test_jobs_are_over_when_what_their_state_is_kept_for_has_passed(floor: Floor, clock: SetClock) -> None:
    await floor.submit(4)
    keys = [await end(floor, state) for state in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)]
    keep = Retention(completed_us=DAY, failed_us=2 * DAY)
    reads = floor.store.reads

    clock.at += DAY - 1
    assert await reads.jobs_to_purge(keep, after_key=0) == PurgeStep((), None)
    clock.at += 1
    assert await reads.jobs_to_purge(keep, after_key=0) == PurgeStep((keys[0],), None)
    clock.at += DAY
    assert await reads.jobs_to_purge(keep, after_key=0) == PurgeStep((keys[0], keys[1]), None)
    assert await reads.jobs_to_purge(keep, after_key=keys[0]) == PurgeStep((keys[1],), None)
    assert await reads.jobs_to_purge(FOR_EVER, after_key=0) == PurgeStep((), None)


async def test_a_job_is_kept_as_long_as_it_says_itself(floor: Floor, clock: SetClock) -> None:
    [short] = await floor.submit(retention_us=SECOND)
    await end(floor, JobState.COMPLETED)
    await floor.submit(retention_us=2 * DAY)
    await end(floor, JobState.FAILED)
    keep = Retention(completed_us=DAY, failed_us=DAY)

    clock.at += SECOND
    assert await floor.store.reads.jobs_to_purge(FOR_EVER, after_key=0) == PurgeStep((short,), None)
    clock.at += DAY
    assert await floor.store.reads.jobs_to_purge(keep, after_key=0) == PurgeStep((short,), None)


async def test_a_look_for_what_is_over_goes_over_a_thousand_jobs_and_tells_where_to_go_on(
    floor: Floor, clock: SetClock
) -> None:
    await floor.submit(1)
    first = await end(floor, JobState.COMPLETED)
    waiting = await floor.submit(999)
    await floor.submit(1, priority=100)
    last = await end(floor, JobState.COMPLETED)
    keep = Retention(completed_us=0)

    assert await floor.store.reads.jobs_to_purge(keep, after_key=0) == PurgeStep((first,), waiting[-1])
    assert await floor.store.reads.jobs_to_purge(keep, after_key=waiting[-1]) == PurgeStep((last,), None)


# --- types and their versions ---


async def test_types_are_read_with_all_that_was_registered_and_without_the_retired(floor: Floor) -> None:
    def register(group: Group) -> list[JobTypeView]:
        views = []
        for name in ("plain", "gone"):
            group.job_type_key(floor.namespace_key, name)
            known = group.job_type("default", name)
            assert known is not None
            views.append(known)
        return views

    plain, gone = await floor.store.run(Act(register))
    whole = JobTypeView(
        key=plain.key,
        namespace="default",
        name="plain",
        created_at=plain.created_at,
        updated_at=plain.created_at + 5,
        description="what it does",
        version=2,
        revision=3,
        paused=True,
        parameters_schema='{"type":"object"}',
        result_schema="true",
        defaults='{"priority":3}',
    )
    retired = JobTypeView(gone.key, "default", "gone", gone.created_at, retired=True)

    def save(group: Group) -> None:
        for view in (whole, retired):
            group.save_job_type(view)

    await floor.store.run(Act(save))
    reads = floor.store.reads

    found = {view.name: view for view in await reads.job_types("default")}
    assert found["plain"] == whole
    assert set(found) == {"plain", "score"}
    assert await reads.schemas(plain.key, 2) == ('{"type":"object"}', "true")
    assert await reads.schemas(plain.key, 9) == (None, None)


async def test_type_versions_are_read_of_the_jobs_that_are_there(floor: Floor) -> None:
    [first] = await floor.submit(type_version=3)
    [second] = await floor.submit()

    found = await floor.store.reads.type_versions([first, second, 10**9])

    assert found == {first: (floor.queue_key, 3), second: (floor.queue_key, 0)}
    assert await floor.store.reads.type_versions([]) == {}


# --- what falls due, and what is told ---


async def test_a_job_that_waits_falls_due_at_once_however_lately_the_server_came_back(
    floor: Floor, clock: SetClock
) -> None:
    [pending] = await floor.submit(start_deadline=clock.at + SECOND)
    [scheduled] = await floor.submit(schedule_at=clock.at + 2 * SECOND)

    assert (await expired(floor)).due == ()
    clock.at += SECOND
    assert (await expired(floor)).due == (pending,)
    clock.at += SECOND
    assert (await expired(floor)).due == (pending, scheduled)


async def test_a_held_task_tells_the_version_of_its_type(floor: Floor) -> None:
    await floor.submit(type_version=7)
    session = await floor.session()
    await leases_of(floor, session, 1)

    assert [row.type_version for row in await floor.store.reads.held([session.key])] == [7]


async def test_events_tell_whose_batch_and_access_and_what_was_before(floor: Floor) -> None:
    new: NewJob = floor.new(labels='{"a":"1"}', access="[2,[],[],[]]")
    [key] = await floor.submit_all([new])

    def relabel(group: Group) -> None:
        job = group.job_by_id(new.job_id)
        assert job is not None
        wanted = moves.JobUpdate(frozenset({"labels"}), labels='{"a":"2"}')
        change, values = moves.update(job, wanted, group.now)
        assert isinstance(change, Change)
        group.change(job, change, values)

    await floor.store.run(Act(relabel, job_ids=[new.job_id]))
    submitted, updated = await floor.events()

    assert (submitted.job_key, submitted.event_type, submitted.labels) == (key, EventType.SUBMITTED, '{"a":"1"}')
    assert (submitted.access, submitted.previous, submitted.batch_id) == ("[2,[],[],[]]", None, "")
    assert (updated.event_type, updated.labels) == (EventType.UPDATED, '{"a":"2"}')
    assert updated.previous is not None
    assert '"1"' in updated.previous.replace("\\", "")
