"""`client.workers` of the blocking client; `aio_workers` is its twin; the calls of both stand in `calls_*`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import TypeVar, Unpack

from jobhall import calls_tasks, calls_workers
from jobhall.calls import Call
from jobhall.client_driver import Driver
from jobhall.filters import WorkerSelection, settled
from jobhall.model_tasks import Claim, HeartbeatAnswer, ReportAnswer
from jobhall.procedures import Procedures
from jobhall.reports import TaskReport
from jobhall.worker_info import RuntimeInfo, WorkerInfo

T = TypeVar("T")


class WorkersApi:
    """`client.workers`: lists workers and sends one away; claims tasks and reports on them without a stream."""

    def __init__(self, driver: Driver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    def list(self, **selection: Unpack[WorkerSelection]) -> Iterator[WorkerInfo]:
        """Goes through the matching workers, the newest first; those that have left are not there.

        for worker in client.workers.list(states=[WorkerState.ATTACHED]):
            print(worker.name, worker.held_count)
        """
        return self._driver.pages(self._procedures, partial(calls_workers.list_workers, settled(selection)))

    def get(self, worker_id: str) -> WorkerInfo:
        """Reads one worker by its id, which is its session's; raises WorkerNotFoundError.

        print(client.workers.get(worker.id).job_types)
        """
        return self._call(calls_workers.get_worker(worker_id))

    def drain(self, worker_id: str, *, timeout: float | timedelta | None = None, reason: str = "") -> WorkerInfo:
        """Lets a worker finish what it holds, and leave: it gets no more tasks, and its program is told to stop.

        What it still holds after `timeout`, seconds or a timedelta (None: what the server is set to), is taken from
        it and runs elsewhere. Answers at once, with the worker DRAINING; raises WorkerNotFoundError.

            client.workers.drain(worker.id, timeout=60, reason="a new version is there")
        """
        return self._call(calls_workers.drain_worker(worker_id, timeout=timeout, reason=reason))

    def claim_tasks(
        self,
        job_types: Iterable[str] = (),
        *,
        job_ids: Iterable[str] = (),
        namespaces: Iterable[str] = (),
        session_id: str = "",
        worker_name: str = "",
        tasks_max: int = 1,
        timeout: float | timedelta | None = None,
        lease: float | timedelta | None = None,
        accept: bool = False,
        labels: Mapping[str, str] | None = None,
        runtime: RuntimeInfo | None = None,
    ) -> Claim:
        """Takes tasks for a program without a stream; most want a Worker.

        It waits for the first one as long as `timeout` says, at most 60 s; None: not at all. The first claim opens a
        session, which lives for `lease` (None: a minute) after each call that names it. A task is begun by the first
        report that names it, or at once with `accept`; one that nothing is said of in time goes back, at no cost.
        Raises SessionExpiredError (claim anew without a session_id) and WorkerDrainedError.

            claim = client.workers.claim_tasks(["resize"], timeout=20, accept=True)
            done = [reports.Completed(task.lease_token, {"width": 10}) for task in claim.tasks]
            client.workers.report_tasks(claim.session_id, done)
        """
        call = calls_tasks.claim(
            job_types,
            job_ids=job_ids,
            namespaces=namespaces,
            session_id=session_id,
            worker_name=worker_name,
            tasks_max=tasks_max,
            timeout=timeout,
            lease=lease,
            accept=accept,
            labels=labels or {},
            runtime=runtime,
        )
        return self._call(call)

    def report_tasks(self, session_id: str, reports: Iterable[TaskReport]) -> ReportAnswer:
        """Reports on claimed tasks, up to 5000 reports in order; all that the answer does not reject is on disk.

        An empty `session_id` lets the lease tokens speak for themselves: a completion may still be taken so after
        SessionExpiredError.

            answer = client.workers.report_tasks(claim.session_id, [reports.Failed(token, "no such file")])
            print([str(it.error) for it in answer.rejections])
        """
        return self._call(calls_tasks.report(session_id, reports))

    def heartbeat(self, session_id: str, lease_tokens: Iterable[bytes] = ()) -> HeartbeatAnswer:
        """Says that a session without a stream lives, and which tasks it has begun; due at a third of its lease.

        One that is not named is taken to be lost, and runs elsewhere. Raises SessionExpiredError.

            answer = client.workers.heartbeat(claim.session_id, [token])
            print(answer.lost, [it.reason for it in answer.stops])
        """
        return self._call(calls_tasks.beat(session_id, lease_tokens))

    def _call(self, call: Call[T]) -> T:
        return self._driver.run(self._procedures.call(call))
