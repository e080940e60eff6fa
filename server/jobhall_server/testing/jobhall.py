"""What a test has in its hands: a server of its own, with verbs to run workers, move the clock and look at jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypedDict, Unpack

from jobhall import AsyncClient, Client, Job, JobState, Worker
from jobhall.calls import SubmitOptions
from jobhall.errors import JobTypeNotFoundError
from jobhall.limits import (
    JOB_TYPE_PREFIX_GLOBAL,
    JOB_TYPE_PREFIX_OWN,
    NAMESPACE_ANY,
    NAMESPACE_DEFAULT,
    NAMESPACE_GLOBAL,
)
from jobhall.spans import seconds
from jobhall.worker.held import bare_name
from jobhall_server.testing.clock import AheadClock, ServerClock
from jobhall_server.testing.matching import ANYTHING, failure, line, matches, nearest_first, told, wanted
from jobhall_server.testing.running import Handlers, Looks, WatchedWorker, offer_of, wait_until_done

RUN_SECONDS = 30.0


class RunOptions(TypedDict, total=False):
    """What `Jobhall.run` takes beside the worker."""

    until: Callable[[], object] | None
    jobs_max: int | None
    timeout: float | timedelta
    raise_errors: bool


class Jobhall:
    """A real server on a free port of this machine, with a database of its own, as long as the test runs.

    JOBHALL_ADDRESS names it meanwhile, so the clients and workers of the code under test find it by themselves.

        def test_a_picture_is_resized(jobhall: Jobhall) -> None:
            jobhall.register(worker)
            upload("cat.png")
            jobhall.assert_submitted("resize", {"file": "cat.png"})
            [job] = jobhall.run(worker)
            assert job.result == {"width": 100}
    """

    def __init__(self, address: str, clock: AheadClock, advance: Callable[[int], None]) -> None:
        self.address = address
        """host:port."""
        self.client = Client(address)
        self.clock = ServerClock(clock, advance)

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"grpc://{self.address}"

    def async_client(self) -> AsyncClient:
        """A new client for the test's own loop: `async with jobhall.async_client() as client`."""
        return AsyncClient(self.address)

    # --- running workers ---

    def register(self, *served: Worker | Handlers | str, namespace: str = NAMESPACE_DEFAULT) -> None:
        """Registers job types by name, those of plain handlers, or all that a worker serves where it serves them, as if
        it had been there once: else their submits are refused. Types that are there already stay as they are.
        """
        for one in served:
            namespaces, job_types = ((namespace,), (one,)) if isinstance(one, str) else offer_of(one)
            for place in namespaces:
                for job_type in job_types:
                    self._register(job_type, namespace if place == NAMESPACE_ANY else place)

    def run(
        self,
        worker: Worker | Handlers,
        *,
        until: Callable[[], object] | None = None,
        jobs_max: int | None = None,
        timeout: float | timedelta = RUN_SECONDS,
        raise_errors: bool = True,
    ) -> tuple[Job, ...]:
        """Runs a worker, or plain handlers by their type, and returns the jobs that ended meanwhile, in that order.

        It runs until nothing is due for it any more: jobs that wait for a later time, for their batch or for the end of
        a pause are left. With `until` it runs until that returns something true, with `jobs_max` until it has run so
        many tasks, one by one. What leaves a handler as an exception is raised as an AssertionError, with that
        exception as its cause, unless `raise_errors` is False. The worker itself is not started: a copy is, which
        talks to this server, its handlers in threads of this process.
        """
        __tracebackhide__ = True
        began_at = self.clock.now()
        self.clock.advance(0)
        with self._working(worker, jobs_max) as watched:
            wait_until_done(
                self.client,
                watched,
                until=until,
                settle=partial(self.clock.advance, 0),
                hasty=raise_errors,
                timeout_seconds=seconds(timeout, field="timeout"),
            )
            if raise_errors:
                # Before the others have had their time to end.
                _raise_first(watched, [])
        ended = [job for job in self._whole(ended_after=began_at) if watched.serves(job)]
        if raise_errors:
            _raise_first(watched, ended)
        return tuple(sorted(ended, key=lambda job: job.ended_at or began_at))

    async def run_async(self, worker: Worker | Handlers, **options: Unpack[RunOptions]) -> tuple[Job, ...]:
        """The same for async tests; their own loop goes on meanwhile."""
        return await asyncio.to_thread(partial(self.run, worker, **options))

    def perform(
        self,
        worker: Worker | Handlers,
        job_type: str,
        parameters: Any = None,
        *,
        timeout: float | timedelta = RUN_SECONDS,
        **options: Unpack[SubmitOptions],
    ) -> Job:
        """Registers the type, submits one job of it, runs the worker for at most `timeout`, and returns the job as it
        is then.
        """
        __tracebackhide__ = True
        namespace = options.get("namespace") or NAMESPACE_DEFAULT
        namespaces, job_types = offer_of(worker)
        served = {bare_name(spec): spec for spec in job_types}
        if bare_name(job_type) not in served or {namespace, NAMESPACE_ANY}.isdisjoint(namespaces):
            there = f"{', '.join(served)} in {', '.join(namespaces)}"
            raise ValueError(f"the worker would not run {job_type!r} in {namespace!r}; it serves {there}")
        self.register(served[bare_name(job_type)], namespace=namespace)
        job = self.client.jobs.submit(bare_name(job_type), parameters, **options)
        self.run(worker, timeout=timeout)
        return self.client.jobs.get_job(job.id)

    @contextmanager
    def working(self, worker: Worker | Handlers) -> Iterator[Worker]:
        """A copy of the worker works in threads of its own as long as the block runs, for tests that do something
        meanwhile: cancel a job, or advance the clock beyond its timeout.
        """
        with self._working(worker, None) as watched:
            yield watched.worker

    def wait_for_state(self, job: Job | str, state: JobState, *, timeout: float | timedelta = RUN_SECONDS) -> Job:
        """Waits until the job is in that state, and returns it: that it is RUNNING, before the clock is advanced beyond
        its timeout.
        """
        __tracebackhide__ = True
        looks = Looks(seconds(timeout, field="timeout"))
        while (now := self._now(job)).state is not state:
            if now.done or not looks.again():
                raise AssertionError(f"{line(now)} is not {state.name}: {self._standing(now)}")
        return now

    # --- looking at jobs ---

    def jobs(
        self,
        job_type: str | None = None,
        parameters: Any = ANYTHING,
        *,
        labels: Mapping[str, str] | None = None,
        namespace: str | None = None,
        state: JobState | None = None,
    ) -> tuple[Job, ...]:
        """The jobs that match all that is given, in the order in which they were submitted.

        Of parameters that are objects, and of labels, it is enough to give those names that matter.
        """
        found = self._whole(
            namespace=NAMESPACE_ANY if namespace is None else namespace,
            job_types=() if job_type is None else (bare_name(job_type),),
            states=() if state is None else (state,),
            labels=dict(labels or {}),
        )
        return tuple(job for job in found if matches(parameters, job.parameters))

    def assert_submitted(
        self,
        job_type: str,
        parameters: Any = ANYTHING,
        *,
        count: int | None = None,
        labels: Mapping[str, str] | None = None,
        namespace: str | None = None,
    ) -> Job:
        """A job that matches as `jobs` says was submitted (exactly `count` of them); returns the newest."""
        __tracebackhide__ = True
        if count is not None and count < 1:
            raise ValueError(f"count is {count}; that there is none is said by assert_not_submitted")
        found = self.jobs(job_type, parameters, labels=labels, namespace=namespace)
        if found and count in (None, len(found)):
            return found[-1]
        what = wanted(job_type, parameters, labels, namespace)
        if found:
            raise AssertionError(f"{count} jobs {what} should have been submitted, not {len(found)}:\n{told(found)}")
        others = nearest_first(self.jobs(), job_type)
        instead = f"; there are:\n{told(others)}" if others else ", and no other one either"
        raise AssertionError(f"no job {what} was submitted{instead}")

    def assert_not_submitted(
        self,
        job_type: str,
        parameters: Any = ANYTHING,
        *,
        labels: Mapping[str, str] | None = None,
        namespace: str | None = None,
    ) -> None:
        """No job that matches was submitted."""
        __tracebackhide__ = True
        if found := self.jobs(job_type, parameters, labels=labels, namespace=namespace):
            what = wanted(job_type, parameters, labels, namespace)
            raise AssertionError(f"no job {what} should have been submitted; there are:\n{told(found)}")

    def assert_completed(self, job: Job | str, result: Any = ANYTHING) -> Job:
        """The job has completed, with that result, of which an object's names that do not matter may be left out;
        returns it as it is now.
        """
        __tracebackhide__ = True
        now = self._ended(job, JobState.COMPLETED)
        if not matches(result, now.result):
            raise AssertionError(f"the result of {line(now)} is {now.result!r}, not {result!r}")
        return now

    def assert_failed(self, job: Job | str, code: str | None = None, message: str | None = None) -> Job:
        """The job has failed, with that code, and that text in its message; returns it as it is now."""
        __tracebackhide__ = True
        now = self._ended(job, JobState.FAILED)
        error = now.error
        assert error is not None
        if code is not None and error.code != code:
            raise AssertionError(f"{line(now)} failed with the code {error.code!r}, not {code!r}: {_why(now)}")
        if message is not None and message not in error.message:
            raise AssertionError(f"{line(now)} failed, but not with {message!r} in its message: {_why(now)}")
        return now

    # --- its own ---

    def close(self) -> None:
        """Closes the client."""
        self.client.close()

    def _register(self, spec: str, namespace: str) -> None:
        place = NAMESPACE_GLOBAL if spec.startswith(JOB_TYPE_PREFIX_GLOBAL) else namespace
        with suppress(JobTypeNotFoundError):
            found = self.client.types.get(bare_name(spec), namespace=place)
            # A type of all namespaces is meant by its name alone, but by `private:`, and where there is an own one.
            if found.namespace == place or not spec.startswith(JOB_TYPE_PREFIX_OWN):
                return
        self.client.types.register(bare_name(spec), namespace=place)

    @contextmanager
    def _working(self, worker: Worker | Handlers, jobs_max: int | None) -> Iterator[WatchedWorker]:
        watched = WatchedWorker(worker, self.address, tasks_max=jobs_max)
        watched.worker.start()
        try:
            yield watched
        except BaseException:
            # The test has failed: nobody waits for what its handlers still do.
            watched.worker.stop(drain_seconds=0)
            raise
        watched.worker.stop()

    def _whole(self, **selection: Any) -> list[Job]:
        """The jobs with all that a list leaves out, the oldest first."""
        found = self.client.jobs.list_jobs(**{"namespace": NAMESPACE_ANY, **selection})
        return [*self.client.jobs.get_jobs([job.id for job in found][::-1])]

    def _ended(self, job: Job | str, state: JobState) -> Job:
        __tracebackhide__ = True
        now = self._now(job)
        if now.state is not state:
            raise AssertionError(f"{line(now)} is not {state.name}: {self._standing(now)}")
        return now

    def _now(self, job: Job | str) -> Job:
        return self.client.jobs.get_job(job if isinstance(job, str) else job.id)

    def _standing(self, job: Job) -> str:
        return _why(job) if job.done else self.client.jobs.explain(job.id).summary


def _raise_first(watched: WatchedWorker, ended: list[Job]) -> None:
    """What left a handler first; else the failure of a job that no handler's exception explains."""
    __tracebackhide__ = True
    for task, error, frames in watched.seen.errors:
        text = f"the handler of {task.job_type!r} failed, in attempt {task.attempt} of job {task.job_id}"
        raise AssertionError(f"{text}: {type(error).__name__}: {error}") from error.with_traceback(frames)
    for job in ended:
        if job.state is JobState.FAILED:
            raise AssertionError(f"{line(job)}: {_why(job)}")


def _why(job: Job) -> str:
    return failure(job) or job.cancel_reason or f"it is {job.state.name}"
