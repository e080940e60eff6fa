"""Workers that come back from the dead: what they say late is refused once the job went on, and taken if it did not."""

from collections.abc import Callable, Iterator

import grpc
import pytest

from jobhall.states import JobState
from jobhall.v1 import job_pb2, task_pb2, worker_service_pb2, worker_service_pb2_grpc
from jobhall.wire_errors import error_from_status
from tests.support import journal
from tests.support.processes import Processes, Program
from tests.support.scene import Scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture
def scene(processes: Processes) -> Iterator[Scene]:
    with Scene(processes, session_ttl_seconds=1) as scene:
        yield scene


def test_the_late_answer_of_a_worker_that_was_replaced_is_refused_and_changes_nothing(
    scene: Scene, figures: Callable[..., None]
) -> None:
    """A worker stands still past its time to live, its job completes elsewhere, and then it answers as well."""
    sleeper = scene.work("sleeper")
    job_id = scene.hold()
    other = scene.work("other")

    sleeper.pause()
    scene.started(job_id, times=2)
    scene.open()
    completed = scene.client.jobs.wait_for_job(job_id, timeout=10)
    row = scene.stored.job(job_id)
    leave_after_its_end(scene, sleeper, job_id, times=2)

    figures(executions=2, completions=1, fences=[start.fence for start in journal.starts(scene.folder, job_id)])
    first, second = journal.starts(scene.folder, job_id)
    assert (first.worker, second.worker) == ("sleeper", "other")
    assert second.fence > first.fence
    assert scene.stored.job(job_id) == row
    assert scene.client.jobs.get_job(job_id).result == completed.result == {"worker": "other", "fence": second.fence}
    assert "not taken" in sleeper.output or "no longer" in sleeper.output
    assert other.status is None
    scene.judge()


def test_the_late_answer_of_the_only_worker_is_taken_and_nothing_runs_twice(scene: Scene) -> None:
    """A worker stands still past its time to live, its job waits for another worker, and then it answers."""
    sleeper = scene.work("sleeper")
    job_id = scene.hold()

    sleeper.pause()
    scene.is_in(JobState.PENDING, job_id)
    scene.open()
    leave_after_its_end(scene, sleeper, job_id)

    [start] = journal.starts(scene.folder, job_id)
    assert scene.client.jobs.get_job(job_id).result == {"worker": "sleeper", "fence": start.fence}
    assert scene.client.jobs.get_job(job_id).attempt == 1
    scene.judge()


def test_of_all_that_a_stale_token_can_say_nothing_is_taken(scene: Scene) -> None:
    """A script claims a job and forgets it, a worker takes it over; then the script says everything there is to say.

    It does so twice: while the worker runs the job, and when it is done. Each report is judged by its token alone;
    named with its session, which is over, the whole call is refused.
    """
    job_id = scene.client.jobs.submit("hold", {"gate": str(scene.folder / "gate")}).id
    with grpc.insecure_channel(scene.server.address) as channel:
        twins = worker_service_pb2_grpc.WorkerServiceStub(channel)
        request = worker_service_pb2.ClaimTasksRequest(job_types=["hold"], worker_name="script", accept=True)
        request.lease_duration.FromMilliseconds(1000)
        claimed = twins.ClaimTasks(request)
        [task] = claimed.tasks
        _ = scene.work("other")
        scene.started(job_id)

        for state in (JobState.RUNNING, JobState.COMPLETED):
            scene.is_in(state, job_id)
            row, events = scene.stored.job(job_id), scene.log_of(job_id)

            answer = twins.ReportTasks(everything(task.lease_token))
            with pytest.raises(grpc.RpcError) as over:
                twins.ReportTasks(everything(task.lease_token, session_id=claimed.session_id))

            reasons = {rejection.seq: error_from_status(rejection.status).reason for rejection in answer.rejections}
            assert reasons == dict.fromkeys(range(1, 10), "LEASE_LOST")
            assert over.value.code() is grpc.StatusCode.NOT_FOUND
            assert (scene.stored.job(job_id), scene.log_of(job_id)) == (row, events)
            scene.open()

    assert scene.client.jobs.get_job(job_id).result == {"worker": "other", "fence": task.fence + 1}
    assert list(scene.client.jobs.logs(job_id)) == []
    scene.judge()


def everything(token: bytes, *, session_id: str = "") -> worker_service_pb2.ReportTasksRequest:
    """A report of every kind, numbered from 1; progress has no number and no answer."""
    json = job_pb2.Payload(json="{}")
    updates = [
        task_pb2.TaskUpdate(accepted=task_pb2.TaskAccepted()),
        task_pb2.TaskUpdate(item_errors=task_pb2.TaskItemErrors(first_number=1, item_errors=[job_pb2.ItemError()])),
        task_pb2.TaskUpdate(checkpoint=task_pb2.TaskCheckpoint(state=json)),
        task_pb2.TaskUpdate(failed=task_pb2.TaskFailed(code="LATE", message="late")),
        task_pb2.TaskUpdate(released=task_pb2.TaskReleased()),
        task_pb2.TaskUpdate(cancelled=task_pb2.TaskCancelled()),
        task_pb2.TaskUpdate(completed=task_pb2.TaskCompleted(result=json)),
        task_pb2.TaskUpdate(completed=task_pb2.TaskCompleted()),
    ]
    for seq, update in enumerate(updates, start=2):
        update.seq = seq
    updates.append(task_pb2.TaskUpdate(progress=job_pb2.Progress(percent=50)))
    for update in updates:
        update.lease_token = token
    log = task_pb2.TaskLog(seq=1, lease_token=token, first_number=1, log_entries=[job_pb2.LogEntry(message="late")])
    return worker_service_pb2.ReportTasksRequest(session_id=session_id, updates=updates, logs=[log])


def leave_after_its_end(scene: Scene, worker: Program, job_id: str, *, times: int = 1) -> None:
    """Lets a paused worker finish its handler and leave; it does so only when its answer was answered."""
    worker.go_on()
    scene.ended(job_id, times=times)
    assert worker.stop() == 0, worker.output
