"""What a handler is given: one leased attempt at a job, and the ways to report on it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, overload

from jobhall.clipping import clip
from jobhall.errors import JobhallError
from jobhall.limits import (
    CODE_BYTES_MAX,
    ITEM_ERRORS_KEPT_MAX,
    LOG_LINES_KEPT_MAX,
    NAMESPACE_DEFAULT,
    PROGRESS_DETAILS_BYTES_MAX,
    STEP_BYTES_MAX,
    TEXT_BYTES_MAX,
    UNIT_BYTES_MAX,
)
from jobhall.log_lines import log_level, log_line
from jobhall.model import FileInfo, ItemError, Progress, TraceContext
from jobhall.progress_checks import check_progress
from jobhall.states import LogLevel
from jobhall.tracking import Counting, counted_from, track, track_async
from jobhall.v1.task_pb2 import TaskCheckpoint, TaskUpdate
from jobhall.wire import item_error_to_wire, progress_from_wire, progress_to_wire
from jobhall.wire_submissions import file_info_from_wire, trace_context_from_wire
from jobhall.wire_values import duration_from_wire, payload_from_wire, payload_to_wire, time_from_wire

if TYPE_CHECKING:
    from jobhall.worker.handover import Handover
    from jobhall.worker.held import HeldTask

_T = TypeVar("_T")


class TaskFailed(JobhallError):  # noqa: N818 - reads as what the handler says: raise jobhall.TaskFailed(...)
    """Raised by a handler to fail its task in its own words: no stack trace, but that of a `raise ... from`.

    `retryable` None leaves it to the job's retry policy whether, and `retry_delay` None when, it is tried again; both
    are the handler's own word, and go before the policy; a delay is in seconds, or a timedelta. No word gives more
    attempts than the job has.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "TASK_FAILED",
        retryable: bool | None = None,
        retry_delay: float | timedelta | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable
        self.retry_delay = _delay("retry_delay", retry_delay)
        self.details = details


class TaskReleased(JobhallError):  # noqa: N818 - as TaskFailed
    """Raised by a handler to give its task back unfinished: the attempt is not counted, the job waits for a worker.

    With `delay`, as above, nobody gets it before that has passed; from its third release on the job backs off as well.
    `not_mine`: this worker does not get it again as long as its session lasts.
    """

    def __init__(self, message: str = "", *, delay: float | timedelta | None = None, not_mine: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.delay = _delay("delay", delay)
        self.not_mine = not_mine


class TaskCancelled(BaseException):
    """Raised by every `task.*` report once the task is to stop; a handler cleans up and lets it pass.

    Not an Exception, so that the `except Exception` around one item of a loop does not swallow it.
    """


class StopCause(Enum):
    """Why a task is to stop: `Task.stop_cause`."""

    CANCELLED = "somebody cancelled the job"
    RUN_TIMEOUT = "run_timeout is over"
    """To finish all the same is worth it: a completion is taken until another worker has the job."""
    PROGRESS_TIMEOUT = "no progress within progress_timeout"
    """The same."""
    LEASE_LOST = "the lease is lost: another worker may run the job"
    """Nothing that is said of the task will be taken."""
    WORKER_STOPS = "the worker stops"
    """The task is given back, its attempt not counted; a completion that comes at once is taken."""


class Task:
    """One leased attempt at a job. Its reports may be called from any thread, and never wait for the server."""

    def __init__(self, held: HeldTask, handover: Handover) -> None:
        self._held = held
        self._handover = handover
        self._assignment = held.assignment
        self._progress: Progress | None = None

    def __repr__(self) -> str:
        return f"<Task {self.job_type} {self.job_id} attempt {self.attempt}>"

    # --- what it is ---

    @cached_property
    def parameters(self) -> Any:
        """The job's input: the decoded JSON, or bytes where bytes were submitted; None where there was none."""
        return payload_from_wire(self._assignment.parameters)[0]

    @property
    def job_id(self) -> str:
        """The job that this is an attempt at."""
        return self._assignment.job_id

    @property
    def job_type(self) -> str:
        """What kind of work it is, without `public:` or `private:`."""
        return self._assignment.job_type

    @property
    def namespace(self) -> str:
        """Where the job lives."""
        return self._assignment.namespace or NAMESPACE_DEFAULT

    @property
    def attempt(self) -> int:
        """Number of this attempt at the job, from 1."""
        return self._assignment.attempt

    @property
    def max_attempts(self) -> int:
        """How many attempts there may be."""
        return self._assignment.max_attempts

    @property
    def fence(self) -> int:
        """Grows with each claim of the job: send it along with writes elsewhere, and let those refuse a smaller one."""
        return self._assignment.fence

    @property
    def labels(self) -> dict[str, str]:
        """Those of the job."""
        return dict(self._assignment.labels)

    @property
    def path(self) -> str:
        """The resource that the job concerns."""
        return self._assignment.path

    @property
    def file_info(self) -> FileInfo | None:
        """The file that the job works on."""
        return file_info_from_wire(self._assignment.file_info) if self._assignment.HasField("file_info") else None

    @property
    def priority(self) -> int:
        """Of the job: from -100 to 100, higher first."""
        return self._assignment.priority

    @property
    def batch_id(self) -> str:
        """The batch that the job belongs to."""
        return self._assignment.batch_id

    @property
    def owner(self) -> str:
        """Subject of who submitted the job."""
        return self._assignment.owner

    @property
    def organization_id(self) -> str:
        """Organisation of who submitted the job."""
        return self._assignment.organization_id

    @property
    def created_at(self) -> datetime | None:
        """When the job was submitted."""
        return time_from_wire(self._assignment, "create_time")

    @property
    def trace_context(self) -> TraceContext | None:
        """Trace context of the submit, where it gave one: make what this task does a child of it."""
        message = self._assignment
        return trace_context_from_wire(message.trace_context) if message.HasField("trace_context") else None

    @property
    def run_timeout(self) -> timedelta | None:
        """How long this attempt may run; None: without bound."""
        return duration_from_wire(self._assignment, "run_timeout")

    @property
    def progress_timeout(self) -> timedelta | None:
        """How long this attempt may be silent between two reports; None: without bound."""
        return duration_from_wire(self._assignment, "progress_timeout")

    @cached_property
    def checkpoint_state(self) -> Any:
        """What the attempt before saved last by `checkpoint`, decoded as `parameters` are; None if it saved nothing."""
        return payload_from_wire(self._assignment.checkpoint)[0]

    @property
    def cancelled(self) -> bool:
        """Whether the task is to stop: cancelled, its lease lost, or the worker leaving."""
        return self._held.cancel_reason is not None

    @property
    def cancel_reason(self) -> str:
        """Why it is to stop, for people; empty while it is not."""
        return self._held.cancel_reason or ""

    @property
    def stop_cause(self) -> StopCause | None:
        """Why it is to stop, for programs; None while it is not."""
        return self._held.stop_cause

    # --- what it reports ---

    def progress(
        self,
        *,
        processed: int | None = None,
        total: int | None = None,
        succeeded: int | None = None,
        failed: int | None = None,
        step: str | None = None,
        stage: str | None = None,
        step_index: int | None = None,
        step_count: int | None = None,
        percent: float | None = None,
        message: str | None = None,
        unit: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Says how far the task has come; what is left out stays as it was. The latest wins; as often as you like.

        Raises ValueError unless succeeded + failed <= processed <= total and 0 <= percent <= 100, TaskCancelled when
        the task is to stop. `processed` left out is at least succeeded + failed.
        """
        self._check_cancelled()
        before = self._so_far()
        well = before.items_succeeded if succeeded is None else succeeded
        badly = before.items_failed if failed is None else failed
        progress = Progress(
            step=before.step if step is None else clip(step, STEP_BYTES_MAX),
            stage=before.stage if stage is None else clip(stage, STEP_BYTES_MAX),
            step_index=before.step_index if step_index is None else step_index,
            step_count=before.step_count if step_count is None else step_count,
            percent=before.percent if percent is None else percent,
            message=before.message if message is None else clip(message, TEXT_BYTES_MAX),
            items_total=before.items_total if total is None else total,
            items_processed=max(before.items_processed, well + badly) if processed is None else processed,
            items_succeeded=well,
            items_failed=badly,
            unit=before.unit if unit is None else clip(unit, UNIT_BYTES_MAX),
            details=before.details if details is None else details,
        )
        check_progress(progress)
        # Made here, so that what cannot be said raises in the handler, which may also change its details afterwards.
        message_to_send = progress_to_wire(progress)
        _check_bytes("details", message_to_send.details, PROGRESS_DETAILS_BYTES_MAX)
        self._progress = progress
        self._held.progress = message_to_send
        self._report()

    def item_error(self, *, index: int = 0, key: str = "", code: str = "", message: str = "") -> None:
        """Says that one item of the job went badly, and the job goes on: its place in the input, its name, and why.

        The server keeps the first thousand and counts all.
        """
        self._check_cancelled()
        if index < 0:
            raise ValueError(f"item_error: index is {index}; the place of an item in the input is not negative")
        if (errors := self._held.item_errors) is None:
            errors = self._held.item_errors = deque()
        # Beyond those that are kept only the number counts, and a million texts would be held for nothing.
        if self._held.item_errors_count < ITEM_ERRORS_KEPT_MAX:
            code, key = clip(code, CODE_BYTES_MAX), clip(key, CODE_BYTES_MAX)
            error = ItemError(index=index, key=key, code=code, message=clip(message, TEXT_BYTES_MAX))
            errors.append(item_error_to_wire(error))
        self._held.item_errors_count += 1
        self._report()

    def checkpoint(self, state: Any, **progress: Any) -> None:
        """Saves what the next attempt is to start from, if there is one: it finds it in `checkpoint_state`.

        `state` is what JSON can say, or bytes, at most 1 MiB; the other arguments are those of `progress`, and the next
        attempt counts on from there. The latest wins; it is on the server before this attempt's end is. Raises
        FieldInvalidError or PayloadTooLargeError where it cannot be saved, else as `progress` does.
        """
        self._check_cancelled()
        payload = payload_to_wire(state, field="state")
        if payload is None:
            raise ValueError("checkpoint: state is None; to begin anew next time, save what says so")
        if progress:
            self.progress(**progress)
        checkpoint = TaskCheckpoint(state=payload, progress=self._held.progress)
        if (checkpoints := self._held.checkpoints) is None:
            checkpoints = self._held.checkpoints = deque(maxlen=1)
        checkpoints.append(TaskUpdate(lease_token=self._held.token, checkpoint=checkpoint))
        self._report()

    def log(self, text: str | bytes, level: str | LogLevel = "info", **fields: Any) -> None:
        """Writes a line to the job's log; `level` is debug, info, warning, error or critical.

        What among the fields JSON cannot say is written as its text. Longer lines are cut at 16 KiB.
        """
        self._check_cancelled()
        if (lines := self._held.lines) is None:
            lines = self._held.lines = deque()
        if len(lines) >= LOG_LINES_KEPT_MAX:
            # Nobody took them for a long time; how many are missing will be said in their place.
            self._held.lines_dropped += 1
            return
        lines.append(log_line(text, log_level(level), fields))
        self._report()

    @overload
    def track(
        self,
        iterable: Iterable[_T],
        *,
        total: int | None = None,
        unit: str | None = None,
        step: str | None = None,
        start: int = 0,
    ) -> Iterator[_T]: ...

    @overload
    def track(
        self,
        iterable: AsyncIterable[_T],
        *,
        total: int | None = None,
        unit: str | None = None,
        step: str | None = None,
        start: int = 0,
    ) -> AsyncIterator[_T]: ...

    def track(
        self,
        iterable: Iterable[_T] | AsyncIterable[_T],
        *,
        total: int | None = None,
        unit: str | None = None,
        step: str | None = None,
        start: int = 0,
    ) -> Iterator[_T] | AsyncIterator[_T]:
        """The items one by one, with progress said of them: `for row in task.track(rows, unit="rows"):`.

        An item counts as processed when the next one is asked for. `total` is what `len` says where it can; `start` is
        how many were done before, as by an earlier attempt, and counts in it. However many items there are, a few
        reports a second go out, and one at the end. Raises TaskCancelled in place of the next item when the task is to
        stop. What is iterated asynchronously goes with `async for`.
        """
        checks = (self._check_cancelled, self._so_far, self._count_from)
        counting = Counting(self, *checks, total=total, unit=unit, step=step, start=start)
        if isinstance(iterable, AsyncIterable):
            return track_async(iterable, counting)
        return track(iterable, counting)

    def _so_far(self) -> Progress:
        return self._progress or progress_from_wire(self._assignment.progress)

    def _count_from(self, start: int) -> None:
        self._progress = counted_from(start, self._so_far())

    def _check_cancelled(self) -> None:
        if self._held.cancel_reason is not None:
            raise TaskCancelled(self._held.cancel_reason)

    def _report(self) -> None:
        if not self._held.report_waits:
            self._held.report_waits = True
            self._handover.report(self._held)


def _delay(name: str, delay: float | timedelta | None) -> timedelta | None:
    if delay is None:
        return None
    span = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
    if span < timedelta(0):
        raise ValueError(f"{name} is {span}; it is not negative")
    return span


def _check_bytes(name: str, message: Any, bytes_max: int) -> None:
    if (size := message.ByteSize()) > bytes_max:
        raise ValueError(f"{name}: {size} bytes; at most {bytes_max} are taken")
