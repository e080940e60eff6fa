"""What a claim passes over, what it is asked for by name, and what it hands on from the attempt before."""

from __future__ import annotations

from jobhall.ids import new_id
from jobhall_server.domain import worker_moves
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.batch import NewBatch
from jobhall_server.domain.job import Lease, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.store import Group
from tests.support.stores import Act, Floor
from tests.support.task_steps import accept, fail, leases_of, lose, release, run, take


async def test_a_session_is_not_given_again_what_it_gave_back_as_not_its_own(floor: Floor) -> None:
    keys = await floor.submit(3)
    session, other = await floor.session(), await floor.session()
    given = await leases_of(floor, session, 2)
    await run(floor, *(lambda group, lease=lease: release(group, lease, session) for lease in given), jobs=given)

    mine = await leases_of(floor, session, 9)
    shares = await floor.claim(floor.want(session, 9), floor.want(other, 1))

    assert [lease.job_key for lease in mine] == [keys[2]]
    assert [[task.lease.job_key for task in share] for share in shares] == [[], [keys[0]]]
    assert [lease.job_key for lease in await leases_of(floor, other, 9)] == [keys[1]]


async def test_jobs_that_are_not_a_sessions_own_do_not_keep_the_others_behind_them_from_it(floor: Floor) -> None:
    """A claim that asks for as many as there is room for would find these alone, each time."""
    await floor.submit(300, priority=5)
    keys = await floor.submit(2)
    session = await floor.session()
    given = await leases_of(floor, session, 300)
    await run(floor, *(lambda group, lease=lease: release(group, lease, session) for lease in given), jobs=given)

    assert [lease.job_key for lease in await leases_of(floor, session, 2)] == keys


async def test_what_was_lost_and_given_back_stays_where_no_other_lost_one_is(floor: Floor) -> None:
    [bad, worse] = await floor.submit(2)
    session, other = await floor.session(), await floor.session()
    first, second = await leases_of(floor, session, 2)
    await run(floor, lambda group: lose(group, first), lambda group: lose(group, second), jobs=[first, second])
    [again] = await leases_of(floor, session, 9)
    assert again.job_key == bad
    await run(floor, lambda group: release(group, again, session), jobs=[again])

    assert [lease.job_key for lease in await leases_of(floor, session, 9)] == [worse]
    assert [lease.job_key for lease in await leases_of(floor, other, 9)] == [bad]


async def test_a_session_may_name_the_jobs_that_it_wants(floor: Floor) -> None:
    keys = await floor.submit(5)
    session, other = await floor.session(), await floor.session()

    named = floor.want(session, 9, job_keys=(keys[3], keys[1], 999))
    [mine, others] = await floor.claim(named, floor.want(other, 2))
    again = await floor.claim(named, floor.want(other, 9))

    assert [task.lease.job_key for task in mine] == [keys[1], keys[3]]
    assert [task.lease.job_key for task in others] == [keys[0], keys[2]]
    assert [[task.lease.job_key for task in share] for share in again] == [[], [keys[4]]]


async def test_each_session_is_given_the_jobs_that_it_names(floor: Floor) -> None:
    keys = await floor.submit(4)
    session, other = await floor.session(), await floor.session()
    wants = [floor.want(session, 9, job_keys=tuple(keys[:2])), floor.want(other, 9, job_keys=tuple(keys[1:3]))]

    shares = await floor.claim(*wants)

    assert [[task.lease.job_key for task in share] for share in shares] == [keys[:2], [keys[2]]]


async def test_two_wants_of_one_session_are_two_answers(floor: Floor) -> None:
    keys = await floor.submit(3)
    session = await floor.session()

    shares = await floor.claim(floor.want(session, 1, nonce=1), floor.want(session, 1, nonce=2))

    assert [[task.lease for task in share] for share in shares] == [[Lease(keys[0], 1, 1)], [Lease(keys[1], 1, 2)]]


async def test_the_next_attempt_is_given_the_checkpoint_and_stands_where_it_was_saved(floor: Floor) -> None:
    job_id = new_id()
    [key] = await floor.submit(job_id=job_id, parameters=Payload("{}"))
    session = await floor.session()
    [lease] = await leases_of(floor, session, 1)
    state = Payload(b"\x00\xff", "application/octet-stream")
    saved, later = Progress(step="half", processed=5), Progress(step="more", processed=7)

    def report(group: Group) -> None:
        job = accept(group, lease)
        take(group, lease, worker_moves.note_checkpoint(job, 2))
        group.save_checkpoint(key, Payload('"old"'), None)
        group.save_checkpoint(key, state, saved)
        group.save_progress(key, lease.fence, later)

    async def progress() -> Progress | None:
        view = await floor.view(job_id)
        [listed] = await floor.store.reads.jobs_by_id(ANYBODY, [job_id])
        assert view is not None
        assert view._replace(parameters=None, failure=None) == listed
        return view.progress

    await run(floor, report, jobs=[lease])
    assert await progress() == later
    await run(floor, lambda group: fail(group, lease, delay_us=0), jobs=[lease])
    assert await progress() == later

    [[again]] = await floor.claim(floor.want(session, 1))

    assert (again.checkpoint, again.progress, again.parameters, again.attempt) == (state, saved, Payload("{}"), 2)
    assert await progress() == saved
    await run(floor, lambda group: group.save_progress(key, again.lease.fence, later), jobs=[again.lease])
    assert await progress() == later


async def test_a_checkpoint_without_progress_is_given_alone(floor: Floor) -> None:
    [key] = await floor.submit()
    session = await floor.session()
    [lease] = await leases_of(floor, session, 1)

    def report(group: Group) -> None:
        take(group, lease, worker_moves.note_checkpoint(accept(group, lease), 2))
        group.save_checkpoint(key, Payload("[]"), None)
        fail(group, lease, delay_us=0)

    await run(floor, report, jobs=[lease])
    [[again]] = await floor.claim(floor.want(session, 1))

    assert (again.checkpoint, again.progress) == (Payload("[]"), None)


async def test_who_is_given_a_job_is_told_of_its_batch_its_trace_and_its_types_version(floor: Floor) -> None:
    news = [NewBatch(new_id(), floor.namespace_key, "default") for _ in range(2)]
    first, second = await floor.store.run(Act(lambda group: [group.open_batch(new).key for new in news]))
    trace = '["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","a=b"]'
    await floor.submit_all(
        [floor.new(batch_key=key, trace=trace, type_version=3) for key in (first, second, first)] + [floor.new()]
    )

    session = await floor.session()
    [given] = await floor.claim(floor.want(session, 9))

    ids = [new.batch_id for new in news]
    assert [task.batch_id for task in given] == [ids[0], ids[1], ids[0], ""]
    assert [(task.trace, task.type_version) for task in given] == [(trace, 3)] * 3 + [(None, 0)]
