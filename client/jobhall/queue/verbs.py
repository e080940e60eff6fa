"""What both queues do, without the I/O: the verbs of a JobQueue as procedures over jobs and leases."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from jobhall import calls, calls_insight, calls_types
from jobhall.calls import PageOptions
from jobhall.errors import FieldInvalidError, JobTerminalError, JobTypeNotFoundError, LeaseLostError
from jobhall.filters import JobSelection, TypeSelection, check_names
from jobhall.ids import new_id
from jobhall.limits import ATTEMPTS_MAX, PAGE_SIZE_MAX, WORKER_JOB_TYPES_MAX
from jobhall.model import Job
from jobhall.procedures import Procedure, Procedures
from jobhall.queue.errors import JobCancelRequestedError, JobNotHeldError, JobUnavailableError
from jobhall.queue.failures import failure_of
from jobhall.queue.leases import Lease, Leases
from jobhall.queue.views import (
    USER_LABEL,
    ProgressFields,
    QueueJob,
    StatusCounts,
    counts_by_status,
    task_progress,
    view_of_job,
    view_of_task,
)
from jobhall.states import TERMINAL_STATES, WAITING_STATES, JobState
from jobhall.statuses import QueueStatus
from jobhall.submission import Submission
from jobhall.task import StopCause
from jobhall.v1 import task_pb2
from jobhall.wire_values import payload_to_wire
from jobhall.worker.outcomes import outcome_of_error, released, stopped


class Verbs:
    """The verbs of one queue."""

    def __init__(
        self,
        procedures: Procedures,
        leases: Leases,
        *,
        namespace: str,
        max_retries: int,
        retention: timedelta,
    ) -> None:
        self._procedures = procedures
        self._leases = leases
        self._namespace = namespace
        self._max_attempts = _attempts(max_retries)
        self._retention = retention

    # --- any job ---

    def create_job(
        self,
        job_type: str,
        parameters: Any,
        *,
        user_id: str,
        resource_id: str,
        max_retries: int | None,
        job_id: str,
    ) -> Procedure[QueueJob]:
        """Submits a job; a type that is not registered yet is, without schemas."""
        submission = Submission(
            job_type,
            parameters,
            namespace=self._namespace,
            labels={USER_LABEL: user_id} if user_id else {},
            path=resource_id,
            max_attempts=self._max_attempts if max_retries is None else _attempts(max_retries),
            retention=self._retention,
            job_id=job_id or new_id(),
        )
        call = calls.submit_job(submission)
        try:
            job = yield from self._procedures.call(call)
        except JobTypeNotFoundError:
            yield from self._procedures.call(
                calls_types.register_job_type(
                    job_type,
                    namespace=self._namespace,
                    description="",
                    parameters_schema=None,
                    result_schema=None,
                    defaults=None,
                    replace=False,
                )
            )
            job = yield from self._procedures.call(call)
        return view_of_job(job)

    def get_job(self, job_id: str) -> Procedure[QueueJob]:
        """Reads one job."""
        return view_of_job((yield from self._procedures.call(calls.get_job(job_id))))

    def list_jobs(
        self, *, status: QueueStatus | str | None, job_type: str, user_id: str, limit: int, offset: int
    ) -> Procedure[list[QueueJob]]:
        """Reads so many jobs, the newest first, after passing over `offset`."""
        if limit < 1:
            raise FieldInvalidError("limit", f"is {limit}; it is at least 1")
        options = PageOptions(namespace=self._namespace, full=True, skip=offset)
        if status is not None:
            options["states"] = sorted(_status(status).states)
        if job_type:
            options["job_types"] = [job_type]
        if user_id:
            options["labels"] = {USER_LABEL: user_id}
        found: list[Job] = []
        while True:
            options["page_size"] = min(limit - len(found), PAGE_SIZE_MAX)
            page = yield from self._procedures.call(calls.list_jobs(options))
            found.extend(page.jobs)
            if len(found) >= limit or not page.next_page_token:
                return [view_of_job(job) for job in found]
            options["page_token"] = page.next_page_token
            options.pop("skip", None)

    def get_stats(self, job_types: Iterable[str]) -> Procedure[StatusCounts]:
        """Counts the jobs by status."""
        call = calls_insight.get_job_stats(namespace=self._namespace, job_types=job_types, owner="")
        return counts_by_status((yield from self._procedures.call(call)).total)

    def cleanup_old_jobs(self, age: float | timedelta | None) -> Procedure[int]:
        """Deletes the jobs that ended so long ago; how many there were."""
        selection = JobSelection(namespace=self._namespace, states=sorted(TERMINAL_STATES))
        steps = calls.purge_jobs(selection, min_age=self._retention if age is None else age, dry_run=False)
        return (yield from self._procedures.bulk(steps, jobs_max=None, dry_run=False)).count

    def cancel_job(self, job_id: str, reason: str) -> Procedure[None]:
        """Cancels a job; where this queue holds it, it is CANCELLED at once."""
        job = yield from self._procedures.call(calls.cancel_job(job_id, reason=reason, grace=None, etag=""))
        lease = self._leases.get(job_id)
        if lease is not None and job.state is JobState.CANCELLING:
            lease.held.ask_to_stop(StopCause.CANCELLED, reason)
            try:
                yield from self._leases.end(lease, stopped(lease.held))
            except LeaseLostError:
                return

    # --- jobs in this queue's hands ---

    def poll_next(self, job_type: str) -> Procedure[QueueJob | None]:
        """Takes the job of the type that has waited longest, for a moment."""
        lease = yield from self._leases.claim(job_types=[job_type])
        return None if lease is None else view_of_task(lease.task)

    def update_status(self, job_id: str, status: QueueStatus | str) -> Procedure[None]:
        """Moves the job to the status, if that is allowed."""
        match _status(status):
            case QueueStatus.RUNNING:
                yield from self._start(job_id)
            case QueueStatus.PENDING:
                yield from self._put_back(job_id)
            case QueueStatus.COMPLETE:
                yield from self.complete(job_id, None)
            case QueueStatus.FAILED:
                yield from self.fail(job_id, "set to failed", retryable=False)
            case QueueStatus.CANCELLED:
                yield from self.cancel_job(job_id, "")

    def update_progress(self, job_id: str, fields: ProgressFields) -> Procedure[None]:
        """Says how far the job has come."""
        check_names(fields, ProgressFields)
        lease = yield from self._lease(job_id)
        if lease.held.cancel_reason is None:
            lease.task.progress(**task_progress(fields))
        yield from self._leases.report_progress(lease)
        if lease.held.stop_cause is StopCause.CANCELLED:
            reason = lease.held.cancel_reason
            message = f"job {job_id} was cancelled ({reason}): stop, and confirm it with cancel_job"
            raise JobCancelRequestedError(message, job_id, JobState.CANCELLING)

    def complete(self, job_id: str, result: Any) -> Procedure[None]:
        """Ends the job with its result."""
        payload = payload_to_wire(result, field="result")
        lease = yield from self._lease(job_id)
        yield from self._leases.end(lease, task_pb2.TaskCompleted(result=payload))

    def fail(self, job_id: str, error: BaseException | str, *, retryable: bool | None) -> Procedure[None]:
        """Ends the attempt with an error."""
        lease = yield from self._lease(job_id)
        outcome = outcome_of_error(lease.held, failure_of(error, retryable=retryable))
        yield from self._leases.end(lease, outcome)

    def _start(self, job_id: str) -> Procedure[None]:
        lease = self._leases.get(job_id)
        if lease is not None and not lease.held.lost:
            if lease.held.accepted:
                return
            try:
                yield from self._leases.accept(lease)
                return
            except LeaseLostError:
                # It was polled too long ago, and is perhaps still there.
                pass
        lease = yield from self._leases.claim(job_ids=[job_id])
        if lease is None:
            explained = yield from self._procedures.call(calls_insight.explain_job(job_id))
            if explained.state.terminal:
                raise JobTerminalError(job_id, explained.state.name)
            message = f"job {job_id} cannot be started: it is {explained.state.name}. {explained.summary}"
            raise JobUnavailableError(message, job_id, explained.state)
        yield from self._leases.accept(lease)

    def _put_back(self, job_id: str) -> Procedure[None]:
        lease = self._leases.get(job_id)
        if lease is not None:
            yield from self._leases.end(lease, released(task_pb2.RELEASE_REASON_UNSPECIFIED, "set to pending"))
            return
        job = yield from self._procedures.call(calls.get_job(job_id, briefly=True))
        if job.state.held:
            raise _not_held(job)
        # Of a job that waits this changes nothing, one that has completed is refused.
        yield from self._procedures.call(calls.retry_job(job_id, etag=""))

    def _lease(self, job_id: str) -> Procedure[Lease]:
        lease = self._leases.get(job_id)
        if lease is not None:
            return lease
        raise _not_held((yield from self._procedures.call(calls.get_job(job_id, briefly=True))))


def registered_types(procedures: Procedures, namespace: str) -> Procedure[list[str]]:
    """The types that jobs of the namespace may have, as many as one claim may name."""
    names: dict[str, None] = {}
    page_token = ""
    while True:
        call = calls_types.list_job_types(TypeSelection(namespace=namespace), page_token=page_token)
        page = yield from procedures.call(call)
        names.update((it.name, None) for it in page.entries)
        page_token = page.next_page_token
        if not page_token or len(names) >= WORKER_JOB_TYPES_MAX:
            return list(names)[:WORKER_JOB_TYPES_MAX]


def _not_held(job: Job) -> JobNotHeldError:
    message = f"this queue does not hold job {job.id}, which is {job.state.name}"
    if job.state in WAITING_STATES:
        message += ": start it with update_job_status(job_id, 'running') first"
    return JobNotHeldError(message, job.id, job.state)


def _status(status: QueueStatus | str) -> QueueStatus:
    try:
        return QueueStatus(status)
    except ValueError:
        raise FieldInvalidError("status", f"is {status!r}; there are {', '.join(QueueStatus)}") from None


def _attempts(max_retries: int) -> int:
    if not 0 <= max_retries < ATTEMPTS_MAX:
        raise FieldInvalidError("max_retries", f"is {max_retries}; it goes from 0 to {ATTEMPTS_MAX - 1}")
    return max_retries + 1
