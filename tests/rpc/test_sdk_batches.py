"""AsyncClient over the real server: batches and job types; and the blocking client through every verb once."""

import asyncio
from datetime import timedelta

import pytest

from jobhall import (
    AsyncClient,
    Batch,
    BatchState,
    BatchTimeoutError,
    Client,
    CompletionPolicy,
    JobDefaults,
    JobFailedError,
    JobState,
    Submission,
    Worker,
)
from jobhall.errors import (
    BatchClosedError,
    BatchIdReusedError,
    BatchNotFoundError,
    EtagMismatchError,
    FieldInvalidError,
    JobTypeInUseError,
    JobTypeNotFoundError,
    JobTypeSchemaConflictError,
    SchemaMismatchError,
)
from jobhall.ids import new_id
from tests.support.servers import Running
from tests.support.waiting import eventually_async

WAIT_SECONDS = 10.0
SIZE = {"type": "object", "properties": {"width": {"type": "integer"}}, "required": ["width"]}


# --- batches ---


async def test_a_batch_of_jobs_is_waited_for_and_followed_by_its_last_job(client: AsyncClient, worker: Worker) -> None:
    batch = await client.batches.create(
        "nightly",
        jobs=[Submission("double", 1), Submission("double", 2)],
        completion_job=Submission("double", 50, labels={"last": "yes"}),
    )
    added = await client.jobs.submit("double", 3, batch_id=batch.id)
    with pytest.raises(BatchTimeoutError):
        await client.batches.wait(batch.id, timeout=0.2)
    closed = await client.batches.close(batch.id)
    heard: list[Batch] = []
    done = await client.batches.wait(batch.id, timeout=WAIT_SECONDS, on_update=heard.append)

    assert len(batch.job_ids) == 2
    assert added.batch_id == batch.id
    assert closed.closed
    assert (done.state, done.counts.completed, done.counts.total, heard[-1]) == (BatchState.COMPLETED, 3, 3, done)
    await eventually_async(lambda: followed(client, batch.id), within=WAIT_SECONDS, what="the last job is submitted")
    last = await client.jobs.wait_for_job((await client.batches.get(batch.id)).completion_job_id, timeout=WAIT_SECONDS)
    assert (last.result, last.labels) == (100, {"last": "yes"})
    with pytest.raises(BatchClosedError):
        await client.jobs.submit("double", 4, batch_id=batch.id)


async def test_a_batch_is_held_back_until_it_is_active(client: AsyncClient, worker: Worker) -> None:
    batch = await client.batches.create(jobs=[Submission("double", 4)], active=False, closed=True)
    (job_id,) = batch.job_ids

    assert (await client.jobs.explain(job_id)).reasons[0].kind.name == "BATCH_INACTIVE"
    assert (await client.batches.update(batch.id, active=True)).active
    assert (await client.jobs.wait_for_job(job_id, timeout=WAIT_SECONDS)).result == 8


async def test_a_batch_is_cancelled_and_deleted_with_its_jobs(client: AsyncClient) -> None:
    batch = await client.batches.create(
        jobs=[Submission("score")] * 3,
        completion_job=Submission("score"),
        completion_policy=CompletionPolicy.ALL_COMPLETED,
    )

    await client.batches.cancel(batch.id, reason="wrong files")
    done = await client.batches.wait(batch.id, timeout=WAIT_SECONDS)
    last = await client.batches.delete(batch.id)

    assert (done.state, done.counts.cancelled, done.succeeded) == (BatchState.FAILED, 3, False)
    assert (last.id, last.completion_job_id) == (batch.id, "")
    with pytest.raises(BatchNotFoundError):
        await client.batches.get(batch.id)
    await eventually_async(lambda: nothing_left(client), within=WAIT_SECONDS, what="its jobs are gone")


async def test_the_same_batch_again_is_the_same_batch(client: AsyncClient) -> None:
    batch_id = new_id()

    first = await client.batches.create("a", jobs=[Submission("score")], batch_id=batch_id)
    again = await client.batches.create("a", jobs=[Submission("score")], batch_id=batch_id)

    assert (first.id, again.id, again.counts.total) == (batch_id, batch_id, 1)
    assert again.job_ids == first.job_ids
    with pytest.raises(BatchIdReusedError):
        await client.batches.create("b", batch_id=batch_id)


async def test_a_batch_is_checked_before_it_is_stored(client: AsyncClient) -> None:
    await client.batches.create(jobs=[Submission("score")], validate_only=True)
    with pytest.raises(JobTypeNotFoundError):
        await client.batches.create(jobs=[Submission("score"), Submission("unknown")])

    assert [batch async for batch in client.batches.list(namespace="-")] == []


async def test_batches_are_listed_by_what_they_are(client: AsyncClient) -> None:
    a = await client.batches.create("a")
    b = await client.batches.create("b", active=False)
    c = await client.batches.create("c", closed=True)

    async def names(**options: object) -> list[str]:
        return [batch.name async for batch in client.batches.list(**options)]  # type: ignore[arg-type]

    assert await names() == ["c", "b", "a"]
    assert await names(order_by="name", page_size=2) == ["a", "b", "c"]
    assert await names(active=False) == [b.name]
    assert await names(closed=True) == [c.name]
    assert await names(name="a") == [a.name]
    page = await client.batches.list_page(page_size=1)
    assert ([batch.name for batch in page.batches], bool(page.next_page_token)) == (["c"], True)


async def test_a_change_of_a_batch_that_raced_is_refused(client: AsyncClient) -> None:
    batch = await client.batches.create("a", completion_job=Submission("score", {"x": 1}))

    renamed = await client.batches.update(batch.id, name="b", completion_job=None, etag=batch.etag)

    assert (renamed.name, renamed.completion_job) == ("b", None)
    assert batch.completion_job is not None
    assert (batch.completion_job.job_type, batch.completion_job.parameters) == ("score", {"x": 1})
    with pytest.raises(EtagMismatchError):
        await client.batches.update(batch.id, name="c", etag=batch.etag)


# --- job types ---


async def test_a_type_s_schemas_are_checked_and_versioned(client: AsyncClient) -> None:
    first = await client.types.register("resize", parameters_schema=SIZE, description="makes it smaller")
    same = await client.types.register("resize", parameters_schema=SIZE, description="makes it fit")
    with pytest.raises(JobTypeSchemaConflictError) as conflict:
        await client.types.register("resize", parameters_schema=SIZE | {"required": ["height"]})
    second = await client.types.register("resize", parameters_schema=True, replace=True)

    assert (first.version, same.version, same.description, second.version) == (1, 1, "makes it fit", 2)
    assert (first.parameters_schema, second.parameters_schema, first.result_schema) == (SIZE, True, None)
    assert conflict.value.violations


async def test_parameters_that_do_not_match_are_refused_by_their_place(client: AsyncClient) -> None:
    await client.types.register("resize", parameters_schema=SIZE)

    with pytest.raises(SchemaMismatchError) as caught:
        await client.jobs.submit("resize", {"width": "wide"})

    assert any("width" in violation.field for violation in caught.value.violations)
    assert (await client.jobs.validate("resize", {"width": 3})).parameters == {"width": 3}


async def test_what_a_submit_does_not_say_its_type_says(client: AsyncClient) -> None:
    defaults = JobDefaults(priority=4, max_attempts=2, run_timeout=90, retention=timedelta(days=1))
    registered = await client.types.register("resize", defaults=defaults)

    job = await client.jobs.submit("resize", max_attempts=3)

    assert registered.defaults.run_timeout == timedelta(seconds=90)
    assert (job.priority, job.max_attempts, job.run_timeout) == (4, 3, timedelta(seconds=90))


async def test_a_paused_type_hands_out_nothing(client: AsyncClient, worker: Worker) -> None:
    assert (await client.types.pause("double")).paused
    job = await client.jobs.submit("double", 4)

    assert (await client.jobs.explain(job.id)).reasons[0].kind.name == "TYPE_PAUSED"
    assert [it.name async for it in client.types.list(paused=True)] == ["double"]
    with pytest.raises(JobTypeInUseError):
        await client.types.delete("double")
    assert not (await client.types.resume("double")).paused
    assert (await client.jobs.wait_for_job(job.id, timeout=WAIT_SECONDS)).result == 8


async def test_a_type_is_deleted_when_nothing_of_it_waits(client: AsyncClient) -> None:
    job_type = await client.types.get("score")

    assert (await client.types.delete("score", etag=job_type.etag)).name == "score"
    with pytest.raises(JobTypeNotFoundError):
        await client.jobs.submit("score")


async def test_a_schema_that_is_none_is_refused_by_its_field(client: AsyncClient) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        await client.types.register("resize", parameters_schema="{not json")

    assert caught.value.violations[0].field == "job_type.parameters_schema"


# --- the blocking client ---


async def test_the_blocking_client_does_it_all_as_well(server: Running, worker: Worker) -> None:
    await asyncio.to_thread(all_verbs, server.address)


def all_verbs(address: str) -> None:
    with Client(address) as client:
        client.types.register("score", defaults=JobDefaults(max_attempts=1))
        assert client.types.pause("score").paused
        assert not client.types.resume("score").paused
        waiting = client.jobs.submit("score", priority=1)
        assert client.jobs.validate("score").id == client.jobs.validate_many([Submission("score")])[0].id == ""
        assert client.jobs.update_job(waiting.id, priority=2).priority == 2
        assert client.jobs.explain(waiting.id).state is JobState.PENDING
        assert client.jobs.stats().total.pending == 1
        assert client.jobs.cancel_jobs(job_types=["score"]).count == 1
        assert client.jobs.retry_jobs(states=[JobState.CANCELLED]).count == 1
        client.jobs.cancel_job(waiting.id)
        assert client.jobs.purge_jobs(min_age=0, job_types=["score"]).count == 1
        assert client.types.delete("score").name == "score"

        grumbling = client.jobs.submit("grumble", 3)
        lines = [line.number for line in client.jobs.logs(grumbling.id, follow=True)]
        assert lines == [line.number for line in client.jobs.logs(grumbling.id)] == [1, 2, 3]
        assert client.jobs.log_page(grumbling.id).dropped_count == 0
        assert [error.index for error in client.jobs.item_errors(grumbling.id)] == [0, 1, 2]
        assert [it.attempt for it in client.jobs.attempts(grumbling.id)] == [1]

        batch = client.batches.create("all", jobs=[Submission("double", 1), Submission("decline")])
        assert client.batches.get(batch.id).name == client.batches.update(batch.id, name="all").name == "all"
        client.batches.close(batch.id)
        assert client.batches.wait(batch.id, timeout=WAIT_SECONDS).state is BatchState.FAILED
        with pytest.raises(JobFailedError):
            client.jobs.wait_for_job(batch.job_ids[1], timeout=WAIT_SECONDS)
        assert [it.id for it in client.batches.list()] == [it.id for it in client.batches.list_page().batches]
        assert client.batches.cancel(batch.id).id == client.batches.delete(batch.id).id == batch.id


async def followed(client: AsyncClient, batch_id: str) -> bool:
    return bool((await client.batches.get(batch_id)).completion_job_id)


async def nothing_left(client: AsyncClient) -> bool:
    return [job async for job in client.jobs.list_jobs()] == []
