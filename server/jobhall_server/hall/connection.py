"""One worker stream of this process: its machine, the units that it needs, its seat at the dispatcher, its end."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import structlog

from jobhall.errors import ApiError, DrainingError, InternalError, WorkerDrainedError
from jobhall.states import JobState
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import Lease
from jobhall_server.domain.session import NewSession, SessionRecord
from jobhall_server.hall.checks import job_id
from jobhall_server.hall.frames import Assignment, Cancel, Capacity, FrameIn, FrameOut, Hello, LogsBody, Reports
from jobhall_server.hall.held import Batch, HeldTask, Overdue
from jobhall_server.hall.leases import LoseTasks, ReturnTasks
from jobhall_server.hall.registry import Served
from jobhall_server.hall.repairs import Repair
from jobhall_server.hall.reports import Judged, JudgeReports
from jobhall_server.hall.session import UNSENT_BYTES_MAX, SessionMachine
from jobhall_server.hall.sessions import DetachSession, check_hello
from jobhall_server.hall.store import Claimed
from jobhall_server.hall.takeover import Opened, OpenSession, decisions, resume_digest
from jobhall_server.hall.views import HeldRow

if TYPE_CHECKING:
    from jobhall_server.hall.workers import Workers

log = structlog.get_logger(__name__)

RETRY_COMMIT_SECONDS = 0.5


class Connection:
    """One worker stream: `receive` what the worker sends, send what `outgoing` answers, `close` when it is over."""

    accept_us = None
    """The stream's own timers see to what is not accepted."""

    def __init__(self, workers: Workers, principal: Principal) -> None:
        self.machine = SessionMachine(workers.settings, workers.hall.clock.monotonic())
        self.session: SessionRecord | None = None
        self.ended = asyncio.Event()
        """Set when the stream is over for the hall, whether or not the worker has heard of it."""
        self._workers = workers
        self._hall = workers.hall
        self._principal = principal
        self._wake = asyncio.Event()
        self._work = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._end: ApiError | None = None
        self._served: Served | None = None

    # --- the stream's side ---

    def receive(self, frame: FrameIn) -> None:
        """Take a frame. An ApiError raised here ends the stream with it."""
        if self.ended.is_set():
            return  # What is not acked comes again on the next stream.
        self.machine.receive(frame, self._hall.clock.monotonic())
        if isinstance(frame, Hello):
            check_hello(frame)
            self._pump = asyncio.create_task(self._run(frame), name=f"worker-stream {frame.worker_name}")
        else:
            if isinstance(frame, Reports):
                self._publish_progress()
            elif isinstance(frame, Capacity) and self.session is not None:
                self._hall.dispatcher.nudge()
            self._work.set()
            self._wake.set()

    async def outgoing(self) -> list[FrameOut]:
        """Wait for frames to send, in sending order. An empty list ends the stream with OK; ApiError with that."""
        while True:
            paused = self.machine.unsent_bytes > UNSENT_BYTES_MAX
            frames = self.machine.frames()
            if frames:
                if paused and self.machine.unsent_bytes <= UNSENT_BYTES_MAX:
                    self._hall.dispatcher.nudge()
                return frames
            if self._end is not None:
                raise self._end
            if self.ended.is_set() or (self.machine.finished and self.session is not None):
                return []
            self._wake.clear()
            await self._wake.wait()

    async def close(self) -> None:
        """The stream ended, for whatever reason: its session is detached, or closed when it left holding nothing."""
        self.end()
        assert self._leaving is not None
        await asyncio.shield(self._leaving)

    # --- the dispatcher's side ---

    @property
    def session_key(self) -> int:
        assert self.session is not None
        return self.session.key

    @property
    def epoch(self) -> int:
        assert self.session is not None
        return self.session.epoch

    @property
    def worker_name(self) -> str:
        return self.machine.hello.worker_name if self.machine.hello is not None else ""

    def free(self) -> int:
        return 0 if self.ended.is_set() else self.machine.free()

    def free_by_type(self) -> dict[str, int]:
        return self.machine.free_by_type()

    def serves(self) -> dict[int, str]:
        """Without those whose tasks the worker lets lie."""
        assert self._served is not None
        names, shut = self._served.names(), self.machine.unwanted.shut(self._hall.clock.monotonic())
        return {key: name for key, name in names.items() if key not in shut} if shut else names

    def deliver(self, claimed: Sequence[Claimed]) -> None:
        """Jobs that came for a stream that is over or wants less now go back at once, at no cost."""
        wanted = self.machine.wanted(claimed, self._served.names()) if self._served and self.free() else ()
        if len(wanted) < len(claimed):
            kept = {job.lease for job in wanted}
            unwanted = Overdue(unaccepted=[job.lease for job in claimed if job.lease not in kept])
            _ = self._hall.spawn(self._give_back_now(unwanted), "give back a claim")
        if wanted:
            queue = self._hall.registry.queue
            tasks = [
                Assignment(job, (known := queue(job.queue_key)).namespace, known.job_type, job.lease.token())
                for job in wanted
            ]
            self.machine.deliver(tasks, self._hall.clock.monotonic())
            self._wake.set()

    # --- the hall's side ---

    def cancel(self, cancel: Cancel, *, running: bool) -> bool:
        """Tell the worker to stop a task; False when it does not hold it."""
        told = self.machine.cancel(cancel, running=running)
        self._wake.set()
        return told

    def time_out(self, cancel: Cancel) -> None:
        """The time of a task was over; the worker is told to stop."""
        self.machine.time_out(cancel)
        self._wake.set()

    def forget(self, leases: Iterable[Lease]) -> None:
        """These tasks are not the worker's any more."""
        self.machine.forget(leases)
        self._wake.set()

    def save_progress_of(self, job_keys: AbstractSet[int]) -> set[int]:
        """Those of the jobs that spoke since their progress was saved last; it is saved now."""
        speaking = self.machine.holdings.progress.speaking(job_keys)
        if speaking:
            self.machine.save_progress()
            self._work.set()
        return speaking

    def tell_to_move(self, within_seconds: float) -> None:
        """The server is going."""
        self.machine.told_to_move("the server is stopping", within_seconds, self._hall.clock.monotonic())
        self._wake.set()

    def tell_to_leave(self, message: str, within_seconds: float) -> None:
        """The worker is drained."""
        self.machine.told_to_leave(message, within_seconds)
        self._wake.set()

    def end(self, error: ApiError | None = None) -> None:
        """The stream is over, with that error or with OK. Its session is let go at once, even where the worker cannot
        be reached any more.
        """
        if not self.ended.is_set():
            self._end = error
            self.ended.set()
            self.machine.over()
            # On its own task: the stream's may be cancelled, and the session must be detached all the same.
            self._leaving = self._hall.spawn(self._leave(closing=error is None), "detach a worker")
        self._work.set()
        self._wake.set()

    async def tick(self) -> None:
        """Run the stream's timers; a silent or late worker ends its stream."""
        if self.ended.is_set():
            return
        try:
            overdue = self.machine.tick(self._hall.clock.monotonic())
        except ApiError as error:
            self.end(error)
            return
        except TimeoutError:
            log.warning("worker_silent", worker=self.worker_name, seconds=self.machine.settings.heartbeat_seconds * 3)
            self.end(DrainingError("no frame for three heartbeats; the stream is given up, connect again"))
            return
        finally:
            self._hall.repairs.take(self.machine.holdings.repairs)
        try:
            await self._move_on(overdue)
        except ApiError:
            self.machine.again(overdue)
            raise
        self._work.set()
        self._wake.set()

    async def agree(self, rows: Mapping[bytes, HeldRow], *, delivery: int) -> None:
        """Compare with what the store said that the session holds; what nobody heard of goes back."""
        strays = self.machine.agree(rows, delivery=delivery, now_us=self._hall.clock.now_us())
        self._wake.set()
        if unseen := [row.lease for row in strays if row.state is JobState.CLAIMED]:
            ready = await self._hall.store.run(ReturnTasks(unseen))
            self._hall.dispatcher.nudge(ready)
        if begun := [row.lease for row in strays if row.state is not JobState.CLAIMED]:
            await self._lose(begun)

    # --- inside ---

    async def _run(self, hello: Hello) -> None:
        try:
            await self._open(hello)
            while not self.ended.is_set():
                self._work.clear()
                await self._report()
                self._wake.set()
                await self._work.wait()
            self.machine.save_progress()
            await self._report()
        except ApiError as error:
            self.end(error)
        except Exception:
            # A bug: the stream must end, or the worker would wait for acks that never come.
            log.exception("worker_stream_failed", worker=hello.worker_name)
            self.end(InternalError())

    async def _leave(self, *, closing: bool) -> None:
        if self._pump is not None:
            await asyncio.wait({self._pump})
        finished = closing and self.machine.leaving and self.machine.finished
        self._workers.detach(self)
        if self.session is None:
            return
        move = DetachSession(self.session.key, self.session.epoch, close=finished)
        while True:
            try:
                state = await self._hall.store.run(move)
            except ApiError as error:
                if self._hall.draining:
                    return  # The next process finds the session attached to a replica that is gone.
                log.debug("detach_waits", worker=self.worker_name, error=str(error))
                await asyncio.sleep(RETRY_COMMIT_SECONDS)
                continue
            now = "moved on" if state is None else state.name.lower()
            log.info("worker_left", worker=self.worker_name, session=self.session.session_id, state=now)
            return

    async def _open(self, hello: Hello) -> None:
        hall, resume_token = self._hall, hello.resume_token or secrets.token_urlsafe(16)
        await hall.settled()
        new = NewSession(
            session_id=job_id(hello.session_id, "hello.session_id") if hello.session_id else str(uuid.uuid4()),
            resume_digest=resume_digest(resume_token),
            worker_name=hello.worker_name,
            namespaces=hello.namespaces,
            job_types=hello.job_types,
            labels=json.dumps(hello.labels, sort_keys=True),
            runtime=json.dumps(hello.runtime, sort_keys=True),
            tasks_max=hello.tasks_max,
            replica_key=hall.store.replica_key,
            connection=hello.connection,
        )
        unit = OpenSession(
            new,
            auto_register=self._workers.auto_register,
            held=hello.held,
            losses_max=hall.settings.worker_losses_max,
        )
        opened = await hall.store.run(unit)
        if opened.drained:
            raise WorkerDrainedError(f"session {new.session_id} was drained; stop, or begin with a new one")
        self.session = opened.session
        self._served = Served(hall.registry, namespaces=hello.namespaces, job_types=hello.job_types)
        self._workers.supersede(opened.session)
        hall.registry.add_queues(opened.queues)
        hall.dispatcher.nudge(opened.ready_queues)
        hall.repairs.counts[Repair.NOT_BROUGHT_BACK] += opened.not_brought_back
        await hall.registry.refresh()
        rows = {row.lease.token(): row for row in await hall.store.reads.held([opened.session.key])}
        if self.ended.is_set():
            return
        self._welcome(opened, rows, resume_token)
        self._workers.attach(self, opened.session)
        log.info(
            "worker_joined",
            worker=new.worker_name,
            session=new.session_id,
            epoch=opened.session.epoch,
            job_types=list(new.job_types),
            held=len(rows),
            principal=self._principal.subject,
        )
        hall.dispatcher.poll()

    def _welcome(self, opened: Opened, rows: Mapping[bytes, HeldRow], resume_token: str) -> None:
        hall, session = self._hall, opened.session
        now_us = hall.clock.now_us()
        told = decisions(opened.listed, rows, now_us=now_us, grace_seconds=self.machine.settings.cancel_grace_seconds)
        cancels = {decision.token: decision.cancel for decision in told}
        queue = hall.registry.queue
        self.machine.opened(
            session.session_id,
            resume_token,
            session.epoch,
            decisions=told,
            held=[
                HeldTask(
                    row, queue(row.queue_key).job_type, 0, row.state is not JobState.CLAIMED, cancel=cancels[token]
                )
                for token, row in rows.items()
                if token in cancels
            ],
            now=hall.clock.monotonic(),
        )
        if session.drain_at is not None:
            self.tell_to_leave("this worker is drained", max(0.0, (session.drain_at - now_us) / 1e6))

    async def _move_on(self, overdue: Overdue) -> None:
        if overdue.unaccepted:
            await self._give_back(overdue.unaccepted)
        if overdue.lost:
            await self._lose(overdue.lost)

    async def _lose(self, leases: Sequence[Lease]) -> None:
        keys = frozenset(lease.job_key for lease in leases)
        lost = dict.fromkeys(keys, self.session_key)
        losses_max = self._hall.settings.worker_losses_max
        ready = await self._hall.store.run(LoseTasks(lost, confirmed=keys, losses_max=losses_max))
        self.forget(leases)
        self._hall.dispatcher.nudge(ready)

    async def _report(self) -> None:
        """Take report units until none waits; one that the database could not take is tried again."""
        while (batch := self.machine.take()) is not None:
            try:
                checked = await self._hall.result_checks.checked(batch.reports, self.machine.holdings.facts)
                unit = JudgeReports(checked.reports, chance=random.random(), session_key=self.session_key)
                judged = await self._hall.store.run(unit)
                checked.tell(judged)
            except ApiError as error:
                log.debug("reports_wait", worker=self.worker_name, items=len(batch.reports), error=str(error))
                self.machine.failed()
                if self.ended.is_set():
                    return  # They were never acked: the worker sends them again.
                await asyncio.sleep(RETRY_COMMIT_SECONDS)
                continue
            if self._hall.feed.logs_wanted:
                self._publish_logs(batch, judged)
            self.machine.committed(judged)
            self._wake.set()
            self._hall.dispatcher.nudge(judged.ready_queues)

    async def _give_back_now(self, unwanted: Overdue) -> None:
        try:
            await self._give_back(unwanted.unaccepted)
        except ApiError as error:
            log.debug("give_back_waits", worker=self.worker_name, error=str(error))
            self.machine.again(unwanted)

    async def _give_back(self, leases: Sequence[Lease]) -> None:
        ready = await self._hall.store.run(ReturnTasks(leases))
        self.forget(leases)
        self._hall.dispatcher.nudge(ready)

    def _publish_progress(self) -> None:
        holdings = self.machine.holdings
        for token, job_key in holdings.progress.untold().items():
            task, progress = holdings.tasks[token], holdings.progress.latest[job_key]
            queue = self._hall.registry.queue(task.facts.queue_key)
            self._hall.feed.publish_progress(task.facts, queue, progress, cancelling=task.cancel is not None)

    def _publish_logs(self, batch: Batch, judged: Judged) -> None:
        for place, report in enumerate(batch.reports):
            task = self.machine.holdings.tasks.get(report.token)
            if isinstance(report.body, LogsBody) and task is not None and place not in judged.refused:
                queue = self._hall.registry.queue(task.facts.queue_key)
                at, cancelling = self._hall.clock.now_us(), task.cancel is not None
                self._hall.feed.publish_logs(task.facts, queue, report.body, at=at, cancelling=cancelling)
