"""Builders of what a worker sends over its stream and of what it is given, for tests without a stream."""

from jobhall.limits import PROTOCOL_VERSION
from jobhall.states import FailureKind, JobState
from jobhall_server.domain.job import JobFailure, Lease, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.worker_moves import NO_RESULT_DIGEST
from jobhall_server.hall.frames import (
    Assignment,
    Body,
    CompletedBody,
    FailedBody,
    Hello,
    ListedTask,
    ReleasedBody,
    Report,
    ReportKind,
)
from jobhall_server.hall.store import Claimed
from jobhall_server.hall.views import HeldRow


def hello(
    *,
    tasks_max: int = 10,
    type_limits: dict[str, int] | None = None,
    job_types: tuple[str, ...] = ("resize",),
    held: tuple[ListedTask, ...] = (),
) -> Hello:
    """The first frame of a worker that serves `resize` in the default namespace."""
    return Hello(
        worker_name="worker-1",
        namespaces=("default",),
        job_types=job_types,
        labels={},
        tasks_max=tasks_max,
        type_limits=type_limits or {},
        runtime={},
        protocol_version=PROTOCOL_VERSION,
        session_id="",
        resume_token="",
        connection=1,
        held=held,
    )


def lease(job_key: int) -> Lease:
    """The lease on job `job_key` in its first claim."""
    return Lease(job_key, fence=1, nonce=1000 + job_key)


def token(job_key: int) -> bytes:
    """The token of that lease."""
    return lease(job_key).token()


def assignment(job_key: int, *, job_type: str = "resize", queue_key: int = 1, parameters: str = "") -> Assignment:
    """The task for that lease, as the dispatcher hands it out."""
    claimed = Claimed(
        lease=lease(job_key),
        job_id=f"00000000-0000-7000-8000-{job_key:012d}",
        queue_key=queue_key,
        attempt=1,
        max_attempts=4,
        priority=0,
        created_at=0,
        labels=None,
        path=None,
        file_name=None,
        file_size=None,
        owner="",
        organization_id="",
        rules=None,
        parameters=Payload(parameters) if parameters else None,
    )
    return Assignment(claimed, "default", job_type, claimed.lease.token())


def held_row(job_key: int, *, state: JobState = JobState.RUNNING, epoch: int = 1) -> HeldRow:
    """The same task as the store has it."""
    facts = assignment(job_key).claimed
    due_at = 5_000_000 if state is JobState.CANCELLING else None
    return HeldRow(facts.lease, 1, epoch, state, 1, due_at, "changed my mind", facts.job_id, 1, "", "", None)


def report(seq: int, task_token: bytes, kind: ReportKind, body: Body = None) -> Report:
    """Any item of a worker's updates."""
    return Report(seq, task_token, kind, body)


def accepted(seq: int, task_token: bytes) -> Report:
    return Report(seq, task_token, ReportKind.ACCEPTED, None)


def completed(seq: int, task_token: bytes, *, result: str | None = None, digest: int = 77) -> Report:
    """The end of a task; without a result its digest is the one that all such ends share."""
    body = CompletedBody(None, NO_RESULT_DIGEST) if result is None else CompletedBody(Payload(result), digest)
    return Report(seq, task_token, ReportKind.COMPLETED, body)


def failed(seq: int, task_token: bytes, *, retryable: bool = False, digest: int = 88) -> Report:
    failure = JobFailure(FailureKind.APPLICATION, "it broke", "BROKEN", retryable=retryable)
    return Report(seq, task_token, ReportKind.FAILED, FailedBody(failure, digest))


def released(seq: int, task_token: bytes, *, digest: int = 55) -> Report:
    return Report(seq, task_token, ReportKind.RELEASED, ReleasedBody("later", digest))


def progress(task_token: bytes, word: Progress) -> Report:
    """Progress carries no number."""
    return Report(0, task_token, ReportKind.PROGRESS, word)
