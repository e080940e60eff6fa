"""What the figures mean: aims, peers, yardsticks and medians; printed as JSON lines and one Markdown table."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import median

import grpc

import jobhall

YARDSTICKS = "yardsticks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: a figure of a workload, and what to hold it against."""

    workload: str
    figure: str
    title: str
    aim: float | None = None
    less_is_better: bool = False
    peers: str = ""
    yardstick: str = ""


ROWS = (
    Row(
        workload="W1",
        figure="jobs_per_second",
        title="W1 drained by one worker, jobs/s",
        aim=34_000,
        peers="22,900 graphile-worker, 18,600 pgqueuer",
        yardstick="sqlite_drained_per_second",
    ),
    Row(
        workload="W1",
        figure="server_cpu_us_per_job",
        title="W1 the server's CPU, µs a job",
        aim=20,
        less_is_better=True,
    ),
    Row(workload="W1", figure="worker_cpu_us_per_job", title="W1 the SDK's CPU, µs a job", aim=15, less_is_better=True),
    Row(
        workload="W1-result",
        figure="jobs_per_second",
        title="W1 with a 100-byte result each, jobs/s",
        yardstick="sqlite_drained_per_second",
    ),
    Row(
        workload="W1-busy",
        figure="jobs_per_second",
        title="W1 while no loop is ever idle, jobs/s",
        yardstick="sqlite_drained_per_second",
    ),
    Row(
        workload="W2",
        figure="jobs_per_second",
        title="W2 producer and worker at once, over SubmitJobStream, jobs/s",
        aim=24_000,
        peers="16,100 graphile-worker, 12,600 pgqueuer",
        yardstick="sqlite_inserted_and_drained_per_second",
    ),
    Row(
        workload="W2-batches",
        figure="jobs_per_second",
        title="W2 the same by BatchSubmitJobs, each awaited, jobs/s",
        yardstick="sqlite_inserted_and_drained_per_second",
    ),
    Row(
        workload="W3",
        figure="p50_ms",
        title="W3 submit to handler start, p50 ms",
        aim=2.5,
        less_is_better=True,
        peers="3.4 graphile-worker, 2.1 BullMQ",
        yardstick="echo_unary_p50_ms",
    ),
    Row(
        workload="W3",
        figure="p99_ms",
        title="W3 submit to handler start, p99 ms",
        aim=6,
        less_is_better=True,
        peers="6.9 graphile-worker, 5.8 BullMQ",
    ),
    Row(workload="W4", figure="idle_mb", title="W4 resident memory when idle, MB", aim=64, less_is_better=True),
    Row(workload="W4", figure="watch_kb", title="W4 memory per open watch, KB", aim=40, less_is_better=True),
    Row(
        workload="submits-unary",
        figure="submits_per_second",
        title="SubmitJob one at a time, /s",
        yardstick="sqlite_lone_commits_per_second",
    ),
    Row(
        workload="submits-stream",
        figure="submits_per_second",
        title="SubmitJobStream one at a time, /s",
        aim=1_100,
        yardstick="sqlite_lone_commits_per_second",
    ),
    Row(
        workload="submits-merged",
        figure="submits_per_second",
        title="SubmitJobStream 64 in flight, /s",
        aim=10_000,
        yardstick="echo_stream_merged_per_second",
    ),
    Row(
        workload="W1",
        figure="batch_submits_per_second",
        title="BatchSubmitJobs by 1,000, jobs/s",
        yardstick="sqlite_inserted_per_second",
    ),
    Row(
        workload="lists",
        figure="pending_ms",
        title="A page of 100 PENDING jobs among a million finished ones, ms",
        less_is_better=True,
        yardstick="echo_unary_p50_ms",
    ),
    Row(
        workload="lists",
        figure="pending_ratio",
        title="The same against a thousand finished ones, times as long",
        aim=1.5,
        less_is_better=True,
    ),
    Row(workload="lists", figure="failed_ms", title="A page of 100 FAILED jobs among them, ms", less_is_better=True),
    Row(workload="lists", figure="type_ms", title="A page of a type that has 100 among them, ms", less_is_better=True),
)

Rounds = Mapping[str, Sequence[Mapping[str, float]]]


def table(rounds: Rounds) -> str:
    """The medians against aims, peers and yardsticks, then the yardsticks themselves."""
    yardsticks = medians(rounds.get(YARDSTICKS, ()))
    lines = [
        "| what | measured | aim | aim reached | peers | yardstick | ratio to it |",
        "|---|---:|---:|---|---|---:|---:|",
    ]
    for row in ROWS:
        value = medians(rounds.get(row.workload, ())).get(row.figure)
        if value is not None:
            lines.append(_line(row, value, yardsticks.get(row.yardstick)))
    lines += ["", "| yardstick of this machine | measured |", "|---|---:|"]
    lines += [f"| {name.replace('_', ' ')} | {_number(value)} |" for name, value in yardsticks.items()]
    return "\n".join(lines)


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: median(figures[name] for figures in rounds) for name in (rounds[0] if rounds else ())}


def machine() -> dict[str, str | int]:
    """What the figures were measured on and with."""
    try:
        uvloop = version("uvloop")
    except PackageNotFoundError:
        uvloop = "none"
    return {
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "grpcio": grpc.__version__,
        "uvloop": uvloop,
        "jobhall": jobhall.__version__,
    }


def profile_text(report: Mapping[str, object]) -> str:
    """The sampler's report for people: per thread its functions by their own time and with what they called."""
    threads = report["threads"]
    assert isinstance(threads, dict)
    lines = [f"{report['process_seconds']:.2f} s of CPU in all; the rest is in threads without Python (gRPC's)"]
    for name, thread in sorted(threads.items(), key=lambda item: -item[1]["seconds"]):
        total = thread["seconds"]
        lines.append(f"\nthread {name}: {total:.2f} s")
        for title, column in (("own", "own"), ("with what it called", "with_callees")):
            lines.append(f"  {title}:")
            lines += [f"    {s:6.3f} s {100 * s / total:5.1f} %  {label}" for label, s in thread[column] if s > 0]
    return "\n".join(lines)


def _line(row: Row, value: float, yardstick: float | None) -> str:
    reached = ""
    if row.aim is not None:
        good = value <= row.aim if row.less_is_better else value >= row.aim
        reached = "yes" if good else f"no, {100 * value / row.aim:.0f} % of it"
    cells = [
        row.title,
        _number(value),
        "" if row.aim is None else f"{'≤' if row.less_is_better else '≥'} {_number(row.aim)}",
        reached,
        row.peers,
        "" if yardstick is None else _number(yardstick),
        "" if yardstick is None else f"{value / yardstick:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")
