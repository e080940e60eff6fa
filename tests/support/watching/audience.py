"""Watchers of a real server that comes and goes: by both clients, by bare streams that are cut, and as processes."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import grpc

import jobhall
from jobhall.states import EventType
from jobhall.v1 import job_service_pb2_grpc
from tests.support.processes import Processes, Program
from tests.support.stored import Stored
from tests.support.waiting import eventually_async
from tests.support.watching import kept
from tests.support.watching.kept import Brief
from tests.support.watching.oracle import Asked, Told, expected, read_log
from tests.support.watching.watchers import LOGGED, CutWatcher, Leg

TOLD = (*LOGGED, EventType.ENTERED, EventType.LEFT)
FILTERS = {
    "everything": Asked(namespace="-", event_types=TOLD),
    "a type": Asked(job_types=("nap",), event_types=TOLD),
    "a label": Asked(labels=(("team", "red"),), event_types=TOLD),
    "some events": Asked(event_types=(EventType.SUBMITTED, EventType.COMPLETED, EventType.DELETED)),
}
BEGIN_SECONDS = 20.0
LAST_SECONDS = 30.0


class Audience:
    """Within the block it watches; all of it from before the first event on."""

    def __init__(
        self, client: jobhall.AsyncClient, address: str, processes: Processes, patience: jobhall.CallRetry
    ) -> None:
        self._client = client
        self._blocking = jobhall.Client(address, retry=patience)
        self._address = address
        self._processes = processes
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 300)])
        self._seen: dict[str, list[Brief]] = {}
        self._asked: dict[str, Asked] = {}
        self._cut: dict[str, CutWatcher] = {}
        self._kept: dict[str, tuple[Path, str]] = {}
        self._programs: dict[str, Program] = {}
        self._begun: set[str] = set()
        self._ended = threading.Event()
        self.cuts = 0
        self.kills = 0

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._by_client(name, asked)) for name, asked in FILTERS.items()]
        self._tasks += [asyncio.create_task(self._by_stub(name, asked)) for name, asked in FILTERS.items()]
        self._thread = threading.Thread(target=self._by_blocking_client)
        self._thread.start()
        for name, team in (("kept", ""), ("kept of a label", "red")):
            path = self._processes.folder / f"{name}.told"
            self._kept[name] = (path, team)
            self._asked[name] = FILTERS["a label"] if team else FILTERS["everything"]
            self._put_up(name)
        self._killer = asyncio.create_task(self._kill_now_and_then())
        await eventually_async(self._all_begun, within=BEGIN_SECONDS, what="everybody watches")
        return self

    async def __aexit__(self, *_error: object) -> None:
        for task in (*self._tasks, self._killer):
            task.cancel()
        await asyncio.wait([*self._tasks, self._killer])
        for program in self._programs.values():
            program.kill()
        self._ended.set()
        await asyncio.to_thread(self._blocking.close)
        await asyncio.to_thread(self._thread.join)
        await self._channel.close()

    def check(self) -> None:
        """Raises what ended a watcher."""
        for task in (*self._tasks, self._killer):
            if task.done() and not task.cancelled():
                task.result()

    async def has_missed_nothing(self, stored: Stored) -> dict[str, int]:
        """Each was told what the log has for it, in its order; answers how much that was."""
        self._killer.cancel()
        log = read_log(stored)
        counts = {}
        for name, asked in self._asked.items():
            wanted = [_brief(told) for _, told in expected(log, asked)]

            def all_told(name: str = name, count: int = len(wanted)) -> bool:
                self.check()
                return len(self._told(name)) >= count

            await eventually_async(all_told, within=LAST_SECONDS, what=f"the watcher {name!r} was told everything")
            told = self._told(name)
            at = next((place for place, pair in enumerate(zip(told, wanted, strict=False)) if pair[0] != pair[1]), -1)
            assert told == wanted, f"{name} was told {told[at]} where {wanted[at]} came next, {at} of {len(wanted)}"
            counts[name] = len(wanted)
        return counts

    # --- the ways to watch ---

    async def _by_client(self, name: str, asked: Asked) -> None:
        seen = self._enrol(f"client, {name}", asked)
        async for update in self._client.jobs.watch(**_options(asked)):
            self._begun.add(f"client, {name}")
            seen += [(event.job_id, event.revision, event.event_type) for event in update.events]

    def _by_blocking_client(self) -> None:
        name = "blocking client"
        seen = self._enrol(name, FILTERS["everything"])
        try:
            for update in self._blocking.jobs.watch(**_options(FILTERS["everything"])):
                self._begun.add(name)
                seen += [(event.job_id, event.revision, event.event_type) for event in update.events]
        except (jobhall.JobhallError, ValueError, grpc.RpcError):
            # The client was closed under it.
            if not self._ended.is_set():
                raise

    async def _by_stub(self, name: str, asked: Asked) -> None:
        chance = random.Random(name)
        stub = job_service_pb2_grpc.JobServiceStub(self._channel)
        watcher = self._cut[f"cut, {name}"] = CutWatcher(stub, asked)
        self._asked[f"cut, {name}"] = asked
        while True:
            leg = Leg(chance.randint(1, 6), by_pages_of=chance.choice((0, 0, 3)), away_seconds=chance.uniform(0, 0.3))
            await watcher.go([leg], lambda _: False)
            self.cuts += 1

    async def _kill_now_and_then(self) -> None:
        chance = random.Random("kept")
        while True:
            await asyncio.sleep(chance.uniform(0.5, 2.0))  # sleeps: its life
            name = chance.choice(list(self._programs))
            if self._begins(name):
                await asyncio.to_thread(self._programs[name].kill)
                self.kills += 1
                self._put_up(name)

    def _put_up(self, name: str) -> None:
        path, team = self._kept[name]
        command = [sys.executable, "-m", "tests.support.watching.kept", self._address, str(path), team]
        self._programs[name] = self._processes.start(name.replace(" ", "-"), command)

    # --- what they were told ---

    def _enrol(self, name: str, asked: Asked) -> list[Brief]:
        self._asked[name] = asked
        seen: list[Brief] = []
        self._seen[name] = seen
        return seen

    def _told(self, name: str) -> Sequence[Brief]:
        if name in self._cut:
            return [_brief(told) for told in self._cut[name].told]
        if name in self._kept:
            return kept.read(self._kept[name][0])[1]
        return list(self._seen[name])

    def _all_begun(self) -> bool:
        self.check()
        begun = self._begun >= self._seen.keys() and len(self._seen) == len(FILTERS) + 1
        cut = len(self._cut) == len(FILTERS) and all(watcher.cursor for watcher in self._cut.values())
        return begun and cut and all(self._begins(name) for name in self._kept)

    def _begins(self, name: str) -> bool:
        """Whether it has a place to go on from."""
        return bool(kept.read(self._kept[name][0])[0])


def _options(asked: Asked) -> Any:
    return {
        "namespace": asked.namespace,
        "job_types": asked.job_types,
        "labels": dict(asked.labels),
        "event_types": asked.event_types,
    }


def _brief(told: Told) -> Brief:
    return told.job_id, told.revision, told.event_type
