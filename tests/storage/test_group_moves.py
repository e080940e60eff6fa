"""What a commit group makes of the moves: rows, events and side rows, on every engine."""

from __future__ import annotations

from typing import Any

import pytest

from jobhall.ids import new_id
from jobhall.limits import LOG_LINES_KEPT_MAX
from jobhall.states import HELD_STATES, TERMINAL_STATES, EventType, FailureKind, JobState, LogLevel
from jobhall_server.domain import moves, server_moves, worker_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import ItemError, JobFailure, JobRecord, Lease, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.store import Group
from jobhall_server.hall.views import LogLine, PayloadKind
from tests.support.stores import Act, Floor, SetClock, sql_only


def taken(group: Group, key: int, decision: object) -> JobRecord:
    """Tell the group the decision, and see the job after it."""
    change, values = decision if isinstance(decision, tuple) else (decision, ())
    assert isinstance(change, Change), change
    job = group.job(key)
    assert job is not None
    group.change(job, change, values)
    after = group.job(key)
    assert after is not None
    return after


def completed(group: Group, lease: Lease, digest: int = worker_moves.NO_RESULT_DIGEST) -> JobRecord:
    return taken(group, lease.job_key, worker_moves.complete(group.job(lease.job_key), lease, digest))


def accepted(group: Group, lease: Lease) -> JobRecord:
    return taken(group, lease.job_key, worker_moves.accept(group.job(lease.job_key), lease, group.now))


def lost(group: Group, lease: Lease) -> JobRecord:
    job = group.job(lease.job_key)
    assert job is not None
    return taken(group, lease.job_key, server_moves.lose(job, confirmed=True))


async def test_a_job_goes_its_way_and_every_step_is_logged(floor: Floor, clock: SetClock) -> None:
    job_id = new_id()
    [key] = await floor.submit(job_id=job_id, parameters=Payload('{"row": 1}', "text/json"), owner="ann", priority=3)
    clock.at += 10
    lease = await floor.claim_one()
    clock.at += 10
    await floor.store.run(Act(lambda group: accepted(group, lease), job_keys=[key]))
    clock.at += 10

    def end(group: Group) -> None:
        completed(group, lease, 99)
        group.save_payload(key, PayloadKind.RESULT, Payload(b"\x00\xff", "image/png"))

    await floor.store.run(Act(end, job_keys=[key]))

    view = await floor.view(job_id)
    assert view is not None
    assert (view.state, view.attempt, view.revision, view.priority) == (JobState.COMPLETED, 1, 4, 3)
    assert (view.claimed_at, view.started_at, view.ended_at) == (clock.at - 20, clock.at - 10, clock.at)
    assert (view.parameters, view.result) == (Payload('{"row": 1}', "text/json"), Payload(b"\x00\xff", "image/png"))
    events = await floor.events()
    assert [(event.number, event.event_type, event.revision, event.attempt) for event in events] == [
        (1, EventType.SUBMITTED, 1, 0),
        (2, EventType.CLAIMED, 2, 0),
        (3, EventType.RUNNING, 3, 1),
        (4, EventType.COMPLETED, 4, 1),
    ]
    assert {(event.job_id, event.owner, event.job_type) for event in events} == {(job_id, "ann", "score")}


async def test_moves_of_one_group_are_one_row_write_with_all_their_events(floor: Floor) -> None:
    [key] = await floor.submit()
    lease = await floor.claim_one()

    def both(group: Group) -> JobRecord:
        accepted(group, lease)
        return completed(group, lease)

    seen = await floor.store.run(Act(both, job_keys=[key]))

    stored = await floor.record(key)
    assert stored is not None
    assert {name: getattr(stored, name) for name in JobRecord.__slots__ if name != "owner"} == {
        name: getattr(seen, name) for name in JobRecord.__slots__ if name != "owner"
    }
    assert [(event.event_type, event.state, event.revision) for event in await floor.events()][2:] == [
        (EventType.RUNNING, JobState.RUNNING, 3),
        (EventType.COMPLETED, JobState.COMPLETED, 4),
    ]


async def test_a_start_that_is_given_back_in_the_same_group_is_logged_with_its_own_attempt(floor: Floor) -> None:
    """The start counts an attempt and the release takes it off again: one merged write would log the start with 0."""
    [key] = await floor.submit()
    lease = await floor.claim_one()

    def both(group: Group) -> JobRecord:
        accepted(group, lease)
        return taken(group, key, worker_moves.release(group.job(key), lease, 5, now=group.now, chance=0))

    after = await floor.store.run(Act(both, job_keys=[key]))

    assert (after.attempt, after.revision, after.state) == (0, 4, JobState.PENDING)
    assert [(event.event_type, event.attempt, event.revision) for event in await floor.events()][2:] == [
        (EventType.RUNNING, 1, 3),
        (EventType.READY, 0, 4),
    ]


async def test_the_failure_is_told_by_the_last_event_alone(floor: Floor) -> None:
    [key] = await floor.submit()
    lease = await floor.claim_one()
    failure = JobFailure(FailureKind.APPLICATION, "no", code="E1", details="{}", stack="line 1", attempt=1)

    def end(group: Group) -> None:
        told: dict[str, Any] = {"kind": failure.kind, "code": failure.code, "retryable": failure.retryable}
        taken(group, key, worker_moves.fail(group.job(key), lease, 5, now=group.now, chance=0, **told))
        group.save_failure(key, failure)

    await floor.store.run(Act(end, job_keys=[key]))

    events = (await floor.events())[2:]
    assert [(event.event_type, event.failure_kind, event.failure_code) for event in events] == [
        (EventType.RUNNING, FailureKind.UNSPECIFIED, ""),
        (EventType.FAILED, FailureKind.APPLICATION, "E1"),
    ]
    view = await floor.view(events[0].job_id)
    assert view is not None
    assert view.failure == failure


async def test_a_move_from_another_state_than_the_job_is_in_is_a_bug_that_is_told_at_once(floor: Floor) -> None:
    [key] = await floor.submit()

    def wrong(group: Group) -> None:
        job = group.job(key)
        assert job is not None
        group.change(job, worker_moves.ACCEPT)

    with pytest.raises(ValueError, match=r"accept of job \d+ in PENDING"):
        await floor.store.run(Act(wrong, job_keys=[key]))


@sql_only
async def test_ready_held_by_and_terminal_follow_the_state(floor: Floor) -> None:
    [key] = await floor.submit(priority=-2)
    lease = await floor.claim_one()

    async def columns() -> tuple[JobState, bool, bool, bool, int]:
        record = await floor.record(key)
        assert record is not None
        [row] = floor.rows(f"SELECT ready, held_by, terminal, lane FROM jobhall_jobs WHERE key = {key}")
        ready, held, terminal, lane = row
        assert isinstance(lane, int)
        return record.state, ready is not None, held is not None, terminal is not None, lane

    steps = [await columns()]
    for step in (
        lambda group: accepted(group, lease),
        lambda group: lost(group, lease),
        lambda group: completed(group, lease),
    ):
        await floor.store.run(Act(step, job_keys=[key]))
        steps.append(await columns())

    assert [step[0] for step in steps] == [JobState.CLAIMED, JobState.RUNNING, JobState.PENDING, JobState.COMPLETED]
    for state, ready, held, terminal, lane in steps:
        assert (ready, held, terminal) == (state is JobState.PENDING, state in HELD_STATES, state in TERMINAL_STATES)
        assert lane == (1 if state in (JobState.PENDING, JobState.COMPLETED) else 0)


async def test_what_a_lease_reports_is_kept_once_however_often_it_is_sent(floor: Floor) -> None:
    job_id = new_id()
    [key] = await floor.submit(job_id=job_id)
    lease = await floor.claim_one()
    errors = [ItemError(None, "AAPL", "BAD", "no cap"), ItemError(4, "", "BAD", "no name")]
    lines = [LogLine(5, LogLevel.INFO, "hello", None, None), LogLine(6, LogLevel.ERROR, "", b"\xff", '{"a": 1}')]

    def report(group: Group) -> None:
        if (job := group.job(key)) is not None and job.state is JobState.CLAIMED:
            accepted(group, lease)
        group.add_item_errors(key, lease.fence, 1, errors[:1])
        group.add_item_errors(key, lease.fence, 1, errors)
        group.add_logs(key, lease.fence, 1, lines)
        group.save_progress(key, lease.fence, Progress(stage="old", processed=1))
        group.save_progress(key, lease.fence, Progress(step="last", processed=2, total=3, percent=0.0))

    for _ in range(2):
        await floor.store.run(Act(report, job_keys=[key]))

    reads = floor.store.reads
    assert await reads.item_errors(key, fence=lease.fence, after_number=0, limit=10) == list(enumerate(errors, 1))
    assert await reads.log_lines(key, fence=lease.fence, after_number=0, limit=10) == list(enumerate(lines, 1))
    view = await floor.view(job_id)
    assert view is not None
    assert view.progress == Progress(step="last", processed=2, total=3, percent=0.0)


async def test_how_many_lines_were_dropped_never_falls(floor: Floor) -> None:
    [key] = await floor.submit()
    for numbers in ([7], [5, 3], [9, 8]):

        def drop(group: Group, numbers: list[int] = numbers) -> None:
            for number in numbers:
                group.drop_logs(key, 1, LOG_LINES_KEPT_MAX + number)

        await floor.store.run(Act(drop))
        assert await floor.store.reads.log_lines_dropped(key, fence=1) == max(7, *numbers)


@sql_only
async def test_deleting_a_job_removes_all_that_goes_with_it_and_logs_it(floor: Floor) -> None:
    job_id = new_id()
    [key, other] = await floor.submit_all(
        [
            floor.new(job_id=job_id, parameters=Payload("{}"), priority=1, unique_key="mine"),
            floor.new(parameters=Payload("[]")),
        ]
    )
    first = await floor.claim_one()
    await floor.store.run(Act(lambda group: (accepted(group, first), lost(group, first)), job_keys=[key]))
    lease = await floor.claim_one()

    def fill(group: Group) -> None:
        group.save_payload(key, PayloadKind.RESULT, Payload("1"))
        group.save_checkpoint(key, Payload("2"), Progress(step="x"))
        group.exclude(key, lease.job_key)
        group.save_failure(key, JobFailure(FailureKind.APPLICATION, "no"))
        group.save_progress(key, lease.fence, Progress(step="x"))
        group.add_item_errors(key, lease.fence, 1, [ItemError(1, "", "", "")])
        group.add_logs(key, lease.fence, 1, [LogLine(5, LogLevel.INFO, "hello", None, None)])
        group.drop_logs(key, lease.fence, 7)
        completed(group, lease, 9)

    await floor.store.run(Act(fill, job_keys=[key]))

    def remove(group: Group) -> tuple[object, object]:
        job = group.job_by_id(job_id)
        assert job is not None
        assert moves.delete(job) is None
        group.delete_job(job)
        return group.job_by_id(job_id), group.job(key)

    assert await floor.store.run(Act(remove, job_ids=[job_id])) == (None, None)

    assert await floor.view(job_id) is None
    last = (await floor.events())[-1]
    assert (last.event_type, last.job_id, last.state, last.revision) == (
        EventType.DELETED,
        job_id,
        JobState.COMPLETED,
        8,
    )
    tables = (
        "parameters results checkpoints failures progress item_errors logs log_drops exclusions attempts unique_keys"
    )
    left = {table: floor.rows(f"SELECT job_key FROM jobhall_{table}") for table in tables.split()}
    assert left == {table: [(other,)] if table == "parameters" else [] for table in tables.split()}


async def test_a_key_is_never_given_twice(floor: Floor) -> None:
    """A lease token names the job by key: the key of a deleted job must not come back under another job."""
    [key] = await floor.submit()

    def remove(group: Group) -> None:
        job = group.job(key)
        assert job is not None
        group.delete_job(job)

    await floor.store.run(Act(remove, job_keys=[key]))

    assert await floor.submit() == [key + 1]


async def test_a_submit_finds_the_job_of_its_id_also_in_its_own_group(floor: Floor) -> None:
    new = floor.new(submit_digest=5, owner="ann", organization_id="acme")

    def twice(group: Group) -> tuple[int, JobRecord | None]:
        assert group.job_by_id(new.job_id) is None
        return group.insert_job(new), group.job_by_id(new.job_id)

    key, found = await floor.store.run(Act(twice, job_ids=[new.job_id]))
    loaded = await floor.store.run(Act(lambda group: group.job_by_id(new.job_id), job_ids=[new.job_id]))

    assert found is not None
    assert loaded is not None
    assert found.key == key
    for name in set(JobRecord.__slots__) - {"stats_key"}:
        assert getattr(found, name) == getattr(loaded, name), name


async def test_jobs_of_every_shape_go_into_one_insert(floor: Floor) -> None:
    shapes = [
        floor.new(),
        floor.new(priority=7, labels='{"a": "b"}', path="x/y", file_name="f.csv", file_size=0, created_by="Ann"),
        floor.new(parameters=Payload("ü"), max_attempts=1, owner="ann"),
        floor.new(parameters=Payload(b""), organization_id="acme", submit_digest=2**62),
    ]

    await floor.submit_all([shapes[number % 4]._replace(job_id=new_id()) for number in range(700)] + shapes)

    first, second, third, fourth = [await floor.view(new.job_id) for new in shapes]
    assert first is not None
    assert second is not None
    assert third is not None
    assert fourth is not None
    assert (first.parameters, first.labels, first.file_size) == (None, {}, None)
    assert (second.priority, second.labels, second.path, second.file_size) == (7, {"a": "b"}, "x/y", 0)
    assert (second.file_name, second.created_by, second.max_attempts) == ("f.csv", "Ann", 4)
    assert (third.parameters, third.max_attempts, third.owner) == (Payload("ü"), 1, "ann")
    assert (fourth.parameters, fourth.organization_id) == (Payload(b""), "acme")
    events = await floor.events()
    assert [event.number for event in events] == list(range(1, 705))
