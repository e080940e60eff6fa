"""Workers and the server are told to stop under load and others take their place: nothing runs again, no call fails."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jobhall
from tests.support import journal
from tests.support.evidence import all_completed, executed_twice, history, image_check
from tests.support.history import Recorder, check
from tests.support.load import Load
from tests.support.onlooker import Onlooker
from tests.support.processes import Processes, Program, Server
from tests.support.stored import Stored
from tests.support.waiting import eventually_async

WORKERS = 2
DRAIN_SECONDS = 3
STOP_SECONDS = DRAIN_SECONDS + 2
NAPS_SECONDS = (0.1, 0.2, 0.3, 0.4, 2.0)
"""The last one is longer than a session lives without its stream."""
SETTINGS: dict[str, Any] = {
    "session_ttl_seconds": 1,
    "heartbeat_seconds": 0.3,
    "drain_seconds": DRAIN_SECONDS,
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.long_timeout(600)]


async def test_rolling_restarts_under_load_run_nothing_twice_and_fail_no_call(
    processes: Processes, tmp_path: Path, long: bool, figures: Callable[..., None]
) -> None:
    """Again and again each worker is replaced by SIGTERM, the new one first, and the server as well: another waits.

    The client has its default retries and no more. A worker that stops ends what it runs, and gives back what it has
    not begun; a server that stops sends its workers to the next one with what they hold. What the last one leaves on
    the disk is whole without recovery.
    """
    rounds, stops = (25 if long else 2), []
    server = await asyncio.to_thread(processes.serve, **SETTINGS)
    workers = [processes.work(f"worker-{n}", server.address, concurrency=8) for n in range(WORKERS)]
    async with jobhall.AsyncClient(server.address) as client:
        await client.types.register("nap")
        async with Onlooker(client) as onlooker:
            load = Load(
                client,
                "nap",
                parameters=lambda: {"seconds": random.choice(NAPS_SECONDS)},
                pause_seconds=0.3,
                recorder=Recorder(tmp_path / "load.calls", "load"),
            )
            async with load:
                for number in range(1, rounds + 1):
                    await under_way(load, tmp_path, 15)
                    stops += await asyncio.to_thread(replace_workers, processes, server, workers, number)
                    await under_way(load, tmp_path, 15)
                    server, took = await asyncio.to_thread(replace_server, processes, server)
                    stops.append(took)
                await under_way(load, tmp_path, 15)
            stored = Stored(server.database)
            await all_completed(stored, within=30)
            await onlooker.has_missed_nothing(stored)
    await asyncio.to_thread(seconds_to_stop, server)

    executions = journal.executions(tmp_path)
    again = executions.total() - len(executions)
    figures(
        stops=len(stops),
        of_the_server=rounds,
        jobs=len(load.acknowledged),
        executed_again=again,
        longest_stop=f"{max(stops):.1f} s",
    )
    image_check(load.acknowledged, tmp_path)(server)
    check(history(stored, tmp_path))
    assert again == 0
    assert executed_twice(tmp_path) == []
    assert executions.keys() == set(load.acknowledged)
    assert stored.rows("SELECT DISTINCT attempt, worker_losses FROM jobhall_jobs") == [(1, 0)]


async def under_way(load: Load, folder: Path, more: int) -> None:
    """Waits until so many more submits were acknowledged, and so many more jobs were run."""
    acknowledged, executed = len(load.acknowledged), journal.executions(folder).total()

    def enough() -> bool:
        load.check()
        return len(load.acknowledged) >= acknowledged + more and journal.executions(folder).total() >= executed + more

    await eventually_async(enough, within=30, what=f"{more} more submits are acknowledged, and {more} more jobs run")


def replace_workers(processes: Processes, server: Server, workers: list[Program], number: int) -> list[float]:
    """Puts a new worker up before each old one goes."""
    old = workers[:]
    workers[:] = [processes.work(f"worker-{n}", server.address, concurrency=8, life=number + 1) for n in range(WORKERS)]
    took = [seconds_to_stop(worker) for worker in old]
    assert not [worker.output for worker in old if "undelivered" in worker.output]
    return took


def replace_server(processes: Processes, server: Server) -> tuple[Server, float]:
    """Puts the next server up behind the old one, before that one goes."""
    standby = processes.start_server(listen=server.address, wait=True, **SETTINGS)
    standby.says("standing_by")
    took = seconds_to_stop(server)
    processes.await_ready(standby)
    return standby, took


def seconds_to_stop(program: Program) -> float:
    began_at = time.monotonic()
    assert program.stop(within=STOP_SECONDS) == 0, program.output
    return time.monotonic() - began_at
