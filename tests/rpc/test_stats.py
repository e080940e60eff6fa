"""GetJobStats: kept counters by queue and state, ages and rates, and what retention and purges removed."""

from pathlib import Path
from typing import Any

import pytest

from jobhall.errors import Code
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1.job_type_service_pb2 import RegisterJobTypeRequest
from jobhall_server.domain.access import Principal
from tests.support.authenticators import ByToken
from tests.support.calls import RawWorker, refusal, register, submission, submit
from tests.support.servers import Running, running_server
from tests.support.unary_calls import claim, fail, report
from tests.support.waiting import eventually_async


async def stats(server: Running, **fields: Any) -> pb.GetJobStatsResponse:
    answer: pb.GetJobStatsResponse = await server.jobs.GetJobStats(pb.GetJobStatsRequest(**fields))
    return answer


def counted(counts: job_pb2.JobCounts) -> dict[str, int]:
    """Those that are not 0."""
    return {field.name: value for field, value in counts.ListFields()}


async def one_of_each(server: Running) -> None:
    """Jobs that are COMPLETED, FAILED, RUNNING, CLAIMED, CANCELLING, SCHEDULED, CANCELLED, and two that are PENDING."""
    await submit(server)
    given = await claim(server, accept=True)
    await report(server, given.session_id, {"lease_token": given.tasks[0].lease_token, "completed": {}})
    await submit(server, max_attempts=1)
    await fail(server)
    await submit(server)
    await claim(server, accept=True)
    stopping = await submit(server)
    await claim(server, accept=True)
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=stopping.id))
    await submit(server)
    await claim(server)
    later: Any = {"seconds": 4_000_000_000}
    await submit(server, schedule_time=later)
    for number in range(3):
        job = await submit(server)
        if not number:
            await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))


EACH = {
    "scheduled": 1,
    "pending": 2,
    "claimed": 1,
    "running": 1,
    "cancelling": 1,
    "completed": 1,
    "failed": 1,
    "cancelled": 1,
}


async def test_jobs_are_counted_by_state(server: Running) -> None:
    await register(server)
    await one_of_each(server)

    answer = await stats(server)

    assert counted(answer.total) == EACH
    (queue,) = answer.queues
    assert (queue.namespace, queue.job_type) == ("default", "score")
    assert counted(queue.counts) == EACH
    assert counted(answer.removed) == counted(queue.removed) == {}


async def test_the_age_of_what_waits_longest_grows_and_goes(server: Running) -> None:
    await register(server)
    none = (await stats(server)).queues
    job = await submit(server)

    async def age() -> int:
        return (await stats(server)).queues[0].oldest_pending_age.ToMicroseconds()

    first = await age()

    async def older() -> bool:
        return await age() > first

    await eventually_async(older, within=10, what="the age grows")
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))
    assert not (await stats(server)).queues[0].HasField("oldest_pending_age")
    assert all(not queue.HasField("oldest_pending_age") for queue in none)


async def test_what_ended_lately_is_a_rate(server: Running) -> None:
    await register(server)
    await one_of_each(server)

    (queue,) = (await stats(server)).queues

    # One of each within the last minute.
    assert 0 < queue.completed_per_second <= 1 / 30
    assert 0 < queue.failed_per_second <= 1 / 30


async def test_what_a_purge_removed_is_still_counted_and_what_was_deleted_by_hand_is_not(server: Running) -> None:
    await register(server)
    await one_of_each(server)
    by_hand = await submit(server)
    await server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=by_hand.id))

    await server.jobs.PurgeJobs(pb.PurgeJobsRequest(min_age={}))  # type: ignore[arg-type]
    answer = await stats(server)

    assert counted(answer.removed) == {"completed": 1, "failed": 1, "cancelled": 1}
    assert counted(answer.queues[0].removed) == counted(answer.removed)
    left = {name: count for name, count in EACH.items() if name not in ("completed", "failed", "cancelled")}
    assert counted(answer.total) == left


async def test_queues_are_told_apart_by_namespace_and_type(server: Running) -> None:
    for namespace, job_type, count in (("default", "a", 1), ("default", "b", 2), ("blue", "a", 3)):
        await register(server, job_type, namespace)
        for _ in range(count):
            await submit(server, job_type, namespace=namespace)

    def told(answer: pb.GetJobStatsResponse) -> dict[tuple[str, str], int]:
        return {(queue.namespace, queue.job_type): queue.counts.pending for queue in answer.queues}

    everywhere = await stats(server, namespace="-")
    assert told(everywhere) == {("blue", "a"): 3, ("default", "a"): 1, ("default", "b"): 2}
    assert everywhere.total.pending == 6
    assert told(await stats(server)) == {("default", "a"): 1, ("default", "b"): 2}
    assert told(await stats(server, namespace="-", job_types=["a"])) == {("blue", "a"): 3, ("default", "a"): 1}
    assert told(await stats(server, job_types=["c"])) == {}


async def test_a_types_own_and_global_jobs_are_one_queue_to_people(server: Running) -> None:
    await register(server, "a", "@global")
    await submit(server, "public:a")
    await register(server, "a")
    await submit(server, "private:a")

    both, own, public = [await stats(server, job_types=[name]) for name in ("a", "private:a", "public:a")]

    assert [(queue.job_type, queue.counts.pending) for queue in both.queues] == [("a", 2)]
    assert (own.total.pending, public.total.pending) == (1, 1)


async def test_counts_hold_only_what_the_caller_may_see(tmp_path: Path) -> None:
    users = {
        "ann": Principal("ann", roles=frozenset({"user"})),
        "bob": Principal("bob", roles=frozenset({"user"})),
        "boss": Principal("boss", roles=frozenset({"admin"})),
    }
    async with running_server(tmp_path, authenticator=ByToken(**users)) as server:

        def by(name: str) -> Any:
            return {"metadata": [("authorization", f"Bearer {name}")]}

        score: Any = {"job_type": {"name": "score"}}

        await server.job_types.RegisterJobType(RegisterJobTypeRequest(**score), **by("boss"))
        for name in ("ann", "ann", "bob"):
            await server.jobs.SubmitJob(pb.SubmitJobRequest(job=submission()), **by(name))

        async def pending(name: str, **fields: Any) -> int:
            return (await server.jobs.GetJobStats(pb.GetJobStatsRequest(**fields), **by(name))).total.pending

        assert [await pending(name) for name in users] == [2, 1, 3]
        assert await pending("boss", owner="ann") == 2
        assert await pending("ann", owner="bob") == 0


async def test_counters_live_through_work(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    for _ in range(5):
        await submit(server)
        (task,) = await worker.tasks()
        await worker.report(task.lease_token, completed={})

    assert counted((await stats(server)).total) == {"completed": 5}
    await worker.end()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"namespace": "A B"}, "namespace"),
        ({"job_types": ["a", "b c"]}, "job_types[1]"),
        ({"job_types": ["a"] * 1001}, "job_types"),
        ({"owner": "x" * 256}, "owner"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_its_field(server: Running, fields: Any, field: str) -> None:
    error = await refusal(server.jobs.GetJobStats(pb.GetJobStatsRequest(**fields)))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert [violation.field for violation in error.violations] == [field]
