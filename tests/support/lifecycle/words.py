"""What a worker may say of a task in the lifecycle tests, as it comes over a stream, and what each word means."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from jobhall.states import FailureKind, LogLevel
from jobhall_server.domain.job import ItemError, JobFailure, Lease, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.frames import (
    CheckpointBody,
    FailedBody,
    ItemErrorsBody,
    LogsBody,
    ReleasedBody,
    Report,
    ReportKind,
)
from jobhall_server.hall.views import LogLine
from tests.support.worker_frames import accepted, completed, progress


class Answer(Enum):
    """What a caller or a worker is told."""

    OK = "OK"
    LEASE_LOST = "LEASE_LOST"
    RESULT_CONFLICT = "RESULT_CONFLICT"
    JOB_TERMINAL = "JOB_TERMINAL"
    JOB_RUNNING = "JOB_RUNNING"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    JOB_ID_REUSED = "JOB_ID_REUSED"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    UNIQUE_KEY_TAKEN = "UNIQUE_KEY_TAKEN"
    FIELD_INVALID = "FIELD_INVALID"
    SESSION_EXPIRED = "SESSION_EXPIRED"
    SESSION_SUPERSEDED = "SESSION_SUPERSEDED"
    WORKER_DRAINED = "WORKER_DRAINED"


class Word(Enum):
    """What a worker may say of a task."""

    ACCEPTED = "accepted"
    PROGRESS = "how far it is"
    LOG = "a log line"
    ITEM_ERRORS = "two item errors"
    CHECKPOINT = "a checkpoint"
    COMPLETED = "completed"
    COMPLETED_WITH_RESULT = "completed with a result"
    FAILED = "failed; the policy decides"
    FAILED_FOR_GOOD = "failed, not to be tried again"
    FAILED_AGAIN = "failed, to be tried again whatever the policy says"
    FAILED_LATER = "failed, to be tried again after its own delay"
    RELEASED = "released"
    RELEASED_LATER = "released for a while"
    RELEASED_NOT_MINE = "released, not to this session again"
    CANCELLED = "its cancellation is confirmed"


COMPLETIONS = frozenset({Word.COMPLETED, Word.COMPLETED_WITH_RESULT})
ITEM_ERRORS_TOLD = 2
CODE = "BROKEN"
"""Of every failure."""


class Wish(NamedTuple):
    """What a worker says of the next attempt: None where the job's policy decides."""

    retryable: bool | None = None
    delay_us: int | None = None


FAILURES = {
    Word.FAILED: Wish(),
    Word.FAILED_FOR_GOOD: Wish(retryable=False),
    Word.FAILED_AGAIN: Wish(retryable=True, delay_us=0),
    Word.FAILED_LATER: Wish(delay_us=2),
}
RELEASES = {Word.RELEASED: 0, Word.RELEASED_LATER: 3, Word.RELEASED_NOT_MINE: 0, Word.CANCELLED: 0}
"""With the delay that each asks for, in microseconds."""
OUTCOMES = COMPLETIONS | FAILURES.keys() | RELEASES.keys()


def digest_of(word: Word, variant: int) -> int:
    """Outcomes of different kinds never have the same digest, and all without a result have one."""
    return 1 if word is Word.COMPLETED else list(Word).index(word) * 10 + variant


def told_by(word: Word, seq: int, lease: Lease, variant: int) -> Report:
    """The word as it comes over a stream; a checkpoint is `variant` bytes long, a progress of so many items."""
    token, digest = lease.token(), digest_of(word, variant)
    if word in FAILURES:
        failure = JobFailure(FailureKind.APPLICATION, "it broke", CODE)
        wish = FAILURES[word]
        body = FailedBody(failure, digest, retryable=wish.retryable, delay_us=wish.delay_us)
        return Report(seq, token, ReportKind.FAILED, body)
    if word in RELEASES:
        kind = ReportKind.CANCELLED if word is Word.CANCELLED else ReportKind.RELEASED
        not_mine = word is Word.RELEASED_NOT_MINE
        return Report(seq, token, kind, ReleasedBody("", digest, delay_us=RELEASES[word], not_mine=not_mine))
    match word:
        case Word.ACCEPTED:
            return accepted(seq, token)
        case Word.PROGRESS:
            return progress(token, Progress(total=variant))
        case Word.LOG:
            line = LogLine(0, LogLevel.INFO, "hello", None, None)
            return Report(seq, token, ReportKind.LOGS, LogsBody(1, [line]))
        case Word.ITEM_ERRORS:
            errors = [ItemError(None, "row", "BAD", "bad row")] * ITEM_ERRORS_TOLD
            return Report(seq, token, ReportKind.ITEM_ERRORS, ItemErrorsBody(1, errors))
        case Word.CHECKPOINT:
            return Report(seq, token, ReportKind.CHECKPOINT, CheckpointBody(Payload("1" * variant)))
        case Word.COMPLETED:
            return completed(seq, token)
        case _:
            return completed(seq, token, result=str(digest), digest=digest)
