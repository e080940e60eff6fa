"""BatchService over the real server: what batches are created with, how they are counted, read, listed and changed."""

from typing import Any

from jobhall.errors import Code
from jobhall.states import BatchState, CompletionPolicy, Visibility
from jobhall.v1 import batch_service_pb2 as pb
from jobhall.v1 import job_service_pb2 as jobs_pb
from jobhall_server.domain.access import Principal
from tests.support.authenticators import ByToken
from tests.support.batch_calls import (
    COMPLETED,
    FAILED,
    cancel,
    change,
    create,
    listed,
    members,
    policy,
    read,
    state,
    work,
)
from tests.support.calls import get, refusal, register, submit
from tests.support.servers import Running, running_server
from tests.support.unary_calls import claim, report

NOBODY = "0190a0b0-0000-7000-8000-000000000000"


async def test_a_batch_is_created_with_its_jobs_and_is_read_as_it_was_sent(brisk: Running) -> None:
    await register(brisk, "report", "eu")
    await register(brisk, "score", "eu")
    answer = await create(
        brisk,
        namespace="eu",
        name="nightly",
        jobs=[{"job_type": "score", "priority": 3}, {"job_type": "score", "job_id": NOBODY}],
        closed=True,
        active=False,
        completion_job={"job_type": "report", "labels": {"a": "b"}, "parameters": {"json": '{"x": 1}'}},
        completion_policy=CompletionPolicy.ALL_TERMINAL,
        access_control={"visibility": Visibility.PUBLIC, "read_access": ["bob"]},
    )

    batch = await read(brisk, answer.batch.id)
    assert batch == answer.batch
    assert (batch.name, batch.namespace, batch.closed, batch.active) == ("nightly", "eu", True, False)
    assert (state(batch), batch.counts.pending) == (BatchState.PENDING, 2)
    assert batch.completion_job.parameters.json == '{"x": 1}'
    assert batch.completion_job.labels == {"a": "b"}
    assert policy(batch) is CompletionPolicy.ALL_TERMINAL
    assert list(batch.access_control.read_access) == ["bob"]
    assert (batch.owner, batch.created_by, batch.etag) == ("anonymous", "anonymous", "1")
    assert batch.HasField("create_time")
    assert not batch.HasField("start_time")
    assert not batch.HasField("end_time")
    jobs = [await get(brisk, job_id) for job_id in answer.job_ids]
    assert [(job.namespace, job.batch_id, job.priority) for job in jobs] == [("eu", batch.id, 3), ("eu", batch.id, 0)]
    assert jobs[1].id == NOBODY


async def test_one_that_says_nothing_is_open_active_private_and_completes_nothing(brisk: Running) -> None:
    batch = (await create(brisk)).batch

    assert (batch.closed, batch.active, state(batch)) == (False, True, BatchState.PENDING)
    assert policy(batch) is CompletionPolicy.ALL_COMPLETED
    assert Visibility(batch.access_control.visibility) is Visibility.PRIVATE
    assert not batch.HasField("completion_job")


async def test_the_same_id_and_request_is_the_same_batch_with_the_same_jobs(brisk: Running) -> None:
    first = await create(brisk, jobs=3, batch_id=NOBODY.upper(), name="once")
    again = await create(brisk, jobs=3, batch_id=NOBODY.upper(), name="once")
    other = await refusal(create(brisk, jobs=3, batch_id=NOBODY.upper(), name="twice"))

    assert (again.batch, list(again.job_ids)) == (first.batch, list(first.job_ids))
    assert again.batch.id == NOBODY
    assert (other.code, other.reason) == (Code.ALREADY_EXISTS, "BATCH_ID_REUSED")
    assert await members(brisk, NOBODY) == list(first.job_ids)


async def test_jobs_join_it_later_until_it_is_closed(brisk: Running) -> None:
    batch = (await create(brisk)).batch
    joined = await submit(brisk, batch_id=batch.id)

    closed = await change(brisk, batch.id, closed=True)
    late = await refusal(submit(brisk, batch_id=batch.id))
    foreign = await refusal(submit(brisk, batch_id=NOBODY))

    assert (joined.batch_id, closed.counts.pending, closed.closed) == (batch.id, 1, True)
    assert (late.code, late.reason) == (Code.FAILED_PRECONDITION, "BATCH_CLOSED")
    assert foreign.reason == "BATCH_NOT_FOUND"


async def test_counts_state_and_times_follow_its_jobs_to_the_end(brisk: Running) -> None:
    batch = (await create(brisk, jobs=3, closed=True)).batch

    await work(brisk, COMPLETED)
    going = await read(brisk, batch.id)
    await work(brisk, COMPLETED, FAILED)
    over = await read(brisk, batch.id)

    assert (state(going), going.counts.completed, going.counts.pending) == (BatchState.PROCESSING, 1, 2)
    assert going.HasField("start_time")
    assert not going.HasField("end_time")
    assert (state(over), over.counts.completed, over.counts.failed) == (BatchState.FAILED, 2, 1)
    assert (over.progress.percent, over.HasField("end_time")) == (100, True)
    assert over.start_time == going.start_time


async def test_a_member_that_is_retried_or_deleted_moves_its_state(brisk: Running) -> None:
    answer = await create(brisk, jobs=2, closed=True)
    await work(brisk, COMPLETED, FAILED)
    failed = answer.job_ids[1]

    await brisk.jobs.RetryJob(jobs_pb.RetryJobRequest(job_id=failed))
    retried = await read(brisk, answer.batch.id)
    await brisk.jobs.CancelJob(jobs_pb.CancelJobRequest(job_id=failed))
    cancelled = await read(brisk, answer.batch.id)
    await brisk.jobs.DeleteJob(jobs_pb.DeleteJobRequest(job_id=failed))
    without = await read(brisk, answer.batch.id)

    assert [state(one) for one in (retried, cancelled, without)] == [
        BatchState.PROCESSING,
        BatchState.FAILED,
        BatchState.COMPLETED,
    ]
    assert not retried.HasField("end_time")
    assert (without.counts.completed, without.counts.failed, without.counts.cancelled) == (1, 0, 0)


async def test_an_inactive_batch_is_not_handed_out_until_it_is_active(brisk: Running) -> None:
    answer = await create(brisk, jobs=2, active=False)
    waiting = await submit(brisk, batch_id=answer.batch.id)

    nothing = await claim(brisk, tasks_max=5)
    named = await claim(brisk, job_ids=list(answer.job_ids))
    active = await change(brisk, answer.batch.id, active=True)
    given = await claim(brisk, tasks_max=5)

    assert (list(nothing.tasks), list(named.tasks), active.active) == ([], [], True)
    assert [task.job_id for task in given.tasks] == [*answer.job_ids, waiting.id]


async def test_what_runs_goes_on_when_its_batch_is_held_back_and_what_comes_back_waits(brisk: Running) -> None:
    answer = await create(brisk, jobs=3)
    running = await claim(brisk, accept=True, tasks_max=2)
    held_back = await change(brisk, answer.batch.id, active=False)

    done, returned = [{"lease_token": task.lease_token} for task in running.tasks]
    await report(brisk, running.session_id, {**done, **COMPLETED}, {**returned, "released": {}})
    nothing = await claim(brisk, tasks_max=5)
    batch = await read(brisk, answer.batch.id)

    assert not held_back.active
    assert (batch.counts.completed, batch.counts.pending, list(nothing.tasks)) == (1, 2, [])


async def test_lists_have_their_filter_orders_and_pages(brisk: Running) -> None:
    await register(brisk, "score", "eu")
    for name, fields in (
        ("over", {"closed": True}),
        ("idle", {"active": False}),
        ("two words", {}),
        ("far", {"namespace": "eu", "jobs": 1}),
    ):
        await create(brisk, name=name, **fields)
    failed = await create(brisk, name="failed", jobs=1, closed=True)
    await cancel(brisk, failed.batch.id)
    since = (await read(brisk, failed.batch.id)).create_time.ToJsonString()

    assert await listed(brisk) == ["failed", "two words", "idle", "over"]
    assert await listed(brisk, namespace="-", order_by="name") == ["failed", "far", "idle", "over", "two words"]
    assert await listed(brisk, namespace="eu", order_by="create_time  desc") == ["far"]
    assert await listed(brisk, order_by="create_time", page_size=1) == ["over", "idle", "two words", "failed"]
    assert await listed(brisk, order_by="name", page_size=1, skip=1) == ["idle", "over", "two words"]
    assert await listed(brisk, "state = COMPLETED OR state = failed") == ["failed", "over"]
    assert await listed(brisk, 'owner = anonymous AND name = "two words"') == ["two words"]
    assert await listed(brisk, "active = false") == ["idle"]
    assert await listed(brisk, "closed = TRUE AND state = COMPLETED") == ["over"]
    assert await listed(brisk, f"create_time >= {since}") == ["failed"]
    assert await listed(brisk, f"create_time < {since}") == ["two words", "idle", "over"]


async def test_a_page_token_is_good_for_its_own_list_only(brisk: Running) -> None:
    for name in ("a", "b"):
        await create(brisk, name=name)
    page = await brisk.batches.ListBatches(pb.ListBatchesRequest(page_size=1))
    token = page.next_page_token

    others: list[Any] = [{"filter": "closed = false"}, {"order_by": "name"}, {"namespace": "-"}]
    for other in others:
        refused = await refusal(brisk.batches.ListBatches(pb.ListBatchesRequest(page_token=token, **other)))
        assert (refused.reason, refused.violations[0].field) == ("FIELD_INVALID", "page_token")


async def test_what_one_may_not_see_is_not_there(tmp_path: Any) -> None:
    users = {
        name: Principal(name, organization_id, roles=frozenset({"user"}))
        for name, organization_id in (("ann", "acme"), ("bob", "acme"), ("cid", ""))
    }
    async with running_server(tmp_path, authenticator=ByToken(**users)) as server:

        def as_(name: str) -> Any:
            return {"metadata": (("authorization", f"Bearer {name}"),)}

        made = await server.batches.CreateBatch(pb.CreateBatchRequest(batch_id=NOBODY), **as_("ann"))
        seen = await server.batches.GetBatch(pb.GetBatchRequest(batch_id=NOBODY), **as_("bob"))
        hidden = await server.batches.ListBatches(pb.ListBatchesRequest(), **as_("cid"))
        renamed: Any = {"batch": {"id": NOBODY}, "update_mask": {"paths": ["name"]}}
        refusals = [
            await refusal(call)
            for call in (
                server.batches.GetBatch(pb.GetBatchRequest(batch_id=NOBODY), **as_("cid")),
                server.batches.UpdateBatch(pb.UpdateBatchRequest(**renamed), **as_("cid")),
                server.batches.CancelBatch(pb.CancelBatchRequest(batch_id=NOBODY), **as_("cid")),
                server.batches.DeleteBatch(pb.DeleteBatchRequest(batch_id=NOBODY), **as_("cid")),
            )
        ]
        taken = await refusal(server.batches.CreateBatch(pb.CreateBatchRequest(batch_id=NOBODY), **as_("cid")))

    assert seen.batch == made.batch
    assert (made.batch.owner, made.batch.organization_id) == ("ann", "acme")
    assert list(hidden.batches) == []
    assert {(error.code, error.reason) for error in refusals} == {(Code.NOT_FOUND, "BATCH_NOT_FOUND")}
    assert taken.reason == "BATCH_ID_REUSED"
