"""Workers that die or fall silent in mid-job: what runs again, how soon, and what becomes of the late answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import jobhall
from jobhall.states import EventType, JobState
from tests.support import journal
from tests.support.processes import Processes, Program, Server
from tests.support.stored import Stored
from tests.support.waiting import eventually

SESSION_TTL_SECONDS = 1.5
HEARTBEAT_SECONDS = 0.4
RESCUE_SECONDS = SESSION_TTL_SECONDS + 2
"""Within this time of a worker's detachment its job is another's."""
SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS
"""After this a worker whose stream still stands counts as detached."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture
def server(processes: Processes) -> Server:
    return processes.serve(session_ttl_seconds=SESSION_TTL_SECONDS, heartbeat_seconds=HEARTBEAT_SECONDS)


@pytest.fixture
def client(server: Server) -> Iterator[jobhall.Client]:
    with jobhall.Client(server.address) as client:
        client.types.register("hold")
        yield client


def submit_held(client: jobhall.Client, gate: Path) -> str:
    """A job that runs until somebody makes the gate."""
    return client.jobs.submit("hold", {"gate": str(gate)}).id


def running_on(client: jobhall.Client, job_id: str, *, within: float) -> jobhall.Job:
    def running() -> jobhall.Job | None:
        job = client.jobs.get_job(job_id)
        return job if job.state is JobState.RUNNING and job.current_task else None

    found = eventually(running, within=within, what="the job runs")
    assert found
    return found


def worker_of(job: jobhall.Job) -> str:
    assert job.current_task
    return job.current_task.worker_name


def test_the_job_of_a_killed_worker_runs_on_another_in_time(
    processes: Processes, server: Server, client: jobhall.Client, tmp_path: Path
) -> None:
    workers = {name: processes.work(name, server.address) for name in ("first", "second")}
    job_id = submit_held(client, tmp_path / "gate")
    victim = worker_of(running_on(client, job_id, within=20))
    [survivor] = workers.keys() - {victim}

    killed_at = workers[victim].kill()
    eventually(
        lambda: len(journal.starts(tmp_path, job_id)) == 2, within=RESCUE_SECONDS + 5, what="the job starts again"
    )
    (tmp_path / "gate").touch()
    job = client.jobs.wait_for_job(job_id, timeout=10)

    first, second = journal.starts(tmp_path, job_id)
    assert (first.worker, second.worker) == (victim, survivor)
    assert second.at - killed_at <= RESCUE_SECONDS
    assert second.fence > first.fence
    assert [end.worker for end in journal.ends(tmp_path, job_id)] == [survivor]
    assert (job.attempt, job.worker_losses) == (2, 1)
    assert job.result == {"worker": survivor, "fence": second.fence}
    assert Stored(server.database).events_of(job_id) == [
        EventType.SUBMITTED,
        *(EventType.CLAIMED, EventType.RUNNING, EventType.READY),
        *(EventType.CLAIMED, EventType.RUNNING, EventType.COMPLETED),
    ]


def test_the_late_answer_of_a_worker_that_was_replaced_is_refused_and_changes_nothing(
    processes: Processes, server: Server, client: jobhall.Client, tmp_path: Path
) -> None:
    """A worker stands still past its time to live, its job completes elsewhere, and then it answers as well."""
    sleeper = processes.work("sleeper", server.address)
    job_id = submit_held(client, tmp_path / "gate")
    running_on(client, job_id, within=20)
    other = processes.work("other", server.address)

    sleeper.pause()
    eventually(
        lambda: len(journal.starts(tmp_path, job_id)) == 2,
        within=SILENCE_SECONDS + RESCUE_SECONDS + 5,
        what="the job starts on the other worker",
    )
    (tmp_path / "gate").touch()
    completed = client.jobs.wait_for_job(job_id, timeout=10)
    row = Stored(server.database).job(job_id)
    leave_after_its_end(sleeper, job_id, tmp_path)

    assert "was not taken" in sleeper.output
    assert Stored(server.database).job(job_id) == row
    assert client.jobs.get_job(job_id).result == completed.result == {"worker": "other", "fence": completed_fence(row)}
    assert [start.worker for start in journal.starts(tmp_path, job_id)] == ["sleeper", "other"]
    assert Stored(server.database).events_of(job_id).count(EventType.COMPLETED) == 1
    assert other.status is None


def test_the_late_answer_of_the_only_worker_is_taken_and_nothing_runs_twice(
    processes: Processes, server: Server, client: jobhall.Client, tmp_path: Path
) -> None:
    """A worker stands still past its time to live, its job waits for another worker, and then it answers."""
    sleeper = processes.work("sleeper", server.address)
    job_id = submit_held(client, tmp_path / "gate")
    running_on(client, job_id, within=20)

    sleeper.pause()
    eventually(
        lambda: client.jobs.get_job(job_id).state is JobState.PENDING,
        within=SILENCE_SECONDS + RESCUE_SECONDS + 5,
        what="the job waits for another worker",
    )
    (tmp_path / "gate").touch()
    leave_after_its_end(sleeper, job_id, tmp_path)
    job = client.jobs.get_job(job_id)

    assert job.state is JobState.COMPLETED
    assert len(journal.starts(tmp_path, job_id)) == 1
    assert job.attempt == 1
    assert job.result == {"worker": "sleeper", "fence": journal.starts(tmp_path, job_id)[0].fence}


def leave_after_its_end(worker: Program, job_id: str, folder: Path) -> None:
    """Lets a paused worker finish its handler and leave; it does so only when its answer was answered."""
    worker.go_on()
    eventually(
        lambda: [end for end in journal.ends(folder, job_id) if end.worker == worker.name],
        within=10,
        what=f"{worker.name} ends the job",
    )
    assert worker.stop() == 0, worker.output


def completed_fence(row: tuple[object, ...]) -> object:
    """The fence of the job's last claim."""
    return row[4]
