"""The lists of AsyncClient over the real server: jobs by every selection, job types, item errors, log lines."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobhall import ApiError, AsyncClient, ItemError, JobState, LogLevel, Submission, Worker
from jobhall.errors import FieldInvalidError, FilterUnsupportedError, JobNotFoundError, JobTypeNotFoundError

NOBODY = "0190a0b0-0000-7000-8000-000000000000"
WAIT_SECONDS = 10.0

HOUR = timedelta(hours=1)
SELECTIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing": ({}, {"a", "b", "c", "d"}),
    "a state": ({"states": [JobState.CANCELLED]}, {"d"}),
    "states": ({"states": [JobState.PENDING, JobState.CANCELLED]}, {"a", "b", "c", "d"}),
    "a type": ({"job_types": ["paint"]}, {"c"}),
    "types": ({"job_types": ["paint", "score"]}, {"a", "b", "c", "d"}),
    "the owner": ({"owner": "anonymous"}, {"a", "b", "c", "d"}),
    "another owner": ({"owner": "somebody"}, set()),
    "a label": ({"labels": {"team": "red"}}, {"a", "b"}),
    "labels": ({"labels": {"team": "red", "app.kind": 'q"1'}}, {"b"}),
    "a path": ({"path": "/files/1"}, {"a"}),
    "after": ({"created_after": datetime.now(UTC) + HOUR}, set()),
    "before": ({"created_before": datetime.now(UTC) + HOUR}, {"a", "b", "c", "d"}),
    "a text": ({"filter": "job_type = paint OR job_type = other"}, {"c"}),
    "a text besides": ({"labels": {"team": "red"}, "filter": 'path = "/files/1" AND state = PENDING'}, {"a"}),
    "a choice besides": ({"states": [JobState.PENDING], "filter": "job_type = paint OR job_type = other"}, {"c"}),
    "another namespace": ({"namespace": "elsewhere"}, {"e"}),
    "all namespaces": ({"namespace": "-"}, {"a", "b", "c", "d", "e"}),
}


async def test_a_list_holds_what_each_selection_names(client: AsyncClient) -> None:
    await client.types.register("paint")
    await client.types.register("score", namespace="elsewhere")
    a = await client.jobs.submit("score", labels={"team": "red"}, path="/files/1")
    b = await client.jobs.submit("score", labels={"team": "red", "app.kind": 'q"1'})
    c = await client.jobs.submit("paint")
    d = await client.jobs.cancel_job((await client.jobs.submit("score")).id)
    e = await client.jobs.submit("score", namespace="elsewhere")
    names = {a.id: "a", b.id: "b", c.id: "c", d.id: "d", e.id: "e"}

    found = {
        name: {names[job.id] async for job in client.jobs.list_jobs(**selection)}
        for name, (selection, _) in SELECTIONS.items()
    }

    assert found == {name: expected for name, (_, expected) in SELECTIONS.items()}


async def test_a_list_goes_through_its_pages_and_skips_once(client: AsyncClient) -> None:
    jobs = await client.jobs.submit_many([Submission("score", {"x": 1})] * 7)
    newest_first = [job.id for job in reversed(jobs)]

    listed = [job async for job in client.jobs.list_jobs(page_size=2, skip=1)]
    page = await client.jobs.list_page(page_size=5)
    rest = await client.jobs.list_page(page_size=5, page_token=page.next_page_token)

    assert [job.id for job in listed] == newest_first[1:]
    assert {job.parameters for job in listed} == {None}
    assert [job.id for job in (*page.jobs, *rest.jobs)] == newest_first
    assert rest.next_page_token == ""


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"page_token": "elsewhere"}, FieldInvalidError),
        ({"page_size": -1}, FieldInvalidError),
        ({"order_by": "priority"}, FilterUnsupportedError),
        ({"filter": "state = "}, FilterUnsupportedError),
    ],
)
async def test_a_bad_list_is_refused_by_its_class(
    client: AsyncClient, options: dict[str, Any], error: type[ApiError]
) -> None:
    with pytest.raises(error):
        await client.jobs.list_page(**options)


@pytest.mark.usefixtures("worker")
async def test_item_errors_and_log_lines_are_read_in_pages_and_in_order(client: AsyncClient) -> None:
    """More of each than a page holds."""
    submitted = await client.jobs.submit("grumble", 250)
    await client.jobs.wait_for_job(submitted.id, timeout=WAIT_SECONDS)

    errors = [error async for error in client.jobs.item_errors(submitted.id)]
    lines = [line async for line in client.jobs.logs(submitted.id)]
    job = await client.jobs.get_job(submitted.id, include_errors=True)
    (listed,) = await client.jobs.get_jobs([submitted.id], include_errors=True)

    assert errors == [ItemError(number, f"row {number}", "ODD", "not even") for number in range(250)]
    assert [line.message for line in lines] == [f"line {number}" for number in range(250)]
    assert [line.fields for line in lines] == [{"number": number} for number in range(250)]
    assert [line.number for line in lines] == list(range(1, 251))
    assert {(line.level, line.attempt) for line in lines} == {(LogLevel.WARNING, 1)}
    assert (job.item_error_count, list(job.item_errors)) == (250, errors[:100])
    assert listed.item_errors == job.item_errors


async def test_a_job_that_left_nothing_behind_has_empty_lists_and_an_unknown_one_none(client: AsyncClient) -> None:
    submitted = await client.jobs.submit("score")

    assert [error async for error in client.jobs.item_errors(submitted.id)] == []
    assert [line async for line in client.jobs.logs(submitted.id)] == []
    with pytest.raises(JobNotFoundError):
        await anext(client.jobs.item_errors(NOBODY))
    with pytest.raises(JobNotFoundError):
        await anext(client.jobs.logs(NOBODY))


async def test_job_types_are_registered_read_and_listed(client: AsyncClient, worker: Worker) -> None:
    for number in range(120):
        await client.types.register(f"type-{number:03}")
    paint = await client.types.register("public:paint")

    names = [job_type.name async for job_type in client.types.list()]

    assert (paint.name, paint.namespace) == ("paint", "@global")
    assert (await client.types.register("public:paint")).created_at == paint.created_at
    assert sorted(names) == sorted(
        [*(f"type-{number:03}" for number in range(120)), "paint", "score", *worker.job_types]
    )
    assert (await client.types.get("double")).name == "double"
    with pytest.raises(JobTypeNotFoundError) as caught:
        await client.types.get("duoble")
    assert caught.value.metadata["nearest"] == "double"
