"""AsyncJobWorker; `job_worker` is its twin, and what both do without I/O stands in `execution`."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Any, Self, Unpack

from jobhall.errors import ApiError, LeaseLostError, WorkerDrainedError
from jobhall.queue.aio_keeper import AsyncLeaseKeeper
from jobhall.queue.aio_queue import AsyncJobQueue
from jobhall.queue.execution import (
    ERROR_BACKOFF,
    POLL_INTERVAL,
    TYPES_SECONDS,
    Execution,
    JobHandling,
    is_failure,
)
from jobhall.queue.views import ProgressFields, QueueJob
from jobhall.v1 import task_pb2
from jobhall.worker.held import HeldTask
from jobhall.worker.outcomes import Outcome, released

_log = logging.getLogger("jobhall.queue")


class AsyncJobWorker(JobHandling):
    """Works off the jobs of a queue, one at a time, in the event loop; arguments and rules as those of `JobWorker`.

    A job that is to stop is cancelled: `execute_job` gets an asyncio.CancelledError where it waits. One that blocks the
    loop keeps its own lease from being renewed.

        class Detection(AsyncJobWorker):
            def get_worker_name(self) -> str:
                return "detection"

            def can_process_job(self, job: QueueJob) -> bool:
                return job.type == "detection"

            async def execute_job(self, job: QueueJob) -> dict[str, int]:
                await self.update_job_progress(percentage=50, message="half of it")
                return {"total_found": 3}

        async with AsyncJobQueue() as queue, Detection(queue) as worker:
            await worker.wait()
    """

    def __init__(
        self,
        queue: AsyncJobQueue,
        *,
        poll_interval: float | timedelta = POLL_INTERVAL,
        error_backoff: float | timedelta = ERROR_BACKOFF,
    ) -> None:
        super().__init__(poll_interval=poll_interval, error_backoff=error_backoff)
        self.queue = queue
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._types: Sequence[str] = ()
        self._types_until = 0.0
        self._executing: asyncio.Task[Any] | None = None

    # --- what the subclass does ---

    @abstractmethod
    async def execute_job(self, job: QueueJob) -> Any:
        """Does the job, and returns its result. It may run twice after a failure: `job.fence` tells which is newer."""

    async def update_job_progress(self, **progress: Unpack[ProgressFields]) -> None:
        """Says how far the job at work has come; never waits for the server, and the latest wins."""
        self._current().progress(progress)

    async def fail_job(self, job_id: str, error: BaseException | str) -> None:
        """Fails the job at work for good, when `execute_job` ends: no retry would help."""
        self._current().fail(job_id, error)

    # --- its life ---

    @property
    def running(self) -> bool:
        """Whether it works, or waits for work."""
        return self._task is not None and not self._task.done()

    async def start(self) -> None:
        """Begins to work, in a task of its own, and returns at once."""
        if self._task is not None:
            raise RuntimeError("the worker was started before; to start again, make another one")
        name = self.get_worker_name()
        self._task = asyncio.create_task(self._work(self.queue.keeper(name)), name=f"jobhall-{name}")

    async def stop(self) -> None:
        """Takes no more jobs, and waits until the one at work has ended and that is reported."""
        self._stopping.set()
        if self._task is not None and asyncio.current_task() not in (self._task, self._executing):
            await asyncio.wait({self._task})

    async def wait(self) -> None:
        """Waits until the worker has stopped: the last line of a program. To cancel the wait leaves it working."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # --- its work ---

    async def _work(self, keeper: AsyncLeaseKeeper) -> None:
        keeper.leases.stopped = self._cancel
        try:
            while not self._stopping.is_set():
                if not await self._went_well(keeper):
                    await self._pause(self.error_backoff)
        except WorkerDrainedError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - whatever it is, `stop` is not to wait for ever
            _log.exception("%s stops", self.get_worker_name())
            self.error = error
        finally:
            await keeper.close()

    async def _went_well(self, keeper: AsyncLeaseKeeper) -> bool:
        """Looks for a job, and does it."""
        try:
            job_types = await self._asked_for()
            if not job_types:
                await self._pause(self.poll_interval)
                return True
            lease = await keeper.run(keeper.leases.claim(job_types=job_types, wait_seconds=self.poll_interval))
            return lease is None or await self._done(keeper, Execution(lease))
        except WorkerDrainedError:
            raise
        except ApiError as error:
            if self.queue.closed:
                self._stopping.set()
            else:
                _log.warning("%s: %s; asks again in %g s", self.get_worker_name(), error, self.error_backoff)
            return False

    async def _done(self, keeper: AsyncLeaseKeeper, execution: Execution) -> bool:
        outcome: Outcome | None
        if self._stopping.is_set():
            outcome = released(task_pb2.RELEASE_REASON_STOPPING, "the worker stops")
        elif (outcome := self._refusal(execution)) is None:
            try:
                await keeper.run(keeper.leases.accept(execution.lease))
            except LeaseLostError:
                # Cancelled meanwhile, or it came too late.
                return True
            outcome = await self._executed(execution)
        await keeper.run(keeper.leases.deliver(execution.lease, outcome, leaving=self._stopping.is_set))
        return not is_failure(outcome)

    async def _executed(self, execution: Execution) -> Outcome:
        self._execution = execution
        self._executing = asyncio.create_task(self.execute_job(execution.job), name=f"jobhall-job-{execution.job.id}")
        try:
            await asyncio.wait({self._executing})
            return execution.returned(self._executing.result())
        except BaseException as error:
            if not self._executing.done():
                # It is this worker that is cancelled, with its loop: the job is not to outlive it.
                self._executing.cancel()
                raise
            return execution.raised(error, self.is_retryable)
        finally:
            self._execution = self._executing = None

    def _cancel(self, held: HeldTask) -> None:
        if self._executing is not None and self._execution is not None and self._execution.held is held:
            self._executing.cancel(held.cancel_reason)

    async def _asked_for(self) -> Sequence[str]:
        if self.job_types:
            return self.job_types
        if not self._types or monotonic() >= self._types_until:
            self._types = await self.queue.registered_types()
            self._types_until = monotonic() + TYPES_SECONDS
        return self._types

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
