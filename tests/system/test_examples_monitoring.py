"""The monitoring example over a real server: what it tells, and how it ends."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.monitoring.monitor import monitor
from jobhall import Client
from tests.support.documents import BIN, Reader, blocks_of
from tests.support.processes import ROOT, Processes, Program, Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

README = ROOT / "examples" / "monitoring" / "README.md"
TABLE = "examples/bulk_scoring/data/annual.csv"


@pytest.fixture
def server(processes: Processes) -> Server:
    (processes.folder / "examples").symlink_to(ROOT / "examples")
    return processes.serve()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        client.types.register("file_upload")
        yield client


def test_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    with Reader(folder=tmp_path) as reader:
        for block in blocks_of(README.read_text()):
            reader.follow(block)


def test_a_file_that_cannot_be_uploaded_is_told_with_its_reason(processes: Processes, server: Server) -> None:
    (processes.folder / "broken.csv").write_text('a,b\n1,"2\n')
    worker = [str(BIN / "jobhall"), "worker", "run", "examples.monitoring.worker:worker"]
    processes.start("worker", worker, address=server.address).says("connected")

    program = submitting(processes, server, "broken.csv", "lost.csv", TABLE)

    assert program.wait() == 1
    assert "✗ Failure reason: broken.csv is no table" in program.output
    assert "✗ Error details: {'file': 'lost.csv'}" in program.output
    assert "✓ Created dataset: annual" in program.output


def test_a_submit_that_is_refused_does_not_keep_the_others(processes: Processes, server: Server) -> None:
    program = submitting(processes, server, TABLE)

    assert program.wait() == 1
    assert f"✗ {TABLE}: there is no job type 'file_upload'" in program.output
    assert "(404)" in program.output


def test_a_deleted_job_does_not_keep_the_monitor(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    deleted, cancelled = (client.jobs.submit("file_upload", {"file": TABLE}).id for _ in range(2))
    client.jobs.cancel_job(cancelled, reason="not this one")
    client.jobs.delete_job(deleted)

    jobs = monitor(client, [cancelled])

    assert [job.response for job in jobs] == [{"failure_reason": "not this one"}]
    assert monitor(client, [deleted]) == []
    assert "error\nProgress: 1/1 (100.0%) completed" in capsys.readouterr().out


def test_ctrl_c_ends_the_monitor_and_not_the_jobs(processes: Processes, server: Server, client: Client) -> None:
    program = submitting(processes, server, TABLE)
    program.says("Monitoring 1 jobs")

    assert program.stop(signal.SIGINT) == 130
    assert "Interrupted; the jobs go on." in program.output
    [job] = client.jobs.list_jobs(full=True)
    assert json.dumps(job.parameters) == json.dumps({"file": TABLE})


def submitting(processes: Processes, server: Server, *files: str) -> Program:
    command = [sys.executable, "-u", "-m", "examples.monitoring.submit", *files]
    return processes.start("submit", command, address=server.address)
