"""The table's lines: which figure of which workload, and the aims, peers and yardsticks to hold it against."""

from __future__ import annotations

from dataclasses import dataclass


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
    """Of the yardsticks, or another figure of the same workload."""


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
    Row(
        workload="watch-latency",
        figure="p50_ms",
        title="A change to its watcher among 100, p50 ms",
        aim=3,
        less_is_better=True,
    ),
    Row(
        workload="watch-latency",
        figure="p99_ms",
        title="A change to its watcher among 100, p99 ms",
        aim=15,
        less_is_better=True,
    ),
    Row(
        workload="watch-fanout",
        figure="deliveries_per_second",
        title="One job to 1,000 watchers with grpc.aio, deliveries/s",
        yardstick="bare_deliveries_per_second",
    ),
    Row(
        workload="watch-fanout",
        figure="deliveries_per_second_ratio",
        title="The same, of what the bare server delivers",
        aim=0.7,
    ),
    Row(
        workload="watch-fanout",
        figure="messages_per_second",
        title="The same, messages/s",
        yardstick="bare_messages_per_second",
    ),
    Row(
        workload="watch-fanout",
        figure="reach_ms",
        title="One change to the last of 1,000 watchers with grpc.aio, ms",
        less_is_better=True,
        yardstick="bare_reach_ms",
    ),
    Row(
        workload="watch-fanout",
        figure="reach_ms_ratio",
        title="The same, times as long as from the bare server",
        aim=1.7,
        less_is_better=True,
    ),
    Row(
        workload="watch-fanout",
        figure="cpu_us_per_delivery",
        title="The server's CPU, µs a delivery",
        less_is_better=True,
        yardstick="bare_cpu_us_per_delivery",
    ),
    Row(
        workload="watch-fanout",
        figure="raw_deliveries_per_second",
        title="One job to 1,000 watchers with a lean client, deliveries/s",
        yardstick="raw_bare_deliveries_per_second",
    ),
    Row(
        workload="watch-fanout",
        figure="raw_deliveries_per_second_ratio",
        title="The same, of what the bare server delivers",
        aim=0.7,
    ),
    Row(
        workload="watch-fanout",
        figure="raw_messages_per_second",
        title="The same, messages/s",
        yardstick="raw_bare_messages_per_second",
    ),
    Row(
        workload="watch-fanout",
        figure="raw_reach_ms",
        title="One change to the last of 1,000 watchers with a lean client, ms",
        less_is_better=True,
        yardstick="raw_bare_reach_ms",
    ),
    Row(
        workload="watch-fanout",
        figure="raw_reach_ms_ratio",
        title="The same, times as long as from the bare server",
        aim=1.7,
        less_is_better=True,
    ),
    Row(
        workload="watch-fanout",
        figure="raw_cpu_us_per_delivery",
        title="The server's CPU, µs a delivery",
        less_is_better=True,
        yardstick="raw_bare_cpu_us_per_delivery",
    ),
    Row(
        workload="watch-fanout",
        figure="progress_last_ms",
        title="The last of 250 progress reports to all of them, ms",
        less_is_better=True,
    ),
    Row(
        workload="watch-fanout",
        figure="progress_per_second",
        title="Of 50 reports a second each of them is told, /s",
        less_is_better=True,
    ),
    Row(
        workload="watch-fanout",
        figure="progress_cpu_percent",
        title="The server's CPU meanwhile, percent",
        less_is_better=True,
    ),
    Row(
        workload="watch-fanout",
        figure="progress_grown_mb",
        title="What the server's memory grew meanwhile, MB",
        less_is_better=True,
    ),
    Row(
        workload="watch-idle",
        figure="watch_kb",
        title="An idle watch of 10,000, KB",
        less_is_better=True,
        yardstick="bare_kb",
    ),
    Row(
        workload="watch-idle",
        figure="above_bare_kb",
        title="The same above a bare stream, KB",
        aim=15,
        less_is_better=True,
    ),
    Row(
        workload="watch-idle",
        figure="submits_per_second_lost_percent",
        title="What BatchSubmitJobs loses while they idle, percent",
        aim=5,
        less_is_better=True,
    ),
    Row(
        workload="watch-idle",
        figure="drained_per_second_lost_percent",
        title="What W1 loses while they idle, percent",
        aim=5,
        less_is_better=True,
    ),
    Row(
        workload="watch-idle",
        figure="cpu_us_per_job_watched",
        title="The server's CPU, µs a job submitted and drained while they idle",
        less_is_better=True,
        yardstick="cpu_us_per_job",
    ),
    Row(
        workload="watch-idle",
        figure="cpu_more_percent",
        title="The same, percent more than without them",
        aim=5,
        less_is_better=True,
    ),
    Row(
        workload="watch-idle",
        figure="start_p99_ms_watched",
        title="W3 while they idle, p99 ms",
        less_is_better=True,
        yardstick="start_p99_ms",
    ),
    Row(
        workload="watch-idle",
        figure="idle_cpu_percent",
        title="The server's CPU for their bookmarks, percent",
        less_is_better=True,
    ),
    Row(
        workload="watch-idle",
        figure="audience_cpu_percent",
        title="The CPU of the process that has them, percent",
        less_is_better=True,
    ),
    Row(
        workload="watch-follow",
        figure="events_per_second",
        title="A watch of a namespace with 5,000 events/s: followed, /s",
    ),
    Row(
        workload="watch-follow",
        figure="behind_at_the_end_ms",
        title="The same: behind at the end, ms",
        aim=1_000,
        less_is_better=True,
    ),
    Row(
        workload="watch-follow", figure="behind_p50_ms", title="The same: behind meanwhile, p50 ms", less_is_better=True
    ),
    Row(
        workload="watch-follow",
        figure="behind_max_ms",
        title="The same: behind meanwhile, most ms",
        less_is_better=True,
    ),
    Row(
        workload="watch-resume",
        figure="resumed_per_second",
        title="Resumed 100,000 events ago, events/s read",
        aim=50_000,
    ),
    Row(workload="watch-resume", figure="resumed_sdk_per_second", title="The same with the SDK, events/s"),
    Row(
        workload="watch-reconnect",
        figure="first_seconds",
        title="5,000 watchers back at once: first response of the last, s",
        less_is_better=True,
    ),
    Row(
        workload="watch-reconnect",
        figure="missed_seconds",
        title="The same: the event that each missed, s",
        less_is_better=True,
    ),
)
