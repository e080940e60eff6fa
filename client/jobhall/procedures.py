"""What both clients do, without the I/O: generators that ask their driver for calls and pauses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from jobhall import calls, calls_batches
from jobhall.calls import BulkStep, Call
from jobhall.errors import ApiError, BatchTimeoutError, Code, FieldInvalidError, JobFailedError, JobTimeoutError
from jobhall.filters import each
from jobhall.limits import BATCH_GET_MAX, BULK_JOBS_MAX, WAIT_TIMEOUT_DEFAULT
from jobhall.model import Job, Jobs
from jobhall.model_batches import Batch
from jobhall.model_insight import BulkOutcome
from jobhall.retry import CallRetry, may_try_again
from jobhall.states import BatchState, JobState

_GRACE_SECONDS = 3.0
_POLL_FIRST_SECONDS = 0.1
_POLL_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class Send:
    """Asks the driver to send the call; it answers with the response, or with the error as a value."""

    call: Call[Any]
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Asks the driver to let the time pass."""

    seconds: float


T = TypeVar("T")
Procedure = Generator[Send | Pause, Any, T]


@dataclass(frozen=True, slots=True)
class Procedures:
    """The procedures of one client: its patience and its clock (monotonic seconds)."""

    policy: CallRetry
    timeout_seconds: float
    """For one call with all its retries."""
    clock: Callable[[], float]

    def call(self, call: Call[T], *, until: float | None = None) -> Procedure[T]:
        """Sends the call until it is answered, the policy gives up, or the time is over (`until`: a clock reading)."""
        deadline = self.clock() + self.timeout_seconds + call.held_seconds if until is None else until
        attempt = 0
        while True:
            attempt += 1
            outcome = yield Send(call, max(0.001, deadline - self.clock()))
            if not isinstance(outcome, ApiError):
                return call.decode(outcome)
            delay = self.policy.delay_seconds(outcome, attempt=attempt, remaining_seconds=deadline - self.clock())
            if delay is None:
                raise outcome
            yield Pause(delay)

    def patiently(self, call: Call[T]) -> Procedure[T]:
        """The same for one who was answered before, and follows: outages of any length are waited out."""
        failures = 0
        while True:
            try:
                return (yield from self.call(call))
            except ApiError as error:
                if not _passes(error):
                    raise
            failures += 1
            yield Pause(self.policy.backoff_seconds(failures))

    def get_jobs(self, job_ids: Sequence[str], *, include_errors: bool) -> Procedure[Jobs]:
        """Reads any number of jobs, in as many calls as that takes."""
        found: list[Job] = []
        missing: list[str] = []
        waiting = each(job_ids, field="job_ids")
        while waiting:
            now, later = waiting[:BATCH_GET_MAX], waiting[BATCH_GET_MAX:]
            answer = yield from self.call(calls.get_jobs(now, include_errors=include_errors))
            found.extend(answer.jobs)
            missing.extend(answer.jobs.missing_ids)
            waiting = [*answer.remaining_ids, *later]
        return Jobs(tuple(found), tuple(missing))

    def bulk(self, step: BulkStep, *, jobs_max: int | None, dry_run: bool) -> Procedure[BulkOutcome]:
        """Changes all jobs of a filter, or so many, in as many steps as that takes; a dry run is one step."""
        if jobs_max is not None and jobs_max < 1:
            raise FieldInvalidError("jobs_max", f"is {jobs_max}; leave it out to change all")
        count = 0
        while True:
            room = BULK_JOBS_MAX if jobs_max is None else min(BULK_JOBS_MAX, jobs_max - count)
            outcome = yield from self.call(step(room))
            count += outcome.count
            # A step that changed nothing would change nothing again.
            if dry_run or not outcome.more or not outcome.count or count == jobs_max:
                return replace(outcome, count=count)

    def wait_for_batch(
        self,
        batch_id: str,
        *,
        timeout_seconds: float | None,
        poll_seconds: float,
        on_update: Callable[[Batch], None] | None,
    ) -> Procedure[Batch]:
        """Waits until the batch has ended, asking ever less often; outages are waited out as those of a job are."""
        poll = max(poll_seconds, _POLL_FIRST_SECONDS)
        wait = _Wait("batch", batch_id, timeout_seconds, poll, self.clock())
        state = BatchState.UNSPECIFIED
        delay = _POLL_FIRST_SECONDS
        while True:
            error: ApiError | None = None
            try:
                batch = yield from self.call(calls_batches.get_batch(batch_id), until=wait.until)
            except ApiError as failure:
                if state is BatchState.UNSPECIFIED or not _passes(failure):
                    raise
                error = failure
            else:
                if on_update is not None:
                    on_update(batch)
                if batch.done:
                    return batch
                state = batch.state
            wait.check(self.clock(), state, error)
            yield Pause(wait.shortened(min(delay, poll), self.clock()))
            delay *= _POLL_GROWTH

    def wait_for_job(self, job_id: str, *, timeout_seconds: float | None, poll_seconds: float | None) -> Procedure[Job]:
        """Waits until the job has ended; once the server has answered, outages of any length are waited out too."""
        poll = poll_seconds or WAIT_TIMEOUT_DEFAULT.total_seconds()
        wait = _Wait("job", job_id, timeout_seconds, poll, self.clock())
        state = JobState.UNSPECIFIED
        failures = early = 0
        while True:
            asked_at = self.clock()
            hold = wait.hold_seconds(asked_at)
            try:
                job = yield from self.call(calls.wait_job(job_id, hold_seconds=hold), until=wait.until)
            except ApiError as error:
                if state is JobState.UNSPECIFIED or not _passes(error):
                    raise
                failures += 1
                wait.check(self.clock(), state, error)
                yield Pause(wait.shortened(self.policy.backoff_seconds(failures), self.clock()))
                continue
            failures, state = 0, job.state
            if job.done:
                return _completed(job)
            wait.check(self.clock(), state)
            # The server may answer early; one that always does is not to be asked in a tight loop.
            early = early + 1 if self.clock() - asked_at < hold / 2 else 0
            if early:
                yield Pause(wait.shortened(self.policy.backoff_seconds(early), self.clock()))


@dataclass(frozen=True, slots=True)
class _Wait:
    noun: str
    """What is waited for: job or batch."""
    id: str
    timeout_seconds: float | None
    poll_seconds: float
    began_at: float

    @property
    def until(self) -> float | None:
        """When even a call under way is given up: a little after the end, so that the last answer gets through."""
        return None if self.timeout_seconds is None else self.began_at + self.timeout_seconds + _GRACE_SECONDS

    def hold_seconds(self, now: float) -> float:
        return self.shortened(self.poll_seconds, now)

    def shortened(self, span_seconds: float, now: float) -> float:
        if self.timeout_seconds is None:
            return span_seconds
        return max(0.0, min(span_seconds, self.began_at + self.timeout_seconds - now))

    def check(self, now: float, state: JobState | BatchState, cause: ApiError | None = None) -> None:
        if self.timeout_seconds is None or now < self.began_at + self.timeout_seconds:
            return
        details = {f"{self.noun}_id": self.id, "timeout": self.timeout_seconds, "state": state.name}
        message = f"{self.noun} {self.id} was still {state.name} after {self.timeout_seconds:g} s; it goes on"
        error = JobTimeoutError if self.noun == "job" else BatchTimeoutError
        raise error(message, details) from cause


def client_closed() -> ApiError:
    """What a call ends with whose client was closed before or meanwhile; drivers raise it past the procedure."""
    return ApiError("the client was closed", code=Code.CANCELLED)


def _passes(error: ApiError) -> bool:
    return may_try_again(error) or error.code is Code.DEADLINE_EXCEEDED


def _completed(job: Job) -> Job:
    if job.succeeded:
        return job
    details: dict[str, Any] = {"job_id": job.id, "state": job.state.name}
    if job.error is None:
        why = job.cancel_reason or "cancelled"
        details["failure_reason"] = why
    else:
        why = job.error.message or job.error.code or job.error.kind.name
        details |= {
            "failure_reason": why,
            "kind": job.error.kind.name,
            "code": job.error.code,
            "attempt": job.error.attempt,
            "error_details": job.error.details,
        }
    message = f"job {job.id} is {job.state.name}: {why}"
    raise JobFailedError(message, details, job)
