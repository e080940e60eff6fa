"""Five ways to say in few words where a job is, each as one of the described systems says it; for reading only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple, Self

from jobhall.errors import FieldInvalidError
from jobhall.model import Job
from jobhall.states import WAITING_STATES, FailureKind, JobState


class StatusView(StrEnum):
    """A few words for what jobhall tells by a job's state and, of one that has failed, by the kind of its failure."""

    @classmethod
    def of(cls, job: Job) -> Self:
        """The job's status; ValueError where it hangs on how the job failed, and that was not told.

        OperationStatus.of(client.jobs.get_job(job_id)) is OperationStatus.SUCCESS
        """
        kinds = _KINDS if job.error is None else frozenset({job.error.kind})
        # A state that this version of the SDK does not know reads as one that waits.
        state = job.state or JobState.PENDING
        found = {row.words[_VIEWS.index(cls)] for row in _TABLE if state in row.states and kinds & row.kinds}
        if len(found) > 1:
            raise ValueError(f"job {job.id} was told without its error: how it failed is not known")
        return cls(found.pop())

    @property
    def states(self) -> frozenset[JobState]:
        """The states that it stands for; of FAILED perhaps only some kinds of failure."""
        return frozenset(state for row in self._rows for state in row.states)

    @property
    def kinds(self) -> frozenset[FailureKind]:
        """The kinds of failure for which it stands where a job has failed; none if it stands for no failure."""
        return frozenset(kind for row in self._rows if JobState.FAILED in row.states for kind in row.kinds if kind)

    @property
    def _rows(self) -> Iterator[_Row]:
        return (row for row in _TABLE if row.words[_VIEWS.index(type(self))] == self.value)


class OperationStatus(StatusView):
    """How an operation went; a failure is the application's own, an error whatever else ended it, a cancel included."""

    PROCESSING = "processing"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


class UploadStatus(StatusView):
    """How far an upload is; `UploadStatus("queued")` reads as PENDING. A cancelled one has failed, with a message."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @classmethod
    def _missing_(cls, value: object) -> UploadStatus | None:
        return cls.PENDING if value == "queued" else None


class TaskStatus(StatusView):
    """Where a task is; only here CLAIMED is a word of its own."""

    PENDING = "pending"
    CLAIMED = "claimed"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class QueueStatus(StatusView):
    """Where a job of a `JobQueue` is."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ProcessingStatus(StatusView):
    """How far the processing is; what was cancelled has failed."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class _Row(NamedTuple):
    states: frozenset[JobState]
    kinds: frozenset[FailureKind]
    """Of the failure, where the words hang on it."""
    words: tuple[str, str, str, str, str]


_KINDS = frozenset(FailureKind)
_OWN = frozenset({FailureKind.APPLICATION})
_STOPPING = frozenset({JobState.RUNNING, JobState.CANCELLING})
_VIEWS: tuple[type[StatusView], ...] = (OperationStatus, UploadStatus, TaskStatus, QueueStatus, ProcessingStatus)
"""The columns of the table."""
_TABLE = (
    _Row(WAITING_STATES, _KINDS, ("processing", "pending", "pending", "pending", "PENDING")),
    _Row(frozenset({JobState.CLAIMED}), _KINDS, ("processing", "processing", "claimed", "running", "PROCESSING")),
    _Row(_STOPPING, _KINDS, ("processing", "processing", "running", "running", "PROCESSING")),
    _Row(frozenset({JobState.COMPLETED}), _KINDS, ("success", "completed", "completed", "complete", "COMPLETED")),
    _Row(frozenset({JobState.FAILED}), _OWN, ("failure", "failed", "failed", "failed", "FAILED")),
    _Row(frozenset({JobState.FAILED}), _KINDS - _OWN, ("error", "failed", "failed", "failed", "FAILED")),
    _Row(frozenset({JobState.CANCELLED}), _KINDS, ("error", "failed", "cancelled", "cancelled", "FAILED")),
)


class Alternative(NamedTuple):
    """States that a list may show; where a kind is named, only jobs that failed in that way."""

    states: frozenset[JobState]
    kind: FailureKind | None = None


def alternatives(statuses: StatusView | Iterable[StatusView]) -> list[Alternative]:
    """What jobs of these statuses, all of one view, may be: no job is two of it. FIELD_INVALID of anything else."""
    given: object = statuses
    several = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    chosen = [it for it in several if isinstance(it, StatusView)]
    if len(chosen) < len(several) or len({type(it) for it in chosen}) != 1:
        raise FieldInvalidError("status", f"is {statuses!r}; give one or more of one view, as OperationStatus.FAILURE")
    states = frozenset(state for status in chosen for state in status.states)
    kinds = frozenset(kind for status in chosen for kind in status.kinds)
    if JobState.FAILED not in states or kinds == _KINDS - {FailureKind.UNSPECIFIED}:
        return [Alternative(states)]
    whole = states - {JobState.FAILED}
    failed = [Alternative(frozenset({JobState.FAILED}), kind) for kind in sorted(kinds)]
    return ([Alternative(whole)] if whole else []) + failed
