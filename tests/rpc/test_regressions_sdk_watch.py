"""Faults of the SDK's watch and waits over the real server, each with its story."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import grpc
import pytest

from jobhall import AsyncClient, Client, Submission
from jobhall.channel import CHANNEL_OPTIONS
from jobhall.errors import ApiError, Code
from jobhall_server.rpc.server import OPTIONS
from tests.support.counted import CountedChannel
from tests.support.proxy import Proxy
from tests.support.servers import Running
from tests.support.waiting import eventually_async

WAIT_SECONDS = 20


async def blocking(address: str, job_id: str, ends: list[object]) -> None:
    """Watches, and closes the client in the middle."""

    def play(**options: Any) -> None:
        with Client(address) as client:
            for _ in client.jobs.watch(job_ids=[job_id], **options):
                client.close()

    await asyncio.to_thread(play)
    ends.append("ended")
    with pytest.raises(ApiError, match="the client was closed") as caught:
        await asyncio.to_thread(play, stop_when_terminal=True)
    ends.append(caught.value.code)


async def unblocking(address: str, job_id: str, ends: list[object]) -> None:
    """The same with the async client."""

    async def play(**options: Any) -> None:
        async with AsyncClient(address) as client:
            async for _ in client.jobs.watch(job_ids=[job_id], **options):
                await client.close()

    await play()
    ends.append("ended")
    with pytest.raises(ApiError, match="the client was closed") as caught:
        await play(stop_when_terminal=True)
    ends.append(caught.value.code)


@pytest.mark.parametrize("play", [blocking, unblocking])
async def test_a_watch_to_the_end_of_jobs_does_not_end_as_if_they_had_when_its_client_is_closed(
    server: Running, client: AsyncClient, play: Callable[..., Any]
) -> None:
    """Both just ended, so that a program took jobs that ran for jobs that were over."""
    job = await client.jobs.submit("score")
    ends: list[object] = []

    await asyncio.wait_for(play(server.address, job.id, ends), WAIT_SECONDS)

    assert ends == ["ended", Code.CANCELLED]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("limits", [{"timeout": math.inf}, {"poll_interval": 600}, {"poll_interval": math.inf}])
async def test_a_wait_takes_any_length_of_time_in_both_clients(
    server: Running, client: AsyncClient, limits: dict[str, float]
) -> None:
    """An infinite timeout was over at once, and a poll_interval of more than a minute an error, for a lone wait."""

    def wait() -> list[int]:
        with Client(server.address) as other:
            return [
                it.result
                for it in (other.jobs.wait_for_job(one.id, **limits), *other.jobs.wait_for_jobs(ids, **limits))
            ]

    one, *many = await client.jobs.submit_many([Submission("double", number) for number in range(3)])
    ids = [job.id for job in many]
    async with asyncio.timeout(WAIT_SECONDS):
        results = [(await client.jobs.wait_for_job(one.id, **limits)).result]
        results += [job.result for job in await client.jobs.wait_for_jobs(ids, **limits)]

        assert results == await asyncio.to_thread(wait) == [0, 2, 4]


def hurried(options: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """The same, with pings twenty times as often, and waited for as much shorter."""
    pings = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")
    return [(name, value // 20 if name in pings else value) for name, value in options]


async def test_a_client_gives_up_a_connection_that_a_router_forgot_when_its_ping_is_not_answered(
    server: Running,
) -> None:
    """gRPC waited a minute for the answer to a ping, whatever keepalive_timeout said: waits, watches and other calls
    of a client stayed on a dead connection for a minute and a half, though the network was well again.
    """
    with Proxy(server.address) as proxy:
        channel = grpc.aio.insecure_channel(proxy.address, options=hurried(CHANNEL_OPTIONS))
        async with AsyncClient(proxy.address, channel=channel) as other, aclosing(other.jobs.watch()) as watch:
            await anext(watch)
            proxy.swallow(new=False)

            async with asyncio.timeout(8):
                await anext(watch)


@asynccontextmanager
async def holding(gone: asyncio.Event) -> AsyncIterator[str]:
    """A server with a stream that says one thing, and its address; `gone` is set as the stream ends."""

    async def hold(_request: bytes, context: Any) -> AsyncIterator[bytes]:
        context.add_done_callback(lambda _: gone.set())
        yield b"first"
        await asyncio.Event().wait()

    server: Any = grpc.aio.server(options=hurried(OPTIONS))
    handlers: Any = {"Hold": grpc.unary_stream_rpc_method_handler(hold)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Held", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def test_a_server_gives_up_a_connection_that_a_router_forgot_when_its_ping_is_not_answered() -> None:
    """The same of the server: for a minute more it kept the watches and calls of clients that were gone."""
    gone = asyncio.Event()
    async with holding(gone) as address:
        with Proxy(address) as proxy:
            channel: Any = grpc.aio.insecure_channel(proxy.address)
            async with channel:
                call = channel.unary_stream("/test.Held/Hold")(b"")
                assert await call.read() == b"first"
                proxy.swallow()

                async with asyncio.timeout(8):
                    await gone.wait()


async def test_a_watch_that_is_left_by_break_closes_its_stream(server: Running, client: AsyncClient) -> None:
    """No fault was found here: that nobody has to close it by hand is what the guide's examples rely on."""
    channel = CountedChannel(grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS))
    async with AsyncClient(server.address, channel=cast("Any", channel)) as other:
        async for _ in other.jobs.watch():
            break

        await eventually_async(lambda: not channel.open_streams, within=5, what="the stream is closed")

    def play() -> int:
        counted = CountedChannel(grpc.insecure_channel(server.address, options=CHANNEL_OPTIONS))
        with Client(server.address, channel=cast("Any", counted)) as other:
            for _ in other.jobs.watch():
                break
            return counted.open_streams

    assert await asyncio.to_thread(play) == 0
