"""Where jobs and workers are, how jobs fail, what logs say: the words of SDK, server and protos, with their numbers."""

from __future__ import annotations

from enum import IntEnum


class _Word(IntEnum):
    """Printed it is the word, though it is a number on the wire and in the database."""

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return int.__format__(self, spec) if spec.endswith("d") else format(self.name, spec)


class JobState(_Word):
    """Where a job is in its life. Every member says who moves the job on from there."""

    UNSPECIFIED = 0
    """Never stored; what an older client shows for a state that it does not know."""

    SCHEDULED = 1
    """Not yet due: its `schedule_time` lies ahead, or it backs off. The reaper moves it on when it is due."""

    PENDING = 2
    """Ready for any worker that serves its type. The dispatcher moves it on when a worker has credit."""

    CLAIMED = 3
    """Leased and delivered, not started. The worker moves it on by accepting; else the accept timer does."""

    RUNNING = 4
    """A worker started it. The worker moves it on by its outcome; else its session's end or a timeout does."""

    CANCELLING = 5
    """Its worker was asked to stop. The worker moves it on; else the grace timer or its session's end does."""

    COMPLETED = 6
    """Finished with a result. Terminal: only deletion or retention removes it."""

    FAILED = 7
    """Finished with an error. Terminal, until RetryJob makes it PENDING again."""

    CANCELLED = 8
    """Stopped on request. Terminal, until RetryJob makes it PENDING again."""

    @property
    def terminal(self) -> bool:
        """Whether no report of a worker can change the job any more."""
        return self in TERMINAL_STATES

    @property
    def held(self) -> bool:
        """Whether a worker's session holds the job as a task."""
        return self in HELD_STATES


TERMINAL_STATES = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
HELD_STATES = frozenset({JobState.CLAIMED, JobState.RUNNING, JobState.CANCELLING})
WAITING_STATES = frozenset({JobState.SCHEDULED, JobState.PENDING})


class EventType(_Word):
    """What an entry of the event log says; the last four are never stored, they are made for one watcher."""

    UNSPECIFIED = 0
    SUBMITTED = 1
    """The job exists. Always its first event (or IMPORTED)."""
    SCHEDULED = 2
    """It waits for its time: a back-off, a delayed release, or a changed schedule."""
    READY = 3
    """It is PENDING again after it was held or scheduled."""
    CLAIMED = 4
    RUNNING = 5
    CANCELLING = 6
    COMPLETED = 7
    FAILED = 8
    CANCELLED = 9
    RETRIED = 10
    """RetryJob made it PENDING again."""
    UPDATED = 11
    """UpdateJob changed something."""
    DELETED = 12
    """The job is gone; its log entries stay until the log's own old end."""
    IMPORTED = 13
    """The job came in by ImportJobs, in whatever state it had."""
    ENTERED = 14
    """For this watcher only: a change brought the job into its filter or its sight."""
    LEFT = 15
    """For this watcher only: a change took the job out of its filter or its sight."""
    PROGRESS = 16
    """Best effort, latest wins: the running task's newest progress."""
    LOG = 17
    """Best effort: the running task wrote log lines."""


class FailureKind(_Word):
    """Why a job, or one attempt at it, failed."""

    UNSPECIFIED = 0
    APPLICATION = 1
    """The handler said so; retryable or not by its own word."""
    TIMEOUT = 2
    """`run_timeout` or `progress_timeout` passed."""
    WORKER_LOST = 3
    """Its worker's session ended while it held the job."""
    EXPIRED = 4
    """`start_deadline` passed before any worker started it."""
    SCHEMA_MISMATCH = 5
    """The result did not match the job type's schema."""


class AttemptOutcome(_Word):
    """How one attempt at a job ended."""

    UNSPECIFIED = 0
    """It has not ended yet."""
    COMPLETED = 1
    FAILED = 2
    """Worker losses and timeouts included."""
    CANCELLED = 3
    RELEASED = 4
    """The worker gave it back; it was not counted."""


class UniquePolicy(_Word):
    """What happens when a submit names a unique key that a live job already has."""

    UNSPECIFIED = 0
    """Read as RETURN_EXISTING."""
    RETURN_EXISTING = 1
    REJECT = 2
    REPLACE_PENDING = 3
    """While the existing job is SCHEDULED or PENDING the new one takes its place; later it is refused like REJECT."""


class Visibility(_Word):
    """Who may see a job or batch besides its owner and those whom the access lists name."""

    UNSPECIFIED = 0
    """Read as PRIVATE."""
    PRIVATE = 1
    PUBLIC = 2


class BatchState(_Word):
    """Where a batch is, derived from its jobs."""

    UNSPECIFIED = 0
    PENDING = 1
    """None of its jobs was started."""
    PROCESSING = 2
    """It is open, or a job of it is not terminal."""
    COMPLETED = 3
    """Closed, and all its jobs are COMPLETED."""
    FAILED = 4
    """Closed, all its jobs are terminal, and any is FAILED or CANCELLED."""


class CompletionPolicy(_Word):
    """When the completion job of a batch is submitted."""

    UNSPECIFIED = 0
    """Read as ALL_COMPLETED."""
    ALL_COMPLETED = 1
    """Only if all its jobs are COMPLETED."""
    ALL_TERMINAL = 2
    """When all its jobs are terminal, however they ended."""


class WaitReasonKind(_Word):
    """Why a job waits."""

    UNSPECIFIED = 0
    NO_WORKER = 1
    NO_CAPACITY = 2
    TYPE_PAUSED = 3
    BATCH_INACTIVE = 4
    NOT_DUE = 5
    BACKING_OFF = 6
    BEHIND_OTHERS = 7
    SESSIONS_EXCLUDED = 8
    POISON_SUSPECT = 9
    NOT_WAITING = 10


class LogLevel(_Word):
    """How much a log line matters, in rising order."""

    UNSPECIFIED = 0
    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4
    CRITICAL = 5


class BackoffStrategy(_Word):
    """How the delay grows from one failed attempt to the next."""

    UNSPECIFIED = 0
    """Read as EXPONENTIAL."""
    EXPONENTIAL = 1
    """initial_delay * multiplier ** (attempt - 1)."""
    LINEAR = 2
    """initial_delay * attempt."""
    FIXED = 3
    """initial_delay, each time."""


class WorkerState(_Word):
    """Whether a worker is there."""

    UNSPECIFIED = 0
    ATTACHED = 1
    """Its stream is open, or, of a unary session, its lease is not over."""
    DETACHED = 2
    """Its stream is gone; it has the session's time to live to come back."""
    DRAINING = 3
    """An operator sent it away: it gets no more tasks, and leaves when it holds none."""


class CancelCause(_Word):
    """What made the server ask for a task to be stopped."""

    UNSPECIFIED = 0
    REQUESTED = 1
    """Somebody cancelled the job."""
    RUN_TIMEOUT = 2
    """run_timeout passed; only a late completion is still taken."""
    PROGRESS_TIMEOUT = 3
    """progress_timeout passed; the same."""


class ReleaseReason(_Word):
    """Why a worker gives a task back."""

    UNSPECIFIED = 0
    STOPPING = 1
    """It is stopping."""
    NO_CAPACITY = 2
    """It could not start the task in time."""
    NOT_MINE = 3
    """It will not run this job, which is not given to its session again."""
