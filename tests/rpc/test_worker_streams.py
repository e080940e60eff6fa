"""What the SDK's worker does when its stream ends, stalls or cannot be had; nothing that its handlers did is lost."""

import asyncio
import http.client
import logging
import secrets
import threading
import time
from pathlib import Path

import pytest

from jobhall.aio import AsyncClient
from jobhall.errors import DrainingError, TokenInvalidError
from jobhall.states import JobState
from jobhall.task import Task
from jobhall.worker import Worker, watchdog
from jobhall.worker.access import TokenSource
from jobhall_server.domain.access import ANYBODY, Principal
from jobhall_server.rpc.caller import Metadata
from tests.support.authenticators import ByToken
from tests.support.proxy import Proxy, Way
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async

MEGABYTE = 1_000_000


class Moody:
    """Lets everybody in, except that it is not there for the token `away`."""

    async def authenticate(self, metadata: Metadata) -> Principal:
        if dict(metadata).get("authorization") == "Bearer away":
            raise DrainingError("come back later")
        return ANYBODY


class Tokens:
    """One that is good for the first stream; then two streams fail, and after each further one ReportTasks is next."""

    def __init__(self) -> None:
        self.unary_is_good = False
        self._asked = 0

    def __call__(self) -> str:
        self._asked += 1
        for_unary = self._asked >= 4 and self._asked % 2 == 0
        return "good" if self._asked == 1 or (for_unary and self.unary_is_good) else "away"


class Gated:
    """A handler that runs until it is let go, and returns what it is told."""

    def __init__(self, worker: Worker, result: object = "done") -> None:
        self.entered: list[int] = []
        self.release = threading.Event()
        self._result = result
        worker.handler("gated")(self._run)

    def _run(self, task: Task) -> object:
        self.entered.append(task.attempt)
        assert self.release.wait(20)
        return self._result


def noop(_: Task) -> None:
    """Ends at once."""


async def connected(worker: Worker) -> None:
    await eventually_async(lambda: worker.healthy, within=10, what="the worker is connected")


async def probed(worker: Worker) -> tuple[int, str]:
    def probe() -> tuple[int, str]:
        connection = http.client.HTTPConnection(worker.health_address or "", timeout=5)
        try:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            return response.status, response.read().decode().strip()
        finally:
            connection.close()

    return await asyncio.to_thread(probe)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog that looks after a tenth of a second."""
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(watchdog, "STUCK_SECONDS", 0.4)


class TestTokens:
    async def test_a_refused_token_is_asked_for_again_and_the_fresh_one_shown(self, tmp_path: Path) -> None:
        tokens = iter(["stale", "fresh"])
        async with running_server(tmp_path, authenticator=ByToken(fresh=ANYBODY)) as server:
            worker = Worker(server.address, token=lambda: next(tokens))
            worker.handler("noop")(noop)

            async with worker:
                await connected(worker)

    @pytest.mark.parametrize("source", ["stale", lambda: "stale", lambda: secrets.token_hex(8)])
    async def test_another_refusal_stops_the_worker_with_the_servers_word(
        self, tmp_path: Path, source: TokenSource
    ) -> None:
        async with running_server(tmp_path, authenticator=ByToken(fresh=ANYBODY)) as server:
            worker = Worker(server.address, token=source)
            worker.handler("noop")(noop)

            with pytest.raises(TokenInvalidError, match="needs a bearer token"):
                await asyncio.to_thread(worker.run)


class TestOutcomes:
    @pytest.mark.parametrize("session", ["alive", "over"])
    async def test_they_go_by_report_tasks_when_two_streams_in_a_row_could_not_be_had(
        self, tmp_path: Path, session: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "jobhall.worker")
        tokens = Tokens()
        ttl_seconds = 0.9 if session == "over" else 15.0
        async with (
            running_server(
                tmp_path,
                authenticator=Moody(),
                heartbeat_seconds=0.3,
                session_ttl_seconds=ttl_seconds,
                reaper_seconds=0.1,
            ) as server,
            AsyncClient(server.address) as client,
        ):
            with Proxy(server.address) as proxy:
                worker = Worker(proxy.address, token=tokens)
                gated = Gated(worker)
                async with worker:
                    await connected(worker)
                    submitted = await client.jobs.submit("gated")
                    await until(client, submitted.id, JobState.RUNNING)
                    proxy.drop_connections()
                    gated.release.set()
                    if session == "over":
                        await until(client, submitted.id, JobState.PENDING)
                    tokens.unary_is_good = True

                    job = await client.jobs.wait_for_job(submitted.id, timeout=15)
                    assert not worker.connected

        assert (job.state, job.result, job.attempt, gated.entered) == (JobState.COMPLETED, "done", 1, [1])
        assert "1 outcomes went without a stream" in caplog.text
        assert "undelivered" not in caplog.text

    async def test_only_what_no_way_was_left_for_is_called_undelivered(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with running_server(tmp_path) as server, AsyncClient(server.address) as client:
            with Proxy(server.address) as proxy:
                worker = Worker(proxy.address, drain_seconds=0)
                gated = Gated(worker)
                async with worker:
                    await connected(worker)
                    await client.jobs.submit("gated", max_attempts=1)
                    await eventually_async(lambda: gated.entered, within=10, what="the handler runs")
                    proxy.cut()
                    gated.release.set()

        assert "stopped with 1 outcomes undelivered" in caplog.text

    async def test_a_slow_connection_costs_a_megabyte_and_no_beat(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Six results of a megabyte at about 1.25 MB/s, and a session that ends after three silent beats of 1 s. Once
        all of them filled the buffers on the way, and each beat stood at their end.
        """
        async with (
            running_server(tmp_path, heartbeat_seconds=1, session_ttl_seconds=4) as server,
            AsyncClient(server.address) as client,
        ):
            with Proxy(server.address) as proxy:
                worker = Worker(proxy.address, concurrency=6)
                gated = Gated(worker, "x" * MEGABYTE)
                async with worker:
                    await connected(worker)
                    jobs = [await client.jobs.submit("gated", max_attempts=1) for _ in range(6)]
                    await eventually_async(lambda: len(gated.entered) == 6, within=10, what="all run")
                    proxy.delay_seconds = 0.05
                    gated.release.set()
                    on_the_way = await most_on_the_way(worker)
                    proxy.delay_seconds = 0
                done = [await client.jobs.get_job(job.id) for job in jobs]

        assert {(job.state, job.attempt) for job in done} == {(JobState.COMPLETED, 1)}
        assert on_the_way < 1.1 * MEGABYTE
        assert "lost its stream" not in caplog.text

    async def test_a_blocked_connection_keeps_what_it_cannot_send_and_gets_no_more_work(self, tmp_path: Path) -> None:
        async with (
            running_server(tmp_path, heartbeat_seconds=0.2, session_ttl_seconds=10) as server,
            AsyncClient(server.address) as client,
        ):
            with Proxy(server.address) as proxy:
                worker = Worker(proxy.address, concurrency=10)
                gated = Gated(worker, "x" * MEGABYTE)
                async with worker:
                    await connected(worker)
                    jobs = [await client.jobs.submit("gated", max_attempts=1) for _ in range(10)]
                    await eventually_async(lambda: len(gated.entered) == 10, within=10, what="all run")
                    proxy.hold(frozenset({Way.TO_SERVER}))
                    gated.release.set()
                    await eventually_async(lambda: not worker.connected, within=10, what="the silence is noticed")
                    jobs.append(await client.jobs.submit("gated"))
                    proxy.heal()
                    done = [await client.jobs.wait_for_job(job.id, timeout=15) for job in jobs]

        assert {(job.state, job.attempt) for job in done} == {(JobState.COMPLETED, 1)}
        assert len(gated.entered) == 11


async def until(client: AsyncClient, job_id: str, state: JobState) -> None:
    async def is_so() -> bool:
        return (await client.jobs.get_job(job_id)).state is state

    await eventually_async(is_so, within=10, what=f"the job is {state.name}")


async def most_on_the_way(worker: Worker) -> int:
    """The most bytes that were sent and not acked at any time until all were."""
    assert worker._io is not None
    stream, most = worker._io._stream, 0
    async with asyncio.timeout(20):
        while stream.held_count:
            most = max(most, stream._reports._unacked_bytes)
            await asyncio.sleep(0.01)  # sleeps: it samples
    return most


class TestHealth:
    async def test_it_is_good_while_tasks_can_come(self, tmp_path: Path) -> None:
        worker = Worker("127.0.0.1:1", health_listen="127.0.0.1:0")
        gated = Gated(worker)
        async with running_server(tmp_path) as server, AsyncClient(server.address) as client:
            with Proxy(server.address) as proxy:
                worker.address = proxy.address
                async with worker:
                    await connected(worker)
                    assert await probed(worker) == (200, "ok")
                    await client.jobs.submit("gated")
                    await eventually_async(lambda: gated.entered, within=10, what="the handler runs")
                    proxy.cut()
                    await eventually_async(lambda: not worker.healthy, within=10, what="the loss is noticed")
                    assert await probed(worker) == (503, "not connected")
                    proxy.heal()
                    await connected(worker)
                    stopping = asyncio.create_task(asyncio.to_thread(worker.stop))
                    await eventually_async(lambda: not worker.healthy, within=10, what="it leaves")
                    assert await probed(worker) == (503, "draining")
                    gated.release.set()
                    await stopping

    async def test_a_connection_thread_that_stands_still_is_loud(
        self, server: Running, impatient: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = Worker(server.address)
        worker.handler("noop")(noop)

        async with worker:
            await connected(worker)
            assert worker._io is not None
            worker._io._call(lambda: time.sleep(1.5))  # sleeps: it is the thread that is stuck
            await eventually_async(lambda: "has not moved" in worker.health, within=10, what="health fails")
            await eventually_async(lambda: "moves again" in caplog.text, within=10, what="it is over")
            assert worker.healthy

        stuck = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
        assert any("time.sleep(1.5)" in message for message in stuck)

    @pytest.mark.parametrize("error", [RuntimeError("a bug"), SystemExit("a bug")])
    async def test_a_connection_thread_that_dies_ends_the_worker_loudly(
        self, tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            raise error

        async with running_server(tmp_path) as server:
            worker = Worker(server.address)
            worker.handler("noop")(noop)
            async with worker:
                await connected(worker)
                assert worker._io is not None
                worker._io._call(fail)
                await eventually_async(lambda: worker.error, within=10, what="the worker has ended")
                await eventually_async(lambda: "stopped: " in worker.health, within=10, what="health says so")

        assert "a bug" in worker.health
        assert "this is a bug of the SDK" in caplog.text
