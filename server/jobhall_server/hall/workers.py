"""The worker streams of this process, together: the dispatcher's seats, and the way to the one that holds a task."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

from jobhall.errors import ApiError, DrainingError, SessionLimitError, SessionSupersededError
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import Lease
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import SessionRecord
from jobhall_server.hall.connection import Connection
from jobhall_server.hall.frames import Cancel, StreamSettings
from jobhall_server.hall.sessions import DrainSession

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall

log = structlog.get_logger(__name__)

MOVE_WITHIN_SECONDS = 1.0


class Workers:
    """All worker streams of this process."""

    def __init__(self, hall: Hall, settings: StreamSettings, *, auto_register: bool) -> None:
        self.hall = hall
        self.settings = settings
        self.auto_register = auto_register
        self._connections: dict[int, Connection] = {}
        self._unopened: set[Connection] = set()
        self._confirmed: dict[int, frozenset[int]] = {}
        self._draining = False

    def connect(self, principal: Principal) -> Connection:
        """A new stream; DrainingError when the server is going, SessionLimitError when it has as many as it may."""
        if self._draining:
            raise DrainingError("this server is stopping; connect to another replica, or again in a moment")
        streams_max = self.hall.settings.worker_streams_max
        if len(self._unopened) + len(self._connections) >= streams_max:
            raise SessionLimitError(f"{streams_max} worker streams are open here, the limit; try again later")
        connection = Connection(self, principal)
        self._unopened.add(connection)
        return connection

    def seats(self) -> Iterable[Connection]:
        """The attached sessions, for the dispatcher."""
        return self._connections.values()

    def attached(self) -> dict[int, Connection]:
        """The same by session."""
        return dict(self._connections)

    # --- to the stream that holds a task ---

    def cancel(self, session_key: int | None, cancel: Cancel, *, running: bool) -> bool:
        """Push a cancel to the worker that holds the task; False when its stream is not here."""
        connection = self._connections.get(session_key) if session_key is not None else None
        return connection is not None and connection.cancel(cancel, running=running)

    def time_out(self, session_key: int, cancel: Cancel) -> None:
        """The time of a task was over: its worker is told to stop."""
        if session_key in self._connections:
            self._connections[session_key].time_out(cancel)

    def forget(self, session_key: int, leases: Iterable[Lease]) -> None:
        """Tasks were moved on by the server itself: their worker is told that they are lost."""
        if session_key in self._connections:
            self._connections[session_key].forget(leases)

    def progress(self, job_key: int) -> Progress | None:
        """The newest progress of a task that a stream here holds."""
        for connection in self._connections.values():
            progress = connection.machine.holdings.progress.latest.get(job_key)
            if progress is not None:
                return progress
        return None

    def speaking(self, job_keys: Iterable[int]) -> set[int]:
        """Those of the jobs that are not silent: their worker has told progress which the store does not know yet. It
        is saved now.
        """
        keys = frozenset(job_keys)
        return {key for connection in self._connections.values() for key in connection.save_progress_of(keys)}

    # --- sessions ---

    async def drain(self, session_id: str, *, reason: str, drain_at: int) -> SessionRecord:
        """Let a worker, with or without a stream, finish what it holds by then (microseconds UTC), and leave.
        WorkerNotFoundError.
        """
        session = await self.hall.store.run(DrainSession(session_id, drain_at=drain_at), refusable=True)
        if session.key in self._connections:
            left_seconds = max(0.0, (drain_at - self.hall.clock.now_us()) / 1e6)
            self._connections[session.key].tell_to_leave(reason, left_seconds)
        return session

    def drained(self, session_key: int, leases: Iterable[Lease]) -> None:
        """The drain of a session is over: what it held was taken from it, and its stream ends."""
        self.forget_session(session_key)
        connection = self._connections.get(session_key)
        if connection is not None:
            connection.forget(leases)
            connection.end()

    def confirmed(self, session_key: int) -> frozenset[int]:
        """Job keys whose delivery that session had confirmed when its stream ended here."""
        return self._confirmed.get(session_key, frozenset())

    def forget_session(self, session_key: int) -> None:
        """Nothing is held by that session any more."""
        self._confirmed.pop(session_key, None)

    # --- all of them ---

    async def tick(self) -> None:
        """Run the timers of every stream; what the database could not do for one does not keep the others waiting."""
        failed: ApiError | None = None
        for connection in [*self._unopened, *self._connections.values()]:
            try:
                await connection.tick()
            except ApiError as error:
                failed = error
        if failed is not None:
            raise failed

    def tell_to_move(self) -> None:
        """Tell every worker to go, spread over a second, and take no new streams."""
        self._draining = True
        for connection in [*self._connections.values()]:
            connection.tell_to_move(random.uniform(0, MOVE_WITHIN_SECONDS))

    def end_all(self, error: ApiError) -> None:
        """End every stream; its worker reconnects with what it holds."""
        for connection in [*self._unopened, *self._connections.values()]:
            connection.end(error)

    # --- called by streams ---

    def supersede(self, session: SessionRecord) -> None:
        """That session was opened, or taken over by a newer stream: an older one here ends."""
        self.forget_session(session.key)
        older = self._connections.get(session.key)
        if older is not None and older.epoch < session.epoch:
            del self._connections[session.key]
            older.end(SessionSupersededError(f"a newer stream took session {session.session_id} over"))

    def attach(self, connection: Connection, session: SessionRecord) -> None:
        """The stream may be given work; unless a newer one of its session was quicker than its Welcome."""
        self._unopened.discard(connection)
        self.supersede(session)
        if session.key in self._connections:
            connection.end(SessionSupersededError(f"a newer stream took session {session.session_id} over"))
        else:
            self._connections[session.key] = connection
            if self._draining:
                connection.tell_to_move(random.uniform(0, MOVE_WITHIN_SECONDS))

    def detach(self, connection: Connection) -> None:
        """The stream is over; nothing of it is forgotten that a newer one of its session did."""
        self._unopened.discard(connection)
        session = connection.session
        if session is not None and self._connections.get(session.key) is connection:
            del self._connections[session.key]
            confirmed = connection.machine.confirmed_jobs()
            if confirmed:
                self._confirmed[session.key] = confirmed
