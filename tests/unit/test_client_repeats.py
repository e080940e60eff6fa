"""Which calls a client sends again when nobody answered, the same request each time, and why that does no harm."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from jobhall import Client, ImportedJob, Job, JobState, ServerUnreachableError, Submission, reports
from jobhall.v1 import job_pb2, job_service_pb2
from tests.support.fake_channel import METHODS, fake_server

JOB_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
READS = "it changes nothing"
OWN_ID = "the client chooses the id: the same one again is the same thing"
SETS = "it sets what is given, and again changes nothing more"
ENDS = "the second time finds it done, or gone, and says so"
STEPS = "what was changed no longer matches; the next step goes on with the rest"
LEASE = "a lease token names the attempt, and its first outcome stands"

CALLS: dict[str, tuple[str, Callable[[Client], Any]]] = {
    "SubmitJob": (OWN_ID, lambda it: it.jobs.submit("resize")),
    "BatchSubmitJobs": (OWN_ID, lambda it: it.jobs.submit_many([Submission("resize")])),
    "GetJob": (READS, lambda it: it.jobs.get_job(JOB_ID)),
    "BatchGetJobs": (READS, lambda it: it.jobs.get_jobs([JOB_ID])),
    "ListJobs": (READS, lambda it: it.jobs.list_page()),
    "WaitJob": (READS, lambda it: it.jobs.wait_for_job(JOB_ID)),
    "UpdateJob": (SETS, lambda it: it.jobs.update_job(JOB_ID, priority=1)),
    "CancelJob": (ENDS, lambda it: it.jobs.cancel_job(JOB_ID)),
    "CancelJobs": (STEPS, lambda it: it.jobs.cancel_jobs(owner="ada")),
    "RetryJob": ("one that has not ended is left as it is", lambda it: it.jobs.retry_job(JOB_ID)),
    "RetryJobs": (STEPS, lambda it: it.jobs.retry_jobs(owner="ada")),
    "DeleteJob": (ENDS, lambda it: it.jobs.delete_job(JOB_ID)),
    "PurgeJobs": (STEPS, lambda it: it.jobs.purge_jobs(min_age=timedelta(days=1))),
    "GetJobStats": (READS, lambda it: it.jobs.stats()),
    "ExplainJob": (READS, lambda it: it.jobs.explain(JOB_ID)),
    "ListAttempts": (READS, lambda it: list(it.jobs.attempts(JOB_ID))),
    "ListJobLogs": (READS, lambda it: list(it.jobs.logs(JOB_ID))),
    "ListItemErrors": (READS, lambda it: list(it.jobs.item_errors(JOB_ID))),
    "ListJobEvents": (READS, lambda it: it.jobs.events_page()),
    "CreateBatch": (OWN_ID, lambda it: it.batches.create(jobs=[Submission("resize")])),
    "GetBatch": (READS, lambda it: it.batches.get(JOB_ID)),
    "ListBatches": (READS, lambda it: it.batches.list_page()),
    "UpdateBatch": (SETS, lambda it: it.batches.update(JOB_ID, closed=True)),
    "CancelBatch": (ENDS, lambda it: it.batches.cancel(JOB_ID)),
    "DeleteBatch": (ENDS, lambda it: it.batches.delete(JOB_ID)),
    "RegisterJobType": (SETS, lambda it: it.types.register("resize")),
    "GetJobType": (READS, lambda it: it.types.get("resize")),
    "ListJobTypes": (READS, lambda it: list(it.types.list())),
    "DeleteJobType": (ENDS, lambda it: it.types.delete("resize")),
    "PauseJobType": (SETS, lambda it: it.types.pause("resize")),
    "ResumeJobType": (SETS, lambda it: it.types.resume("resize")),
    "ClaimTasks": ("a task whose claim was lost runs elsewhere", lambda it: it.workers.claim_tasks(["resize"])),
    "ReportTasks": (LEASE, lambda it: it.workers.report_tasks("s", [reports.Completed(b"t")])),
    "Heartbeat": (SETS, lambda it: it.workers.heartbeat("s", [b"t"])),
    "GetWorker": (READS, lambda it: it.workers.get("s")),
    "ListWorkers": (READS, lambda it: list(it.workers.list())),
    "DrainWorker": (SETS, lambda it: it.workers.drain("s")),
    "ListApiKeys": (READS, lambda it: list(it.admin.list_api_keys())),
    "RevokeApiKey": (ENDS, lambda it: it.admin.revoke_api_key("k")),
    "ListAuditEntries": (READS, lambda it: list(it.admin.audit_entries())),
    "ImportJobs": (OWN_ID, lambda it: it.admin.import_jobs([ImportedJob(job=job())])),
    "GetServerInfo": (READS, lambda it: it.server_info()),
}
"""Of each RPC that is sent again: why that is safe, and a call of it."""
ONCE: dict[str, Callable[[Client], Any]] = {
    # Nothing names the key before the server has made it: sent again it would be made twice.
    "CreateApiKey": lambda it: it.admin.create_api_key("gpu-7"),
}
STREAMS = {
    # What was not acknowledged is sent again under its job_id: test_submit_stream.
    "SubmitJobStream",
    # It goes on from its cursor: test_client_watch.
    "WatchJobs",
    # A session is resumed, a report named by its lease: test_worker_stream, test_resume.
    "Work",
}


def job() -> Job:
    return Job(id=JOB_ID, namespace="default", job_type="resize", state=JobState.PENDING)


def test_every_rpc_is_in_one_of_the_three_lists() -> None:
    assert sorted([*CALLS, *ONCE, *STREAMS]) == sorted(METHODS)


@pytest.mark.parametrize("rpc", CALLS)
def test_a_call_that_nobody_answered_is_sent_again_as_it_was(rpc: str) -> None:
    with fake_server() as server:
        calling = server.calling(lambda: CALLS[rpc][1](server.client))
        first = server.fail(rpc)
        second = server.answer(rpc, answer_of(rpc))
        calling.result(10)

    assert second == first
    assert len(server.pauses) == 1


@pytest.mark.parametrize("rpc", ONCE)
def test_a_call_that_would_do_harm_twice_is_sent_once(rpc: str) -> None:
    with fake_server() as server:
        calling = server.calling(lambda: ONCE[rpc](server.client))
        server.fail(rpc)
        with pytest.raises(ServerUnreachableError):
            calling.result(10)

    assert server.pauses == []


@pytest.mark.parametrize(
    "code",
    [code for code in grpc.StatusCode if code.name not in ("OK", "UNAVAILABLE", "CANCELLED", "INTERNAL")],
    ids=lambda code: code.name,
)
def test_no_other_end_of_a_call_is_a_reason_to_send_it_again(code: grpc.StatusCode) -> None:
    """But where the server says when: see test_client_retry."""
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.submit("resize"))
        server.fail("SubmitJob", code)
        error = calling.exception(10)

    assert getattr(error, "code", None) == code.value[0]
    assert server.pauses == []


def answer_of(rpc: str) -> Any:
    """An empty answer; a wait wants a job that has completed."""
    if rpc == "WaitJob":
        done = job_pb2.Job(id=JOB_ID, state=job_pb2.JOB_STATE_COMPLETED)
        return job_service_pb2.WaitJobResponse(job=done, done=True)
    return GetMessageClass(METHODS[rpc].output_type)()
