"""The life of jobs as the design tells it, in plain Python, without the moves: what a real store is compared with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from jobhall.limits import WORKER_LOSSES_MAX
from jobhall.states import TERMINAL_STATES, AttemptOutcome, EventType, FailureKind, JobState
from jobhall_server.domain.job import Lease, LeaseState
from jobhall_server.domain.rules import chance_of
from jobhall_server.domain.session import Disposition
from tests.support.lifecycle.callers import Jobs
from tests.support.lifecycle.job import ModelJob, delay_of
from tests.support.lifecycle.words import (
    CODE,
    COMPLETIONS,
    FAILURES,
    ITEM_ERRORS_TOLD,
    OUTCOMES,
    RELEASES,
    Answer,
    Word,
)

S = JobState
E = EventType

RELEASES_FREE = 2


class Model(Jobs):
    """All jobs; of sessions it only knows their keys."""

    # --- workers ---

    def claim(
        self,
        session: int,
        credit: int,
        queues: Iterable[tuple[int, int]],
        *,
        now: int,
        accept_by: int | None = None,
        only: Collection[int] = (),
    ) -> list[ModelJob]:
        """Within a queue by priority, then the time it became PENDING, then age; of jobs that were lost before, a
        session is given one while it holds none; none that it gave back as not its own.
        """
        given: list[ModelJob] = []
        with_loss = any(job.session == session and job.losses for job in self.jobs.values())
        wanted = [self.keys[key] for key in only if key in self.keys] if only else [*self.jobs.values()]
        for queue, limit in queues:
            room = min(credit - len(given), limit)
            ready = [job for job in wanted if job.ready(now)]
            waiting = [job for job in ready if job.queue == queue]
            for job in sorted(waiting, key=lambda job: (-job.priority, job.ready_at, job.order)):
                if room == 0:
                    break
                if (job.losses and with_loss) or (job.excluded and session in job.not_for):
                    continue
                with_loss = with_loss or job.losses > 0
                given.append(job)
                room -= 1
        for job in given:
            job.state, job.lease, job.session = S.CLAIMED, LeaseState.OPEN, session
            job.started_at, job.due_at = None, accept_by
            job.fence += 1
            job.tell(E.CLAIMED)
        return given

    def report(
        self,
        lease: Lease,
        word: Word,
        digest: int,
        now: int,
        *,
        chance: float,
        session: int | None = None,
        variant: int = 0,
    ) -> Answer:
        """`session` is whose stream or call it comes by, if it comes by one."""
        job = self.keys.get(lease.job_key)
        if job is None:
            return Answer.LEASE_LOST
        current = self._current(job, lease)
        if word not in OUTCOMES:
            if not current or job.lease is not LeaseState.OPEN:
                return Answer.LEASE_LOST
            self._hear(job, word, now, variant)
            return Answer.OK
        if not current:
            if job.recorded is None or job.recorded[0] != lease.fence:
                return Answer.LEASE_LOST
            return Answer.OK if job.recorded[1] == digest else Answer.RESULT_CONFLICT
        if word in COMPLETIONS:
            self._complete(job, now, result=None if word is Word.COMPLETED else str(digest))
        elif job.lease is not LeaseState.OPEN:
            return Answer.OK
        elif word in FAILURES:
            self._fail(job, word, now, chance_of(lease.job_key, chance))
        else:
            self._release(job, word, now, chance_of(lease.job_key, chance), session)
        job.recorded = (lease.fence, digest)
        return Answer.OK

    def _current(self, job: ModelJob, lease: Lease) -> bool:
        return job.fence == lease.fence and job.lease is not LeaseState.SPENT

    def _hear(self, job: ModelJob, word: Word, now: int, variant: int) -> None:
        if job.state is S.CLAIMED:
            job.start(now)
        elif job.state is S.RUNNING and job.rules.progress_timeout_us is not None:
            job.hear(now)
        if word is Word.ITEM_ERRORS:
            job.item_errors = max(job.item_errors, ITEM_ERRORS_TOLD)
        elif word is Word.CHECKPOINT:
            job.checkpoint_bytes = variant
        elif word is Word.PROGRESS:
            job.items[job.fence] = variant

    def _complete(self, job: ModelJob, now: int, *, result: str | None) -> None:
        if job.state is S.CLAIMED or job.lease is LeaseState.LOST_UNSTARTED:
            job.start(now)
        _ = job.history.pop(job.fence, None)
        job.end(S.COMPLETED)
        job.result = result

    def _fail(self, job: ModelJob, word: Word, now: int, chance: float) -> None:
        retryable, delay_us = FAILURES[word]
        policy = job.rules.retry
        if retryable is None:
            retryable = CODE not in policy.non_retryable_codes
        stopping = job.state is S.CANCELLING
        if stopping and retryable:
            job.end(S.CANCELLED)
            return
        if job.state is S.CLAIMED:
            job.start(now)
        job.failure = FailureKind.APPLICATION
        if stopping or not retryable or job.attempt >= job.max_attempts:
            job.end(S.FAILED)
        else:
            job.losses = 0
            job.close(AttemptOutcome.FAILED)
            job.wait(now, delay_us=delay_of(policy, job.attempt, chance) if delay_us is None else delay_us)

    def _release(self, job: ModelJob, word: Word, now: int, chance: float, session: int | None) -> None:
        if job.state is S.CANCELLING:
            job.end(S.CANCELLED)
            return
        delay_us = RELEASES[word]
        if job.releases >= RELEASES_FREE:
            delay_us = max(delay_us, delay_of(job.rules.retry, job.releases - RELEASES_FREE + 1, chance))
        if job.state is S.RUNNING:
            job.close(AttemptOutcome.RELEASED)
            job.attempt -= 1
            job.losses = 0
            job.start_deadline = None
        job.releases += 1
        if word is Word.RELEASED_NOT_MINE and session is not None:
            job.excluded = True
            job.not_for.add(session)
        job.wait(now, delay_us=delay_us)

    # --- the server ---

    def give_back(self, leases: Sequence[Lease], now: int) -> None:
        """Nobody accepted them."""
        for lease in leases:
            job = self.keys.get(lease.job_key)
            if job is not None and job.fence == lease.fence and job.state is S.CLAIMED:
                job.wait(now)

    def lose(self, held: Mapping[int, int], confirmed: Collection[int], now: int) -> None:
        """Sessions are lost, and with them what they hold (job key → session); the rest is nobody's loss."""
        for key, session in held.items():
            job = self.keys.get(key)
            if job is not None and job.held and job.session == session:
                self._lose(job, now, confirmed=key in confirmed)

    def _lose(self, job: ModelJob, now: int, *, confirmed: bool) -> None:
        started = job.state is S.RUNNING
        if job.state is S.CANCELLING:
            job.end(S.CANCELLED)
            return
        if not started and not confirmed:
            job.wait(now, LeaseState.LOST_UNSTARTED)
            return
        job.losses += 1
        final = job.losses >= WORKER_LOSSES_MAX or (started and job.attempt >= job.max_attempts)
        if started or final:
            job.failure = FailureKind.WORKER_LOST
        if final:
            job.end(S.FAILED)
        else:
            if started:
                job.close(AttemptOutcome.FAILED)
            job.wait(now, LeaseState.LOST_STARTED if started else LeaseState.LOST_UNSTARTED)

    def hello(
        self, session: int, listed: Mapping[Lease, bool], now: int, *, known: bool
    ) -> tuple[list[Disposition], int]:
        """What a worker is told of the tasks that it lists (with whether each was started), and how many it held and
        did not list.
        """
        told = [self._resume(session, lease, started=started, now=now) for lease, started in listed.items()]
        forgotten = [key for key in self.held_by(session) if self.keys[key].newest not in listed] if known else []
        for key in forgotten:
            job = self.keys[key]
            if job.state is S.CLAIMED:
                job.wait(now)
            else:
                self._lose(job, now, confirmed=True)
        return told, len(forgotten)

    def _resume(self, session: int, lease: Lease, *, started: bool, now: int) -> Disposition:
        job = self.keys.get(lease.job_key)
        if job is None:
            return Disposition.LOST
        if not self._current(job, lease):
            recorded = job.recorded is not None and job.recorded[0] == lease.fence
            return Disposition.KEEP if recorded else Disposition.LOST
        if job.lease is LeaseState.TIMED_OUT:
            return Disposition.CANCEL
        if job.lease is LeaseState.OPEN:
            job.session = session
            if job.state is S.CLAIMED and started:
                job.start(now)
            elif job.state is S.RUNNING and job.rules.progress_timeout_us is not None:
                job.hear(now)
            return Disposition.CANCEL if job.state is S.CANCELLING else Disposition.KEEP
        if not started:
            return Disposition.LOST
        job.session, job.losses, job.failure = session, 0, FailureKind.UNSPECIFIED
        _ = job.history.pop(job.fence, None)
        if job.lease is LeaseState.LOST_UNSTARTED:
            job.start(now)
        else:
            assert job.started_at is not None
            job.run(now, since=job.started_at)
        return Disposition.KEEP

    def fall_due(self, keys: Iterable[int], now: int, chance: float) -> list[int]:
        """The server moves on whatever has waited long enough; answers which those were."""
        fallen = [key for key in keys if (job := self.keys.get(key)) and job.due_at is not None and job.due_at <= now]
        for key in fallen:
            job = self.keys[key]
            late = job.attempt == 0 and job.start_deadline is not None and job.start_deadline <= now
            if job.state in (S.SCHEDULED, S.PENDING) and late:
                job.failure = FailureKind.EXPIRED
                job.end(S.FAILED)
            elif job.state in (S.SCHEDULED, S.CLAIMED):
                job.wait(now, job.lease if job.state is S.SCHEDULED else LeaseState.SPENT)
            elif job.state is S.CANCELLING:
                job.end(S.CANCELLED)
            else:
                self._time_out(job, now, chance)
        return fallen

    def _time_out(self, job: ModelJob, now: int, chance: float) -> None:
        rules, job.failure = job.rules, FailureKind.TIMEOUT
        assert job.started_at is not None
        ran_out = rules.run_timeout_us is not None and job.started_at + rules.run_timeout_us <= now
        code = "RUN_TIMEOUT" if ran_out else "PROGRESS_TIMEOUT"
        if code in rules.retry.non_retryable_codes or job.attempt >= job.max_attempts:
            job.end(S.FAILED)
        else:
            job.close(AttemptOutcome.FAILED)
            job.wait(now, LeaseState.TIMED_OUT, delay_us=delay_of(rules.retry, job.attempt, chance))

    def empty(self, session: int, now: int, chance: float, *, digest: int) -> None:
        """Its drain is over: what it still holds is released."""
        for key in self.held_by(session):
            job = self.keys[key]
            self._release(job, Word.RELEASED, now, chance_of(key, chance), None)
            job.recorded = (job.fence, digest)

    # --- questions ---

    def held_by(self, session: int) -> list[int]:
        """The keys of what the session holds."""
        return sorted(key for key, job in self.keys.items() if job.session == session and job.held)

    def leased(self) -> list[Lease]:
        """The tokens that still count for something."""
        return [job.newest for job in self.jobs.values() if job.newest and job.lease is not LeaseState.SPENT]

    def due(self) -> list[int]:
        """The keys of what the server will move on by itself."""
        return [key for key, job in self.keys.items() if job.due_at is not None]

    def in_states(self, states: Collection[JobState]) -> list[str]:
        return [job.job_id for job in self.jobs.values() if job.state in states]

    def once_claimed(self) -> list[str]:
        return [job.job_id for job in self.jobs.values() if job.fence]

    def terminal(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.state in TERMINAL_STATES]
