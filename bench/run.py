"""One run: how much there is of everything, its server, and how to start what works against that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from bench.processes import Child, Processes, module_command
from bench.server import Server

Figures = dict[str, float]
RUN_SECONDS_MAX = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything; bounded, so that the whole takes minutes."""

    jobs: int
    submits: int
    """Of those that go one at a time."""
    steady_jobs: int
    """Also the changes whose way to their watcher is measured."""
    watches: int
    echo_calls: int
    listed: int
    """Finished jobs among which pages are read."""
    fanned_out: int
    """Values sent to as many streams as there are `watches`."""
    idle_watches: int
    idle_jobs: int
    """Submitted and drained with and without them."""
    follow_seconds: int
    resumed_jobs: int
    """Each of four events."""
    reconnects: int
    rounds: int


FULL = Sizes(
    jobs=20_000,
    submits=2_000,
    steady_jobs=1_000,
    watches=1_000,
    echo_calls=2_000,
    listed=1_000_000,
    fanned_out=100,
    idle_watches=10_000,
    idle_jobs=100_000,
    follow_seconds=60,
    resumed_jobs=25_000,
    reconnects=5_000,
    rounds=3,
)
QUICK = Sizes(
    jobs=4_000,
    submits=400,
    steady_jobs=200,
    watches=200,
    echo_calls=500,
    listed=50_000,
    fanned_out=30,
    idle_watches=1_000,
    idle_jobs=4_000,
    follow_seconds=5,
    resumed_jobs=5_000,
    reconnects=500,
    rounds=1,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a workload: its server, and how to start what works against it."""

    sizes: Sizes
    processes: Processes
    server: Server
    profile: Path | None
    """A folder for the sampler's reports."""

    def produce(self, way: str, count: int) -> Child:
        """A process that submits or calls."""
        command = module_command("bench.producer", self.profile and self.profile / f"producer-{way}.json")
        return self.processes.start("producer", *command, way, self.server.address, str(count))

    def work(self, *options: str) -> Child:
        """A worker process."""
        command = module_command("bench.worker", self.profile and self.profile / "worker.json")
        return self.processes.start("worker", *command, self.server.address, *options)

    def attend(self, way: str, size: int, count: int = 0, *, address: str = "") -> Child:
        """A process with so many streams, of this server or of the one at the address."""
        command = ["-m", "bench.audience", way, address or self.server.address, str(size), str(count)]
        return self.processes.start(f"audience-{way}", *command)

    def begin(self) -> None:
        """What is measured begins: a profile counts from here."""
        if self.profile is not None:
            (self.profile / "go").touch()


def connected(worker: Child) -> Child:
    """The worker, once it has its stream."""
    while "connected_at" not in worker.read(within=RUN_SECONDS_MAX):
        pass
    return worker


def milliseconds(seconds: Sequence[float]) -> Figures:
    """How these times are spread."""
    taken = [1000 * each for each in seconds]
    cuts = quantiles(taken, n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(taken)}
