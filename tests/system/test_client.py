"""The blocking client against a real server process: each method, each error as its class, and a server that dies."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice

import pytest

from jobhall import (
    ApiError,
    BackoffStrategy,
    CallRetry,
    Client,
    EventType,
    FileInfo,
    ItemError,
    JobFailedError,
    JobState,
    JobTimeoutError,
    RetryPolicy,
    ServerUnreachableError,
    Submission,
    Task,
    TaskFailed,
    Worker,
    WorkerState,
    __version__,
)
from jobhall.errors import (
    CursorMismatchError,
    FieldInvalidError,
    FilterUnsupportedError,
    JobIdReusedError,
    JobNotFoundError,
    JobRunningError,
    JobTerminalError,
    JobTypeNotFoundError,
    PayloadTooLargeError,
    WorkerNotFoundError,
)
from jobhall.ids import new_id
from tests.support.ports import free_port
from tests.support.processes import Processes, Server
from tests.support.stored import Stored
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

PATIENT = CallRetry(attempts_max=1000, delay_max=timedelta(seconds=0.2))
WAIT_SECONDS = 10.0
ROUNDS = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests here but those that kill theirs."""
    with Processes(tmp_path_factory.mktemp("client")) as processes:
        yield processes.serve()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        client.types.register("score")
        yield client


@pytest.fixture
def worker(server: Server) -> Iterator[Worker]:
    worker = Worker(server.address, concurrency=2, drain_seconds=0)

    @worker.handler("double")
    def double(task: Task) -> int:
        for number in range(150):
            task.item_error(index=number, key=f"row {number}")
            task.log(f"line {number}")
        result: int = 2 * task.parameters
        return result

    @worker.handler("decline")
    def decline(task: Task) -> None:
        raise TaskFailed("card declined", code="DECLINED", retryable=False)

    @worker.handler("hold")
    def hold(task: Task) -> None:
        while True:
            task.progress(message="at it")
            time.sleep(0.01)  # sleeps: a plain handler at work

    @worker.handler("stutter")
    def stutter(task: Task) -> int:
        if task.attempt < 3:
            raise TaskFailed("not yet", code="EARLY")
        return task.attempt

    with worker:
        eventually(lambda: worker.connected, within=WAIT_SECONDS, what="the worker is connected")
        yield worker


def test_jobs_are_submitted_read_and_listed(client: Client) -> None:
    path = f"/files/{new_id()}"
    first = client.jobs.submit(
        "score", {"rows": [1, None]}, labels={"team": "red"}, path=path, file_info=FileInfo("a.csv", 1), priority=7
    )
    many = client.jobs.submit_many([Submission("score", number, path=path) for number in range(5)])
    client.jobs.cancel_job(many[0].id)

    read = client.jobs.get_job(first.id)
    found = client.jobs.get_jobs([many[3].id, new_id(), first.id])
    page = client.jobs.list_page(path=path, page_size=4, skip=1)

    assert (read.state, read.parameters, read.labels, read.path) == (
        JobState.PENDING,
        {"rows": [1, None]},
        {"team": "red"},
        path,
    )
    assert (read.file_info, read.priority) == (FileInfo("a.csv", 1), 7)
    assert [job.parameters for job in found] == [3, {"rows": [1, None]}]
    assert len(found.missing_ids) == 1
    newest_first = [first.id, *(job.id for job in many)][::-1]
    assert [job.id for job in client.jobs.list_jobs(path=path, page_size=2)] == newest_first
    assert [job.id for job in page.jobs] == newest_first[1:5]
    assert page.next_page_token
    assert [job.id for job in client.jobs.list_jobs(path=path, labels={"team": "red"})] == [first.id]
    assert [job.id for job in client.jobs.list_jobs(path=path, states=[JobState.CANCELLED])] == [many[0].id]
    assert list(client.jobs.list_jobs(path=path, job_types=["other"])) == []


def test_a_job_is_waited_for_and_what_it_left_behind_is_read(client: Client, worker: Worker) -> None:
    job = client.jobs.wait_for_job(client.jobs.submit("double", 21).id, timeout=WAIT_SECONDS)

    assert (job.result, job.succeeded, job.item_error_count) == (42, True, 150)
    assert list(client.jobs.item_errors(job.id)) == [ItemError(number, f"row {number}") for number in range(150)]
    assert [line.message for line in client.jobs.logs(job.id)] == [f"line {number}" for number in range(150)]
    assert len(client.jobs.get_job(job.id, include_errors=True).item_errors) == 100
    assert client.jobs.delete_job(job.id).result == 42
    with pytest.raises(JobNotFoundError):
        next(client.jobs.logs(job.id))


def test_a_wait_ends_with_the_failure_the_cancel_or_the_time(client: Client, worker: Worker) -> None:
    declined, waiting = client.jobs.submit("decline"), client.jobs.submit("score")

    with pytest.raises(JobFailedError, match="card declined") as failed:
        client.jobs.wait_for_job(declined.id, timeout=WAIT_SECONDS)
    with pytest.raises(JobTimeoutError) as late:
        client.jobs.wait_for_job(waiting.id, timeout=0.2)
    client.jobs.cancel_job(waiting.id, reason="not needed")
    with pytest.raises(JobFailedError) as cancelled:
        client.jobs.wait_for_job(waiting.id)

    assert (failed.value.details["kind"], failed.value.details["code"]) == ("APPLICATION", "DECLINED")
    assert late.value.details == {"job_id": waiting.id, "timeout": 0.2, "state": "PENDING"}
    assert cancelled.value.details == {"job_id": waiting.id, "state": "CANCELLED", "failure_reason": "not needed"}


def test_each_refusal_is_of_its_class(client: Client, worker: Worker) -> None:
    known = client.jobs.submit("score", 1)
    held = client.jobs.submit("hold")
    eventually(
        lambda: client.jobs.get_job(held.id).state is JobState.RUNNING, within=WAIT_SECONDS, what="the job is RUNNING"
    )

    with pytest.raises(JobTypeNotFoundError, match="did you mean 'score'"):
        client.jobs.submit("scroe")
    with pytest.raises(JobTypeNotFoundError):
        client.types.get("scroe")
    with pytest.raises(JobIdReusedError):
        client.jobs.submit("score", 2, job_id=known.id)
    with pytest.raises(FieldInvalidError, match="priority"):
        client.jobs.submit("score", priority=101)
    with pytest.raises(PayloadTooLargeError):
        client.jobs.submit("score", "x" * 2**20)
    with pytest.raises(JobNotFoundError):
        client.jobs.wait_for_job(new_id())
    with pytest.raises(JobRunningError):
        client.jobs.delete_job(held.id)
    with pytest.raises(FilterUnsupportedError):
        client.jobs.list_page(filter="state != FAILED")
    with pytest.raises(CursorMismatchError):
        next(client.jobs.watch(cursor="elsewhere"))
    assert client.jobs.cancel_job(held.id).state in (JobState.CANCELLING, JobState.CANCELLED)
    with pytest.raises(JobFailedError, match="is CANCELLED"):
        client.jobs.wait_for_job(held.id, timeout=WAIT_SECONDS)
    declined = client.jobs.submit("decline")
    with pytest.raises(JobFailedError, match="is FAILED"):
        client.jobs.wait_for_job(declined.id, timeout=WAIT_SECONDS)
    with pytest.raises(JobTerminalError):
        client.jobs.cancel_job(declined.id)


def test_a_job_is_tried_again_by_its_rules_and_once_more_by_hand(client: Client, worker: Worker) -> None:
    at_once = RetryPolicy(strategy=BackoffStrategy.FIXED, initial_delay=timedelta(0))
    enough = client.jobs.submit("stutter", retry_policy=at_once, run_timeout=60, progress_timeout=timedelta(minutes=1))
    [early] = client.jobs.submit_many([Submission("stutter", retry_policy=at_once, max_attempts=2)])

    done = client.jobs.wait_for_job(enough.id, timeout=WAIT_SECONDS)
    with pytest.raises(JobFailedError, match="not yet") as failed:
        client.jobs.wait_for_job(early.id, timeout=WAIT_SECONDS)
    retried = client.jobs.retry_job(early.id)

    assert (done.result, done.attempt, done.run_timeout) == (3, 3, timedelta(seconds=60))
    assert (failed.value.details["attempt"], failed.value.details["code"]) == (2, "EARLY")
    assert (retried.state, retried.attempt, retried.error) == (JobState.PENDING, 0, None)
    with pytest.raises(JobTerminalError):
        client.jobs.retry_job(enough.id)


def test_workers_are_seen_and_sent_away(client: Client, worker: Worker) -> None:
    held = client.jobs.submit("hold")
    eventually(
        lambda: client.jobs.get_job(held.id).state is JobState.RUNNING, within=WAIT_SECONDS, what="the job is RUNNING"
    )

    # One of an earlier test may be on its way out.
    [listed] = [seen for seen in client.workers.list(name=worker.name, job_types=["hold"]) if seen.held_count]
    read = client.workers.get(listed.id)
    leaving = client.workers.drain(read.id, timeout=60, reason="deploy")
    client.jobs.cancel_job(held.id, grace=5)
    eventually(
        lambda: read.id not in [seen.id for seen in client.workers.list()],
        within=WAIT_SECONDS,
        what="the worker has left",
    )

    assert (read.state, read.held_count, set(read.job_types)) == (WorkerState.ATTACHED, 1, set(worker.job_types))
    assert leaving.state is WorkerState.DRAINING
    assert client.jobs.get_job(held.id).state is JobState.CANCELLED
    with pytest.raises(WorkerNotFoundError):
        client.workers.get(read.id)


def test_a_watch_tells_all_with_a_snapshot_first_and_ends_with_its_jobs(client: Client) -> None:
    jobs = [job.id for job in client.jobs.submit_many([Submission("score")] * 3)]
    watch = client.jobs.watch(job_ids=jobs, include_snapshot=True, stop_when_terminal=True)
    snapshot: list[str] = []
    for update in watch:
        snapshot.extend(job.id for job in update.jobs)
        if update.snapshot_complete:
            break

    for job_id in jobs:
        client.jobs.cancel_job(job_id)
    ended = [event.job_id for update in watch for event in update.events]
    again = client.jobs.watch(job_ids=jobs, cursor=update.cursor, stop_when_terminal=True)

    assert sorted(snapshot) == sorted(jobs)
    assert ended == jobs
    assert [event.job_id for update in again for event in update.events] == jobs


def test_types_and_the_server_are_told(client: Client, worker: Worker) -> None:
    names = sorted(f"type-{number:03}" for number in range(120))
    for name in names:
        client.types.register(name)

    listed = [job_type.name for job_type in client.types.list()]
    info = client.server_info()

    assert [name for name in listed if name.startswith("type-")] == names
    assert set(worker.job_types) < set(listed)
    assert client.types.get("type-007").namespace == "default"
    assert (info.version, info.engine) == (__version__, "sqlite")


def test_many_threads_share_a_client_and_closing_it_ends_what_they_wait_for(server: Server, client: Client) -> None:
    shared = Client(server.address)
    jobs = [client.jobs.submit("score").id for _ in range(3)]
    ends: list[ApiError | None] = []

    def wait(job_id: str) -> None:
        try:
            shared.jobs.wait_for_job(job_id)
        except ApiError as error:
            ends.append(error)

    def follow() -> None:
        for _ in shared.jobs.watch():
            opened.set()
        ends.append(None)

    opened = threading.Event()
    threads = [threading.Thread(target=follow), *(threading.Thread(target=wait, args=(job,)) for job in jobs)]
    for thread in threads:
        thread.start()
    assert opened.wait(WAIT_SECONDS)
    shared.jobs.submit("score")
    shared.close()
    for thread in threads:
        thread.join(WAIT_SECONDS)

    assert sorted(str(end) for end in ends) == ["None", *["the client was closed [CANCELLED]"] * 3]
    with pytest.raises(ApiError, match="the client was closed"):
        shared.jobs.get_job(jobs[0])


def test_nobody_there_is_said_at_once_with_what_to_do() -> None:
    address = f"127.0.0.1:{free_port()}"
    expected = f"no jobhall server answers at {address}.*`jobhall-server serve`.*JOBHALL_ADDRESS"

    with Client(address, retry=CallRetry(attempts_max=2)) as client:
        for call in (client.server_info, lambda: client.jobs.submit("score"), lambda: next(client.jobs.watch())):
            with pytest.raises(ServerUnreachableError, match=expected) as caught:
                call()
            assert caught.value.metadata == {"address": address}


def test_calls_a_wait_and_a_watch_outlive_a_server_that_is_killed(processes: Processes) -> None:
    """SIGKILL, then another server on the same file and port: each submit is one job, the watch misses nothing."""
    server = processes.serve(log_level="warning")
    seen: list[tuple[str, int, EventType]] = []
    jobs: list[str] = []
    ended: list[str] = []

    def follow() -> None:
        for update in client.jobs.watch():
            opened.set()
            seen.extend((event.job_id, event.revision, event.event_type) for event in update.events)

    def wait() -> None:
        with pytest.raises(JobFailedError, match="at last"):
            client.jobs.wait_for_job(jobs[0], timeout=30)
        ended.append(jobs[0])

    opened = threading.Event()
    with Client(server.address, retry=PATIENT) as client:
        client.types.register("score")
        follower, waiter = threading.Thread(target=follow), threading.Thread(target=wait)
        follower.start()
        assert opened.wait(WAIT_SECONDS)
        jobs.extend(client.jobs.submit("score").id for _ in range(5))
        waiter.start()
        for _ in range(ROUNDS):
            server.kill()
            restarting = threading.Thread(target=client.jobs.submit, args=("score",))
            restarting.start()
            server = processes.serve(listen=server.address, log_level="warning")
            restarting.join(WAIT_SECONDS)
            jobs.extend(client.jobs.submit("score").id for _ in range(5))
        client.jobs.cancel_job(jobs[0], reason="at last")
        waiter.join(WAIT_SECONDS)
        stored = Stored(server.database)
        expected = stored.events()
        eventually(lambda: len(seen) >= len(expected), within=WAIT_SECONDS, what="the watch has seen it all")
    follower.join(WAIT_SECONDS)

    assert ended == jobs[:1]
    assert seen == expected
    assert set(jobs) <= stored.states().keys()
    assert len(stored.states()) == len(jobs) + ROUNDS
    stored.check()


def test_a_wait_for_the_first_server_is_as_long_as_the_timeout(processes: Processes) -> None:
    address = f"127.0.0.1:{free_port()}"

    with Client(address, retry=PATIENT, timeout=WAIT_SECONDS) as client:
        starting = threading.Thread(target=processes.serve, kwargs={"listen": address})
        starting.start()
        first = list(islice(client.jobs.watch(), 1))
        info = client.server_info()
        starting.join(WAIT_SECONDS)

    assert first[0].cursor
    assert info.engine == "sqlite"
