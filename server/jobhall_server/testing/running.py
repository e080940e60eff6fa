"""A user's worker in a test: a copy of it that watches its handlers, and how to know that it has nothing left to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, TypeAlias

from jobhall import Client, Job, JobExplanation, JobState, Task, TaskCancelled, TaskReleased, Worker
from jobhall.limits import NAMESPACE_ANY
from jobhall.states import WaitReasonKind
from jobhall.worker.held import Handler, bare_name
from jobhall_server.testing.matching import line

Handlers: TypeAlias = Mapping[str, Callable[[Task], Any]]

_OPEN: Final = (JobState.PENDING, JobState.CLAIMED, JobState.RUNNING, JobState.CANCELLING)
_KEPT: Final = {WaitReasonKind.TYPE_PAUSED, WaitReasonKind.BATCH_INACTIVE, WaitReasonKind.SESSIONS_EXCLUDED}
"""Why a PENDING job is not for this worker now, however long it stays."""
_PAUSE_SECONDS_FIRST, _PAUSE_SECONDS_MAX = 0.002, 0.05
_LOOKS_BEFORE_ASKING = 5


def offer_of(worker: Worker | Handlers) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The namespaces that it serves, and the types, as it names them; plain handlers serve all."""
    if isinstance(worker, Worker):
        return worker.namespaces, worker.job_types
    if isinstance(worker, Mapping):
        return (NAMESPACE_ANY,), tuple(worker)
    raise TypeError(f"{worker!r} is no Worker, and no mapping of job types to handlers")


@dataclass(slots=True)
class Seen:
    """What the handlers of one run did; they run in threads of their own."""

    ended: int = 0
    errors: list[tuple[Task, BaseException, TracebackType | None]] = field(default_factory=list)
    """What left handlers, and the frames that are the handler's own."""


class WatchedWorker:
    """A worker with the same handlers, which talks to the server under test and notes what leaves them.

    A copy, since a Worker runs once, and that of a module is there for all its tests. Handlers run in this process.
    """

    def __init__(self, worker: Worker | Handlers, address: str, *, tasks_max: int | None) -> None:
        self.seen = Seen()
        self.tasks_max = tasks_max
        original = worker if isinstance(worker, Worker) else _worker_of(worker)
        self.worker = Worker(
            address,
            name=original.name,
            namespace=original.namespaces,
            concurrency=original.concurrency if tasks_max is None else 1,
            prefetch=original.prefetch if tasks_max is None else 0,
            labels=original.labels,
            drain_seconds=original.drain_seconds,
        )
        for job_type, handler in original.handlers.items():
            limit = handler.concurrency if tasks_max is None else None
            self.worker.handler(job_type, concurrency=limit)(self._watched(handler))

    @property
    def full(self) -> bool:
        """Whether it ran as many tasks as it may."""
        return self.tasks_max is not None and self.seen.ended >= self.tasks_max

    def serves(self, job: Job) -> bool:
        """Whether jobs of that type and namespace are its own."""
        names = {bare_name(job_type) for job_type in self.worker.job_types}
        return job.job_type in names and not {job.namespace, NAMESPACE_ANY}.isdisjoint(self.worker.namespaces)

    def _watched(self, handler: Handler) -> Callable[[Task], Any]:
        function = handler.function

        def run(task: Task) -> Any:
            __tracebackhide__ = True
            try:
                return function(task)
            except BaseException as error:
                self._note(task, error)
                raise
            finally:
                self._ended()

        async def run_async(task: Task) -> Any:
            __tracebackhide__ = True
            try:
                return await function(task)
            except BaseException as error:
                self._note(task, error)
                raise
            finally:
                self._ended()

        return run_async if handler.is_async else run

    def _note(self, task: Task, error: BaseException) -> None:
        asked = isinstance(error, (TaskCancelled, asyncio.CancelledError)) and task.cancelled
        if not asked and not isinstance(error, TaskReleased):
            # Its own frame comes first; those of the worker are added on the way up.
            frames = error.__traceback__ and error.__traceback__.tb_next
            self.seen.errors.append((task, error, frames))

    def _ended(self) -> None:
        self.seen.ended += 1
        if self.full:
            # Before the outcome is told: with it the worker would ask for another task.
            self.worker.stop()


class Looks:
    """Looks at something again and again, for so long: often at first, then twenty times a second."""

    def __init__(self, timeout_seconds: float) -> None:
        self.count = 0
        self._deadline = time.monotonic() + timeout_seconds
        self._pause = _PAUSE_SECONDS_FIRST

    def again(self) -> bool:
        """Wait for the next look; False when the time is over."""
        if time.monotonic() > self._deadline:
            return False
        time.sleep(self._pause)
        self.count += 1
        self._pause = min(self._pause * 1.5, _PAUSE_SECONDS_MAX)
        return True


def wait_until_done(
    client: Client,
    watched: WatchedWorker,
    *,
    until: Callable[[], object] | None,
    settle: Callable[[], None],
    hasty: bool,
    timeout_seconds: float,
) -> None:
    """Wait until that is true, or else until the worker has nothing left to do, also after `settle` had the server do
    what follows from the last outcomes; where it is `hasty`, no longer than until a handler fails. AssertionError after
    so many seconds says what is left.
    """
    __tracebackhide__ = True
    looks = Looks(timeout_seconds)
    settled = False
    while not (watched.full or (hasty and watched.seen.errors) or (until is not None and until())):
        if watched.worker.error is not None:
            raise watched.worker.error
        left = _left(client, watched) if watched.worker.connected else None
        if until is None and left is not None and not _awaited(client, left, ask=looks.count >= _LOOKS_BEFORE_ASKING):
            if settled:
                return
            settle()
            settled = True
            continue
        settled = False
        if not looks.again():
            raise AssertionError(_overdue(client, watched, left, timeout_seconds))


def _left(client: Client, watched: WatchedWorker) -> list[Job]:
    names = [bare_name(job_type) for job_type in watched.worker.job_types]
    found = client.jobs.list_jobs(namespace=NAMESPACE_ANY, states=_OPEN, job_types=names)
    return [job for job in found if watched.serves(job)]


def _awaited(client: Client, left: list[Job], *, ask: bool) -> bool:
    """Whether any of them is with the worker, or will be; why others wait is worth a call only after a while."""
    if not ask or any(job.state is not JobState.PENDING for job in left):
        return bool(left)
    return not all(_KEPT & {reason.kind for reason in client.jobs.explain(job.id).reasons} for job in left)


def _overdue(client: Client, watched: WatchedWorker, left: list[Job] | None, timeout_seconds: float) -> str:
    after = f"after {timeout_seconds:g} s"
    if left is None:
        return f"the worker {watched.worker.name!r} was not connected {after}: {watched.worker.health}"
    if not left:
        return f"the worker {watched.worker.name!r} has nothing left to do, and `until` was still not true {after}"
    job = client.jobs.get_job(left[-1].id)
    why: JobExplanation = client.jobs.explain(job.id)
    return f"the worker {watched.worker.name!r} still has {len(left)} jobs to do {after}; {line(job)}: {why.summary}"


def _worker_of(handlers: Handlers) -> Worker:
    namespaces, _ = offer_of(handlers)
    worker = Worker(name="handlers of a test", namespace=namespaces)
    for job_type, function in handlers.items():
        worker.handler(job_type)(function)
    return worker
