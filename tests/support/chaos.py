"""A storm over a server and its workers: one of them is killed every few seconds, and put up again at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.support.processes import Processes, Program, Server
from tests.support.waiting import eventually

SERVER_SHARE = 0.3
"""How many of the kills are the server's."""


@dataclass
class Storm:
    """A server on one port, and workers, each of which has a new name in each life."""

    processes: Processes
    chance: random.Random
    settings: dict[str, Any]
    calm_seconds: tuple[float, float] = (1.0, 3.0)
    """Between two kills, at least and at most."""
    workers_count: int = 4
    concurrency: int = 4
    server_share: float = SERVER_SHARE
    after_server_death: Callable[[Server], None] = lambda _: None
    """Called before the next server is started."""
    deaths: dict[str, float] = field(default_factory=dict)
    """When which worker was killed, in seconds since the epoch."""
    ready: list[float] = field(default_factory=list)
    """When which server was seen to be ready."""
    server_kills: int = 0

    def begin(self) -> None:
        self.server = self.processes.serve(**self.settings)
        self.address = self.server.address
        self.ready.append(time.time())
        self._workers: list[tuple[str, Program]] = []
        for number in range(1, self.workers_count + 1):
            self._put_up(f"worker-{number}", life=1)

    def rage(self, over: Callable[[], bool]) -> None:
        """Kills until it is over; then there is a server that is ready."""
        while not over():
            next_at = time.monotonic() + self.chance.uniform(*self.calm_seconds)
            eventually(partial(self._due, next_at, over), within=60, what="the next kill is due")
            if not over():
                self._kill_one()
        self.processes.await_ready(self.server)
        self._look()

    def stop(self) -> None:
        """Lets every worker leave."""
        for _, worker in self._workers:
            assert worker.stop() == 0, worker.output

    @property
    def kills(self) -> int:
        return len(self.deaths) + self.server_kills

    def _due(self, at: float, over: Callable[[], bool]) -> bool:
        self._look()
        return time.monotonic() >= at or over()

    def _look(self) -> None:
        if len(self.ready) <= self.server_kills and self.server.ready:
            self.ready.append(time.time())

    def _kill_one(self) -> None:
        if self.chance.random() < self.server_share:
            self._look()
            self.server.kill()
            if len(self.ready) <= self.server_kills:
                self.ready.append(time.time())  # It was never seen: its time is over all the same.
            self.server_kills += 1
            self.after_server_death(self.server)
            self.server = self.processes.start_server(listen=self.address, **self.settings)
            return
        name, worker = self._workers.pop(self.chance.randrange(len(self._workers)))
        worker.kill()
        self.deaths[name] = time.time()
        slot, _, life = name.partition(".")
        self._put_up(slot, life=int(life) + 1)

    def _put_up(self, slot: str, *, life: int) -> None:
        name = f"{slot}.{life}"
        self._workers.append((name, self.processes.work(name, self.address, concurrency=self.concurrency)))
