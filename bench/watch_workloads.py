"""The workloads of the watch: from a change to those that wait for it, be they few or very many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean

import jobhall
from bench.processes import Child, cpu_seconds, resident_bytes
from bench.producer import EVEN_JOBS_PER_SECOND
from bench.resume import cursor_now, measure_resume
from bench.run import RUN_SECONDS_MAX, Figures, Run, connected, milliseconds
from jobhall.states import JobState

CHANGES_OF_A_JOB = 10
PROGRESS_REPORTS = 250
"""Five seconds of them."""
_IDLE_SECONDS = 10.0
"""In which each watch that nothing happens to has one bookmark."""
_SETTLE_SECONDS = 2.0
_LOOK_SECONDS = 0.5
_QUIET_SHARE = 0.05
"""Of a core: a server that uses less has nothing to do."""


def latency(run: Run) -> Figures:
    """watch-latency: 100 changes a second, of each of which one watcher is to hear; from its commit to the callback."""
    changes = run.sizes.steady_jobs
    run.produce("batches", changes // CHANGES_OF_A_JOB).read(within=RUN_SECONDS_MAX)
    follower = _follower(run, "each", changes)
    run.begin()
    run.produce("changes", changes).read(within=RUN_SECONDS_MAX)
    seconds = follower.read(within=RUN_SECONDS_MAX)["seconds"]
    run.server.stop()
    return milliseconds(seconds)


def fan_out(run: Run) -> Figures:
    """watch-fanout: one job and all its watchers, beside the bare server; then its progress, 50 times a second.

    Twice: with a client of grpc.aio, which shares the two cores with the server, and with one that costs next to
    nothing, so that the ratio is the server's alone.
    """
    figures: Figures = {}
    run.begin()
    for names, ending in (("", ""), ("raw_", "-raw")):
        with _bare_server(run) as (bare, address):
            figures |= _fanned_out(run, bare, f"fan-out-bare{ending}", f"{names}bare_", address=address)
        figures |= _fanned_out(run, run.server.child, f"fan-out{ending}", names)
        for name in ("deliveries_per_second", "reach_ms"):
            figures[f"{names}{name}_ratio"] = figures[f"{names}{name}"] / figures[f"{names}bare_{name}"]
    figures |= _progress(run)
    run.server.stop()
    return figures


def idle(run: Run) -> Figures:
    """watch-idle: what very many open watches cost, beside as many bare streams; and what submits and claims lose."""
    size, server = run.sizes.idle_watches, run.server.child
    with _bare_server(run) as (bare, address):
        before = _resident(bare)
        with _holding(run, "hold-bare", bare, address=address):
            bare_kb = (_resident(bare) - before) / size / 1024
    run.produce("batches", size).read(within=RUN_SECONDS_MAX)
    with jobhall.Client(run.server.address) as client:
        client.jobs.cancel_jobs(states=[JobState.PENDING])
    load = _Load(run, run.sizes.idle_jobs, other_events=2 * size)
    before = _resident(server)
    run.begin()
    with _holding(run, "hold", server) as audience:
        watch_kb = (_resident(server) - before) / size / 1024
        figures = _while_idle(server, audience)
        watched = [load.starts() | load.turn()]
    free = [load.starts() | load.turn(), load.turn()]
    with _holding(run, "hold", server):
        watched.append(load.turn())
    run.server.stop()
    run.server.check(load.done)
    figures |= {"watch_kb": watch_kb, "bare_kb": bare_kb, "above_bare_kb": watch_kb - bare_kb}
    for name in free[0]:
        figures[name] = fmean(turn[name] for turn in free if name in turn)
        figures[f"{name}_watched"] = fmean(turn[name] for turn in watched if name in turn)
    for name in ("submits_per_second", "drained_per_second"):
        figures[f"{name}_lost_percent"] = 100 * (1 - figures[f"{name}_watched"] / figures[name])
    figures["cpu_more_percent"] = 100 * (figures["cpu_us_per_job_watched"] / figures["cpu_us_per_job"] - 1)
    return figures


def follow(run: Run) -> Figures:
    """watch-follow: one watch of a namespace where 5,000 events happen each second; how far behind it is."""
    jobs = EVEN_JOBS_PER_SECOND * run.sizes.follow_seconds
    worker = connected(run.work())
    follower = _follower(run, "all", jobs)
    run.begin()
    submitted = run.produce("even", jobs).read(within=RUN_SECONDS_MAX)
    told = follower.read(within=RUN_SECONDS_MAX)
    worker.stop()
    run.server.stop()
    run.server.check(jobs)
    behind = milliseconds(told["seconds"])
    return {
        "events_per_second": told["events"] / submitted["seconds"],
        "behind_at_the_end_ms": 1000 * told["seconds"][-1],
        "behind_p50_ms": behind["p50_ms"],
        "behind_max_ms": behind["max_ms"],
    }


def resume(run: Run) -> Figures:
    """watch-resume: a watch that goes on from where it was a hundred thousand events ago."""
    jobs = run.sizes.resumed_jobs
    cursor = cursor_now(run.server.address)
    _Load(run, jobs).turn()
    run.begin()
    figures = measure_resume(run.server.address, cursor, 4 * jobs)
    run.server.stop()
    run.server.check(jobs)
    return figures


def reconnect(run: Run) -> Figures:
    """watch-reconnect: everybody loses the connection, misses one event, and comes back at the same moment."""
    size = run.sizes.reconnects
    run.produce("batches", size).read(within=RUN_SECONDS_MAX)
    run.begin()
    cpu = cpu_seconds(run.server.child.pid)
    told = run.attend("reconnect", size).read(within=RUN_SECONDS_MAX)
    cpu = cpu_seconds(run.server.child.pid) - cpu
    run.server.stop()
    return {"first_seconds": told["first_seconds"], "missed_seconds": told["missed_seconds"], "server_cpu_seconds": cpu}


class _Load:
    """Jobs that are submitted and drained, again and again."""

    def __init__(self, run: Run, jobs: int, *, other_events: int = 0) -> None:
        self.done = 0
        self._run = run
        self._jobs = jobs
        self._other_events = other_events

    def turn(self) -> Figures:
        """Submitted in batches, then drained, both at full speed."""
        cpu = cpu_seconds(self._run.server.child.pid)
        submitted = self._run.produce("batches", self._jobs).read(within=RUN_SECONDS_MAX)
        worker = self._run.work()
        starting_at = worker.read(within=RUN_SECONDS_MAX)["starting_at"]
        ended_at = self._completed(self._jobs)
        cpu = cpu_seconds(self._run.server.child.pid) - cpu
        worker.stop()
        return {
            "submits_per_second": self._jobs / submitted["seconds"],
            "drained_per_second": self._jobs / (ended_at - self._run.server.first_claimed_at(since=starting_at)),
            "cpu_us_per_job": 1e6 * cpu / self._jobs,
        }

    def starts(self) -> Figures:
        """W3: a hundred a second and an idle worker, from the call of submit to the start."""
        jobs = self._run.sizes.steady_jobs
        worker = connected(self._run.work(f"--latencies={jobs}"))
        self._run.produce("steady", jobs).read(within=RUN_SECONDS_MAX)
        figures = milliseconds(worker.read(within=RUN_SECONDS_MAX)["latencies"])
        self._completed(jobs)
        worker.stop()
        return {f"start_{name}": value for name, value in figures.items()}

    def _completed(self, jobs: int) -> float:
        self.done += jobs
        server = self._run.server
        return server.await_completed(self.done, within=RUN_SECONDS_MAX, other_events=self._other_events)


def _fanned_out(run: Run, server: Child, way: str, names: str, *, address: str = "") -> Figures:
    size, count = run.sizes.watches, run.sizes.fanned_out
    audience = run.attend(way, size, count, address=address)
    audience.read(within=RUN_SECONDS_MAX)
    cpu = cpu_seconds(server.pid)
    figures = audience.read(within=RUN_SECONDS_MAX)
    figures["cpu_us_per_delivery"] = 1e6 * (cpu_seconds(server.pid) - cpu) / (size * count)
    return {f"{names}{name}": value for name, value in figures.items()}


def _progress(run: Run) -> Figures:
    server = run.server.child.pid
    audience = run.attend("progress", run.sizes.watches, PROGRESS_REPORTS)
    audience.read(within=RUN_SECONDS_MAX)
    resident, cpu = resident_bytes(server), cpu_seconds(server)
    told = audience.read(within=RUN_SECONDS_MAX)
    return {
        "progress_per_second": told["told"] / told["seconds"],
        "progress_last_ms": told["last_ms"],
        "progress_cpu_percent": 100 * (cpu_seconds(server) - cpu) / told["seconds"],
        "progress_grown_mb": (resident_bytes(server) - resident) / 2**20,
    }


def _while_idle(server: Child, audience: Child) -> Figures:
    """What the watches cost by themselves, to the server and to the process that has them."""
    before = cpu_seconds(server.pid), cpu_seconds(audience.pid)
    time.sleep(_IDLE_SECONDS)
    return {
        "idle_cpu_percent": 100 * (cpu_seconds(server.pid) - before[0]) / _IDLE_SECONDS,
        "audience_cpu_percent": 100 * (cpu_seconds(audience.pid) - before[1]) / _IDLE_SECONDS,
    }


@contextmanager
def _bare_server(run: Run) -> Iterator[tuple[Child, str]]:
    server = run.processes.start("push", "-m", "bench.push")
    yield server, server.read(within=RUN_SECONDS_MAX)["address"]
    server.stop()


@contextmanager
def _holding(run: Run, way: str, server: Child, *, address: str = "") -> Iterator[Child]:
    """As many open streams of the server as there are to be idle; when this ends it is done with closing them."""
    audience = run.attend(way, run.sizes.idle_watches, address=address)
    audience.read(within=RUN_SECONDS_MAX)
    yield audience
    audience.stop_kindly()
    audience.read(within=RUN_SECONDS_MAX)
    audience.stop()
    deadline = time.monotonic() + RUN_SECONDS_MAX
    busy = True
    while busy and time.monotonic() < deadline:
        before = cpu_seconds(server.pid)
        time.sleep(_LOOK_SECONDS)
        busy = cpu_seconds(server.pid) - before > _QUIET_SHARE * _LOOK_SECONDS


def _follower(run: Run, way: str, count: int) -> Child:
    """A program that watches, once its watches are open."""
    follower = run.processes.start("follower", "-m", "bench.follower", way, run.server.address, str(count))
    follower.read(within=RUN_SECONDS_MAX)
    return follower


def _resident(server: Child) -> int:
    time.sleep(_SETTLE_SECONDS)
    return resident_bytes(server.pid)


WATCH_WORKLOADS: dict[str, Callable[[Run], Figures]] = {
    "watch-latency": latency,
    "watch-fanout": fan_out,
    "watch-idle": idle,
    "watch-follow": follow,
    "watch-resume": resume,
    "watch-reconnect": reconnect,
}
ONCE = frozenset({"watch-idle", "watch-follow"})
"""Measured in the first round only: they take minutes, and repeat what they compare by themselves."""
