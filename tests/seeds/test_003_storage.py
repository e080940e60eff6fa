"""Seed 003, a jobs package: its storage, one folder for each status and one JSON file for each job."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobhall import Client
from jobhall.queue import JobQueue, QueueJob, QueueStatus
from tests.support.command_line import COMMAND
from tests.support.processes import Processes, Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.fixture
def server(processes: Processes) -> Server:
    return processes.serve()


@pytest.fixture
def queue(server: Server) -> Iterator[JobQueue]:
    with JobQueue(server.address, max_retries=0) as queue:
        yield queue


def export(server: Server, folder: Path) -> dict[str, str]:
    """The folder of each job, after an export to `dataDir`."""
    subprocess.run([COMMAND, "--address", server.address, "export", "dataDir"], cwd=folder, check=True, timeout=30)
    return {
        path.stem: status.value for status in QueueStatus for path in (folder / "dataDir" / status.value).glob("*.json")
    }


def _in_every_status(queue: JobQueue) -> dict[str, QueueJob]:
    jobs = {status.value: queue.create_job("my-job-type", {"status": status.value}) for status in QueueStatus}
    for status in ("running", "complete", "failed"):
        queue.update_job_status(jobs[status].id, "running")
    queue.complete_job(jobs["complete"].id, {"done": True})
    queue.fail_job(jobs["failed"].id, "it is broken")
    queue.cancel_job(jobs["cancelled"].id)
    return jobs


def test_jobs_are_stored_in_different_folders_by_status(queue: JobQueue, server: Server, tmp_path: Path) -> None:
    jobs = _in_every_status(queue)

    folders = export(server, tmp_path)

    assert folders == {job.id: status for status, job in jobs.items()}
    assert set(jobs) == {"pending", "running", "complete", "failed", "cancelled"}


def test_each_job_is_a_json_file_that_is_named_by_its_id(queue: JobQueue, server: Server, tmp_path: Path) -> None:
    job = _in_every_status(queue)["complete"]
    export(server, tmp_path)

    said = json.loads((tmp_path / "dataDir" / "complete" / f"{job.id}.json").read_text())

    assert (said["job"]["id"], said["job"]["parameters"], said["job"]["result"]) == (
        job.id,
        {"status": "complete"},
        {"done": True},
    )


def test_a_job_of_another_status_is_moved_there(queue: JobQueue, server: Server, tmp_path: Path) -> None:
    job = queue.create_job("my-job-type")
    before = export(server, tmp_path)

    queue.update_job_status(job.id, "running")
    meanwhile = export(server, tmp_path)
    queue.complete_job(job.id)

    assert [before, meanwhile, export(server, tmp_path)] == [
        {job.id: "pending"},
        {job.id: "running"},
        {job.id: "complete"},
    ]


def test_what_was_stored_is_read_into_another_server(
    queue: JobQueue, server: Server, processes: Processes, tmp_path: Path
) -> None:
    jobs = _in_every_status(queue)
    export(server, tmp_path)
    other = processes.serve("other.db")

    subprocess.run([COMMAND, "--address", other.address, "import", "dataDir"], cwd=tmp_path, check=True, timeout=30)

    with JobQueue(other.address) as there, Client(other.address) as client:
        assert {job.id: job.status.value for job in there.list_jobs()} == {
            job.id: "pending" if status == "running" else status for status, job in jobs.items()
        }
        assert there.poll_next_pending_job("my-job-type") is not None
        assert client.jobs.get_job(jobs["failed"].id).error_message == "it is broken"
