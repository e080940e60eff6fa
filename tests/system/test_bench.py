"""The benchmark: a quick one runs through, counts nothing that is not in the database, and leaves nothing running."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import grpc.aio
import psutil
import pytest

from bench import raw_streams, stub_streams
from bench.crowd import Crowd, Told, Wire
from bench.processes import BenchmarkError, Child, Processes
from bench.push import PUBLISH, STREAM
from bench.report import table
from bench.rows import ROWS
from bench.server import Server
from jobhall.states import EventType, JobState
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
WAY = (EventType.SUBMITTED, EventType.CLAIMED, EventType.RUNNING, EventType.COMPLETED)


@pytest.mark.timeout(180)
def test_a_quick_benchmark_ends_with_a_table_and_leaves_nothing_behind(tmp_path: Path, long: bool) -> None:
    before = set(ours())
    names = ["W1-result", "submits-stream", "lists", "watch-latency"]
    if long:
        names += ["watch-fanout", "watch-resume", "watch-reconnect"]

    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "bench",
            "--quick",
            "--only",
            ",".join(names),
            "--folder",
            tmp_path,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert [line.get("workload") for line in lines] == [None, "yardsticks", *names]
    assert lines[2]["jobs_per_second"] > 0
    assert lines[4]["pending_ratio"] > 0
    assert lines[5]["p99_ms"] >= lines[5]["p50_ms"] > 0
    if long:
        assert lines[6]["deliveries_per_second_ratio"] > 0
        assert lines[7]["resumed_per_second"] > 0
        assert lines[8]["missed_seconds"] >= lines[8]["first_seconds"] > 0
    assert "| W1 with a 100-byte result each, jobs/s |" in ran.stdout
    assert not list(tmp_path.iterdir())
    assert set(ours()) <= before


def test_an_unknown_workload_is_named() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench", "--only", "W9"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ran.returncode != 0
    assert "'W9'" in ran.stderr


def test_a_run_counts_only_if_every_job_has_all_its_events_in_order(tmp_path: Path) -> None:
    whole = [list(WAY)] * 3

    server_over(tmp_path / "whole.db", whole).check(3)
    for broken in (
        [*whole[:2], [EventType.SUBMITTED, EventType.CLAIMED, EventType.COMPLETED]],
        [*whole[:2], [EventType.SUBMITTED, EventType.RUNNING, EventType.CLAIMED, EventType.COMPLETED]],
        [*whole[:2], [*WAY, EventType.COMPLETED]],
        whole[:2],
    ):
        database = tmp_path / "broken.db"
        database.unlink(missing_ok=True)
        with pytest.raises(BenchmarkError, match="of 3 jobs the database has"):
            server_over(database, broken).check(3)
    with pytest.raises(BenchmarkError, match="0 with their result"):
        server_over(tmp_path / "no-results.db", whole).check(3, result_bytes=100)


def test_the_table_holds_each_figure_against_its_aim_and_its_yardstick() -> None:
    rounds = {
        "yardsticks": [{"sqlite_drained_per_second": 100_000.0}],
        "W1": [{"jobs_per_second": rate} for rate in (30_000.0, 20_000.0, 40_000.0)],
        "W3": [{"p50_ms": 2.0, "p99_ms": 9.0}],
    }

    lines = table(rounds).splitlines()

    assert "| 30,000 | ≥ 34,000 | no, 88 % of it |" in lines[2]
    assert lines[2].endswith("| 100,000 | 0.30 |")
    assert "| 2 | ≤ 2.5 | yes |" in lines[3]
    assert "| 9 | ≤ 6 | no, 150 % of it |" in lines[4]
    fan_out = {"deliveries_per_second": 7_000.0, "bare_deliveries_per_second": 10_000.0}
    [line] = [line for line in table({"watch-fanout": [fan_out]}).splitlines() if "deliveries/s" in line]
    assert line.endswith("| 10,000 | 0.70 |")
    assert {row.workload for row in ROWS} >= {"W1", "W1-result", "W1-busy", "W2", "W3", "W4"}


@pytest.mark.parametrize("wire", [raw_streams.open_streams, stub_streams.open_streams])
async def test_either_client_of_a_crowd_hears_every_byte_and_that_the_server_has_gone(
    wire: Wire, tmp_path: Path
) -> None:
    values = [b"short", b"x" * 100_000, b"last"]
    heard: dict[int, list[bytes]] = {0: [], 1: []}
    failures: list[BenchmarkError] = []
    with Processes(tmp_path) as processes:
        server = processes.start("push", "-m", "bench.push")
        address = server.read(within=20)["address"]
        async with wire(address, STREAM, [b""] * 2, lambda n, message: heard[n].append(message), failures.append):
            await eventually_async(lambda: heard == {0: [b""], 1: [b""]}, within=20, what="the first message")
            async with grpc.aio.insecure_channel(address) as channel:
                publish: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PUBLISH)
                for value in values:
                    await publish(value)
            all_of_it = {0: [b"", *values], 1: [b"", *values]}
            await eventually_async(lambda: heard == all_of_it, within=20, what="every value, whole")
            assert not failures
            server.stop()
            await eventually_async(lambda: failures, within=20, what="the end")


async def test_a_value_has_reached_all_when_the_last_stream_has_it() -> None:
    crowd = Crowd(2, lambda message: Told(1, int(message)) if message else Told())

    crowd.received(0, b"")
    crowd.received(0, b"7")
    crowd.received(1, b"")
    assert not crowd.reached_at
    crowd.received(1, b"7")

    await crowd.until_begun()
    assert await crowd.until_all_have(7) == crowd.reached_at[7]
    assert (crowd.messages, crowd.values, crowd.told) == (4, 2, {0, 1})
    crowd.failed(BenchmarkError("stream 1 has ended"))
    with pytest.raises(BenchmarkError, match="stream 1"):
        await crowd.until_all_have(8)


def server_over(database: Path, jobs: list[list[EventType]]) -> Server:
    """A server that ended and left this many COMPLETED jobs, each with these events."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE jobhall_jobs (key INTEGER PRIMARY KEY, state INTEGER)")
        connection.execute("CREATE TABLE jobhall_events (number INTEGER PRIMARY KEY, job_key, event_type)")
        connection.execute("CREATE TABLE jobhall_results (job_key INTEGER PRIMARY KEY, text TEXT)")
        for key, events in enumerate(jobs):
            connection.execute("INSERT INTO jobhall_jobs VALUES (?, ?)", [key, JobState.COMPLETED])
            connection.executemany(
                "INSERT INTO jobhall_events (job_key, event_type) VALUES (?, ?)", [(key, kind) for kind in events]
            )
        connection.commit()
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.DEVNULL)
    process.wait()
    return Server(Child("server", process, database), "", database, synchronous="FULL")


def ours() -> Iterator[int]:
    """Processes of the benchmark that run on this machine."""
    for process in psutil.process_iter(["pid", "cmdline"]):
        if any(word.startswith("bench.") for word in process.info["cmdline"] or ()):
            yield process.info["pid"]
