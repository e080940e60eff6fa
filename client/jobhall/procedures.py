"""What both clients do, without the I/O: generators that ask their driver for calls and pauses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import index
from typing import Any, TypeVar

from jobhall import calls
from jobhall.calls import BulkStep, Call, JobsAnswer
from jobhall.errors import ApiError, Code, FieldInvalidError
from jobhall.filters import each
from jobhall.limits import BATCH_GET_MAX, BULK_JOBS_MAX
from jobhall.misfits import names_misfits
from jobhall.model import Job, Jobs
from jobhall.model_insight import BulkOutcome
from jobhall.retry import CallRetry, passes
from jobhall.submission import Submission, SubmitAnswer
from jobhall.waits import Waiter, Waits


@dataclass(frozen=True, slots=True)
class Send:
    """Asks the driver to send the call; it answers with the response, or with the error as a value."""

    call: Call[Any]
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Asks the driver to let the time pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Await:
    """Asks the driver to open what watches `waits` wants, and to let the time pass until the waiter is ready."""

    waits: Waits
    waiter: Waiter
    seconds: float
    fetch: Callable[[Sequence[str]], Procedure[Jobs]]
    """Reads jobs that have ended, whole."""


T = TypeVar("T")
Procedure = Generator[Send | Pause | Await, Any, T]


@dataclass(frozen=True, slots=True)
class Procedures:
    """The procedures of one client: its patience and its clock (monotonic seconds)."""

    policy: CallRetry
    timeout_seconds: float
    """For one call with all its retries."""
    clock: Callable[[], float]

    def call(self, call: Call[T], *, until: float | None = None) -> Procedure[T]:
        """Sends the call until it is answered, the policy gives up, or the time is over (`until`: a clock reading).

        However late that is, an answer that does not come is waited for no longer than that of any other call.
        """
        deadline = self.clock() + self.timeout_seconds + call.held_seconds
        deadline = deadline if until is None else min(deadline, until)
        attempt = 0
        while True:
            attempt += 1
            outcome = yield Send(call, max(0.001, deadline - self.clock()))
            if not isinstance(outcome, ApiError):
                return call.decode(outcome)
            if not call.repeatable:
                raise outcome
            delay = self.policy.delay_seconds(outcome, attempt=attempt, remaining_seconds=deadline - self.clock())
            if delay is None:
                raise outcome
            yield Pause(delay)

    def try_submit(self, submission: Submission) -> Procedure[SubmitAnswer]:
        """Submits one job; what is refused, or never answered, is an answer too."""
        try:
            return (yield from self.call(calls.try_submit_job(submission)))
        except ApiError as error:
            return SubmitAnswer(status_code=error.status_code, failure_reason=error.message)

    def patiently(self, call: Call[T]) -> Procedure[T]:
        """The same for one who was answered before, and follows: outages of any length are waited out."""
        failures = 0
        while True:
            try:
                return (yield from self.call(call))
            except ApiError as error:
                if not passes(error):
                    raise
            failures += 1
            yield Pause(self.policy.backoff_seconds(failures))

    def get_jobs(
        self, job_ids: Sequence[str], *, include_errors: bool = False, briefly: bool = False
    ) -> Procedure[Jobs]:
        """Reads any number of jobs, in as many calls as that takes."""
        call = partial(calls.get_jobs, include_errors=include_errors, briefly=briefly)
        return self._get_jobs(job_ids, self.call, call)

    def get_ended(self, job_ids: Sequence[str]) -> Procedure[Jobs]:
        """The same for one who watches them."""
        return self._get_jobs(job_ids, self.patiently, calls.get_jobs)

    def look_at(self, job_ids: Sequence[str], *, until: float | None) -> Procedure[Jobs]:
        """The same, each job briefly."""
        return self._get_jobs(job_ids, partial(self.call, until=until), partial(calls.get_jobs, briefly=True))

    def _get_jobs(
        self,
        job_ids: Iterable[str],
        ask: Callable[[Call[JobsAnswer]], Procedure[JobsAnswer]],
        call: Callable[[Sequence[str]], Call[JobsAnswer]],
    ) -> Procedure[Jobs]:
        found: list[Job] = []
        missing: list[str] = []
        waiting = each(job_ids, field="job_ids")
        while waiting:
            now, later = waiting[:BATCH_GET_MAX], waiting[BATCH_GET_MAX:]
            answer = yield from ask(call(now))
            found.extend(answer.jobs)
            missing.extend(answer.jobs.missing_ids)
            waiting = [*answer.remaining_ids, *later]
        return Jobs(tuple(found), tuple(missing))

    def bulk(self, steps: Sequence[BulkStep], *, jobs_max: int | None, dry_run: bool) -> Procedure[BulkOutcome]:
        """Changes all jobs of a selection, or so many, one of its filters after the other."""
        _check_bound(jobs_max)
        total = BulkOutcome(count=0)
        for step in steps:
            left = None if jobs_max is None else jobs_max - total.count
            if left == 0:
                # Whether there are others of this filter is not known; to call again tells.
                return replace(total, more=True)
            outcome = yield from self._bulk(step, jobs_max=left, dry_run=dry_run)
            total = BulkOutcome(
                count=total.count + outcome.count,
                skipped=total.skipped + outcome.skipped,
                more=total.more or outcome.more,
            )
        return total

    def _bulk(self, step: BulkStep, *, jobs_max: int | None, dry_run: bool) -> Procedure[BulkOutcome]:
        """The same of one filter, in as many steps as that takes; a dry run is one step."""
        count = 0
        while True:
            room = BULK_JOBS_MAX if jobs_max is None else min(BULK_JOBS_MAX, jobs_max - count)
            outcome = yield from self.call(step(room))
            count += outcome.count
            # A step that changed nothing would change nothing again.
            if dry_run or not outcome.more or not outcome.count or count == jobs_max:
                return replace(outcome, count=count)


def client_closed() -> ApiError:
    """What a call ends with whose client was closed before or meanwhile; drivers raise it past the procedure."""
    return ApiError("the client was closed", code=Code.CANCELLED)


@names_misfits
def _check_bound(jobs_max: int | None) -> None:
    if jobs_max is not None and index(jobs_max) < 1:
        raise FieldInvalidError("jobs_max", f"is {jobs_max}; leave it out to change all")
