"""The thread that talks to the server: its own loop and channel and no user code, so that nothing stops its beats."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Coroutine
from math import inf, isinf
from time import monotonic
from typing import Any, Final, TypeVar

from jobhall.errors import ApiError, Code, JobhallError, ServerUnreachableError
from jobhall.v1 import worker_service_pb2
from jobhall.v1.worker_service_pb2 import ServerDrain
from jobhall.v1.worker_service_pb2_grpc import WorkerServiceStub
from jobhall.worker.access import Access, open_channel
from jobhall.worker.backoff import reconnect_seconds
from jobhall.worker.conversation import Call, listen, speak
from jobhall.worker.crew import Hands
from jobhall.worker.departure import FAREWELL_SECONDS, Departure
from jobhall.worker.ends import After, after
from jobhall.worker.flush import flush
from jobhall.worker.handover import Handover
from jobhall.worker.stream import Effects, Introduction, WorkerStream
from jobhall.worker.watchdog import BEAT_SECONDS, Watchdog, stack_of, watch

_log = logging.getLogger("jobhall.worker")
_T = TypeVar("_T")
_LOOK_SECONDS: Final = 0.2
"""How often it is looked whether the server is silent, or a step of the departure is due."""
_SETTLE_SECONDS: Final = 0.02
_FLUSH_AFTER_TRIES: Final = 2
"""After so many streams in a row that were not welcomed, outcomes go by ReportTasks."""
_FLUSH_SECONDS: Final = 5.0
_LASTING_SECONDS: Final = 1.0
"""A server that ends a stream sooner after its Welcome would do it again: the next is not opened at once."""


class WorkerIO:
    """Opens streams until it is told to leave, or the server says that there is no use. Moves, but does not decide.

    Everything but `start`, `leave`, `unready` and the events belongs to its thread.
    """

    def __init__(
        self,
        access: Access,
        stream: WorkerStream,
        handover: Handover,
        make_crew: Callable[[], Hands],
        *,
        title: str,
    ) -> None:
        self._access = access
        self._stream = stream
        self._handover = handover
        self._make_crew = make_crew
        self._title = title
        """What the worker is called in its log."""
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="jobhall-io", daemon=True)
        self._watchdog = Watchdog(title=title, stack=lambda: stack_of(self._thread), now=monotonic())
        self._departure = Departure(stop=self._stop_running, abandon=self._abandon_running, be_gone=self._be_gone)
        self._crew: Hands
        self._tries = 0
        """Streams opened since the last Welcome."""
        self._was_welcome = False
        """A server took it in before: advice for those who never found one would be of no use."""
        self._brief = 0
        """Streams in a row that the server ended as soon as they were welcomed."""
        self._welcomed_at = 0.0
        self._renewed = False
        """The session was renewed since the last try."""
        self._token = ""
        """The one shown last."""
        self._refusal: ApiError | None = None
        """What the server said of that one, until another was welcome."""
        self._move_at: float | None = None
        self._gone = False
        self._drained = False
        """An operator sends it away."""
        self._bug: Exception | None = None
        self.connected = threading.Event()
        """Set while a stream is open that the server has welcomed."""
        self.stopped = threading.Event()
        self.error: Exception | None = None
        """Why it stopped, where nobody told it to."""

    def start(self) -> None:
        """Begins, and returns at once."""
        self._thread.start()
        watch(self._thread, self._watchdog, until=self.stopped)

    def leave(self, *, drain_seconds: float) -> None:
        """Asks for no more work, lets handlers end for so long, reports, stops. From any thread, and again to hurry."""
        self._call(lambda: self._leave(drain_seconds))

    def introduce(self, introduction: Introduction) -> None:
        """Says hello anew, in a stream of its own, since it serves other types from now on. From any thread."""
        self._call(lambda: self._introduce(introduction))

    def unready(self) -> str:
        """Why no task could come now, for people; empty where one could. From any thread."""
        now = monotonic()
        if self.stopped.is_set():
            return "stopped" if self.error is None else f"stopped: {self.error}"
        if still := self._watchdog.still_seconds(now):
            return f"the connection's thread has not moved for {still:.0f} s"
        return self._stream.unready(now)

    def _run(self) -> None:
        try:
            # Whatever ends it, the stream is closed in its loop: gRPC's poller is shared by every loop of the process.
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001 - run() raises it; nobody else would hear of a thread's end
            _log.critical("%s: failed; this is a bug of the SDK", self._title, exc_info=error)
            self.error = error if isinstance(error, Exception) else JobhallError(f"the worker died of {error!r}")
        finally:
            self.stopped.set()

    def _call(self, function: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._guard, function)
        except RuntimeError:
            # The loop is closed: nobody is there to hear it.
            return

    def _guard(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 - raised at the next look, so that it ends loudly
            self._bug = error
        self._wake.set()

    def _beat(self) -> None:
        self._watchdog.beat(monotonic())
        self._loop.call_later(BEAT_SECONDS, self._beat)

    # --- its life ---

    async def _live(self) -> None:
        self._beat()
        self._crew = self._make_crew()
        self._handover.listen(lambda: self._call(self._collect))
        try:
            while not self._over():
                error = await self._one_stream()
                self._stream.closed()
                if self._over() or not await self._go_on(error):
                    break
            await self._settle()
        finally:
            self._handover.listen(None)
            self._stream.leave()
            self._crew.stop(self._stream.stop_running())
            self._crew.close()
            # What gRPC still has to say of closed streams finds its loop; others of the process would stumble over it.
            await asyncio.sleep(_SETTLE_SECONDS)
        if self._stream.unacked_count:
            _log.warning("%s: stopped with %d outcomes undelivered", self._title, self._stream.unacked_count)
        else:
            _log.info("%s: stopped", self._title)

    def _over(self) -> bool:
        return self._gone or self._stream.finished

    def _look(self) -> None:
        if self._bug is not None:
            raise self._bug
        if not self._stream.welcomed:
            self._stream.look(self._loop.time())
        if self._departure.take(self._loop.time()):
            self._wake.set()

    async def _looking(self, work: Coroutine[Any, Any, _T], *, unless: Callable[[], bool] = lambda: False) -> _T | None:
        """Does the work, and goes on to look meanwhile; None if it was given up."""
        task = asyncio.create_task(work)
        try:
            while not task.done():
                if unless():
                    return None
                await asyncio.wait({task}, timeout=_LOOK_SECONDS)
                self._look()
        finally:
            task.cancel()
        return task.result()

    async def _go_on(self, error: ApiError | None) -> bool:
        """Does what the stream's end asks for; whether another one is to be opened."""
        stream, was_connected = self._stream, self._tries == 0
        moving, self._move_at = self._move_at is not None, None
        was_brief = self._loop.time() - self._welcomed_at < _LASTING_SECONDS
        if was_connected:
            by_the_server = not (moving or isinstance(error, ServerUnreachableError))
            self._brief = self._brief + 1 if was_brief and by_the_server else 0
        what = after(error, drained=self._drained, known=self._was_welcome)
        if what is After.REFRESH and self._refusal is not None:
            what = After.STOP
        match what:
            case After.STOP:
                if error is not None:
                    _log.error("%s: stopped by the server at %s: %s", self._title, self._access.address, error)
                self.error = error
                return False
            case After.REFRESH:
                _log.info("%s: its token was refused (%s); a fresh one is asked for", self._title, error)
                self._refusal = error
            case After.NEW_SESSION:
                stream.renew_session()
            case After.START_AFRESH:
                _log.warning("%s: another process has taken its session over; its tasks are dropped", self._title)
                self._crew.stop(stream.drop_all())
                stream.renew_session()
            case After.RECONNECT if not (moving and was_connected):
                self._say_lost(error, was_connected=was_connected)
            case After.RECONNECT:
                pass  # It was said when the server asked to move.
        # Twice in a row would be a loop.
        renewed, self._renewed = self._renewed, what is After.NEW_SESSION
        at_once = (moving and was_connected) or what is After.REFRESH or (self._renewed and not renewed)
        if not at_once:
            await self._pause(error)
        return True

    def _say_lost(self, error: ApiError | None, *, was_connected: bool) -> None:
        if was_connected:
            _log.warning(
                "%s: lost its stream (%s); %d tasks go on, %d outcomes wait; reconnecting",
                self._title,
                _why(error),
                self._stream.running_count,
                self._stream.unacked_count,
            )
            return
        # What passes by itself is said once; it is tried again every few seconds.
        # INTERNAL without a reason is gRPC's own: the call ended while the Hello was on its way.
        passes = error is None or error.code is Code.UNAVAILABLE or (error.code is Code.INTERNAL and not error.reason)
        level = logging.DEBUG if passes and self._tries > 1 else logging.WARNING
        _log.log(level, "%s: not connected: %s", self._title, _why(error) if self._was_welcome else error)

    async def _pause(self, error: ApiError | None) -> None:
        """The back-off; a first failure of a good stream is tried again at once, or nearly."""
        retry_after = None if error is None else error.retry_after
        until = self._loop.time() + reconnect_seconds(
            self._tries + self._brief, session_seconds=self._stream.session_seconds, retry_after=retry_after
        )
        if self._tries >= _FLUSH_AFTER_TRIES:
            await self._flush(_FLUSH_SECONDS)
        while not self._over() and (left := until - self._loop.time()) > 0:
            await asyncio.sleep(min(left, _LOOK_SECONDS))
            self._look()

    # --- one stream ---

    async def _one_stream(self) -> ApiError | None:
        """Opens a stream and stays with it to its end; the error that it ended with, None for OK."""
        self._tries += 1
        try:
            endpoint = await self._looking(self._access.endpoint(), unless=self._over)
        except ApiError as error:
            return error
        if endpoint is None:
            return None
        if self._refusal is not None and endpoint.token == self._token:
            return self._refusal
        self._token = endpoint.token
        async with open_channel(endpoint) as channel:
            call: Call = WorkerServiceStub(channel).Work(metadata=endpoint.metadata)
            reader = asyncio.create_task(listen(call, self._stream, self._hear, address=endpoint.address))
            writer = asyncio.create_task(speak(call, self._stream, self._perform, self._wake))
            try:
                return await self._stay(reader, writer)
            finally:
                self.connected.clear()
                call.cancel()
                reader.cancel()
                writer.cancel()
                await asyncio.gather(reader, writer, return_exceptions=True)

    async def _stay(self, reader: asyncio.Task[ApiError | None], writer: asyncio.Task[None]) -> ApiError | None:
        said_all_at: float | None = None
        while True:
            await asyncio.wait({reader}, timeout=_LOOK_SECONDS)
            now = self._loop.time()
            self._look()
            if reader.done():
                return _BROKEN if reader.cancelled() else reader.result()
            if self._stream.silent(now):
                return ServerUnreachableError(self._access.address, "it has been silent for too long")
            moves = self._move_at is not None and now >= self._move_at and self.connected.is_set()
            if self._gone or moves:
                return None
            if writer.done():
                writer.result()
                said_all_at = said_all_at or now
                if now - said_all_at > FAREWELL_SECONDS:
                    return None

    def _hear(self, effects: Effects) -> None:
        if self._stream.welcomed and not self.connected.is_set():
            self._tries = 0
            self._welcomed_at = self._loop.time()
            self._was_welcome = True
            self._refusal = None
            self.connected.set()
            _log.info("%s: connected to %s, session %s", self._title, self._access.address, self._stream.session_id)
        self._perform(effects)

    def _perform(self, effects: Effects) -> None:
        if effects.start:
            self._crew.hand(effects.start)
        if effects.stop:
            self._crew.stop(effects.stop)
        if effects.drain is not None:
            self._server_drains(effects.drain)
        self._wake.set()

    def _collect(self) -> None:
        self._handover.hear()
        self._crew.over(self._stream.collect(self._loop.time()))

    def _introduce(self, introduction: Introduction) -> None:
        self._stream.introduction = introduction
        self._move_at = self._loop.time()

    # --- leaving ---

    def _server_drains(self, drain: ServerDrain) -> None:
        if drain.reason == worker_service_pb2.DRAIN_REASON_WORKER_DRAIN:
            _log.info("%s: drained by an operator: %s", self._title, drain.message or "no reason given")
            self._drained = True
            self._leave(inf)
            return
        within = drain.reconnect_within.ToTimedelta().total_seconds()
        self._move_at = self._loop.time() + random.random() * within
        _log.info("%s: moves, as the server asks: %s", self._title, drain.message or "no reason given")

    def _leave(self, drain_seconds: float) -> None:
        if not self._stream.leaving:
            self._stream.leave()
            if running := self._stream.running_count:
                limit = "" if isinf(drain_seconds) else f" within {drain_seconds:g} s"
                _log.info("%s: stopping; %d tasks may end%s", self._title, running, limit)
        elif (running := self._stream.running_count) and not drain_seconds:
            _log.info("%s: stopping at once; %d handlers are told to stop", self._title, running)
        self._departure.begin(self._loop.time(), drain_seconds=drain_seconds)
        self._wake.set()

    def _stop_running(self) -> None:
        self._crew.stop(self._stream.stop_running())

    def _abandon_running(self) -> None:
        if count := self._stream.abandon_running():
            _log.warning("%s: %d handlers did not stop in time; their tasks are given back", self._title, count)

    def _be_gone(self) -> None:
        self._gone = True

    # --- without a stream ---

    async def _settle(self) -> None:
        """There is no stream any more: what runs has a moment to stop, and what is unacked goes another way."""
        if self._stream.running_count:
            self._leave(0)
        while self._stream.running_count and not self._gone:
            await asyncio.sleep(_SETTLE_SECONDS)
            self._look()
        await self._flush(FAREWELL_SECONDS)

    async def _flush(self, seconds: float) -> None:
        if not (count := self._stream.unacked_count):
            return
        error = await self._looking(flush(self._stream, self._access, self._perform, within_seconds=seconds))
        if error is None:
            _log.info("%s: %d outcomes went without a stream", self._title, count)
        else:
            _log.debug("%s: nor could its outcomes go without a stream: %s", self._title, error)


_BROKEN: Final = ApiError("the stream broke", code=Code.CANCELLED)


def _why(error: ApiError | None) -> str:
    if error is None:
        return "the server ended it"
    # Its advice is for those who never had a server.
    return "no answer any more" if isinstance(error, ServerUnreachableError) else str(error)
