"""Jobs that come from elsewhere: made up with any history that they can have had, and as a server tells of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

from jobhall.ids import new_id
from jobhall.states import AttemptOutcome, FailureKind, JobState, LogLevel
from jobhall.v1 import admin_service_pb2 as admin_pb
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.servers import Running

BEGAN_US = 1_700_000_000_000_000
LATER_US = 4_000_000_000_000_000
NOT_LOOKED_AT = ("timing", "update_time", "purge_time", "etag", "revision", "current_task", "item_errors")
"""Of a job; its revision is one more."""

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
_counts = st.integers(0, 5)
_objects = st.dictionaries(_words, st.booleans() | _texts | st.integers(-9, 9), max_size=2)
_payloads = st.one_of(
    st.builds(job_pb2.Payload, json=st.sampled_from(["{}", '{"a": [1, 2.50]}', "null", '"é"'])),
    st.builds(job_pb2.Payload, data=st.binary(max_size=8), content_type=st.sampled_from(["", "image/png"])),
)
_policies = st.builds(
    job_pb2.RetryPolicy,
    strategy=st.integers(1, 3),
    initial_delay=st.just({"seconds": 1}),
    max_delay=st.just({"seconds": 600}),
    multiplier=st.sampled_from([2.0, 1.5]),
    jitter=st.sampled_from([0.2, 0.0]),
    non_retryable_codes=st.lists(_words, max_size=1),
)
_accesses = st.builds(
    job_pb2.AccessControl,
    visibility=st.integers(1, 2),
    read_access=st.lists(_words, max_size=2, unique=True),
    admin_access=st.lists(_words, max_size=1),
)


def stamp(us: int) -> Timestamp:
    time = Timestamp()
    time.FromMicroseconds(us)
    return time


def _progresses() -> st.SearchStrategy[job_pb2.Progress]:
    def made(step: str, total: int, done: int, failed: int, details: dict[str, Any] | None) -> job_pb2.Progress:
        processed = min(done, total)
        progress = job_pb2.Progress(step=step, stage="s", step_index=1, step_count=3, message=step, unit="rows")
        progress.items_total, progress.items_processed = total, processed
        progress.items_failed, progress.percent = min(failed, processed), 12.5
        progress.update_time.CopyFrom(stamp(BEGAN_US + done))
        if details is not None:
            progress.details.update(details)
        return progress

    return st.builds(made, _texts, _counts, _counts, _counts, st.none() | _objects)


def _errors(number: int) -> st.SearchStrategy[job_pb2.JobError]:
    def made(kind: Any, code: str, message: str, details: dict[str, Any] | None, stack: str) -> job_pb2.JobError:
        error = job_pb2.JobError(kind=kind, code=code, message=message, stack=stack, retryable=True, attempt=number)
        if details is not None:
            error.details.update(details)
        return error

    kinds = st.sampled_from([int(kind) for kind in FailureKind if kind])
    return st.builds(made, kinds, _texts, _words, st.none() | _objects, _texts)


class _Life:
    """What a job has gone through; each draw is a step."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.at = BEGAN_US
        self.job = job_pb2.Job(id=new_id(), state=job_pb2.JOB_STATE_PENDING)
        self.job.create_time.CopyFrom(self.tick())
        self.attempts: list[job_pb2.Attempt] = []

    def tick(self) -> Timestamp:
        self.at += self.draw(st.integers(1, 10**7))
        return stamp(self.at)

    def claim(self) -> None:
        self.job.fence += self.draw(st.integers(1, 2))
        self.job.claim_time.CopyFrom(self.tick())
        self.job.ClearField("start_time")

    def start(self) -> job_pb2.Attempt:
        self.claim()
        self.job.attempt += 1
        self.job.item_error_count = 0
        self.job.start_time.CopyFrom(self.tick())
        attempt = job_pb2.Attempt(attempt=self.job.attempt, fence=self.job.fence, worker_name=self.draw(_texts))
        attempt.claim_time.CopyFrom(self.job.claim_time)
        attempt.start_time.CopyFrom(self.job.start_time)
        self.attempts.append(attempt)
        if self.draw(st.booleans()):
            attempt.progress.CopyFrom(self.draw(_progresses()))
        attempt.item_error_count = self.job.item_error_count = self.draw(_counts)
        return attempt

    def end(self, attempt: job_pb2.Attempt, outcome: AttemptOutcome) -> None:
        attempt.outcome = job_pb2.AttemptOutcome.ValueType(int(outcome))
        attempt.end_time.CopyFrom(self.tick())
        if outcome is AttemptOutcome.FAILED:
            attempt.error.CopyFrom(self.draw(_errors(attempt.attempt)))
            self.job.error.CopyFrom(attempt.error)
        elif outcome is AttemptOutcome.RELEASED:
            self.job.attempt -= 1

    def retry(self) -> None:
        for name in ("attempt", "claim_time", "start_time", "error", "item_error_count"):
            self.job.ClearField(name)

    def tried_before(self) -> None:
        """Attempts that were not the last, some of them before a RetryJob."""
        for _ in range(self.draw(st.integers(0, 3))):
            outcome = self.draw(st.sampled_from([AttemptOutcome.FAILED, AttemptOutcome.RELEASED]))
            self.end(self.start(), outcome)
            if self.draw(st.integers(0, 3)) == 0:
                self.retry()
        if self.draw(st.integers(0, 3)) == 0:
            self.claim()  # A delivery that never arrived.

    def come_to(self, state: JobState) -> None:
        job, before = self.job, self.at
        job.state = job_pb2.JobState.ValueType(int(state))
        match state:
            case JobState.SCHEDULED:
                job.schedule_time.CopyFrom(stamp(LATER_US))
            case JobState.CLAIMED:
                self.claim()
            case JobState.COMPLETED:
                self.end(self.start(), AttemptOutcome.COMPLETED)
                job.ClearField("error")
                if self.draw(st.booleans()):
                    job.result.CopyFrom(self.draw(_payloads))
            case JobState.FAILED:
                self.end(self.start(), AttemptOutcome.FAILED)
            case JobState.CANCELLED:
                if self.draw(st.booleans()):
                    self.end(self.start(), AttemptOutcome.CANCELLED)
                job.ClearField("error")
                job.cancel_reason, job.cancelled_by = self.draw(_texts), self.draw(_texts)
            case _:
                pass
        if state.terminal:
            job.end_time.CopyFrom(stamp(self.at) if self.at > before else self.tick())


@st.composite
def imported_jobs(
    draw: Any, states: tuple[JobState, ...], *, batch_ids: tuple[str, ...] = ("",)
) -> admin_pb.ImportedJob:
    """A job of the type `score` in one of the states, with a history that leads to it."""
    life = _Life(draw)
    life.tried_before()
    life.come_to(draw(st.sampled_from(states)))
    job = life.job
    _describe(draw, job, batch_ids)
    present = next((attempt for attempt in life.attempts if attempt.fence == job.fence), None)
    if draw(st.booleans()):
        job.checkpoint.CopyFrom(draw(_payloads))
        if draw(st.booleans()):
            job.progress.CopyFrom(draw(_progresses()))
    if present is not None and present.HasField("progress"):
        job.progress.CopyFrom(present.progress)
    imported = admin_pb.ImportedJob(job=job, attempts=life.attempts)
    imported.log_entries.extend(_lines(draw, life.attempts))
    if life.attempts:
        newest = life.attempts[-1].item_error_count
        errors = draw(st.lists(st.tuples(st.integers(-9, 9), _texts, _texts), max_size=newest))
        imported.item_errors.extend(job_pb2.ItemError(index=at, key=key, code=key, message=m) for at, key, m in errors)
    return imported


def _describe(draw: Any, job: job_pb2.Job, batch_ids: tuple[str, ...]) -> None:
    job.namespace, job.job_type, job.job_type_namespace = "default", "score", "default"
    job.max_attempts = job.attempt + draw(st.integers(1, 3))
    job.priority, job.worker_losses = draw(st.integers(-100, 100)), draw(st.integers(0, 2))
    job.revision = draw(st.integers(1, 50))
    job.labels.update(draw(st.dictionaries(st.sampled_from(["team", "run"]), _texts, max_size=2)))
    job.path, job.owner, job.created_by = draw(_texts), draw(_words), draw(_texts)
    job.organization_id, job.batch_id = draw(_texts), draw(st.sampled_from(batch_ids))
    job.retry_policy.CopyFrom(draw(_policies))
    job.access_control.CopyFrom(draw(_accesses))
    if draw(st.booleans()):
        job.parameters.CopyFrom(draw(_payloads))
        job.file_info.name, job.file_info.size_bytes = draw(_texts), draw(_counts)
        job.unique_key = job.id
        job.run_timeout.seconds, job.retention.seconds = 60, 86_400
    if draw(st.booleans()):
        job.progress_timeout.seconds = 5
        job.trace_context.traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    if job.state != job_pb2.JOB_STATE_SCHEDULED and draw(st.booleans()):
        job.schedule_time.CopyFrom(stamp(BEGAN_US + 7))
    if draw(st.booleans()):
        job.start_deadline.CopyFrom(stamp(LATER_US + 7))


def _lines(draw: Any, attempts: list[job_pb2.Attempt]) -> Iterator[job_pb2.LogEntry]:
    levels = [int(level) for level in LogLevel if level]
    for number in sorted({attempt.attempt for attempt in attempts}):
        for place in sorted(draw(st.sets(st.integers(1, 10_000), max_size=3))):
            entry = job_pb2.LogEntry(level=draw(st.sampled_from(levels)), message=draw(_texts), number=place)
            entry.attempt, entry.raw = number, draw(st.binary(max_size=3))
            entry.time.CopyFrom(stamp(BEGAN_US + place))
            fields = draw(st.none() | _objects)
            if fields is not None:
                entry.fields.update(fields)
            yield entry


# --- as a server tells of them ---


async def bring(server: Running, *jobs: admin_pb.ImportedJob, validate_only: bool = False) -> list[job_pb2.Job]:
    request = admin_pb.ImportJobsRequest(jobs=jobs, validate_only=validate_only)
    return list((await server.admin.ImportJobs(request)).jobs)


async def told(server: Running, job_id: str) -> admin_pb.ImportedJob:
    """All that the server has of the job, by the calls of a client."""
    job = (await server.jobs.GetJob(pb.GetJobRequest(job_id=job_id, include_checkpoint=True))).job
    attempts = (await server.jobs.ListAttempts(pb.ListAttemptsRequest(job_id=job_id))).attempts
    errors = (await server.jobs.ListItemErrors(pb.ListItemErrorsRequest(job_id=job_id))).item_errors
    entries: list[job_pb2.LogEntry] = []
    for number in sorted({attempt.attempt for attempt in attempts}):
        page = await server.jobs.ListJobLogs(pb.ListJobLogsRequest(job_id=job_id, attempt=number, page_size=1000))
        entries += page.log_entries
    return admin_pb.ImportedJob(job=job, attempts=attempts, log_entries=entries, item_errors=errors)


def without_what_changes(imported: admin_pb.ImportedJob) -> admin_pb.ImportedJob:
    """What stays of it wherever it comes to."""
    kept = admin_pb.ImportedJob()
    kept.CopyFrom(imported)
    for name in NOT_LOOKED_AT:
        kept.job.ClearField(name)  # type: ignore[arg-type]
    return kept
