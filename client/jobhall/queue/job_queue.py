"""JobQueue, blocking; `aio_queue` is its twin, and what both do stands in `verbs` and `leases`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, Unpack

from jobhall import calls_workers
from jobhall.channel import resolve_endpoint
from jobhall.client_driver import Driver, open_channel
from jobhall.limits import LEASE_DURATION
from jobhall.procedures import Procedures
from jobhall.queue.keeper import LeaseKeeper
from jobhall.queue.leases import Leases
from jobhall.queue.verbs import Verbs, registered_types
from jobhall.queue.views import ProgressFields, QueueJob, StatusCounts
from jobhall.retry import CallRetry
from jobhall.spans import seconds
from jobhall.statuses import QueueStatus

MAX_RETRIES: Final = 3
RETENTION_PERIOD: Final = timedelta(hours=24)
LIST_LIMIT: Final = 100
QUEUE_NAME: Final = "job-queue"


class JobQueue:
    """A job queue by single calls: create jobs, start one, say how it goes, end it; for any number of threads.

    Who starts a job holds it, by a lease that this object renews while the program lives: nobody else can change it,
    and when the program dies it runs elsewhere. `max_retries` and `retention_period` hold for the jobs created here,
    `lease` is how long this queue may be silent before what it holds is lost; a cancel made elsewhere is heard at the
    next report, or within a third of it. `address` and `token` are those of `Client`, `name` is what operators see.

        with JobQueue(max_retries=3, retention_period=timedelta(hours=24)) as queue:
            job = queue.create_job("detection", {"entity_types": ["Person"]}, user_id="user-123", resource_id="doc-456")
            queue.update_job_status(job.id, "running")
            queue.update_job_progress(job.id, percentage=50, message="half of it", current_step=2, total_steps=4)
            queue.complete_job(job.id, {"total_processed": 100, "errors": 0})
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        namespace: str = "",
        name: str = QUEUE_NAME,
        max_retries: int = MAX_RETRIES,
        retention_period: timedelta = RETENTION_PERIOD,
        lease: timedelta = LEASE_DURATION,
        timeout: float | timedelta = 30.0,
        retry: CallRetry | None = None,
    ) -> None:
        endpoint = resolve_endpoint(address, token)
        self.namespace = namespace
        self.lease = lease
        self._driver = Driver(endpoint, open_channel(endpoint), time.sleep)
        self._procedures = Procedures(retry or CallRetry(), seconds(timeout, field="timeout"), time.monotonic)
        self._keeper = self.keeper(name)
        self._verbs = Verbs(
            self._procedures,
            self._keeper.leases,
            namespace=namespace,
            max_retries=max_retries,
            retention=retention_period,
        )
        self._claiming = threading.Lock()
        """Two first claims at once would open two sessions."""
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def initialize(self) -> None:
        """Makes sure that the server is there; raises ServerUnreachableError. Nothing else needs it."""
        self._driver.run(self._procedures.call(calls_workers.server_info()))

    def close(self) -> None:
        """Gives back the jobs that it holds, their attempts not counted, and closes the connection."""
        if self._closed:
            return
        self._closed = True
        self._keeper.close()
        self._driver.run(self._keeper.leases.give_back())
        self._driver.close()

    def __enter__(self) -> Self:
        self.initialize()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- any job ---

    def create_job(
        self,
        job_type: str,
        parameters: Any = None,
        *,
        user_id: str = "",
        resource_id: str = "",
        max_retries: int | None = None,
        job_id: str = "",
    ) -> QueueJob:
        """Creates a job; when this returns it is durable, and `pending`.

        `parameters` is anything that JSON can say, or bytes. The user is kept as the label `user_id`, the resource as
        the job's `path`. A `job_id` (a UUID) of your own makes a repeated call harmless; `max_retries` None means the
        queue's. A type that nobody has registered is registered, without a schema.

            queue.create_job("generation", {"prompt": "A short life of Ada Lovelace"}, user_id="user-123")
        """
        return self._driver.run(
            self._verbs.create_job(
                job_type,
                parameters,
                user_id=user_id,
                resource_id=resource_id,
                max_retries=max_retries,
                job_id=job_id,
            )
        )

    def get_job(self, job_id: str) -> QueueJob:
        """Reads a job; raises JobNotFoundError."""
        return self._driver.run(self._verbs.get_job(job_id))

    def list_jobs(
        self,
        *,
        status: QueueStatus | str | None = None,
        job_type: str = "",
        user_id: str = "",
        limit: int = LIST_LIMIT,
        offset: int = 0,
    ) -> list[QueueJob]:
        """Reads at most `limit` jobs, the newest first, after passing over `offset` (at most 10,000).

        queue.list_jobs(status="pending", job_type="detection", user_id="user-123", limit=10, offset=20)
        """
        return self._driver.run(
            self._verbs.list_jobs(status=status, job_type=job_type, user_id=user_id, limit=limit, offset=offset)
        )

    def get_stats(self, *, job_types: Iterable[str] = ()) -> StatusCounts:
        """Counts the jobs of each status; cheap at any size.

        print(queue.get_stats().pending)
        """
        return self._driver.run(self._verbs.get_stats(job_types))

    def cleanup_old_jobs(self, *, age: float | timedelta | None = None) -> int:
        """Deletes the jobs that ended longer ago than `age`, by default the retention period; how many there were.

        Jobs created by a queue go by themselves when their retention period is over; this is for the others as well.
        """
        return self._driver.run(self._verbs.cleanup_old_jobs(age))

    def cancel_job(self, job_id: str, *, reason: str = "") -> None:
        """Cancels a job: its worker is asked to stop; where this queue holds it, this says that it has stopped.

        Raises JobTerminalError where it is complete or failed.
        """
        self._driver.run(self._verbs.cancel_job(job_id, reason))

    # --- jobs in this queue's hands ---

    def poll_next_pending_job(self, job_type: str) -> QueueJob | None:
        """The pending job of the type that has waited longest, within the highest priority; None where none waits.

        It is set aside for this queue, so that no two get the same one, and so shown as `running`; but not begun:
        `update_job_status` to `running`, or any report, begins it. One that is not begun within ten seconds goes back,
        at no cost.

            while job := queue.poll_next_pending_job("detection"):
                queue.update_job_status(job.id, "running")
        """
        with self._claiming:
            return self._keeper.run(self._verbs.poll_next(job_type))

    def update_job_status(self, job_id: str, status: QueueStatus | str) -> None:
        """Moves a job to the status, atomically, if it may go there; its present one changes nothing.

        `running` starts it, in this queue's hands: JobUnavailableError, which says why, where it cannot be had.
        `pending` gives a held job back, its attempt not counted, and makes a failed or cancelled one pending again.
        `complete` and `failed` end a held one, without a result, and for good; `cancelled` is `cancel_job`. Raises
        JobNotHeldError, JobTerminalError and LeaseLostError.
        """
        with self._claiming:
            self._keeper.run(self._verbs.update_status(job_id, status))

    def update_job_progress(self, job_id: str, **progress: Unpack[ProgressFields]) -> None:
        """Says how far a held job has come; what is left out stays as it was.

        Raises JobCancelRequestedError when somebody cancelled it, LeaseLostError when it is another's by now,
        JobNotHeldError, and ValueError where the numbers make no sense.

            queue.update_job_progress(job.id, current_item=40, total_items=100, details={"entities_found": 7})
        """
        self._keeper.run(self._verbs.update_progress(job_id, progress))

    def complete_job(self, job_id: str, result: Any = None) -> None:
        """Ends a held job with its result: anything that JSON can say, or bytes.

        A call that got no answer may be made again. Raises LeaseLostError, JobNotHeldError and SchemaMismatchError.
        """
        self._keeper.run(self._verbs.complete(job_id, result))

    def fail_job(self, job_id: str, error: BaseException | str, *, retryable: bool | None = None) -> None:
        """Ends the attempt at a held job with an error: it is tried again while `max_retries` allows, else `failed`.

        `retryable=False` ends the job for good; None leaves it to the error, if it is a TaskFailed, and to the retry
        policy. Raises LeaseLostError and JobNotHeldError.

            queue.fail_job(job.id, RuntimeError("the document is empty"), retryable=False)
        """
        self._keeper.run(self._verbs.fail(job_id, error, retryable=retryable))

    # --- for JobWorker ---

    def keeper(self, name: str) -> LeaseKeeper:
        """A session of its own over this queue's connection, by which a worker holds its jobs."""
        leases = Leases(self._procedures, worker_name=name, namespace=self.namespace, lease=self.lease)
        return LeaseKeeper(self._driver, leases)

    def registered_types(self) -> list[str]:
        """The types that jobs here may have; the first 256 of them."""
        return self._driver.run(registered_types(self._procedures, self.namespace))
