"""The edge of every RPC: who calls, one log line, and every error as a status; nothing of a bug leaves the server."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import grpc
import structlog
from google.protobuf.message import DecodeError

from jobhall.errors import ApiError, Code, DrainingError, FieldInvalidError, InternalError
from jobhall.wire_errors import status_from_error
from jobhall_server.rpc.caller import Authenticator, Metadata, set_principal
from jobhall_server.rpc.policy import POLICY, Role, Rule, check_role
from jobhall_server.rpc.streams import Stream, end

log = structlog.get_logger("jobhall_server.rpc")
_stdlib_log = logging.getLogger("jobhall_server.rpc")

STUCK_SECONDS = 2.0
"""A caller that has taken nothing for so long while the server stops is not waited for."""
_LOOK_SECONDS = 0.1

Context = grpc.aio.ServicerContext[Any, Any]
_CODES = {Code(code.value[0]): code for code in grpc.StatusCode}
_Behaviour = Callable[[Any, Any], Any]


class Edge(grpc.aio.ServerInterceptor):
    """The one interceptor; it sees all four kinds of RPC, in the task that serves the call."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._serving = 0
        self._streams: set[Stream] = set()
        self._empty = asyncio.Event()
        # One future for all calls: a task or an event's waiter each would cost memory for every open watch.
        self._drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def drain(self) -> None:
        """End the RPCs that only wait (watches, long polls, open streams of clients) with DRAINING."""
        if not self._drained.done():
            self._drained.set_result(None)

    async def emptied(self, *, within_seconds: float) -> None:
        """Wait until no handler runs any more: gRPC says that it has stopped before those that it cancelled have."""
        if self._serving:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), within_seconds)

    async def deserted(self) -> None:
        """Wait until nobody is left but callers that do not read: they cannot even be told that the server goes."""
        looks = 0
        # Twice: who has just been served may still be on its way to its answer.
        while looks < 2:
            await asyncio.sleep(_LOOK_SECONDS)
            stuck = sum(stream.stuck(seconds=STUCK_SECONDS) for stream in self._streams)
            looks = looks + 1 if 0 < stuck == self._serving else 0

    def begin(self, stream: Stream | None) -> None:
        """A handler begins."""
        self._serving += 1
        self._empty.clear()
        if stream is not None:
            self._streams.add(stream)

    def end(self, stream: Stream | None) -> None:
        """It has ended, whichever way."""
        self._serving -= 1
        if not self._serving:
            self._empty.set()
        if stream is not None:
            self._streams.discard(stream)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler; a method that nobody serves has none."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method
        return self._wrap(handler, method, POLICY[method])

    def _wrap(self, handler: Any, method: str, rule: Rule) -> grpc.RpcMethodHandler[Any, Any]:
        read = _reader(handler.request_deserializer)
        if handler.unary_unary is not None:
            served = handler.unary_unary

            async def unary(request: bytes, context: Context) -> Any:
                call = Call(self, method, rule, context)
                return await call.run(lambda: _awaited(served, read(request), context))

            return grpc.unary_unary_rpc_method_handler(
                cast("Any", unary), response_serializer=handler.response_serializer
            )
        served = handler.stream_stream or handler.unary_stream
        write = _writer(handler.response_serializer)

        async def stream(request: Any, context: Context) -> None:
            call = Call(self, method, rule, context, Stream(context))
            await call.run(
                lambda: _streamed(served, request if handler.request_streaming else read(request), call.stream)
            )

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                cast("Any", stream), request_deserializer=read, response_serializer=write
            )
        return grpc.unary_stream_rpc_method_handler(cast("Any", stream), response_serializer=write)

    async def admit(self, rule: Rule, context: Context) -> str:
        """Find out who calls and whether they may; answers their name for the log."""
        if rule.role is Role.PUBLIC:
            return ""
        caller = await self._authenticator.authenticate(cast("Metadata", context.invocation_metadata() or ()))
        set_principal(caller)
        check_role(rule, caller)
        return caller.subject

    async def unless_drained(self, serving: Awaitable[Any], stream: Stream | None) -> Any:
        """What it answers; DrainingError as soon as the server stops, with the work behind it cancelled."""
        work = asyncio.ensure_future(serving)
        try:
            await asyncio.wait({work, self._drained}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise DrainingError("this server is stopping; call again, the next one answers")
            return work.result()
        finally:
            await end((work,), stream)


class Call:
    """One RPC from its first to its last moment."""

    def __init__(self, edge: Edge, method: str, rule: Rule, context: Context, stream: Stream | None = None) -> None:
        self.stream = stream
        self._edge = edge
        self._method = method
        self._rule = rule
        self._context = context
        self._id = f"{random.getrandbits(64):016x}"
        self._caller = ""
        self._started = time.perf_counter()

    async def run(self, serve: Callable[[], Awaitable[Any]]) -> Any:
        """Serve it. An error leaves as its status, a bug as INTERNAL with nothing but the request's id."""
        structlog.contextvars.bind_contextvars(request_id=self._id)
        self._edge.begin(self.stream)
        error: ApiError | None = None
        answer: Any = None
        try:
            self._caller = await self._edge.admit(self._rule, self._context)
            answer = await (self._edge.unless_drained(serve(), self.stream) if self._rule.held else serve())
        except ApiError as refused:
            error = refused
        except NotImplementedError:
            error = ApiError("this version of the server does not have this call yet", code=Code.UNIMPLEMENTED)
        except grpc.aio.AbortError:
            # The handler (of the health service) has answered by itself.
            self._log(self._context.code().name)
            raise
        except asyncio.CancelledError as cancelled:
            error = self._judge_cancel(cancelled)
            if error is None:
                self._log("CANCELLED")
                raise
        except Exception as bug:
            if self._gone() or _call_over(bug):
                self._log("CANCELLED")
                raise asyncio.CancelledError from bug
            error = self._hide(bug)
        finally:
            self._edge.end(self.stream)
        if error is None:
            self._log("OK")
            return answer
        self._log(error.code.name, error)
        # Outside of any `except`: what it raises must not be caught by us.
        status = status_from_error(error)
        details = (("grpc-status-details-bin", status.SerializeToString()),) if error.reason else ()
        return await self._context.abort(_CODES[error.code], status.message, details)

    def _judge_cancel(self, cancelled: asyncio.CancelledError) -> ApiError | None:
        """None when the caller went away or the server ends the call; else some inner task was cancelled, and its
        CancelledError must not escape: the caller would wait until its deadline.
        """
        task = asyncio.current_task()
        if self._gone() or (task is not None and task.cancelling()):
            return None
        return self._hide(cancelled)

    def _gone(self) -> bool:
        return self._context.cancelled() or self._context.done()

    def _hide(self, bug: BaseException) -> ApiError:
        log.error("bug", method=self._method, request_id=self._id, exc_info=bug)
        return InternalError(self._id)

    def _log(self, code: str, error: ApiError | None = None) -> None:
        """The one canonical line; never a payload."""
        failed = error is not None and error.code is not Code.UNIMPLEMENTED
        quiet = self._rule.brief and not failed
        if quiet and not _stdlib_log.isEnabledFor(logging.DEBUG):
            # structlog takes 5 µs to find that out.
            return
        write = log.debug if quiet else log.info
        write(
            "rpc",
            method=self._method.removeprefix("/jobhall.v1."),
            code=code,
            **({"reason": error.reason, "error": error.message[:200]} if error is not None else {}),
            ms=round((time.perf_counter() - self._started) * 1000, 2),
            principal=self._caller,
            request_id=self._id,
        )


def _reader(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Bytes to message; what cannot be read is the caller's fault, and told so."""
    assert deserialize is not None

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            raise FieldInvalidError("request", "cannot be read as the message that this method takes") from None

    return read


def _writer(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
    """Message to bytes; what many streams are told comes as the bytes that were made once."""
    assert serialize is not None
    return lambda message: message if isinstance(message, bytes) else serialize(message)


async def _awaited(served: _Behaviour, request: Any, context: Context) -> Any:
    answer = served(request, context)
    return await answer if inspect.isawaitable(answer) else answer


async def _streamed(served: _Behaviour, request: Any, stream: Any) -> None:
    """Handlers of streams are coroutines that write, or async generators: both end here."""
    answer = served(request, stream)
    if inspect.isawaitable(answer):
        await answer
        return
    responses = cast("AsyncIterator[Any]", answer)
    try:
        async for response in responses:
            await stream.write(response)
    finally:
        if inspect.isasyncgen(responses):
            await responses.aclose()


def _call_over(error: Exception) -> bool:
    """Whether a stream was read that gRPC had just ended, at the end of a drain, or a write waited as its caller went;
    the errors have no public names.
    """
    text = str(error)
    return isinstance(error, grpc.aio.BaseError) and ("already stopped" in text or "execute_batch" in text)
