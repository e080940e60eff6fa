"""The worker streams of this process: each one's machine, the units it needs, and what the streams have in common."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import structlog

from jobhall.errors import ApiError, DrainingError, InternalError, ProtocolUnsupportedError
from jobhall.limits import PROTOCOL_VERSION
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import Lease
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import NewSession, SessionRecord, SessionState
from jobhall_server.hall.frames import (
    Assignment,
    Capacity,
    FrameIn,
    FrameOut,
    Hello,
    ReportKind,
    Reports,
    StreamSettings,
)
from jobhall_server.hall.held import Overdue
from jobhall_server.hall.leases import LoseTasks, ReturnTasks, StopTasks
from jobhall_server.hall.registry import serves
from jobhall_server.hall.reports import JudgeReports
from jobhall_server.hall.session import SessionMachine
from jobhall_server.hall.sessions import MoveSessions, OpenSession, hello_fault
from jobhall_server.hall.store import Claimed

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall

log = structlog.get_logger(__name__)

RETRY_COMMIT_SECONDS = 0.5


class Workers:
    """All worker streams of this process; the dispatcher's seats."""

    def __init__(self, hall: Hall, settings: StreamSettings, *, auto_register: bool) -> None:
        self.hall = hall
        self.settings = settings
        self.auto_register = auto_register
        self._connections: dict[int, Connection] = {}
        self._unopened: set[Connection] = set()
        self._confirmed: dict[int, frozenset[int]] = {}
        self._draining = False

    def connect(self, principal: Principal) -> Connection:
        """A new stream; DrainingError when the server is going."""
        if self._draining:
            raise DrainingError("this server is stopping; connect to another replica, or again in a moment")
        connection = Connection(self, principal)
        self._unopened.add(connection)
        return connection

    def seats(self) -> Iterable[Connection]:
        """The attached sessions, for the dispatcher."""
        return self._connections.values()

    def cancel(self, session_key: int | None, lease: Lease, reason: str, *, running: bool) -> bool:
        """Push a cancel to the worker that holds the task; False when its stream is not here."""
        connection = self._connections.get(session_key) if session_key is not None else None
        return connection is not None and connection.cancel(lease, reason, running=running)

    def progress(self, job_key: int) -> Progress | None:
        """The newest progress of a task that a stream here delivered."""
        for connection in self._connections.values():
            progress = connection.machine.latest.get(job_key)
            if progress is not None:
                return progress
        return None

    def confirmed(self, session_key: int) -> frozenset[int]:
        """Job keys whose delivery that session had confirmed when its stream ended here."""
        return self._confirmed.get(session_key, frozenset())

    def forget_session(self, session_key: int) -> None:
        """Nothing is held by that session any more."""
        self._confirmed.pop(session_key, None)

    async def tick(self) -> None:
        """Run the timers of every stream."""
        for connection in [*self._unopened, *self._connections.values()]:
            await connection.tick()

    def drain(self) -> None:
        """Tell every stream to move, spread over a second, and take no new ones."""
        self._draining = True
        for connection in [*self._connections.values()]:
            connection.drain(random.uniform(0, 1))

    def attach(self, connection: Connection, session: SessionRecord) -> None:
        """The stream's session is open: it may be given work."""
        self._unopened.discard(connection)
        self._connections[session.key] = connection

    def detach(self, connection: Connection) -> None:
        """The stream is over."""
        self._unopened.discard(connection)
        if connection.session is not None:
            self._connections.pop(connection.session.key, None)
            confirmed = connection.machine.confirmed_jobs()
            if confirmed:
                self._confirmed[connection.session.key] = confirmed


class Connection:
    """One worker stream: `receive` what the worker sends, send what `outgoing` answers, `close` when it is over."""

    def __init__(self, workers: Workers, principal: Principal) -> None:
        self.machine = SessionMachine(workers.settings, workers.hall.clock.monotonic())
        self.session: SessionRecord | None = None
        self._workers = workers
        self._hall = workers.hall
        self._principal = principal
        self._wake = asyncio.Event()
        self._work = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._end: ApiError | None = None
        self._closed = False
        self._serves: dict[int, str] = {}
        self._serves_count = -1

    # --- the stream's side ---

    def receive(self, frame: FrameIn) -> None:
        """Take a frame. An ApiError raised here ends the stream with it."""
        self.machine.receive(frame, self._hall.clock.monotonic())
        if isinstance(frame, Hello):
            _check_hello(frame)
            self._pump = asyncio.create_task(self._run(frame), name=f"worker-stream {frame.worker_name}")
        else:
            if isinstance(frame, Reports):
                self._publish_progress(frame)
            elif isinstance(frame, Capacity) and self.session is not None:
                self._hall.dispatcher.nudge()
            self._work.set()
            self._wake.set()

    async def outgoing(self) -> list[FrameOut]:
        """Wait for frames to send, in sending order. An empty list ends the stream with OK; ApiError with that."""
        while True:
            frames = self.machine.frames()
            if frames:
                return frames
            if self._end is not None:
                raise self._end
            if self.machine.finished and self.session is not None:
                return []
            self._wake.clear()
            await self._wake.wait()

    async def close(self) -> None:
        """The stream ended, for whatever reason: its session is detached, or closed when it left holding nothing."""
        if not self._closed:
            self._closed = True
            self._work.set()
            # On its own task: the stream's may be cancelled, and the session must be detached all the same.
            await asyncio.shield(self._hall.spawn(self._leave(), "detach a worker"))

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
        return 0 if self._closed or self._end is not None else self.machine.free()

    def free_by_type(self) -> dict[str, int]:
        return self.machine.free_by_type()

    def serves(self) -> dict[int, str]:
        """Computed anew when queues were added."""
        queues = self._hall.registry.queues()
        hello = self.machine.hello
        if hello is not None and self._serves_count != len(queues):
            self._serves_count = len(queues)
            names = {
                queue.key: serves(queue, namespaces=hello.namespaces, job_types=hello.job_types) for queue in queues
            }
            self._serves = {key: name for key, name in names.items() if name is not None}
        return self._serves

    def deliver(self, claimed: Sequence[Claimed]) -> None:
        """Jobs that came for a stream that is over or wants less now go back at once, at no cost."""
        wanted = claimed[: self.free()]
        if len(wanted) < len(claimed):
            unwanted = Overdue(unaccepted=[job.lease for job in claimed[len(wanted) :]])
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

    def cancel(self, lease: Lease, reason: str, *, running: bool) -> bool:
        told = self.machine.cancel(lease, reason, running=running, now=self._hall.clock.monotonic())
        self._wake.set()
        return told

    def drain(self, after_seconds: float) -> None:
        self.machine.drain("the server is stopping", after_seconds)
        self._wake.set()

    async def tick(self) -> None:
        """Run the stream's timers; a silent or late worker ends its stream."""
        if self._closed or self._end is not None:
            return
        try:
            overdue = self.machine.tick(self._hall.clock.monotonic())
        except ApiError as error:
            self._finish(error)
            return
        except TimeoutError:
            log.warning("worker_silent", worker=self.worker_name, seconds=self.machine.settings.heartbeat_seconds * 3)
            self._finish(DrainingError("no frame for three heartbeats; the stream is given up, connect again"))
            return
        try:
            await self._move_on(overdue)
        except ApiError:
            self.machine.again(overdue)
            raise
        self._work.set()
        self._wake.set()

    # --- inside ---

    async def _run(self, hello: Hello) -> None:
        try:
            await self._open(hello)
            while not self._closed:
                self._work.clear()
                await self._report()
                self._wake.set()
                await self._work.wait()
            self.machine.save_progress()
            await self._report()
        except ApiError as error:
            self._finish(error)
        except Exception:
            # A bug: the stream must end, or the worker would wait for acks that never come.
            log.exception("worker_stream_failed", worker=hello.worker_name)
            self._finish(InternalError())

    async def _leave(self) -> None:
        if self._pump is not None:
            await asyncio.wait({self._pump})
        self._workers.detach(self)
        if self.session is None:
            return
        state = SessionState.CLOSED if self.machine.finished else SessionState.DETACHED
        move = MoveSessions((self.session.key,), SessionState.ATTACHED, state)
        while True:
            try:
                await self._hall.store.run(move)
            except ApiError as error:
                if self._hall.draining:
                    return  # The next process finds the session attached to a replica that is gone.
                log.warning("detach_waits", worker=self.worker_name, error=str(error))
                await asyncio.sleep(RETRY_COMMIT_SECONDS)
            else:
                break
        log.info("worker_left", worker=self.worker_name, session=self.session.session_id, state=state.name.lower())

    async def _open(self, hello: Hello) -> None:
        new = NewSession(
            session_id=hello.session_id or str(uuid.uuid4()),
            resume_token=hello.resume_token or secrets.token_urlsafe(16),
            worker_name=hello.worker_name,
            namespaces=hello.namespaces,
            job_types=hello.job_types,
            labels=json.dumps(hello.labels, sort_keys=True),
            runtime=json.dumps(hello.runtime, sort_keys=True),
            tasks_max=hello.tasks_max,
            replica_key=self._hall.store.replica_key,
            connection=hello.connection,
        )
        opened = await self._hall.store.run(OpenSession(new, auto_register=self._workers.auto_register))
        self.session = opened.session
        self._hall.registry.add_queues(opened.queues)
        await self._hall.registry.refresh()
        self._workers.attach(self, opened.session)
        self.machine.opened(new.session_id, new.resume_token, opened.session.epoch)
        log.info(
            "worker_joined",
            worker=new.worker_name,
            session=new.session_id,
            job_types=list(new.job_types),
            principal=self._principal.subject,
        )
        self._hall.dispatcher.poll()

    async def _move_on(self, overdue: Overdue) -> None:
        if overdue.unaccepted:
            await self._give_back(overdue.unaccepted)
        if overdue.lost:
            keys = frozenset(lease.job_key for lease in overdue.lost)
            ready = await self._hall.store.run(LoseTasks(dict.fromkeys(keys, self.session_key), confirmed=keys))
            self.machine.forget(overdue.lost)
            self._hall.dispatcher.nudge(ready)
        if overdue.stopped:
            await self._hall.store.run(StopTasks(overdue.stopped))
            self.machine.forget(overdue.stopped)

    async def _report(self) -> None:
        """Take report units until none waits; one that the database could not take is tried again."""
        while (batch := self.machine.take()) is not None:
            try:
                judged = await self._hall.store.run(JudgeReports(batch.reports))
            except ApiError as error:
                log.warning("reports_wait", worker=self.worker_name, items=len(batch.reports), error=str(error))
                self.machine.failed()
                if self._closed:
                    return  # They were never acked: the worker sends them again.
                await asyncio.sleep(RETRY_COMMIT_SECONDS)
                continue
            self.machine.committed(judged)
            self._wake.set()
            self._hall.dispatcher.nudge(judged.ready_queues)

    async def _give_back_now(self, unwanted: Overdue) -> None:
        try:
            await self._give_back(unwanted.unaccepted)
        except ApiError as error:
            log.warning("give_back_waits", worker=self.worker_name, error=str(error))
            self.machine.again(unwanted)

    async def _give_back(self, leases: Sequence[Lease]) -> None:
        ready = await self._hall.store.run(ReturnTasks(leases))
        self.machine.forget(leases)
        self._wake.set()
        self._hall.dispatcher.nudge(ready)

    def _publish_progress(self, frame: Reports) -> None:
        for report in frame.items:
            if report.kind is ReportKind.PROGRESS:
                task = self.machine.held.get(report.token)
                if task is not None and self.machine.latest.get(task.lease.job_key) is report.body:
                    assert isinstance(report.body, Progress)
                    self._hall.feed.publish_progress(task.assignment, report.body)

    def _finish(self, error: ApiError) -> None:
        self._end = error
        self._wake.set()


def _check_hello(hello: Hello) -> None:
    if hello.protocol_version != PROTOCOL_VERSION:
        raise ProtocolUnsupportedError(hello.protocol_version, minimum=PROTOCOL_VERSION, maximum=PROTOCOL_VERSION)
    fault = hello_fault(hello)
    if fault is not None:
        raise fault
