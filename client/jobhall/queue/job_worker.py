"""JobWorker, blocking; `aio_worker` is its twin, and what both do without I/O stands in `execution`."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self, Unpack

from jobhall.errors import ApiError, LeaseLostError, WorkerDrainedError
from jobhall.queue.execution import (
    ERROR_BACKOFF,
    POLL_INTERVAL,
    TYPES_SECONDS,
    Execution,
    JobHandling,
    is_failure,
)
from jobhall.queue.job_queue import JobQueue
from jobhall.queue.keeper import LeaseKeeper
from jobhall.queue.views import ProgressFields, QueueJob
from jobhall.v1 import task_pb2
from jobhall.worker.outcomes import Outcome, released

_log = logging.getLogger("jobhall.queue")
_SIGNAL_SECONDS: Final = 0.5


class JobWorker(JobHandling):
    """Works off the jobs of a queue, one at a time: subclass it, say which jobs are its own, and execute them.

    What `execute_job` returns is the job's result; what it raises fails the attempt, which is tried again unless
    `is_retryable` or a TaskFailed says otherwise, or `fail_job` was called. A job that `can_process_job` refuses is
    given back, and not to this worker again. While a job is at work its lease is renewed; a worker that dies loses it
    to others.

    It asks the server by single calls, since it takes one job at a time, of types that may be registered later, and
    pauses after errors; `jobhall.Worker` runs many at once over a stream, and hears of a cancel at once.

    `poll_interval` is how long one question for a job is held open, in seconds: a job that comes meanwhile is started
    at once, and while the server answers `stop` waits so long at most for a worker without one. `error_backoff` is the
    pause after a job that failed, or a server that could not be asked.

        class Detection(JobWorker):
            job_types = ["detection"]

            def get_worker_name(self) -> str:
                return "detection"

            def can_process_job(self, job: QueueJob) -> bool:
                return job.type == "detection"

            def execute_job(self, job: QueueJob) -> dict[str, int]:
                self.update_job_progress(percentage=50, message="half of it")
                return {"total_found": 3}

        with JobQueue() as queue, Detection(queue, poll_interval=1.0, error_backoff=5.0) as worker:
            worker.wait()
    """

    def __init__(
        self,
        queue: JobQueue,
        *,
        poll_interval: float | timedelta = POLL_INTERVAL,
        error_backoff: float | timedelta = ERROR_BACKOFF,
    ) -> None:
        super().__init__(poll_interval=poll_interval, error_backoff=error_backoff)
        self.queue = queue
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        """Waited for instead of the thread, which a join that Ctrl-C interrupts would take for ended (bpo-45274)."""
        self._thread: threading.Thread | None = None
        self._types: Sequence[str] = ()
        self._types_until = 0.0

    # --- what the subclass does ---

    @abstractmethod
    def execute_job(self, job: QueueJob) -> Any:
        """Does the job, and returns its result. It may run twice after a failure: `job.fence` tells which is newer."""

    def update_job_progress(self, **progress: Unpack[ProgressFields]) -> None:
        """Says how far the job at work has come; never waits for the server, and the latest wins.

        Raises TaskCancelled when the job is to stop, since it was cancelled or its lease is lost: let that pass.
        """
        self._current().progress(progress)

    def fail_job(self, job_id: str, error: BaseException | str) -> None:
        """Fails the job at work for good, when `execute_job` ends: no retry would help."""
        self._current().fail(job_id, error)

    # --- its life ---

    @property
    def running(self) -> bool:
        """Whether it works, or waits for work."""
        return self._thread is not None and not self._stopped.is_set()

    def start(self) -> None:
        """Begins to work, in a thread of its own, and returns at once; the program does not end before `stop`."""
        if self._thread is not None:
            raise RuntimeError("the worker was started before; to start again, make another one")
        name = self.get_worker_name()
        self._thread = threading.Thread(target=self._work, args=(self.queue.keeper(name),), name=f"jobhall-{name}")
        self._thread.start()

    def stop(self) -> None:
        """Takes no more jobs, and waits until the one at work has ended and that is reported."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._stopped.wait()

    def wait(self) -> None:
        """Waits until the worker has stopped: the last line of a program. Ctrl-C stops it."""
        try:
            # The kernel may give a signal to another thread; this one then hears of it only when it moves.
            while self.running and not self._stopped.wait(_SIGNAL_SECONDS):
                pass
        except KeyboardInterrupt:
            self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- its work ---

    def _work(self, keeper: LeaseKeeper) -> None:
        try:
            while not self._stopping.is_set():
                if not self._went_well(keeper):
                    self._stopping.wait(self.error_backoff)
        except WorkerDrainedError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - whatever it is, `stop` is not to wait for ever
            _log.exception("%s stops", self.get_worker_name())
            self.error = error
        finally:
            keeper.close()
            self._stopped.set()

    def _went_well(self, keeper: LeaseKeeper) -> bool:
        """Looks for a job, and does it."""
        try:
            job_types = self._asked_for()
            if not job_types:
                self._stopping.wait(self.poll_interval)
                return True
            lease = keeper.run(keeper.leases.claim(job_types=job_types, wait_seconds=self.poll_interval))
            return lease is None or self._done(keeper, Execution(lease))
        except WorkerDrainedError:
            raise
        except ApiError as error:
            if self.queue.closed:
                self._stopping.set()
            else:
                _log.warning("%s: %s; asks again in %g s", self.get_worker_name(), error, self.error_backoff)
            return False

    def _done(self, keeper: LeaseKeeper, execution: Execution) -> bool:
        outcome: Outcome | None
        if self._stopping.is_set():
            outcome = released(task_pb2.RELEASE_REASON_STOPPING, "the worker stops")
        elif (outcome := self._refusal(execution)) is None:
            try:
                keeper.run(keeper.leases.accept(execution.lease))
            except LeaseLostError:
                # Cancelled meanwhile, or it came too late.
                return True
            outcome = self._executed(execution)
        keeper.run(keeper.leases.deliver(execution.lease, outcome, leaving=self._stopping.is_set))
        return not is_failure(outcome)

    def _executed(self, execution: Execution) -> Outcome:
        self._execution = execution
        try:
            return execution.returned(self.execute_job(execution.job))
        except BaseException as error:  # noqa: BLE001 - SystemExit too is an end of the job, not of the worker
            return execution.raised(error, self.is_retryable)
        finally:
            self._execution = None

    def _asked_for(self) -> Sequence[str]:
        if self.job_types:
            return self.job_types
        if not self._types or monotonic() >= self._types_until:
            self._types = self.queue.registered_types()
            self._types_until = monotonic() + TYPES_SECONDS
        return self._types
