"""CancelJobs, RetryJobs and PurgeJobs: exactly the jobs of the filter, in small steps, with counts and a dry run."""

from pathlib import Path
from typing import Any

import pytest

from jobhall.errors import ApiError, Code
from jobhall.states import JobState
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1.job_type_service_pb2 import RegisterJobTypeRequest
from jobhall_server.domain.access import Principal
from tests.support.authenticators import ByToken
from tests.support.calls import RawWorker, get, refusal, submission, submit
from tests.support.servers import Running, running_server
from tests.support.unary_calls import claim, fail, report, state

PENDING, CANCELLED, FAILED, COMPLETED = JobState.PENDING, JobState.CANCELLED, JobState.FAILED, JobState.COMPLETED


async def cancel(server: Running, text: str = "type = score", **fields: Any) -> pb.CancelJobsResponse:
    return await server.jobs.CancelJobs(pb.CancelJobsRequest(filter=text, **fields))


async def retry(server: Running, text: str = "type = score", **fields: Any) -> pb.RetryJobsResponse:
    return await server.jobs.RetryJobs(pb.RetryJobsRequest(filter=text, **fields))


async def purge(server: Running, text: str = "", *, seconds: int = 0, **fields: Any) -> pb.PurgeJobsResponse:
    request = pb.PurgeJobsRequest(filter=text, **fields)
    request.min_age.seconds = seconds
    return await server.jobs.PurgeJobs(request)


async def many(server: Running, count: int, **fields: Any) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        jobs = [submission(**fields) for _ in range(min(1000, count - len(found)))]
        found += [job.id for job in (await server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=jobs))).jobs]
    return found


async def states(server: Running) -> dict[str, JobState]:
    listed = (await server.jobs.ListJobs(pb.ListJobsRequest(page_size=1000))).jobs
    return {job.id: JobState(job.state) for job in listed}


# --- CancelJobs ---


async def test_the_waiting_jobs_of_a_filter_are_cancelled_and_no_others(brisk: Running) -> None:
    red = [await submit(brisk, labels={"team": "red"}) for _ in range(3)]
    blue = await submit(brisk, labels={"team": "blue"})

    answer = await cancel(brisk, "labels.team = red", reason="no more red")

    assert (answer.cancelled_count, answer.more) == (3, False)
    assert {await state(brisk, job.id) for job in red} == {CANCELLED}
    assert await state(brisk, blue.id) is PENDING
    assert (await get(brisk, red[0].id)).cancel_reason == "no more red"


async def test_a_running_job_is_asked_to_stop_and_one_that_was_asked_is_not_counted_again(brisk: Running) -> None:
    worker = RawWorker(brisk)
    await worker.hello()
    job = await submit(brisk)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    first, second = await cancel(brisk, reason="stop"), await cancel(brisk)

    told = (await worker.next("cancel_tasks")).cancel_tasks.cancels
    assert [(one.lease_token, one.reason) for one in told] == [(task.lease_token, "stop")]
    assert (first.cancelled_count, second.cancelled_count) == (1, 0)
    assert await state(brisk, job.id) is JobState.CANCELLING
    await worker.report(task.lease_token, cancelled={})
    assert await state(brisk, job.id) is CANCELLED


async def test_jobs_that_have_ended_are_left_out(brisk: Running) -> None:
    await submit(brisk)
    given = await claim(brisk, accept=True)
    await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "completed": {}})

    assert (await cancel(brisk)).cancelled_count == 0
    assert (await cancel(brisk, "state = COMPLETED")).cancelled_count == 0


async def test_a_call_changes_at_most_jobs_max_and_tells_whether_there_are_more(brisk: Running) -> None:
    await many(brisk, 5)

    answers = [await cancel(brisk, jobs_max=2) for _ in range(3)]

    assert [(answer.cancelled_count, answer.more) for answer in answers] == [(2, True), (2, True), (1, False)]


async def test_more_is_told_only_where_there_is_more(brisk: Running) -> None:
    await many(brisk, 4)

    answer = await cancel(brisk, jobs_max=4)

    assert (answer.cancelled_count, answer.more) == (4, False)


async def test_a_thousand_jobs_are_cancelled_by_one_call(brisk: Running) -> None:
    await many(brisk, 1050)

    first, second = await cancel(brisk), await cancel(brisk)

    assert (first.cancelled_count, first.more) == (1000, True)
    assert (second.cancelled_count, second.more) == (50, False)
    assert set((await states(brisk)).values()) == {CANCELLED}


async def test_a_dry_run_counts_and_changes_nothing(brisk: Running) -> None:
    ids = await many(brisk, 3)
    before = [await get(brisk, job_id) for job_id in ids]

    whole, part = await cancel(brisk, dry_run=True), await cancel(brisk, dry_run=True, jobs_max=2)

    assert (whole.cancelled_count, whole.more) == (3, False)
    assert (part.cancelled_count, part.more) == (2, True)
    assert [(await get(brisk, job_id)).etag for job_id in ids] == [job.etag for job in before]


async def test_other_namespaces_are_not_touched(brisk: Running) -> None:
    here = await submit(brisk)

    answer = await cancel(brisk, namespace="elsewhere")

    assert answer.cancelled_count == 0
    assert await state(brisk, here.id) is PENDING


# --- RetryJobs ---


async def test_failed_and_cancelled_jobs_are_tried_again(brisk: Running) -> None:
    failed = await submit(brisk, max_attempts=1)
    await fail(brisk)
    cancelled = await submit(brisk)
    await cancel(brisk)
    worker = RawWorker(brisk)
    await worker.hello()

    answer = await retry(brisk)

    assert (answer.retried_count, answer.skipped_count, answer.more) == (2, 0, False)
    given: list[Any] = []
    while len(given) < 2:
        given += await worker.tasks()
    assert [task.job_id for task in given] == [failed.id, cancelled.id]
    assert [task.attempt for task in given] == [1, 1]


async def test_completed_and_waiting_jobs_are_not_tried_again(brisk: Running) -> None:
    await submit(brisk)
    given = await claim(brisk, accept=True)
    await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "completed": {}})
    await submit(brisk)

    assert (await retry(brisk)).retried_count == 0


async def test_a_job_whose_unique_key_another_has_is_counted_and_ends_no_loop(brisk: Running) -> None:
    # What is left as it is does not count against jobs_max: else who calls again while there are more never ends.
    for number in range(3):
        await submit(brisk, unique_key=f"k{number}")
    await cancel(brisk)
    holders = [await submit(brisk, unique_key=f"k{number}") for number in range(2)]

    dry = await retry(brisk, "state = CANCELLED", dry_run=True)
    answer = await retry(brisk, "state = CANCELLED", jobs_max=1)

    assert (dry.retried_count, dry.skipped_count) == (3, 0)
    assert (answer.retried_count, answer.skipped_count, answer.more) == (1, 2, False)
    assert {await state(brisk, job.id) for job in holders} == {PENDING}


# --- PurgeJobs ---


async def test_what_has_ended_long_enough_ago_is_deleted(brisk: Running) -> None:
    over = await submit(brisk)
    await cancel(brisk)
    waiting = await submit(brisk)

    young, dry, old = await purge(brisk, seconds=3600), await purge(brisk, dry_run=True), await purge(brisk)

    assert (young.purged_count, dry.purged_count, old.purged_count) == (0, 1, 1)
    assert set(await states(brisk)) == {waiting.id}
    error = await refusal(brisk.jobs.GetJob(pb.GetJobRequest(job_id=over.id)))
    assert error.reason == "JOB_NOT_FOUND"


async def test_a_purge_takes_only_what_its_filter_names(brisk: Running) -> None:
    kept = await submit(brisk, labels={"keep": "yes"})
    gone = await submit(brisk, labels={"keep": "no"})
    await cancel(brisk)

    assert (await purge(brisk, "labels.keep = no")).purged_count == 1
    assert (await purge(brisk, "state = PENDING")).purged_count == 0
    assert set(await states(brisk)) == {kept.id}
    assert gone.id not in await states(brisk)


async def test_a_purge_of_many_goes_on_while_there_are_more(brisk: Running) -> None:
    await many(brisk, 450)
    await cancel(brisk)

    answers = [await purge(brisk, jobs_max=300), await purge(brisk, jobs_max=300)]

    assert [(answer.purged_count, answer.more) for answer in answers] == [(300, True), (150, False)]
    assert await states(brisk) == {}


# --- who may, and what cannot be meant ---


async def test_jobs_of_others_are_neither_touched_nor_counted(tmp_path: Path) -> None:
    users = {
        name: Principal(name, organization_id=name, roles=frozenset({"user", "worker"})) for name in ("ann", "bob")
    }
    async with running_server(tmp_path, authenticator=ByToken(**users)) as server:

        def by(name: str) -> Any:
            return {"metadata": [("authorization", f"Bearer {name}")]}

        score: Any = {"name": "score"}
        await server.job_types.RegisterJobType(RegisterJobTypeRequest(job_type=score), **by("ann"))
        for name in users:
            await server.jobs.SubmitJob(pb.SubmitJobRequest(job=submission()), **by(name))

        answer = await server.jobs.CancelJobs(pb.CancelJobsRequest(filter="type = score"), **by("ann"))
        purged = await server.jobs.PurgeJobs(pb.PurgeJobsRequest(min_age={}), **by("bob"))  # type: ignore[arg-type]
        left = await server.jobs.ListJobs(pb.ListJobsRequest(), **by("bob"))

    assert (answer.cancelled_count, purged.purged_count) == (1, 0)
    assert [JobState(job.state) for job in left.jobs] == [PENDING]


LONG = {"seconds": 36_501 * 86_400}
BAD: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "cancel without a filter": ("CancelJobs", {}, "FIELD_INVALID", "filter"),
    "cancel with a blank filter": ("CancelJobs", {"filter": "  "}, "FIELD_INVALID", "filter"),
    "cancel with a filter that does not parse": ("CancelJobs", {"filter": "state ="}, "FILTER_UNSUPPORTED", "filter"),
    "cancel with an unknown state": ("CancelJobs", {"filter": "state = ODD"}, "FIELD_INVALID", "filter"),
    "cancel with a long filter": ("CancelJobs", {"filter": "x" * 5000}, "FILTER_UNSUPPORTED", "filter"),
    "cancel everywhere": ("CancelJobs", {"namespace": "-", "filter": "type = a"}, "FIELD_INVALID", "namespace"),
    "cancel with a long reason": (
        "CancelJobs",
        {"filter": "type = a", "reason": "x" * 1025},
        "FIELD_INVALID",
        "reason",
    ),
    "cancel fewer than none": ("CancelJobs", {"filter": "type = a", "jobs_max": -1}, "FIELD_INVALID", "jobs_max"),
    "cancel too many": ("CancelJobs", {"filter": "type = a", "jobs_max": 1001}, "FIELD_INVALID", "jobs_max"),
    "retry without a filter": ("RetryJobs", {}, "FIELD_INVALID", "filter"),
    "retry too many": ("RetryJobs", {"filter": "type = a", "jobs_max": 1001}, "FIELD_INVALID", "jobs_max"),
    "retry in no namespace": ("RetryJobs", {"namespace": "A B", "filter": "type = a"}, "FIELD_INVALID", "namespace"),
    "purge of no age": ("PurgeJobs", {}, "FIELD_INVALID", "min_age"),
    "purge of a negative age": ("PurgeJobs", {"min_age": {"seconds": -1}}, "FIELD_INVALID", "min_age"),
    "purge of an age beyond all": ("PurgeJobs", {"min_age": LONG}, "FIELD_INVALID", "min_age"),
    "purge by a bad filter": ("PurgeJobs", {"filter": "odd = 1", "min_age": {}}, "FILTER_UNSUPPORTED", "filter"),
    "purge too many": ("PurgeJobs", {"min_age": {}, "jobs_max": 2000}, "FIELD_INVALID", "jobs_max"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_cannot_be_meant_is_refused_by_its_field(brisk: Running, name: str) -> None:
    method, fields, reason, field = BAD[name]
    request = getattr(pb, f"{method}Request")(**fields)

    error: ApiError = await refusal(getattr(brisk.jobs, method)(request))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, reason)
    assert [violation.field for violation in error.violations] == [field]
