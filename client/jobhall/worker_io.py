"""The thread that talks to the server: its own loop and channel and no user code, so that nothing stops its beats."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeAlias

import grpc
from grpc import aio

from jobhall.channel import CHANNEL_OPTIONS, Endpoint
from jobhall.errors import ApiError, Code, DrainingError, ServerUnreachableError
from jobhall.limits import RECONNECT_BACKOFF_MAX
from jobhall.retry import RetryPolicy
from jobhall.v1 import worker_service_pb2
from jobhall.v1.worker_service_pb2 import ServerDrain, WorkRequest, WorkResponse
from jobhall.v1.worker_service_pb2_grpc import WorkerServiceStub
from jobhall.wire_errors import error_from_call
from jobhall.worker_crew import Crew
from jobhall.worker_ends import After, after
from jobhall.worker_handover import Handover
from jobhall.worker_stream import Effects, WorkerStream

_log = logging.getLogger("jobhall.worker")
_Call: TypeAlias = aio.StreamStreamCall[WorkRequest, WorkResponse]
_BACKOFF: Final = RetryPolicy(delay_first=timedelta(milliseconds=200), delay_max=RECONNECT_BACKOFF_MAX)
_LOOK_SECONDS: Final = 0.2
"""How often it is looked whether the server is silent, or a step of the departure is due."""
_STOP_SECONDS: Final = 1.0
"""For handlers to end once they are told, at the end of a drain."""
_FAREWELL_SECONDS: Final = 2.0
"""For the last reports to be acked, and for the stream to end."""
# A connection of its own for each stream: after silence the old one may be dead without anybody knowing.
_OPTIONS: Final = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))


class WorkerIO:
    """Opens streams until it is told to leave, or the server says that there is no use. Moves, but does not decide.

    Everything but `start`, `leave` and the events belongs to its thread.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        stream: WorkerStream,
        handover: Handover,
        make_crew: Callable[[], Crew],
        *,
        title: str,
    ) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._handover = handover
        self._make_crew = make_crew
        self._title = title
        """What the worker is called in its log."""
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="jobhall-io", daemon=True)
        self._crew: Crew
        self._tries = 0
        """Streams opened since the last Welcome."""
        self._renewed = False
        """The session was renewed since the last try."""
        self._move_at: float | None = None
        self._steps: deque[tuple[float, Callable[[], None]]] = deque()
        """Of the departure: when which is due."""
        self._gone = False
        self._bug: Exception | None = None
        self.connected = threading.Event()
        """Set while a stream is open that the server has welcomed."""
        self.stopped = threading.Event()
        self.error: Exception | None = None
        """Why it stopped, where nobody told it to."""

    def start(self) -> None:
        """Begins, and returns at once."""
        self._thread.start()

    def leave(self, *, drain_seconds: float) -> None:
        """Asks for no more work, lets handlers end for so long, reports, stops. From any thread, and again to hurry."""
        self._call(lambda: self._leave(drain_seconds))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        except Exception as error:  # noqa: BLE001 - run() raises it
            _log.critical("%s: failed; this is a bug of the SDK", self._title, exc_info=error)
            self.error = error
        finally:
            self._loop.close()
            self.stopped.set()

    def _call(self, function: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            # The loop is closed: nobody is there to hear it.
            return

    # --- its life ---

    async def _live(self) -> None:
        self._crew = self._make_crew()
        self._handover.listen(lambda: self._call(self._collect))
        try:
            while not self._over():
                error = await self._one_stream()
                if self._over() or not await self._go_on(error):
                    break
        finally:
            self._handover.listen(None)
            self._crew.stop(self._stream.stop_running("the worker stops"))
            self._crew.close()
        if self._stream.unacked_count:
            _log.warning("%s: stopped with %d reports undelivered", self._title, self._stream.unacked_count)
        else:
            _log.info("%s: stopped", self._title)

    def _over(self) -> bool:
        return self._gone or self._stream.finished

    async def _go_on(self, error: ApiError | None) -> bool:
        """Does what the stream's end asks for; whether another one is to be opened."""
        stream, was_connected = self._stream, self._tries == 0
        moving, self._move_at = self._move_at is not None, None
        what = after(error, leaving=stream.leaving)
        match what:
            case After.STOP:
                if error is not None:
                    _log.error("%s: stopped by the server at %s: %s", self._title, self._endpoint.address, error)
                self.error = error
                return False
            case After.NEW_SESSION:
                stream.renew_session()
            case After.START_AFRESH:
                _log.warning("%s: another process has taken its session over; its tasks are dropped", self._title)
                self._crew.stop(stream.drop_all())
                stream.renew_session()
            case After.RECONNECT if was_connected and not moving:
                _log.warning(
                    "%s: lost its stream (%s); %d tasks go on, %d reports wait; reconnecting",
                    self._title,
                    _why(error),
                    stream.held_count,
                    stream.unacked_count,
                )
            case After.RECONNECT if not was_connected:
                # What passes by itself is said once; it is tried again every few seconds.
                passes = error is None or isinstance(error, (ServerUnreachableError, DrainingError))
                level = logging.DEBUG if passes and self._tries > 1 else logging.WARNING
                _log.log(level, "%s: not connected: %s", self._title, error or "the server ended the stream")
            case After.RECONNECT:
                pass  # It was said when the server asked to move.
        # Twice in a row would be a loop.
        renewed, self._renewed = self._renewed, what is After.NEW_SESSION
        at_once = (moving and was_connected) or (self._renewed and not renewed)
        if not at_once:
            await self._pause(error)
        return True

    async def _pause(self, error: ApiError | None) -> None:
        """The back-off; a first failure of a good stream is tried again at once, or nearly."""
        seconds = _BACKOFF.backoff_seconds(self._tries + 1)
        if error is not None and error.retry_after is not None:
            seconds += error.retry_after.total_seconds()
        until = self._loop.time() + seconds
        while not self._over() and (left := until - self._loop.time()) > 0:
            await asyncio.sleep(min(left, _LOOK_SECONDS))
            self._take_steps()

    # --- one stream ---

    async def _one_stream(self) -> ApiError | None:
        """Opens a stream and stays with it to its end; the error that it ended with, None for OK."""
        self._tries += 1
        address, secure = self._endpoint.address, self._endpoint.secure
        async with (
            aio.secure_channel(address, grpc.ssl_channel_credentials(), options=_OPTIONS)
            if secure
            else aio.insecure_channel(address, options=_OPTIONS)
        ) as channel:
            call: _Call = WorkerServiceStub(channel).Work(metadata=self._endpoint.metadata)
            reader = asyncio.create_task(self._read(call))
            writer = asyncio.create_task(self._write(call))
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
            self._take_steps()
            if self._bug is not None:
                raise self._bug
            if reader.done():
                return _BROKEN if reader.cancelled() else reader.result()
            if self._stream.silent(now):
                return ServerUnreachableError(self._endpoint.address, "it has been silent for too long")
            if self._gone or (self._move_at is not None and now >= self._move_at):
                return None
            if writer.done():
                writer.result()
                said_all_at = said_all_at or now
                if now - said_all_at > _FAREWELL_SECONDS:
                    return None

    async def _read(self, call: _Call) -> ApiError | None:
        stream, crew, clock = self._stream, self._crew, self._loop.time
        try:
            while (response := await call.read()) is not aio.EOF:
                assert isinstance(response, WorkResponse)
                self._perform(stream.receive(response, clock()), crew)
        except aio.AioRpcError as error:
            return error_from_call(error, address=self._endpoint.address)
        return None

    def _perform(self, effects: Effects, crew: Crew) -> None:
        if effects.start:
            crew.hand(effects.start)
        if effects.stop:
            crew.stop(effects.stop)
        if effects.drain is not None:
            self._server_drains(effects.drain)
        if self._stream.welcomed and not self.connected.is_set():
            self._tries = 0
            self.connected.set()
            session, address = self._stream.session_id, self._endpoint.address
            _log.info("%s: connected to %s, session %s", self._title, address, session)
        self._wake.set()

    async def _write(self, call: _Call) -> None:
        stream, wake, loop = self._stream, self._wake, self._loop
        try:
            await call.write(stream.hello(loop.time()))
            while True:
                while (message := stream.next_message(loop.time())) is not None:
                    await call.write(message)
                if stream.finished:
                    await call.write(stream.farewell())
                    await call.done_writing()
                    return
                wake.clear()
                send_at = stream.send_at
                timer = None if send_at is None else loop.call_at(send_at, wake.set)
                await wake.wait()
                if timer is not None:
                    timer.cancel()
        except (aio.AioRpcError, aio.UsageError, asyncio.InvalidStateError):
            # The stream is at its end, and its reader knows why.
            await asyncio.Event().wait()

    def _collect(self) -> None:
        self._handover.hear()
        try:
            self._crew.over(self._stream.collect(self._loop.time()))
        except Exception as error:  # noqa: BLE001 - raised where the stream is looked after, so that it ends loudly
            self._bug = error
        self._wake.set()

    # --- leaving ---

    def _server_drains(self, drain: ServerDrain) -> None:
        if drain.reason == worker_service_pb2.DRAIN_REASON_WORKER_DRAIN:
            _log.info("%s: drained by an operator: %s", self._title, drain.message or "no reason given")
            self._leave(float("inf"))
            return
        within = drain.reconnect_within.ToTimedelta().total_seconds()
        self._move_at = self._loop.time() + random.random() * within
        _log.info("%s: moves, since the server leaves: %s", self._title, drain.message or "no reason given")

    def _leave(self, drain_seconds: float) -> None:
        if not self._stream.leaving:
            self._stream.leave()
            running = self._stream.running_count
            if running:
                _log.info("%s: stopping; %d tasks may end within %g s", self._title, running, drain_seconds)
        elif self._steps and drain_seconds >= self._steps[0][0] - self._loop.time():
            return
        stop_at = self._loop.time() + drain_seconds
        self._steps = deque(
            [
                (stop_at, self._stop_running),
                (stop_at + _STOP_SECONDS, self._abandon_running),
                (stop_at + _STOP_SECONDS + _FAREWELL_SECONDS, self._be_gone),
            ]
        )
        self._wake.set()

    def _take_steps(self) -> None:
        while self._steps and self._steps[0][0] <= self._loop.time():
            self._steps.popleft()[1]()
            self._wake.set()

    def _stop_running(self) -> None:
        self._crew.stop(self._stream.stop_running("the worker stops"))

    def _abandon_running(self) -> None:
        if count := self._stream.abandon_running():
            _log.warning("%s: %d handlers did not stop in time; their tasks are given back", self._title, count)

    def _be_gone(self) -> None:
        self._gone = True


_BROKEN: Final = ApiError("the stream broke", code=Code.CANCELLED)


def _why(error: ApiError | None) -> str:
    if error is None:
        return "the server ended it"
    # Its advice is for those who never had a server.
    return "no answer any more" if isinstance(error, ServerUnreachableError) else str(error)
