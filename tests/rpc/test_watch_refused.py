"""What WatchJobs and ListJobEvents refuse alike: places in the log that are none, unknown batches, odd filters."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jobhall.errors import ApiError, Code
from jobhall.ids import new_id
from jobhall.v1 import job_service_pb2 as pb
from jobhall_server.hall import tokens
from tests.support.calls import refusal, register, submit
from tests.support.servers import Running
from tests.support.watching.oracle import number_of

Ask = Callable[..., Awaitable[Any]]


async def watch(server: Running, **fields: Any) -> Any:
    call: Any = server.jobs.WatchJobs(pb.WatchJobsRequest(**fields), timeout=10)
    try:
        return await call.read()
    finally:
        call.cancel()


async def page(server: Running, **fields: Any) -> Any:
    return await server.jobs.ListJobEvents(pb.ListJobEventsRequest(**fields))


BOTH = pytest.mark.parametrize("ask", [watch, page])

BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no cursor at all": ({"cursor": "%%%"}, "CURSOR_MISMATCH", "cursor"),
    "a page token for a cursor": ({"cursor": "cFsxLDJd"}, "CURSOR_MISMATCH", "cursor"),
    "a thousand ids and one": ({"job_ids": [new_id() for _ in range(1001)]}, "FIELD_INVALID", "job_ids"),
    "an id that is none": ({"job_ids": [new_id(), "x"]}, "FIELD_INVALID", "job_ids[1]"),
    "a batch's id that is none": ({"batch_id": "x"}, "FIELD_INVALID", "batch_id"),
    "an event type of tomorrow": ({"event_types": [7, 99]}, "FIELD_INVALID", "event_types[1]"),
    "no event type": ({"event_types": [0]}, "FIELD_INVALID", "event_types[0]"),
    "a type that cannot be": ({"job_types": ["a b"]}, "FIELD_INVALID", "job_types[0]"),
    "labels that cannot be": ({"labels": {'a"b': "c"}}, "FIELD_INVALID", "labels['a\"b']"),
    "a namespace that cannot be": ({"namespace": "A B"}, "FIELD_INVALID", "namespace"),
}


@BOTH
@pytest.mark.parametrize("name", BAD)
async def test_a_filter_that_makes_no_sense_is_refused_with_its_field(server: Running, ask: Ask, name: str) -> None:
    fields, reason, field = BAD[name]

    error = await refusal(ask(server, **fields))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, reason)
    assert [violation.field for violation in error.violations] == [field]


@BOTH
async def test_a_thousand_ids_are_taken(server: Running, ask: Ask) -> None:
    await register(server)

    answer = await ask(server, job_ids=[new_id() for _ in range(1000)])

    assert answer.cursor


async def test_a_page_that_is_too_large_or_less_than_nothing_is_refused(server: Running) -> None:
    errors: list[ApiError] = [await refusal(page(server, page_size=size)) for size in (-1, 1001)]

    assert {(error.reason, error.violations[0].field) for error in errors} == {("FIELD_INVALID", "page_size")}


@BOTH
async def test_a_cursor_beyond_the_head_is_a_mismatch(server: Running, ask: Ask) -> None:
    """As one is that was given out before a backup was put back: going on there would leave events out."""
    await register(server)
    await submit(server)
    first = await page(server)
    log_id = _log_id(first.cursor)

    error = await refusal(ask(server, cursor=tokens.cursor(log_id, number_of(first.cursor) + 1)))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "CURSOR_MISMATCH")


def _log_id(cursor: str) -> str:
    text: str = tokens._decode(cursor)
    return text.partition(".")[2]


@BOTH
async def test_a_cursor_of_another_database_is_a_mismatch(server: Running, ask: Ask) -> None:
    error = await refusal(ask(server, cursor=tokens.cursor(new_id(), 0)))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "CURSOR_MISMATCH")


@BOTH
async def test_an_unknown_batch_is_not_found(server: Running, ask: Ask) -> None:
    error = await refusal(ask(server, batch_id=new_id()))

    assert (error.code, error.reason) == (Code.NOT_FOUND, "BATCH_NOT_FOUND")


async def test_a_watch_that_is_to_end_needs_something_that_ends(server: Running) -> None:
    error = await refusal(watch(server, stop_when_terminal=True, labels={"team": "red"}))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "FIELD_NOT_SUPPORTED")
    assert [violation.field for violation in error.violations] == ["stop_when_terminal"]
