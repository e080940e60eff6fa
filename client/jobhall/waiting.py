"""What both clients do to wait for the end of jobs and batches, without the I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from jobhall import calls, calls_batches
from jobhall.errors import (
    ApiError,
    BatchTimeoutError,
    FieldInvalidError,
    JobFailedError,
    JobNotFoundError,
    JobTimeoutError,
)
from jobhall.filters import each
from jobhall.ids import canonical_id
from jobhall.limits import WAIT_TIMEOUT_DEFAULT
from jobhall.misfits import names_misfits
from jobhall.model import Job, Jobs
from jobhall.model_batches import Batch
from jobhall.procedures import Await, Pause, Procedure, Procedures
from jobhall.retry import passes
from jobhall.states import BatchState, JobState
from jobhall.waits import Outcome, Waiter, Waits

T = TypeVar("T")

_GRACE_SECONDS = 3.0
_HOLD_SECONDS = WAIT_TIMEOUT_DEFAULT.total_seconds()
_HOLD_ONE_OF_MANY_SECONDS = 5.0
"""How long to wait for one of many jobs before looking at the others, where there is no watch."""
_LISTEN_SECONDS = 15.0
"""How long to rely on a watch before looking whether it is there at all."""
_POLL_FIRST_SECONDS = 0.1
_POLL_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class Waiting:
    """The waits of one client: a lone one holds a call open, those that come meanwhile share a watch."""

    procedures: Procedures
    waits: Waits

    def for_job(self, job_id: str, *, timeout_seconds: float | None, poll_seconds: float | None) -> Procedure[Job]:
        """Waits until the job has ended; once the server has answered, outages of any length are waited out too."""

        def too_late(state: str) -> JobTimeoutError:
            details = {"job_id": job_id, "timeout": timeout_seconds, "state": state}
            return JobTimeoutError(f"job {job_id} was still {state} after {timeout_seconds:g} s; it goes on", details)

        wait = _Wait(self.procedures, timeout_seconds, poll_seconds, too_late)
        name = canonical_id(job_id)
        with (
            self.waits.waiting_alone() as alone,
            self.waits.waiting_for([name] if name and not alone else []) as waiter,
        ):
            while True:
                told = yield from self._listen(wait, waiter)
                if (outcome := waiter.outcomes.get(name)) is not None:
                    return _completed(outcome)
                if told and not wait.asks:
                    continue
                job = yield from self._hold(wait, job_id, 0.0 if told else _HOLD_SECONDS)
                if job is not None:
                    return _completed(job)

    def for_jobs(
        self, job_ids: Sequence[str], *, timeout_seconds: float | None, poll_seconds: float | None
    ) -> Procedure[Jobs]:
        """Waits until all have completed, or the first has not; outages are waited out as those of `for_job` are."""
        names = _names(job_ids)

        def too_late(state: str) -> JobTimeoutError:
            pending = [job_id for job_id, name in names if name in waiter.left]
            finished = [job for job in waiter.outcomes.values() if isinstance(job, Job)]
            first = next(iter(pending), names[-1][0])
            details: dict[str, Any] = {"job_id": first, "timeout": timeout_seconds, "state": state}
            details |= {"pending_ids": pending, "finished_jobs": finished}
            what = f"{len(pending)} of {len(names)} jobs had not ended after {timeout_seconds:g} s; they go on"
            return JobTimeoutError(f"{what}; the first is {first}, {state}", details)

        wait = _Wait(self.procedures, timeout_seconds, poll_seconds, too_late)
        with self.waits.waiting_for(list({name: None for _, name in names})) as waiter:
            while True:
                told = yield from self._listen(wait, waiter)
                left = waiter.left  # Before the outcomes: another thread may tell of more at any time.
                ended = {name: _completed(waiter.outcomes[name]) for _, name in names if name in waiter.outcomes}
                if not left:
                    return Jobs(tuple(ended[name] for _, name in names))
                if told and not wait.asks:
                    continue
                yield from self._look(wait, waiter)
                if not told and not waiter.settled:
                    for job_id in waiter.left[:1]:
                        if (job := (yield from self._hold(wait, job_id, _HOLD_ONE_OF_MANY_SECONDS))) is not None:
                            waiter.tell(job.id, job)

    def for_batch(
        self,
        batch_id: str,
        *,
        timeout_seconds: float | None,
        poll_seconds: float,
        on_update: Callable[[Batch], None] | None,
    ) -> Procedure[Batch]:
        """Waits until the batch has ended: a watch says when to look, and it looks ever less often besides.

        Outages are waited out as those of a job are.
        """

        def too_late(state: str) -> BatchTimeoutError:
            details = {"batch_id": batch_id, "timeout": timeout_seconds, "state": state}
            text = f"batch {batch_id} was still {state} after {timeout_seconds:g} s; it goes on"
            return BatchTimeoutError(text, details)

        poll = max(poll_seconds, _POLL_FIRST_SECONDS)
        wait = _Wait(self.procedures, timeout_seconds, poll, too_late)
        delay = _POLL_FIRST_SECONDS
        with self.waits.waiting_for_batch(batch_id) as waiter:
            while True:
                asking = self.procedures.call(calls_batches.get_batch(batch_id), until=wait.until)
                batch = yield from wait.patiently(asking, pauses=False)
                if batch is not None:
                    if on_update is not None:
                        on_update(batch)
                    if batch.done:
                        return batch
                    wait.hear(batch.state)
                    wait.check()
                span, watched = wait.shortened(min(delay, poll)), not waiter.ready
                if watched:
                    yield Await(self.waits, waiter, span, self.procedures.get_ended)
                if waiter.refused or not watched:
                    yield Pause(span)
                delay *= _POLL_GROWTH

    def _listen(self, wait: _Wait, waiter: Waiter) -> Procedure[bool]:
        """Lets the watches tell of what is left; whether they are open, so that there is no need to ask."""
        if waiter.refused or not waiter.left:
            return False
        yield Await(
            self.waits, waiter, wait.shortened(min(wait.unasked_seconds, _LISTEN_SECONDS)), self.procedures.get_ended
        )
        for job_id in waiter.left[:1]:
            wait.hear(self.waits.state(job_id))
        return self.waits.listening(waiter)

    def _hold(self, wait: _Wait, job_id: str, seconds: float) -> Procedure[Job | None]:
        """Waits for one job at the server, at most so long; the job if it has ended."""
        asked_at = wait.now
        hold = wait.shortened(min(wait.poll_seconds, seconds))
        # Who does not wait needs no room among those who do.
        call = calls.wait_job(job_id, hold_seconds=hold) if hold else calls.get_job(job_id)
        job = yield from wait.patiently(self.procedures.call(call, until=wait.until))
        if job is None or job.done:
            return job
        wait.hear(job.state)
        wait.check()
        yield from wait.not_too_often(early=wait.now - asked_at < hold / 2)
        return None

    def _look(self, wait: _Wait, waiter: Waiter) -> Procedure[None]:
        """Looks at all that are left, and reads those that have ended."""
        looked = yield from wait.patiently(self.procedures.look_at(waiter.left, until=wait.until))
        if looked is None:
            return
        if ended := [job.id for job in looked if job.done]:
            whole = yield from wait.patiently(self.procedures.get_jobs(ended, include_errors=False))
            for job in whole or ():
                if job.done:
                    waiter.tell(job.id, job)
        for job_id in looked.missing_ids:
            waiter.tell(job_id, JobNotFoundError(job_id))
        for job in looked:
            if job.id in waiter.left:
                wait.hear(job.state)
                break
        if not waiter.settled:
            wait.check()


class _Wait:
    """One wait: its time, and what was heard so far."""

    def __init__(
        self,
        procedures: Procedures,
        timeout_seconds: float | None,
        poll_seconds: float | None,
        too_late: Callable[[str], Exception],
    ) -> None:
        self.poll_seconds = poll_seconds or math.inf
        """The longest to go without an answer of the server's own."""
        self._procedures = procedures
        self._too_late = too_late
        self._ends_at = None if timeout_seconds is None else self.now + timeout_seconds
        self._state: JobState | BatchState = JobState.UNSPECIFIED
        self._failures = 0
        self._early = 0
        self._answered_at = self.now

    @property
    def now(self) -> float:
        """The client's clock."""
        return self._procedures.clock()

    @property
    def until(self) -> float | None:
        """When even a call under way is given up: a little after the end, so that the last answer gets through."""
        return None if self._ends_at is None else self._ends_at + _GRACE_SECONDS

    @property
    def over(self) -> bool:
        """Whether its time is over."""
        return self._ends_at is not None and self.now >= self._ends_at

    @property
    def asks(self) -> bool:
        """Whether to ask although a watch is open: for the caller wants it, or for the last time."""
        return self.unasked_seconds == 0 or self.over

    @property
    def unasked_seconds(self) -> float:
        """How long the caller is content not to ask."""
        return max(0.0, self._answered_at + self.poll_seconds - self.now)

    def shortened(self, span_seconds: float) -> float:
        """The span, or what is left of the time."""
        return span_seconds if self._ends_at is None else max(0.0, min(span_seconds, self._ends_at - self.now))

    def hear(self, state: JobState | BatchState) -> None:
        """The server was heard of."""
        self._state = state or self._state

    def check(self, cause: ApiError | None = None) -> None:
        """Raises when the time is over."""
        if self.over:
            raise self._too_late(self._state.name) from cause

    def patiently(self, asking: Procedure[T], *, pauses: bool = True) -> Procedure[T | None]:
        """The answer; None, after a pause, of an outage, which is waited out by one who has heard of the server."""
        try:
            answer = yield from asking
        except ApiError as error:
            if not self._state or not passes(error):
                raise
            self._failures += 1
            self.check(error)
            if pauses:
                yield Pause(self.shortened(self._procedures.policy.backoff_seconds(self._failures)))
            return None
        self._failures = 0
        self._answered_at = self.now
        return answer

    def not_too_often(self, *, early: bool) -> Procedure[None]:
        """Pauses after an answer that came early; one that always does is not to be asked for in a tight loop."""
        self._early = self._early + 1 if early else 0
        if early:
            yield Pause(self.shortened(self._procedures.policy.backoff_seconds(self._early)))


@names_misfits
def _names(job_ids: Sequence[str]) -> Sequence[tuple[str, str]]:
    """Each id as it was given, and as the server writes it."""
    names = [(job_id, canonical_id(job_id)) for job_id in each(job_ids, field="job_ids")]
    for job_id, name in names:
        if not name:
            raise FieldInvalidError("job_ids", f"{job_id[:80]!r} is no UUID")
    return names


def _completed(outcome: Outcome) -> Job:
    if isinstance(outcome, ApiError):
        raise outcome
    job = outcome
    if job.succeeded:
        return job
    details: dict[str, Any] = {"job_id": job.id, "state": job.state.name}
    details["failure_reason"] = why = job.error_message
    if job.error is not None:
        details |= {
            "kind": job.error.kind.name,
            "code": job.error.code,
            "attempt": job.error.attempt,
            "error_details": job.error.details,
        }
    message = f"job {job.id} is {job.state.name}: {why}"
    raise JobFailedError(message, details, job)
