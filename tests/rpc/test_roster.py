"""Workers as operators see them: GetWorker, ListWorkers with filters and pages, DrainWorker in time and after it."""

from typing import Any

import pytest

from jobhall.errors import ApiError, Code
from jobhall.states import JobState
from jobhall.v1 import worker_pb2
from jobhall.v1 import worker_service_pb2 as pb
from tests.support.calls import RawWorker, get, refusal, register, submit
from tests.support.servers import Running
from tests.support.unary_calls import SOON, beat, claim, report, state
from tests.support.waiting import eventually_async

NOBODY = "0190a0b0-0000-7000-8000-000000000000"
WITHIN_SECONDS = 10.0
A_MOMENT: Any = {"nanos": 200_000_000}


async def one(server: Running, worker_id: str) -> worker_pb2.Worker:
    return (await server.workers.GetWorker(pb.GetWorkerRequest(worker_id=worker_id))).worker


async def names(server: Running, **fields: Any) -> list[str]:
    answer = await server.workers.ListWorkers(pb.ListWorkersRequest(**fields))
    return [worker.name for worker in answer.workers]


async def drain(server: Running, worker_id: str, **fields: Any) -> worker_pb2.Worker:
    return (await server.workers.DrainWorker(pb.DrainWorkerRequest(worker_id=worker_id, **fields))).worker


async def gone(server: Running, worker_id: str) -> None:
    async def is_gone() -> bool:
        return worker_id not in {worker.id for worker in (await server.workers.ListWorkers(ALL)).workers}

    await eventually_async(is_gone, within=WITHIN_SECONDS, what="the worker has left")


ALL = pb.ListWorkersRequest(namespace="-")


# --- reading ---


async def test_a_worker_of_a_stream_is_shown_as_it_introduced_itself(brisk: Running) -> None:
    job = await submit(brisk)
    worker = RawWorker(brisk, "score", "zip")
    runtime = {"language": "python", "hostname": "box-1", "process_id": 77}
    welcome = await worker.hello(
        worker_name="ada", labels={"rack": "7"}, namespaces=["default", "lab"], runtime=runtime
    )
    await worker.tasks()

    shown = await one(brisk, welcome.session_id)

    assert (shown.id, shown.name, shown.epoch) == (welcome.session_id, "ada", welcome.epoch)
    assert (list(shown.namespaces), list(shown.job_types)) == (["default", "lab"], ["score", "zip"])
    assert (dict(shown.labels), shown.capacity.tasks_max, shown.held_count) == ({"rack": "7"}, 10, 1)
    assert (shown.runtime.hostname, shown.runtime.process_id) == ("box-1", 77)
    assert (shown.state, shown.unary) == (worker_pb2.WORKER_STATE_ATTACHED, False)
    assert shown.last_seen_time.ToMicroseconds() >= shown.create_time.ToMicroseconds() > 0
    assert not shown.HasField("expire_time")
    assert (await get(brisk, job.id)).current_task.session_id == shown.id
    worker.cut()


async def test_a_worker_is_shown_with_the_capacity_that_it_told_last(brisk: Running) -> None:
    # It stayed what Hello had said: a worker that fetched ahead was shown with 431 of 200 tasks.
    worker = RawWorker(brisk, tasks_max=2)
    welcome = await worker.hello()
    await worker.send(capacity={"tasks_max": 7})

    async def told() -> bool:
        listed = (await brisk.workers.ListWorkers(ALL)).workers
        return [one.capacity.tasks_max for one in listed] == [7]

    await eventually_async(told, within=WITHIN_SECONDS, what="the list has the new capacity")
    assert (await one(brisk, welcome.session_id)).capacity.tasks_max == 7
    await worker.end()


async def test_a_worker_that_lost_its_stream_is_detached_until_it_is_over(brisk: Running) -> None:
    worker = RawWorker(brisk)
    session_id = (await worker.hello()).session_id

    worker.cut()

    async def detached() -> worker_pb2.Worker | None:
        shown = await one(brisk, session_id)
        return shown if shown.state == worker_pb2.WORKER_STATE_DETACHED else None

    shown = await eventually_async(detached, within=WITHIN_SECONDS, what="the worker is detached")
    assert shown is not None
    assert shown.expire_time.ToMicroseconds() - shown.last_seen_time.ToMicroseconds() == 1_000_000
    await gone(brisk, session_id)
    error = await refusal(one(brisk, session_id))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "WORKER_NOT_FOUND")


async def test_a_worker_without_a_stream_is_there_as_long_as_its_lease(brisk: Running) -> None:
    given = await claim(brisk, worker_name="cron", tasks_max=3, lease_duration={"seconds": 50}, labels={"a": "b"})

    shown = await one(brisk, given.session_id)

    assert (shown.name, shown.unary, shown.capacity.tasks_max, dict(shown.labels)) == ("cron", True, 3, {"a": "b"})
    assert shown.state == worker_pb2.WORKER_STATE_ATTACHED
    assert shown.expire_time.ToMicroseconds() - shown.last_seen_time.ToMicroseconds() == 50_000_000


async def test_a_list_names_those_that_a_filter_means(brisk: Running) -> None:
    await register(brisk, "zip", "lab")
    await claim(brisk, worker_name="ada", labels={"rack": "7", "zone": "a"})
    await claim(brisk, worker_name="ben", labels={"rack": "8"}, job_types=["zip", "score"])
    await claim(brisk, worker_name="cyd", namespaces=["lab"], job_types=["private:zip"])
    await claim(brisk, worker_name="dee", namespaces=["-"], job_types=["public:scan"])
    drained = await claim(brisk, worker_name="eve", accept=True, timeout=SOON, job_ids=[(await submit(brisk)).id])
    await drain(brisk, drained.session_id)

    async def those(filter: str, **fields: Any) -> str:  # noqa: A002 - the field's own name
        return " ".join(await names(brisk, filter=filter, **fields))

    assert await those("") == "eve dee ben ada"
    assert await those("", namespace="-") == "eve dee cyd ben ada"
    assert await those("", namespace="lab") == "dee cyd"
    assert await those("name = ben") == "ben"
    assert await those("type = zip", namespace="-") == "cyd ben"
    assert await those("type = zip OR type = scan", namespace="-") == "dee cyd ben"
    assert await those('type = "private:zip"', namespace="-") == "cyd"
    assert await those("labels.rack = 7") == "ada"
    assert await those("labels.rack = 7 AND labels.zone = b") == ""
    assert await those("state = DRAINING") == "eve"
    assert await those("state = ATTACHED AND type = score") == "ben ada"
    assert await those("state = DETACHED") == ""


async def test_a_list_comes_in_pages_the_newest_first(brisk: Running) -> None:
    for number in range(7):
        await claim(brisk, worker_name=f"w{number}")

    seen, token = [], ""
    while True:
        page = await brisk.workers.ListWorkers(pb.ListWorkersRequest(page_size=3, page_token=token))
        seen.append([worker.name for worker in page.workers])
        token = page.next_page_token
        if not token:
            break

    assert seen == [["w6", "w5", "w4"], ["w3", "w2", "w1"], ["w0"]]
    assert await names(brisk, page_size=2, skip=4) == ["w2", "w1"]
    assert await names(brisk, skip=7) == []


# --- draining ---


async def test_a_drained_worker_that_holds_nothing_leaves_at_once_and_its_name_is_welcome_again(brisk: Running) -> None:
    worker = RawWorker(brisk)
    session = await worker.hello(worker_name="ada", resume_token="s" * 20)

    shown = await drain(brisk, session.session_id, reason="moving house")
    told = (await worker.next("drain")).drain
    ended = await worker.ended()
    again = RawWorker(brisk)
    welcome = await again.hello(worker_name="ada")
    returning = RawWorker(brisk)
    await returning.send(
        hello=hello_of(session_id=session.session_id, resume_token="s" * 20, connection=2, worker_name="ada")
    )
    refused = await returning.ended()

    assert shown.state == worker_pb2.WORKER_STATE_DRAINING
    assert (told.reason, told.message) == (pb.DRAIN_REASON_WORKER_DRAIN, "moving house")
    assert ended is None
    await gone(brisk, session.session_id)
    assert welcome.session_id != session.session_id
    assert refused is not None
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "WORKER_DRAINED")
    await again.end()


async def test_a_worker_without_a_stream_that_holds_nothing_is_shown_as_draining_and_is_gone(brisk: Running) -> None:
    session_id = (await claim(brisk)).session_id

    shown = await drain(brisk, session_id)

    assert shown.state == worker_pb2.WORKER_STATE_DRAINING
    await gone(brisk, session_id)


def hello_of(**fields: Any) -> dict[str, Any]:
    return {"job_types": ["score"], "protocol_version": 1, **fields}


async def test_a_drained_worker_finishes_what_it_holds_and_is_given_nothing_more(brisk: Running) -> None:
    job = await submit(brisk)
    worker = RawWorker(brisk)
    session_id = (await worker.hello()).session_id
    [task] = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    await drain(brisk, session_id)
    waiting = await submit(brisk)
    draining = await one(brisk, session_id)
    await worker.beat(task.lease_token)
    done = await worker.report(task.lease_token, completed={})
    ended = await worker.ended()

    assert (draining.state, draining.held_count) == (worker_pb2.WORKER_STATE_DRAINING, 1)
    assert not done.rejections
    assert ended is None
    assert await state(brisk, job.id) is JobState.COMPLETED
    assert await state(brisk, waiting.id) is JobState.PENDING
    await gone(brisk, session_id)


async def test_what_a_drained_worker_still_holds_after_its_time_is_taken_at_no_cost(brisk: Running) -> None:
    job = await submit(brisk)
    worker = RawWorker(brisk)
    session_id = (await worker.hello()).session_id
    [task] = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    await drain(brisk, session_id, timeout=A_MOMENT)
    ended = await worker.ended()
    taken = await get(brisk, job.id)
    late = await report(brisk, "", {"lease_token": task.lease_token, "completed": {}})
    again = await claim(brisk)

    assert ended is None
    assert (JobState(taken.state), taken.attempt, taken.worker_losses) == (JobState.PENDING, 0, 0)
    assert [item.status.code for item in late.rejections] == [Code.ALREADY_EXISTS]
    assert [(task.job_id, task.attempt) for task in again.tasks] == [(job.id, 1)]
    await gone(brisk, session_id)


async def test_a_drained_worker_without_a_stream_is_refused_its_next_claim_and_is_over_when_it_holds_nothing(
    brisk: Running,
) -> None:
    job = await submit(brisk)
    given = await claim(brisk, accept=True)
    token = given.tasks[0].lease_token

    await drain(brisk, given.session_id)
    refused = await refusal(claim(brisk, session_id=given.session_id))
    kept = await beat(brisk, given.session_id, token)
    await report(brisk, given.session_id, {"lease_token": token, "completed": {}})
    over = await refusal(beat(brisk, given.session_id))

    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "WORKER_DRAINED")
    assert not kept.lost_lease_tokens
    assert await state(brisk, job.id) is JobState.COMPLETED
    assert (over.code, over.reason) == (Code.NOT_FOUND, "SESSION_EXPIRED")
    assert await names(brisk) == []


async def test_a_drained_worker_without_a_stream_loses_what_it_holds_after_its_time(brisk: Running) -> None:
    job = await submit(brisk)
    given = await claim(brisk, accept=True)

    await drain(brisk, given.session_id, timeout=A_MOMENT)
    again = await claim(brisk, timeout=SOON)

    assert [(task.job_id, task.attempt) for task in again.tasks] == [(job.id, 1)]
    await gone(brisk, given.session_id)


# --- bad input ---


BAD_INPUT: dict[str, tuple[str, Any, str, str]] = {
    "get: no uuid": ("GetWorker", pb.GetWorkerRequest(worker_id="ada"), "FIELD_INVALID", "worker_id"),
    "get: nothing": ("GetWorker", pb.GetWorkerRequest(), "FIELD_INVALID", "worker_id"),
    "drain: no uuid": ("DrainWorker", pb.DrainWorkerRequest(worker_id="ada"), "FIELD_INVALID", "worker_id"),
    "drain: before now": (
        "DrainWorker",
        pb.DrainWorkerRequest(worker_id=NOBODY, timeout={"seconds": -1}),  # type: ignore[arg-type]
        "FIELD_INVALID",
        "timeout",
    ),
    "drain: in a thousand years": (
        "DrainWorker",
        pb.DrainWorkerRequest(worker_id=NOBODY, timeout={"seconds": 10**11}),  # type: ignore[arg-type]
        "FIELD_INVALID",
        "timeout",
    ),
    "drain: a long story": (
        "DrainWorker",
        pb.DrainWorkerRequest(worker_id=NOBODY, reason="x" * 2000),
        "FIELD_INVALID",
        "reason",
    ),
    "list: namespace": ("ListWorkers", pb.ListWorkersRequest(namespace="No Such"), "FIELD_INVALID", "namespace"),
    "list: page size": ("ListWorkers", pb.ListWorkersRequest(page_size=1001), "FIELD_INVALID", "page_size"),
    "list: page token": ("ListWorkers", pb.ListWorkersRequest(page_token="!"), "FIELD_INVALID", "page_token"),
    "list: skip": ("ListWorkers", pb.ListWorkersRequest(skip=-1), "FIELD_INVALID", "skip"),
    "list: order": ("ListWorkers", pb.ListWorkersRequest(order_by="name"), "FILTER_UNSUPPORTED", "order_by"),
    "list: a job's field": ("ListWorkers", pb.ListWorkersRequest(filter="path = x"), "FILTER_UNSUPPORTED", "filter"),
    "list: operator": ("ListWorkers", pb.ListWorkersRequest(filter="name != x"), "FILTER_UNSUPPORTED", "filter"),
    "list: state": ("ListWorkers", pb.ListWorkersRequest(filter="state = RUNNING"), "FIELD_INVALID", "filter"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
async def test_what_cannot_be_meant_is_refused_by_its_field(brisk: Running, name: str) -> None:
    method, request, reason, field = BAD_INPUT[name]

    error = await refusal(getattr(brisk.workers, method)(request))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, reason)
    assert [violation.field for violation in error.violations] == [field]


async def test_a_worker_that_is_not_there_is_not_found(brisk: Running) -> None:
    async def refused(call: Any) -> ApiError:
        return await refusal(call)

    errors = [await refused(one(brisk, NOBODY)), await refused(drain(brisk, NOBODY))]

    assert [(error.code, error.reason) for error in errors] == [(Code.NOT_FOUND, "WORKER_NOT_FOUND")] * 2


async def test_the_token_of_a_page_is_good_for_its_own_list_alone(brisk: Running) -> None:
    for number in range(3):
        await claim(brisk, worker_name=f"w{number}")
    page = await brisk.workers.ListWorkers(pb.ListWorkersRequest(page_size=1))

    other = pb.ListWorkersRequest(page_size=1, page_token=page.next_page_token, filter="name = w0")
    error = await refusal(brisk.workers.ListWorkers(other))

    assert (error.reason, [violation.field for violation in error.violations]) == ("FIELD_INVALID", ["page_token"])
