"""ListJobLogs, ListItemErrors and LOG events: what attempts wrote, in pages, by level, live; and what is dropped."""

from typing import Any

import grpc
import pytest

from jobhall.limits import LOG_LINES_KEPT_MAX
from jobhall.states import EventType, LogLevel
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import RawWorker, refusal, submit
from tests.support.servers import Running
from tests.support.unary_calls import SOON, claim, report

LEVELS = (LogLevel.DEBUG, LogLevel.INFO, LogLevel.WARNING, LogLevel.ERROR, LogLevel.CRITICAL)


async def logs(server: Running, job_id: str, **fields: Any) -> pb.ListJobLogsResponse:
    answer: pb.ListJobLogsResponse = await server.jobs.ListJobLogs(pb.ListJobLogsRequest(job_id=job_id, **fields))
    return answer


def said(answer: pb.ListJobLogsResponse) -> list[str]:
    return [entry.message for entry in answer.log_entries]


def wrote(token: bytes, first_number: int, *entries: Any, seq: int = 0) -> Any:
    lines = [{"message": entry} if isinstance(entry, str) else entry for entry in entries]
    return {"seq": seq, "lease_token": token, "first_number": first_number, "log_entries": lines}


async def started(server: Running, **fields: Any) -> tuple[str, str, bytes]:
    """A job that a unary session runs: its id, the session and the token."""
    job = await submit(server, **fields)
    given = await claim(server, accept=True, timeout=SOON)
    return job.id, given.session_id, given.tasks[0].lease_token


async def test_lines_come_in_order_with_their_number_attempt_time_and_fields(brisk: Running) -> None:
    job_id, session, token = await started(brisk)
    entry: Any = {"message": "odd", "level": 3, "time": {"seconds": 1000}, "fields": {"row": 7}}
    await report(brisk, session, logs=[wrote(token, 1, "first", entry, seq=1)])

    first, second = (await logs(brisk, job_id)).log_entries

    assert [(one.number, one.attempt) for one in (first, second)] == [(1, 1), (2, 1)]
    assert (first.message, int(first.level)) == ("first", LogLevel.INFO)
    assert first.time.seconds > 1_700_000_000
    assert (second.time.seconds, int(second.level)) == (1000, LogLevel.WARNING)
    assert dict(second.fields) == {"row": 7}


async def test_only_lines_of_at_least_a_level_are_told(brisk: Running) -> None:
    job_id, session, token = await started(brisk)
    lines = [{"message": level.name, "level": int(level)} for level in LEVELS]
    await report(brisk, session, logs=[wrote(token, 1, *lines, seq=1)])

    for place, level in enumerate(LEVELS):
        answer = await logs(brisk, job_id, min_level=int(level))
        assert said(answer) == [one.name for one in LEVELS[place:]]
    assert len(said(await logs(brisk, job_id))) == 5


async def test_pages_skips_and_numbers_hold_each_line_once(brisk: Running) -> None:
    job_id, session, token = await started(brisk)
    await report(brisk, session, logs=[wrote(token, 1, *[f"line {number}" for number in range(1, 11)], seq=1)])

    async def numbers(**fields: Any) -> list[list[int]]:
        found, page_token = [], ""
        while True:
            answer = await logs(brisk, job_id, page_token=page_token, **fields)
            found.append([entry.number for entry in answer.log_entries])
            page_token = answer.next_page_token
            if not page_token:
                return found

    assert await numbers(page_size=4) == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert await numbers(page_size=4, skip=5) == [[6, 7, 8, 9], [10]]
    assert await numbers(page_size=4, after_number=6) == [[7, 8, 9, 10], []]
    assert await numbers(after_number=7, skip=2) == [[10]]
    assert await numbers(after_number=10) == [[]]


async def test_a_token_is_good_for_its_own_request_only(brisk: Running) -> None:
    job_id, session, token = await started(brisk)
    await report(brisk, session, logs=[wrote(token, 1, "a", "b", seq=1)])
    page_token = (await logs(brisk, job_id, page_size=1)).next_page_token

    error = await refusal(logs(brisk, job_id, page_size=1, page_token=page_token, min_level=2))

    assert [violation.field for violation in error.violations] == ["page_token"]


async def test_each_attempt_has_its_own_lines_and_the_latest_is_the_default(brisk: Running) -> None:
    job_id, session, token = await started(brisk)
    failed = {"lease_token": token, "failed": {"retry_delay": {}}}
    await report(brisk, session, {**failed, "seq": 2}, logs=[wrote(token, 1, "of the first", seq=1)])
    given = await claim(brisk, accept=True, timeout=SOON)
    await report(brisk, given.session_id, logs=[wrote(given.tasks[0].lease_token, 1, "of the second", seq=1)])

    assert said(await logs(brisk, job_id)) == ["of the second"]
    assert said(await logs(brisk, job_id, attempt=1)) == ["of the first"]
    assert said(await logs(brisk, job_id, attempt=2)) == ["of the second"]
    assert said(await logs(brisk, job_id, attempt=3)) == []
    assert [entry.attempt for entry in (await logs(brisk, job_id, attempt=1)).log_entries] == [1]


async def test_pages_stay_with_the_attempt_that_was_the_latest_at_the_first(brisk: Running) -> None:
    job_id, session, token = await started(brisk)
    await report(brisk, session, logs=[wrote(token, 1, "one", "two", seq=1)])
    page_token = (await logs(brisk, job_id, page_size=1)).next_page_token
    await report(brisk, session, {"lease_token": token, "failed": {"retry_delay": {}}})
    given = await claim(brisk, accept=True, timeout=SOON)
    await report(brisk, given.session_id, logs=[wrote(given.tasks[0].lease_token, 1, "other", "other", seq=1)])

    assert said(await logs(brisk, job_id, page_size=1, page_token=page_token)) == ["two"]


async def test_lines_beyond_the_bound_are_dropped_and_counted(brisk: Running) -> None:
    job_id, session, token = await started(brisk)
    for first_number in range(1, LOG_LINES_KEPT_MAX, 1000):
        await report(brisk, session, logs=[wrote(token, first_number, *["x"] * 1000, seq=1)])
    at_the_bound = wrote(token, LOG_LINES_KEPT_MAX - 1, *["y"] * 5, seq=1)
    none = (await logs(brisk, job_id)).dropped_count
    await report(brisk, session, logs=[at_the_bound])
    few = await logs(brisk, job_id, after_number=LOG_LINES_KEPT_MAX - 1)
    await report(brisk, session, logs=[wrote(token, LOG_LINES_KEPT_MAX + 4, *["z"] * 2, seq=1)])
    # Said again, as after a lost answer.
    await report(brisk, session, logs=[at_the_bound])

    assert none == 0
    assert [entry.number for entry in few.log_entries] == [LOG_LINES_KEPT_MAX]
    assert few.dropped_count == 3
    assert (await logs(brisk, job_id)).dropped_count == 5


async def test_numbers_that_never_came_are_no_lines_that_were_dropped(brisk: Running) -> None:
    """All that was missing below a dropped line counted as dropped: one line told of ten thousand, which its worker had
    lost before it sent them.
    """
    job_id, session, token = await started(brisk)
    lines = [wrote(token, 1, "first", seq=1), wrote(token, LOG_LINES_KEPT_MAX + 1, "beyond", seq=2)]
    await report(brisk, session, logs=lines)

    found = await logs(brisk, job_id)

    assert ([entry.number for entry in found.log_entries], found.dropped_count) == ([1], 1)


async def test_item_errors_of_every_attempt_are_listed_and_counted(brisk: Running) -> None:
    job_id, session, token = await started(brisk)
    errors = [{"key": f"row {number}", "index": number} for number in range(5)]
    await report(
        brisk,
        session,
        {"lease_token": token, "item_errors": {"first_number": 1, "item_errors": errors}},
        {"lease_token": token, "failed": {"retry_delay": {}}},
    )
    await claim(brisk, accept=True, timeout=SOON)

    async def listed(**fields: Any) -> tuple[list[str], int, str]:
        answer = await brisk.jobs.ListItemErrors(pb.ListItemErrorsRequest(job_id=job_id, **fields))
        return [error.key for error in answer.item_errors], answer.total_count, answer.next_page_token

    keys, total, token_of_next = await listed(attempt=1, page_size=2)
    assert (keys, total) == (["row 0", "row 1"], 5)
    assert (await listed(attempt=1, page_size=2, page_token=token_of_next))[0] == ["row 2", "row 3"]
    assert (await listed(attempt=1, skip=4))[0] == ["row 4"]
    assert await listed() == ([], 0, "")
    assert await listed(attempt=9) == ([], 0, "")


# --- followed live ---


def follow(server: Running, *more: EventType, **fields: Any) -> Any:
    """A watch of LOG events, and of those besides."""
    kinds: Any = [int(kind) for kind in (EventType.LOG, *more)]
    return server.jobs.WatchJobs(pb.WatchJobsRequest(event_types=kinds, **fields), timeout=20)


async def events(watch: Any, kind: EventType, lines: int) -> list[Any]:
    """LOG events until they have told so many lines."""
    found: list[Any] = []
    while sum(len(event.log_entries) for event in found) < lines:
        found += [event for event in (await watch.read()).events if event.event_type == kind]
    return found


async def rest(watch: Any) -> list[Any]:
    """All events until the watch ends by itself."""
    found: list[Any] = []
    while (answer := await watch.read()) is not grpc.aio.EOF:
        found += answer.events
    return found


async def test_new_lines_are_told_to_who_asks_for_them(brisk: Running) -> None:
    worker = RawWorker(brisk)
    await worker.hello()
    watch = follow(brisk)
    await watch.read()
    job = await submit(brisk)
    (task,) = await worker.tasks()

    await worker.log(task.lease_token, 1, "one", "two")
    told = await events(watch, EventType.LOG, 2)
    await worker.log(task.lease_token, 3, "three")
    told += await events(watch, EventType.LOG, 1)

    entries: list[job_pb2.LogEntry] = [entry for event in told for entry in event.log_entries]
    assert [(entry.number, entry.attempt, entry.message) for entry in entries] == [
        (1, 1, "one"),
        (2, 1, "two"),
        (3, 1, "three"),
    ]
    assert {event.job_id for event in told} == {job.id}
    assert all(event.time.seconds for event in told)
    watch.cancel()


async def test_a_session_without_a_stream_is_followed_as_well(brisk: Running) -> None:
    watch = follow(brisk)
    await watch.read()
    _, session, token = await started(brisk)

    await report(brisk, session, logs=[wrote(token, 1, "hello", seq=1)])

    (event,) = await events(watch, EventType.LOG, 1)
    assert event.log_entries[0].message == "hello"
    watch.cancel()


async def test_lines_are_told_of_only_where_they_were_asked_for(brisk: Running) -> None:
    worker = RawWorker(brisk)
    await worker.hello()
    job = await submit(brisk)
    watch: Any = brisk.jobs.WatchJobs(pb.WatchJobsRequest(job_ids=[job.id], stop_when_terminal=True), timeout=20)
    await watch.read()
    (task,) = await worker.tasks()

    await worker.log(task.lease_token, 1, "unheard")
    await worker.report(task.lease_token, completed={})

    kinds = {event.event_type for event in await rest(watch)}
    assert EventType.LOG not in kinds
    assert EventType.COMPLETED in kinds


async def test_the_last_lines_come_before_a_watch_that_stops_with_its_job(brisk: Running) -> None:
    # Held back for a tenth of a second, the last lines of a job came when its watch had ended: they were never told.
    worker = RawWorker(brisk)
    await worker.hello()
    job = await submit(brisk)
    watch = follow(brisk, EventType.COMPLETED, job_ids=[job.id], stop_when_terminal=True)
    await watch.read()
    (task,) = await worker.tasks()

    for number in range(1, 6):
        await worker.log(task.lease_token, number, f"line {number}")
    await worker.report(task.lease_token, completed={})

    told = await rest(watch)
    numbers = [entry.number for event in told for entry in event.log_entries]
    assert numbers == [1, 2, 3, 4, 5]
    assert EventType.COMPLETED in {event.event_type for event in told}


@pytest.mark.parametrize("line_length", [10, 15_000])
async def test_a_flood_of_lines_is_told_in_part_and_read_whole(brisk: Running, line_length: int) -> None:
    worker = RawWorker(brisk)
    await worker.hello()
    watch = follow(brisk)
    await watch.read()
    job = await submit(brisk)
    (task,) = await worker.tasks()

    await worker.log(task.lease_token, 1, *["x" * line_length] * 200)
    (event, *_) = await events(watch, EventType.LOG, 1)

    numbers = [entry.number for entry in event.log_entries]
    assert 1 <= len(numbers) <= 100
    assert numbers == list(range(201 - len(numbers), 201))
    assert sum(len(entry.message) for entry in event.log_entries) <= 300_000
    kept = await logs(brisk, job.id, page_size=1000)
    assert kept.log_entries[0].number == 1
    watch.cancel()
