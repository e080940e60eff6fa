"""The life of jobs as the design tells it, in plain Python, without the moves: what a real store is compared with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from jobhall.limits import WORKER_LOSSES_MAX
from jobhall.states import HELD_STATES, TERMINAL_STATES, EventType, FailureKind, JobState, LogLevel
from jobhall_server.domain.job import ItemError, Lease, LeaseState
from jobhall_server.hall.frames import ItemErrorsBody, LogsBody, Report, ReportKind
from jobhall_server.hall.store import LogLine
from tests.support.worker_frames import accepted, completed, failed, released

S = JobState
E = EventType


class Answer(Enum):
    """What a caller or a worker is told."""

    OK = "OK"
    LEASE_LOST = "LEASE_LOST"
    RESULT_CONFLICT = "RESULT_CONFLICT"
    JOB_TERMINAL = "JOB_TERMINAL"
    JOB_RUNNING = "JOB_RUNNING"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    JOB_ID_REUSED = "JOB_ID_REUSED"


class Word(Enum):
    """What a worker may say of a task."""

    ACCEPTED = "accepted"
    LOG = "a log line"
    ITEM_ERRORS = "two item errors"
    COMPLETED = "completed"
    COMPLETED_WITH_RESULT = "completed with a result"
    FAILED = "failed"
    FAILED_RETRYABLE = "failed, retryable"
    RELEASED = "released"


ITEM_ERRORS_TOLD = 2


@dataclass
class ModelJob:
    """A job; `order` is its place among all that were ever submitted."""

    job_id: str
    order: int
    queue: int
    priority: int
    max_attempts: int
    content: int
    ready_at: int
    state: JobState = S.PENDING
    attempt: int = 0
    losses: int = 0
    fence: int = 0
    lease: LeaseState = LeaseState.SPENT
    session: int | None = None
    item_errors: int = 0
    newest: Lease | None = None
    recorded: tuple[int, int] | None = None
    failure: FailureKind = FailureKind.UNSPECIFIED
    result: str | None = None
    events: list[tuple[EventType, int]] = field(default_factory=lambda: [(E.SUBMITTED, 0)])
    """Each with the attempt that it tells."""

    def tell(self, event: EventType) -> None:
        self.events.append((event, self.attempt))

    def start(self) -> None:
        """The attempt counts from here."""
        self.state, self.lease = S.RUNNING, LeaseState.OPEN
        self.attempt += 1
        self.item_errors = 0
        self.tell(E.RUNNING)

    def wait(self, now: int, lease: LeaseState = LeaseState.SPENT) -> None:
        """It is ready for any worker again."""
        self.state, self.ready_at, self.session, self.lease = S.PENDING, now, None, lease
        self.tell(E.READY)

    def end(self, state: JobState) -> None:
        self.state, self.session, self.lease = state, None, LeaseState.SPENT
        self.tell(EventType[state.name])


class Model:
    """All jobs, and the sessions that may be given some."""

    def __init__(self) -> None:
        self.jobs: dict[str, ModelJob] = {}
        self.deleted: list[ModelJob] = []
        self.keys: dict[int, ModelJob] = {}
        self.submitted = 0

    def submit(self, job_id: str, *, queue: int, priority: int, max_attempts: int, content: int, now: int) -> Answer:
        known = self.jobs.get(job_id)
        if known is not None:
            return Answer.OK if known.content == content else Answer.JOB_ID_REUSED
        self.submitted += 1
        self.jobs[job_id] = ModelJob(job_id, self.submitted, queue, priority, max_attempts, content, now)
        return Answer.OK

    def claim(self, session: int, credit: int, queues: Iterable[tuple[int, int]]) -> list[ModelJob]:
        """Within a queue by priority, then the time it became PENDING, then age; of jobs that were lost before, a
        session is given one while it holds none.
        """
        given: list[ModelJob] = []
        with_loss = any(job.session == session and job.losses for job in self.jobs.values())
        for queue, limit in queues:
            room = min(credit - len(given), limit)
            waiting = [job for job in self.jobs.values() if job.state is S.PENDING and job.queue == queue]
            for job in sorted(waiting, key=lambda job: (-job.priority, job.ready_at, job.order)):
                if room == 0:
                    break
                if not (job.losses and with_loss):
                    with_loss = with_loss or job.losses > 0
                    given.append(job)
                    room -= 1
        for job in given:
            job.state, job.lease, job.session = S.CLAIMED, LeaseState.OPEN, session
            job.fence += 1
            job.tell(E.CLAIMED)
        return given

    def report(self, lease: Lease, word: Word, digest: int, now: int) -> Answer:
        job = self.keys.get(lease.job_key)
        if job is None:
            return Answer.LEASE_LOST
        current = job.fence == lease.fence and job.lease is not LeaseState.SPENT
        if word in (Word.ACCEPTED, Word.LOG, Word.ITEM_ERRORS):
            if not current or job.lease is not LeaseState.OPEN:
                return Answer.LEASE_LOST
            if job.state is S.CLAIMED:
                job.start()
            if word is Word.ITEM_ERRORS:
                job.item_errors = max(job.item_errors, ITEM_ERRORS_TOLD)
            return Answer.OK
        if not current:
            if job.recorded is None or job.recorded[0] != lease.fence:
                return Answer.LEASE_LOST
            return Answer.OK if job.recorded[1] == digest else Answer.RESULT_CONFLICT
        if word in (Word.COMPLETED, Word.COMPLETED_WITH_RESULT):
            self._complete(job, with_result=word is Word.COMPLETED_WITH_RESULT, digest=digest)
        elif job.lease is LeaseState.OPEN:
            self._give_up(job, word, now)
        else:
            return Answer.OK
        job.recorded = (lease.fence, digest)
        return Answer.OK

    def _complete(self, job: ModelJob, *, with_result: bool, digest: int) -> None:
        if job.state is S.CLAIMED or job.lease is LeaseState.LOST_UNSTARTED:
            job.start()
        job.end(S.COMPLETED)
        job.result = f"{digest}" if with_result else None

    def _give_up(self, job: ModelJob, word: Word, now: int) -> None:
        if word is Word.RELEASED:
            if job.state is S.CANCELLING:
                job.end(S.CANCELLED)
                return
            if job.state is S.RUNNING:
                job.attempt -= 1
                job.losses = 0
            job.wait(now)
        elif word is Word.FAILED_RETRYABLE and job.state is S.CANCELLING:
            job.end(S.CANCELLED)
        else:
            if job.state is S.CLAIMED:
                job.start()
            job.end(S.FAILED)
            job.failure = FailureKind.APPLICATION

    def give_back(self, leases: Sequence[Lease], now: int) -> None:
        """Nobody accepted them."""
        for lease in leases:
            job = self.keys.get(lease.job_key)
            if job is not None and job.fence == lease.fence and job.state is S.CLAIMED:
                job.wait(now)

    def lose(self, held: dict[int, int], confirmed: Collection[int], now: int) -> None:
        """Sessions are lost, and with them what they hold (job key → session); the rest is nobody's loss."""
        for key, session in held.items():
            job = self.keys.get(key)
            if job is None or job.state not in HELD_STATES or job.session != session:
                continue
            if job.state is S.CANCELLING:
                job.end(S.CANCELLED)
            elif job.state is S.CLAIMED and key not in confirmed:
                job.wait(now, LeaseState.LOST_UNSTARTED)
            else:
                self._lose_seen(job, now)

    def _lose_seen(self, job: ModelJob, now: int) -> None:
        started = job.state is S.RUNNING
        job.losses += 1
        if job.losses >= WORKER_LOSSES_MAX or (started and job.attempt >= job.max_attempts):
            job.end(S.FAILED)
            job.failure = FailureKind.WORKER_LOST
        else:
            job.wait(now, LeaseState.LOST_STARTED if started else LeaseState.LOST_UNSTARTED)

    def cancel(self, job_id: str) -> Answer:
        job = self.jobs.get(job_id)
        if job is None:
            return Answer.JOB_NOT_FOUND
        if job.state in (S.COMPLETED, S.FAILED):
            return Answer.JOB_TERMINAL
        if job.state is S.RUNNING:
            job.state = S.CANCELLING
            job.tell(E.CANCELLING)
        elif job.state not in (S.CANCELLING, S.CANCELLED):
            job.end(S.CANCELLED)
        return Answer.OK

    def stop(self, leases: Sequence[Lease]) -> None:
        """Their grace is over."""
        for lease in leases:
            job = self.keys.get(lease.job_key)
            if job is not None and job.fence == lease.fence and job.state is S.CANCELLING:
                job.end(S.CANCELLED)

    def delete(self, job_id: str) -> Answer:
        job = self.jobs.get(job_id)
        if job is None:
            return Answer.JOB_NOT_FOUND
        if job.state in HELD_STATES:
            return Answer.JOB_RUNNING
        job.tell(E.DELETED)
        self.deleted.append(self.jobs.pop(job_id))
        self.keys = {key: known for key, known in self.keys.items() if known is not job}
        return Answer.OK

    def held_by(self, session: int) -> list[int]:
        """The keys of what the session holds."""
        return [key for key, job in self.keys.items() if job.session == session and job.state in HELD_STATES]

    def leased(self) -> list[Lease]:
        """The tokens that still count for something."""
        return [job.newest for job in self.jobs.values() if job.newest and job.lease is not LeaseState.SPENT]

    def in_states(self, states: Collection[JobState]) -> list[str]:
        return [job.job_id for job in self.jobs.values() if job.state in states]

    def once_claimed(self) -> list[str]:
        return [job.job_id for job in self.jobs.values() if job.fence]

    def terminal(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.state in TERMINAL_STATES]


def digest_of(word: Word, variant: int) -> int:
    """Outcomes of different kinds never have the same digest, and all without a result have one."""
    return 1 if word is Word.COMPLETED else list(Word).index(word) * 10 + variant


def told_by(word: Word, seq: int, lease: Lease, variant: int) -> Report:
    """The word as it comes over a stream."""
    token, digest = lease.token(), digest_of(word, variant)
    match word:
        case Word.ACCEPTED:
            return accepted(seq, token)
        case Word.LOG:
            line = LogLine(0, LogLevel.INFO, "hello", None, None)
            return Report(seq, token, ReportKind.LOGS, LogsBody(1, [line]))
        case Word.ITEM_ERRORS:
            errors = [ItemError(None, "row", "BAD", "bad row")] * ITEM_ERRORS_TOLD
            return Report(seq, token, ReportKind.ITEM_ERRORS, ItemErrorsBody(1, errors))
        case Word.COMPLETED:
            return completed(seq, token)
        case Word.COMPLETED_WITH_RESULT:
            return completed(seq, token, result=str(digest), digest=digest)
        case Word.FAILED | Word.FAILED_RETRYABLE:
            return failed(seq, token, retryable=word is Word.FAILED_RETRYABLE, digest=digest)
        case Word.RELEASED:
            return released(seq, token, digest=digest)
