"""The workers of seed 003's examples, blocking and async; what each has done is kept."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from jobhall.queue import AsyncJobQueue, AsyncJobWorker, JobQueue, JobWorker, QueueJob
from tests.support.queues import BLOCKING


class NetworkError(Exception):
    """Passes by itself."""


class MyWorker(JobWorker):
    def get_worker_name(self) -> str:
        return "my-worker"

    def can_process_job(self, job: QueueJob) -> bool:
        return job.type == "my-job-type"

    def execute_job(self, job: QueueJob) -> Any:
        for item in range(100):
            self.update_job_progress(percentage=item, message=f"Processing item {item}...")


class AsyncMyWorker(AsyncJobWorker):
    def get_worker_name(self) -> str:
        return "my-worker"

    def can_process_job(self, job: QueueJob) -> bool:
        return job.type == "my-job-type"

    async def execute_job(self, job: QueueJob) -> Any:
        for item in range(100):
            await self.update_job_progress(percentage=item, message=f"Processing item {item}...")


class RetryableWorker(MyWorker):
    """Its jobs raise what they name, each attempt the next."""

    def execute_job(self, job: QueueJob) -> str:
        try:
            return did(job)
        except (NetworkError, TimeoutError):
            raise
        except ValueError as error:
            self.fail_job(job.id, error)
            return "nobody hears this"


class AsyncRetryableWorker(AsyncMyWorker):
    async def execute_job(self, job: QueueJob) -> str:
        try:
            return did(job)
        except (NetworkError, TimeoutError):
            raise
        except ValueError as error:
            await self.fail_job(job.id, error)
            return "nobody hears this"


class ChoosyWorker(MyWorker):
    """The same by the hook."""

    def is_retryable(self, error: Exception) -> bool:
        return isinstance(error, (NetworkError, TimeoutError))

    def execute_job(self, job: QueueJob) -> str:
        return did(job)


class AsyncChoosyWorker(AsyncMyWorker):
    def is_retryable(self, error: Exception) -> bool:
        return isinstance(error, (NetworkError, TimeoutError))

    async def execute_job(self, job: QueueJob) -> str:
        return did(job)


class ProgressiveWorker(MyWorker):
    def execute_job(self, job: QueueJob) -> list[Any]:
        done = []
        for place, item in enumerate(items := job.parameters["items"], 1):
            done.append(item * 2)
            self.update_job_progress(
                percentage=round(place / len(items) * 100),
                message=f"Processing item {place} of {len(items)}",
                current_item=place,
                total_items=len(items),
            )
        return done


class AsyncProgressiveWorker(AsyncMyWorker):
    async def execute_job(self, job: QueueJob) -> list[Any]:
        done = []
        for place, item in enumerate(items := job.parameters["items"], 1):
            done.append(item * 2)
            await self.update_job_progress(
                percentage=round(place / len(items) * 100),
                message=f"Processing item {place} of {len(items)}",
                current_item=place,
                total_items=len(items),
            )
        return done


class AsyncBatchWorker(AsyncMyWorker):
    batch_size = 10

    async def execute_job(self, job: QueueJob) -> list[Any]:
        items = job.parameters["items"]
        done: list[Any] = []
        for first in range(0, len(items), self.batch_size):
            done += await asyncio.gather(*(doubled(item) for item in items[first : first + self.batch_size]))
            await self.update_job_progress(percentage=round(len(done) / len(items) * 100))
        return done


class Gate:
    """A worker's jobs begin, say so, and end when they may; `stopped` counts those that were told to stop."""

    def __init__(self) -> None:
        self.begun: list[QueueJob] = []
        self.ended: list[str] = []
        self.stopped: list[str] = []
        self.open = threading.Event()


def gated(kind: str, gate: Gate, *, name: str = "gated", takes: Callable[[QueueJob], bool] = lambda job: True) -> Any:
    """A class of workers whose jobs wait at the gate; each look at it reports progress."""

    class Gated(JobWorker):
        def get_worker_name(self) -> str:
            return name

        def can_process_job(self, job: QueueJob) -> bool:
            return takes(job)

        def execute_job(self, job: QueueJob) -> str:
            gate.begun.append(job)
            try:
                while not gate.open.wait(0.02):
                    self.update_job_progress(message="waits")
            except BaseException:
                gate.stopped.append(job.id)
                raise
            gate.ended.append(job.id)
            return name

    class AsyncGated(AsyncJobWorker):
        def get_worker_name(self) -> str:
            return name

        def can_process_job(self, job: QueueJob) -> bool:
            return takes(job)

        async def execute_job(self, job: QueueJob) -> str:
            gate.begun.append(job)
            try:
                while not gate.open.is_set():  # noqa: ASYNC110 - a thread may open it
                    await asyncio.sleep(0.02)  # sleeps: it is a handler under test
            except asyncio.CancelledError:
                gate.stopped.append(job.id)
                raise
            gate.ended.append(job.id)
            return name

    return Gated if kind == BLOCKING else AsyncGated


def did(job: QueueJob) -> str:
    """What the parameters say of this attempt: an error's name, or the result."""
    match job.parameters["says"][job.retry_count]:
        case "NETWORK_ERROR":
            raise NetworkError("the network is away")
        case "INVALID":
            raise ValueError("not a document")
        case said:
            return str(said)


async def doubled(item: int) -> int:
    await asyncio.sleep(0)
    return 2 * item


CLASSES: dict[str, tuple[Callable[[JobQueue], JobWorker], Callable[[AsyncJobQueue], AsyncJobWorker]]] = {
    "my": (MyWorker, AsyncMyWorker),
    "retryable": (RetryableWorker, AsyncRetryableWorker),
    "choosy": (ChoosyWorker, AsyncChoosyWorker),
    "progressive": (ProgressiveWorker, AsyncProgressiveWorker),
}


def example(kind: str, name: str) -> Any:
    """The class of that example, of that kind."""
    return CLASSES[name][kind != BLOCKING]
