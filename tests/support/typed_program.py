"""A user's program, for the type checker alone: the main calls of the SDK, and the types that they are said to have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_type

import jobhall
from jobhall import reports
from jobhall.errors import FieldViolation, JobNotFoundError, SchemaMismatchError
from jobhall.queue import QueueJob, QueueStatus

worker = jobhall.Worker("localhost:50051", concurrency=4)


@worker.handler("resize")
def resize(task: jobhall.Task) -> dict[str, int]:
    assert_type(task.job_id, str)
    assert_type(task.labels, dict[str, str])
    assert_type(task.stop_cause, jobhall.StopCause | None)
    for size in task.track([10, 20]):
        assert_type(size, int)
    task.progress(processed=1, total=2)
    task.log("half way", level=jobhall.LogLevel.WARNING)
    if task.cancelled:
        raise jobhall.TaskFailed("no", code="NO", retryable=False, retry_delay=timedelta(minutes=1))
    return {"width": 10}


@worker.handler("report")
async def report(task: jobhall.Task) -> None:
    task.checkpoint({"row": 1}, processed=1)


def submitting(client: jobhall.Client) -> None:
    job = client.jobs.submit("resize", {"file": "cat.png"}, labels={"team": "red"}, schedule_time=timedelta(hours=1))
    assert_type(job, jobhall.Job)
    assert_type(job.state, jobhall.JobState)
    assert_type(job.created_at, datetime | None)
    assert_type(client.jobs.submit_many([jobhall.Submission("resize", 1)]), list[jobhall.Job])
    assert_type(client.jobs.try_submit("resize"), jobhall.SubmitAnswer)
    with client.jobs.submit_stream() as stream:
        assert_type(stream, jobhall.SubmitStream)
        assert_type(stream.submit("resize"), jobhall.Submitted)
        assert_type(stream.submit_soon(jobhall.Submission("resize")).result(), jobhall.Submitted)


def reading(client: jobhall.Client, job_id: str) -> None:
    jobs = client.jobs.get_jobs([job_id])
    assert_type(jobs, jobhall.Jobs)
    assert_type([job.id for job in jobs], list[str])
    assert_type(jobs.missing_ids, tuple[str, ...])
    assert_type(client.jobs.list_jobs(states=[jobhall.JobState.FAILED]), Iterator[jobhall.Job])
    assert_type(client.jobs.list_jobs(status=jobhall.OperationStatus.FAILURE), Iterator[jobhall.Job])
    assert_type(client.jobs.stats(), jobhall.JobStats)
    assert_type(client.jobs.explain(job_id), jobhall.JobExplanation)
    assert_type(list(client.jobs.attempts(job_id)), list[jobhall.JobAttempt])
    assert_type(list(client.jobs.item_errors(job_id)), list[jobhall.ItemError])
    assert_type(list(client.jobs.logs(job_id, follow=True)), list[jobhall.LogEntry])
    for update in client.jobs.watch(job_ids=[job_id], stop_when_terminal=True):
        assert_type(update, jobhall.WatchUpdate)
        assert_type(update.events, tuple[jobhall.JobEvent, ...])
    try:
        done = client.jobs.wait_for_job(job_id, timeout=timedelta(seconds=5))
        assert_type(done.result, Any)
    except jobhall.JobFailedError as error:
        assert_type(error.details, dict[str, Any])
        assert_type(error.job, jobhall.Job | None)
    except jobhall.JobTimeoutError:
        pass
    except (JobNotFoundError, SchemaMismatchError) as error:
        assert_type(error.status_code, int)
        assert_type(error.violations, tuple[FieldViolation, ...])
        assert_type(error.metadata, dict[str, str])


def changing(client: jobhall.Client, job: jobhall.Job) -> None:
    assert_type(client.jobs.update_job(job.id, priority=1, schedule_time=None, etag=job.etag), jobhall.Job)
    assert_type(client.jobs.cancel_job(job.id).worker_told, bool)
    assert_type(client.jobs.cancel_jobs(owner="ada").count, int)
    plain = job.to_dict()
    assert_type(plain, dict[str, Any])
    assert_type(jobhall.Job.from_dict(plain), jobhall.Job)
    batch = client.batches.create("photos", jobs=[jobhall.Submission("resize")], closed=True)
    assert_type(batch, jobhall.Batch)
    assert_type(client.batches.wait(batch.id).state, jobhall.BatchState)
    assert_type(client.types.register("resize", parameters_schema={"type": "object"}), jobhall.JobType)
    assert_type(next(client.workers.list()), jobhall.WorkerInfo)
    assert_type(client.server_info(), jobhall.ServerInfo)
    assert_type(client.admin.import_jobs([jobhall.ImportedJob(job=job)]), list[jobhall.Job])


def without_a_stream(client: jobhall.Client) -> None:
    claim = client.workers.claim_tasks(["resize"], timeout=20, accept=True)
    said: list[reports.TaskReport] = []
    for task in claim.tasks:
        assert_type(task, jobhall.ClaimedTask)
        said += [reports.Accepted(task.lease_token), reports.Completed(task.lease_token, {"width": 10})]
    answer = client.workers.report_tasks(claim.session_id, said)
    assert_type([it.error for it in answer.rejections], list[jobhall.ApiError])
    beat = client.workers.heartbeat(claim.session_id)
    assert_type([it.cause for it in beat.stops], list[jobhall.CancelCause])


async def awaiting() -> None:
    async with jobhall.AsyncClient("https://jobs.example:443", api_key="k3y", timeout=timedelta(seconds=5)) as client:
        job = await client.jobs.submit("resize", {"file": "cat.png"})
        assert_type(job, jobhall.Job)
        assert_type(client.jobs.list_jobs(), AsyncIterator[jobhall.Job])
        async for update in client.jobs.watch():
            assert_type(update, jobhall.WatchUpdate)
        async with client.jobs.submit_stream() as stream:
            assert_type(stream, jobhall.AsyncSubmitStream)
            assert_type(await stream.submit("resize"), jobhall.Submitted)
        assert_type((await client.workers.claim_tasks(["resize"])).tasks, tuple[jobhall.ClaimedTask, ...])
        assert_type(await client.jobs.wait_for_jobs([job.id]), jobhall.Jobs)


class Detection(jobhall.JobWorker):
    job_types = ("detection",)

    def get_worker_name(self) -> str:
        return "detection"

    def can_process_job(self, job: QueueJob) -> bool:
        return job.type == "detection"

    def execute_job(self, job: QueueJob) -> dict[str, int]:
        self.update_job_progress(percentage=50, message="half of it")
        return {"total_found": 3}


def queueing() -> None:
    with jobhall.JobQueue() as queue, Detection(queue, poll_interval=1.0) as detection:
        assert_type(queue.create_job("detection", {"file": "a"}), QueueJob)
        assert_type(queue.get_job("j").status, QueueStatus)
        assert_type(queue.poll_next_pending_job("detection"), QueueJob | None)
        detection.stop()


jobs = jobhall.JobManager("localhost:50051", namespace="room_123")


@jobs.register
@dataclass
class Rotate:
    angle: float

    def run(self, context: str) -> str:
        return f"{context} turned by {self.angle}"


@jobs.register(public=True, category="modifiers")
@dataclass
class Scale:
    factor: float = 1.0

    def run(self, context: str) -> str:
        return f"{context} scaled by {self.factor}"


def listening() -> None:
    assert_type(Rotate(angle=90), Rotate)
    assert_type(Scale().factor, float)
    assert_type(jobs.submit(Rotate(angle=90)), jobhall.Job)
    with jobs.listen(interval=0.5) as stream:
        assert_type(stream, jobhall.TaskStream)
        for task in stream:
            assert_type(task, jobhall.StreamTask)
            task.run("cat.png")
