"""Jobs whose workers die for good, jobs that kill them, namesakes, and reports for what was ended meanwhile."""

import time
from collections.abc import Callable, Iterator

import pytest

import jobhall
from jobhall.errors import JobNotFoundError
from jobhall.states import FailureKind, JobState
from tests.support import journal
from tests.support.processes import Processes
from tests.support.scene import Scene
from tests.support.waiting import eventually

TTL_SECONDS = 1.0
RESCUE_SECONDS = TTL_SECONDS + 2
GOOD = 100
LOSSES_MAX = 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture
def scene(processes: Processes) -> Iterator[Scene]:
    with Scene(processes, session_ttl_seconds=TTL_SECONDS) as scene:
        yield scene


def test_a_worker_that_dies_on_the_last_attempt_fails_the_job_in_time_and_nobody_runs_it_again(
    scene: Scene, figures: Callable[..., None]
) -> None:
    """`max_attempts=1` means never run twice, not even after a crash; another worker stands by idle."""
    victim = scene.work("victim")
    job_id = scene.hold(max_attempts=1)
    _ = scene.work("idle")

    killed_at = victim.kill()
    scene.is_in(JobState.FAILED, job_id)
    failed_after = time.monotonic() - killed_at

    figures(failed_after=f"{failed_after:.1f} s")
    error = scene.client.jobs.get_job(job_id).error
    assert error is not None
    assert (error.kind, error.code) == (FailureKind.WORKER_LOST, "ATTEMPTS_EXHAUSTED")
    assert failed_after <= RESCUE_SECONDS
    assert scene.counted(job_id) == (1, 1)
    assert len(journal.starts(scene.folder, job_id)) == 1
    scene.judge()


def test_a_worker_that_comes_back_after_the_last_attempt_changes_nothing(scene: Scene) -> None:
    """It stands still for so long that its job fails for want of attempts; FAILED is final, its completion is late."""
    sleeper = scene.work("sleeper")
    job_id = scene.hold(max_attempts=1)

    sleeper.pause()
    scene.is_in(JobState.FAILED, job_id)
    row = scene.stored.job(job_id)
    scene.open()
    sleeper.go_on()
    scene.ended(job_id)
    assert sleeper.stop() == 0, sleeper.output

    assert scene.stored.job(job_id) == row
    scene.judge()


def test_one_poison_job_among_a_hundred_good_ones_fails_alone(scene: Scene, figures: Callable[..., None]) -> None:
    """It kills each worker in its first line, with all that runs there; somebody puts the workers up again at once.

    The first time nobody knows that it had arrived; from the second on it is counted, and after its third loss it is
    FAILED. The good ones that died beside it have a loss too; but a job with a loss is never given to a worker that has
    another such job, so that none of them dies beside it again once it is known.
    """
    workers = {slot: scene.work(f"worker-{slot}", concurrency=4) for slot in range(2)}
    submissions = [jobhall.Submission("nap", {"seconds": 0.1}) for _ in range(GOOD)]
    submissions.insert(GOOD // 4, jobhall.Submission("poison"))
    job_ids = [job.id for job in scene.client.jobs.submit_many(submissions)]
    poison = job_ids.pop(GOOD // 4)
    deaths = 0

    def over() -> bool:
        nonlocal deaths
        for slot, worker in workers.items():
            if worker.status is not None:
                deaths += 1
                workers[slot] = scene.work(f"worker-{slot}", concurrency=4, life=deaths + 1)
        states = scene.stored.states()
        return all(states[job_id].terminal for job_id in (poison, *job_ids))

    eventually(over, within=60, what="every job is terminal")

    losses = {scene.counted(job_id)[1] for job_id in job_ids}
    executions = journal.executions(scene.folder)
    figures(deaths=deaths, executions=executions.total(), losses_of_good_ones=sorted(losses))
    error = scene.client.jobs.get_job(poison).error
    assert error is not None
    assert (error.kind, error.code) == (FailureKind.WORKER_LOST, "WORKER_LOSSES_EXHAUSTED")
    assert executions[poison] == deaths
    assert deaths in (LOSSES_MAX, LOSSES_MAX + 1)
    assert scene.counted(poison)[1] == LOSSES_MAX
    assert max(losses) < LOSSES_MAX
    scene.is_in(JobState.COMPLETED, *job_ids)
    scene.judge()


def test_two_processes_of_one_name_are_two_workers(scene: Scene) -> None:
    """They share the name and nothing else: the death of one does not touch what the other holds."""
    first = scene.work("namesake")
    one = scene.hold("one")
    _ = scene.work("namesake", life=2)
    two = scene.hold("two")
    assert len(scene.streams("namesake")) == 2

    first.kill()
    scene.is_in(JobState.PENDING, one)
    scene.open("two")
    again = scene.started(one, times=2)
    scene.open("one")
    scene.is_in(JobState.COMPLETED, one, two)

    assert again.worker == "namesake.2"
    assert (scene.counted(one), scene.counted(two)) == ((2, 1), (1, 0))
    scene.judge()


def test_reports_for_jobs_that_were_cancelled_retried_or_deleted_meanwhile_change_nothing(scene: Scene) -> None:
    """A worker stands still with three jobs past its time to live; each is ended; then it completes them all.

    The one that was tried again is given out again, under a new fence: what counts is the result of that one.
    """
    jobs = scene.client.jobs
    sleeper = scene.work("sleeper", concurrency=3)
    cancelled, retried, deleted = (scene.hold() for _ in range(3))

    sleeper.pause()
    scene.is_in(JobState.PENDING, cancelled, retried, deleted)
    for job_id in (cancelled, retried):
        jobs.cancel_job(job_id)
    jobs.retry_job(retried)
    jobs.delete_job(deleted)
    row = scene.stored.job(cancelled)
    scene.open()
    sleeper.go_on()
    for job_id in (cancelled, deleted):
        scene.ended(job_id)
    scene.is_in(JobState.COMPLETED, retried)
    assert sleeper.stop() == 0, sleeper.output

    assert scene.stored.job(cancelled) == row
    with pytest.raises(JobNotFoundError):
        jobs.get_job(deleted)
    first, second = journal.starts(scene.folder, retried)
    assert second.fence > first.fence
    assert jobs.get_job(retried).result == {"worker": "sleeper", "fence": second.fence}
    assert scene.counted(retried) == (1, 0)
    scene.judge()


def test_the_answer_of_a_handler_that_outlived_its_cancel_is_too_late(scene: Scene) -> None:
    """Its worker lives and was told; the handler hears nothing; when the grace is over the job goes on without it."""
    worker = scene.work("worker")
    job_id = scene.hold()

    scene.client.jobs.cancel_job(job_id, reason="enough", grace=0.5)
    scene.is_in(JobState.CANCELLED, job_id)
    row = scene.stored.job(job_id)
    scene.open()
    scene.ended(job_id)
    assert worker.stop() == 0, worker.output

    assert scene.stored.job(job_id) == row
    assert scene.client.jobs.get_job(job_id).cancel_reason == "enough"
    scene.judge()
