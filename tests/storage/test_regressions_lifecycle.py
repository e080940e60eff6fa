"""Faults of the lifecycle below the calls that were found by hunting: each test opens with what went wrong before."""

from jobhall.states import EventType, FailureKind, JobState
from jobhall_server.domain import worker_moves
from jobhall_server.domain.job import JobFailure, Lease
from jobhall_server.domain.rules import RetryPolicy, Rules
from jobhall_server.hall.store import Group
from tests.support.stores import START_US, Act, ActAfterSave, Floor, SetClock
from tests.support.task_steps import SECOND, accept, fail, leases_of, run, take

AT_ONCE = Rules(RetryPolicy(initial_delay_us=0)).text()


async def test_a_job_whose_time_to_begin_is_over_is_given_to_nobody(floor: Floor, clock: SetClock) -> None:
    """The reaper looks once a second, and not at all while no server runs: a job that was to be begun by noon was begun
    in the evening by the worker that came back first. What stands behind it is given out in its place.
    """
    deadline = START_US + 2 * SECOND
    late = [floor.new(start_deadline=deadline, priority=9) for _ in range(3)]
    [*_, due_later, plain] = await floor.submit_all([*late, floor.new(start_deadline=deadline + 1), floor.new()])
    session = await floor.session()

    clock.at = deadline
    given = await leases_of(floor, session, 2)
    assert [lease.job_key for lease in given] == [due_later, plain]
    assert not await leases_of(floor, session, 9)


async def test_an_id_is_free_again_in_the_very_group_that_deletes_its_job(floor: Floor) -> None:
    """New jobs were written before old ones were removed: where a delete and a submit of the same id came together, the
    whole group failed, was run once more, and was then taken apart until the two were in different ones.
    """
    new = floor.new()
    [old_key] = await floor.submit_all([new])

    def replace_it(group: Group) -> int:
        job = group.job_by_id(new.job_id)
        assert job is not None
        group.delete_job(job)
        assert group.job_by_id(new.job_id) is None
        return group.insert_job(new)

    new_key = await floor.store.run(Act(replace_it, job_ids=[new.job_id]))

    told = [(event.job_key, event.event_type) for event in await floor.events()]
    assert told == [(old_key, EventType.SUBMITTED), (old_key, EventType.DELETED), (new_key, EventType.SUBMITTED)]
    shown = await floor.view(new.job_id)
    assert shown is not None
    assert (shown.key, shown.revision) == (new_key, 1)


async def test_only_what_is_logged_changes_the_time_of_the_last_change(floor: Floor, clock: SetClock) -> None:
    """`update_time` is that of the last logged event. Item errors, checkpoints, signs of life and a batch that was made
    inactive moved it as well, though the revision stood still: whoever compared the times saw changes that no event
    told of.
    """
    new = floor.new(rules=Rules(progress_timeout_us=60 * SECOND).text())
    [key] = await floor.submit_all([new])
    lease = await floor.claim_one()
    await run(floor, lambda group: accept(group, lease), jobs=[lease])
    begun = await floor.view(new.job_id)
    assert begun is not None

    def speak(group: Group) -> None:
        job = group.job(key)
        assert job is not None
        take(group, lease, worker_moves.note_item_errors(job, 3))
        accept(group, lease)

    clock.at += SECOND
    await run(floor, speak, jobs=[lease])
    await floor.store.run(ActAfterSave(lambda group: group.hold_back([key], held_back=True)))

    after = await floor.view(new.job_id)
    assert after is not None
    assert (after.item_error_count, after.updated_at, after.revision) == (3, begun.updated_at, begun.revision)


async def test_why_the_last_attempt_failed_is_told_while_the_next_one_runs(floor: Floor) -> None:
    """What is kept of a failure stands with its attempt. As soon as another worker was given the job its message,
    details and stack were gone from the job, and the failure was said to be the new attempt's.
    """
    new = floor.new(rules=AT_ONCE)
    await floor.submit_all([new])
    told = JobFailure(FailureKind.APPLICATION, "no such row", "E", retryable=True, stack="line 1", attempt=1)

    def fail_and_tell(group: Group, lease: Lease) -> None:
        accept(group, lease)
        fail(group, lease)
        group.save_failure(lease.job_key, told)

    first = await floor.claim_one()
    await run(floor, lambda group: fail_and_tell(group, first), jobs=[first])
    second = await floor.claim_one()
    claimed = await floor.view(new.job_id)
    await run(floor, lambda group: accept(group, second), jobs=[second])
    running = await floor.view(new.job_id)

    assert claimed is not None
    assert running is not None
    assert (claimed.state, claimed.failure) == (JobState.CLAIMED, told)
    assert (running.state, running.attempt, running.failure) == (JobState.RUNNING, 2, told)
