"""JobQueue and JobWorker: a queue by single calls, and workers that take one job at a time from it."""

from jobhall.queue.aio_queue import AsyncJobQueue
from jobhall.queue.aio_worker import AsyncJobWorker
from jobhall.queue.errors import JobCancelRequestedError, JobNotHeldError, JobUnavailableError
from jobhall.queue.job_queue import JobQueue
from jobhall.queue.job_worker import JobWorker
from jobhall.queue.views import ProgressFields, QueueJob, QueueProgress, StatusCounts
from jobhall.statuses import QueueStatus

__all__ = [
    "AsyncJobQueue",
    "AsyncJobWorker",
    "JobCancelRequestedError",
    "JobNotHeldError",
    "JobQueue",
    "JobUnavailableError",
    "JobWorker",
    "ProgressFields",
    "QueueJob",
    "QueueProgress",
    "QueueStatus",
    "StatusCounts",
]
