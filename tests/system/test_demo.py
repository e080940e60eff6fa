"""`make demo` as a user runs it: real processes, a worker killed half-way, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import eventually

DEMO = Path(__file__).resolve().parents[2] / "examples" / "bulk_scoring" / "demo.py"
SUMMARY = re.compile(
    r"(?P<name>\w+\.csv): 1000 rows, 985 scored, 15 failed, attempts (?P<attempts>\d), results (?P<results>.+)"
)
ITEM_ERROR = re.compile(r"  row \d+ \(\w+\): [A-Z_]+: .+")
PROCESS = re.compile(r"is process (\d+)")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


@contextmanager
def demo(*arguments: str, out: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo under way, its output going to `out/output`; it is ended if the test leaves before it did."""
    out.mkdir(exist_ok=True)
    with (out / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", DEMO, "--out", out / "results", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def assert_nothing_runs(output: str) -> None:
    pids = [int(pid) for pid in PROCESS.findall(output)]

    assert len(pids) == 3
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids), within=5, what="the demo's processes are gone")


def test_the_demo_finishes_both_files_although_a_worker_is_killed_half_way(tmp_path: Path) -> None:
    with demo("--pace-ms", "5", out=tmp_path) as process:
        status = process.wait(120)

    output = (tmp_path / "output").read_text()
    assert status == 0, output
    assert len(re.findall(r"killed with SIGKILL at row \d+", output)) == 1
    summaries = [match for line in output.splitlines() if (match := SUMMARY.fullmatch(line))]
    assert [match["name"] for match in summaries] == ["annual.csv", "quarterly.csv"]
    assert sorted(match["attempts"] for match in summaries) == ["1", "2"]
    assert sum(bool(ITEM_ERROR.fullmatch(line)) for line in output.splitlines()) == 30
    for match in summaries:
        assert len(Path(match["results"]).read_text().splitlines()) == 1 + 985
    assert len(list((tmp_path / "results").iterdir())) == 2, "a killed worker's partial file is still there"
    assert_nothing_runs(output)


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_stops_everything_it_started(tmp_path: Path, how: signal.Signals, status: int) -> None:
    with demo("--rows", "100", "--seed", "1", out=tmp_path) as process:
        eventually(
            lambda: "RUNNING" in (tmp_path / "output").read_text() or process.poll() is not None,
            within=60,
            what="a job runs",
        )
        os.kill(process.pid, how)

        assert process.wait(40) == status, (tmp_path / "output").read_text()

    output = (tmp_path / "output").read_text()
    assert "Traceback" not in output
    assert_nothing_runs(output)
