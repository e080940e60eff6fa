"""The workloads: what each one does to a fresh server, and the figures that it answers with."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.bare_sqlite import measure_bare_sqlite
from bench.lists import measure_lists
from bench.processes import Processes, cpu_seconds, resident_bytes
from bench.run import RUN_SECONDS_MAX, Figures, Run, Sizes, connected, milliseconds
from bench.server import start_server
from bench.watch_workloads import WATCH_WORKLOADS

_RESULT_BYTES = 100
_SETTLE_SECONDS = 2.0


def drain(run: Run, *, result_bytes: int = 0, busy: bool = False) -> Figures:
    """W1: jobs submitted in batches, then drained by one worker process, from the first claim on."""
    jobs = run.sizes.jobs
    submitted = run.produce("batches", jobs).read(within=RUN_SECONDS_MAX)
    caller = run.produce("calls", 0) if busy else None
    if caller is not None:
        caller.read(within=RUN_SECONDS_MAX)
    run.begin()
    cpu_before = cpu_seconds(run.server.child.pid)
    worker = run.work(f"--result-bytes={result_bytes}")
    started = worker.read(within=RUN_SECONDS_MAX)
    worker_cpu_before = cpu_seconds(worker.pid)
    ended_at = run.server.await_completed(jobs, within=RUN_SECONDS_MAX)
    figures = {
        "server_cpu_us_per_job": 1e6 * (cpu_seconds(run.server.child.pid) - cpu_before) / jobs,
        "worker_cpu_us_per_job": 1e6 * (cpu_seconds(worker.pid) - worker_cpu_before) / jobs,
        "jobs_per_second": jobs / (ended_at - run.server.first_claimed_at()),
        "with_connecting_per_second": jobs / (ended_at - started["starting_at"]),
        "batch_submits_per_second": jobs / submitted["seconds"],
    }
    if caller is not None:
        caller.stop_kindly()
        figures["calls_per_second"] = caller.read(within=RUN_SECONDS_MAX)["calls_per_second"]
    worker.stop()
    run.server.stop()
    run.server.check(jobs, result_bytes=result_bytes)
    return figures


def drain_with_results(run: Run) -> Figures:
    """W1 with a result of 100 bytes each."""
    return drain(run, result_bytes=_RESULT_BYTES)


def drain_while_busy(run: Run) -> Figures:
    """W1 while another process keeps eight calls in flight, so that no loop is ever idle."""
    return drain(run, busy=True)


def produce_and_work(run: Run, *, way: str) -> Figures:
    """W2: the worker waits already; from the first submit to the last completion."""
    jobs = run.sizes.jobs
    worker = connected(run.work())
    run.begin()
    producer = run.produce(way, jobs)
    ended_at = run.server.await_completed(jobs, within=RUN_SECONDS_MAX)
    submitted = producer.read(within=RUN_SECONDS_MAX)
    worker.stop()
    run.server.stop()
    run.server.check(jobs)
    return {"jobs_per_second": jobs / (ended_at - submitted["began_at"])}


def start_latency(run: Run) -> Figures:
    """W3: 100 jobs a second and an idle worker; from the call of submit to the start of the handler."""
    jobs = run.sizes.steady_jobs
    worker = connected(run.work(f"--latencies={jobs}"))
    run.begin()
    run.produce("steady", jobs).read(within=RUN_SECONDS_MAX)
    latencies = worker.read(within=RUN_SECONDS_MAX)["latencies"]
    run.server.await_completed(jobs, within=RUN_SECONDS_MAX)
    worker.stop()
    run.server.stop()
    run.server.check(jobs)
    return milliseconds(latencies)


def memory(run: Run) -> Figures:
    """W4: resident memory of the idle server, and what each open watch adds to it."""
    watches = run.sizes.watches
    time.sleep(_SETTLE_SECONDS)
    idle = resident_bytes(run.server.child.pid)
    run.begin()
    watchers = run.processes.start("watchers", "-m", "bench.watchers", run.server.address, str(watches))
    watchers.read(within=RUN_SECONDS_MAX)
    time.sleep(_SETTLE_SECONDS)
    watched = resident_bytes(run.server.child.pid)
    watchers.stop()
    run.server.stop()
    return {"idle_mb": idle / 2**20, "watch_kb": (watched - idle) / watches / 1024}


def submits(run: Run, *, way: str, count: int) -> Figures:
    """Submits alone, each durable when it is answered; then they are drained, so that they can be checked."""
    run.begin()
    submitted = run.produce(way, count).read(within=RUN_SECONDS_MAX)
    worker = run.work()
    run.server.await_completed(count, within=RUN_SECONDS_MAX)
    worker.stop()
    run.server.stop()
    run.server.check(count)
    return {"submits_per_second": count / submitted["seconds"]}


def lists(run: Run) -> Figures:
    """Pages of a hundred jobs, among a thousand finished ones and among many."""
    run.produce("batches", 1).read(within=RUN_SECONDS_MAX)
    worker = run.work()
    run.server.await_completed(1, within=RUN_SECONDS_MAX)
    worker.stop()
    run.begin()
    figures = measure_lists(run.server, run.sizes.listed)
    run.server.stop()
    return figures


WORKLOADS: dict[str, Callable[[Run], Figures]] = {
    "W1": drain,
    "W1-result": drain_with_results,
    "W1-busy": drain_while_busy,
    "W2": lambda run: produce_and_work(run, way="piped"),
    "W2-batches": lambda run: produce_and_work(run, way="batches"),
    "W3": start_latency,
    "W4": memory,
    "submits-unary": lambda run: submits(run, way="unary", count=run.sizes.submits),
    "submits-stream": lambda run: submits(run, way="stream", count=run.sizes.submits),
    "submits-merged": lambda run: submits(run, way="merged", count=run.sizes.jobs),
    "lists": lists,
    **WATCH_WORKLOADS,
}


def run_workload(name: str, sizes: Sizes, *, folder: Path, profile: Path | None = None) -> tuple[Figures, str]:
    """Runs one workload on a server of its own; its figures, and `synchronous` as that server told it."""
    with _scratch(folder) as scratch, Processes(scratch) as processes:
        server = start_server(processes, scratch, profile=profile)
        return WORKLOADS[name](
            Run(sizes=sizes, processes=processes, server=server, profile=profile)
        ), server.synchronous


def run_yardsticks(sizes: Sizes, *, folder: Path) -> tuple[Figures, str]:
    """What this machine can do at all: bare gRPC and bare SQLite; and `synchronous` of the latter."""
    with _scratch(folder) as scratch, Processes(scratch) as processes:
        echo = processes.start("echo", "-m", "bench.echo", "serve")
        address = echo.read(within=RUN_SECONDS_MAX)["address"]
        caller = processes.start("echo-client", "-m", "bench.echo", "call", address, str(sizes.echo_calls))
        wire = caller.read(within=RUN_SECONDS_MAX)
        echo.stop()
        disk = measure_bare_sqlite(scratch, sizes.jobs)
    figures = {f"echo_{name}": float(value) for name, value in wire.items()}
    both = 1 / (1 / disk.inserted_per_second + 1 / disk.drained_per_second)
    figures |= {
        "sqlite_inserted_per_second": disk.inserted_per_second,
        "sqlite_drained_per_second": disk.drained_per_second,
        "sqlite_inserted_and_drained_per_second": both,
        "sqlite_lone_commits_per_second": disk.lone_commits_per_second,
    }
    return figures, disk.synchronous


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jobhall-bench-", dir=folder) as name:
        yield Path(name)
