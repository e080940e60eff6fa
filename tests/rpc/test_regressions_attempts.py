"""Faults of claims, reports and sessions that were found by hunting: each test opens with what went wrong before."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobhall.limits import CLAIM_TASKS_MAX, MESSAGE_BYTES_MAX, WORKER_JOB_TYPES_MAX
from jobhall.states import JobState
from jobhall.v1 import worker_service_pb2 as pb
from jobhall_server.domain.job import Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.rules import Rules
from jobhall_server.hall.frames import Assignment
from jobhall_server.hall.outbox import assignment_bytes
from jobhall_server.rpc.convert_work_out import task_out
from tests.support.calls import RawWorker, get, refusal, register, submit
from tests.support.servers import Running, running_server
from tests.support.unary_calls import claim, report
from tests.support.waiting import eventually_async
from tests.support.worker_frames import assignment


@pytest.fixture
async def server(tmp_path: Path, server_log: io.StringIO) -> AsyncIterator[Running]:
    """A server that gives a task little time to be named, and looks often."""
    settings: dict[str, Any] = {
        "accept_seconds": 0.3,
        "reaper_seconds": 0.05,
        "session_ttl_seconds": 1.0,
        "heartbeat_seconds": 0.5,
    }
    async with running_server(tmp_path, **settings) as running:
        await register(running)
        yield running
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()


async def test_a_unary_beat_takes_nothing_from_a_worker_with_a_stream(server: Running) -> None:
    """The session's id stands in the job and in the list of workers. Whoever called Heartbeat with it, and with no
    tokens, took every task from the worker that was running them: each counted a loss and ran a second time.
    """
    job = await submit(server)
    worker = RawWorker(server)
    welcome = await worker.hello()
    [task] = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    async def beaten() -> bool:
        error = await refusal(server.workers.Heartbeat(pb.HeartbeatRequest(session_id=welcome.session_id)))
        assert (error.reason, [item.field for item in error.violations]) == ("FIELD_INVALID", ["session_id"])
        await worker.beat(task.lease_token)
        started = (await get(server, job.id)).start_time.ToMicroseconds()
        return time.time_ns() > 1000 * started + 500_000_000

    await eventually_async(beaten, within=5, what="the task is old enough to be missed")
    assert not (await worker.report(task.lease_token, completed={})).rejections
    assert (await get(server, job.id)).worker_losses == 0


async def test_a_report_that_is_refused_is_named_though_another_of_the_same_number_was_malformed(
    server: Running,
) -> None:
    """ReportTasks takes any number, so that a script leaves it at 0. A malformed report then hid the refusal of any
    other one of the task: the caller of a completion that was not taken was told that it was.
    """
    job = await submit(server)
    given = await claim(server, accept=True)
    token = given.tasks[0].lease_token
    await report(server, given.session_id, {"lease_token": token, "failed": {"code": "E", "retryable": False}})

    answer = await report(
        server,
        given.session_id,
        {"seq": 0, "lease_token": token, "checkpoint": {}},
        {"seq": 0, "lease_token": token, "completed": {}},
    )

    assert JobState((await get(server, job.id)).state) is JobState.FAILED
    malformed, refused = answer.rejections
    assert malformed.status.message.startswith("checkpoint.state")
    assert refused.lease_token == token


@pytest.mark.parametrize("letter", ["x", "ж", "字"])
async def test_tasks_of_any_alphabet_fit_into_the_answer(server: Running, letter: str) -> None:
    """Parameters were measured in characters. Of those with three bytes each, ten megabytes were put into one answer,
    which no client can receive: the tasks went back after a while and were claimed again, for ever.
    """
    size = len(letter.encode())
    for _ in range(6):
        await submit(server, json='"' + letter * (1_000_000 // size) + '"')

    given = await claim(server, tasks_max=6)

    assert given.tasks
    assert given.ByteSize() <= MESSAGE_BYTES_MAX


async def test_tasks_that_stand_at_long_progress_fit_into_the_answer(server: Running) -> None:
    """What the checkpoint fixed of progress was not measured at all, though it may have 16 KiB and more."""
    details = {f"k{number}": "v" * 1000 for number in range(15)}
    for _ in range(300):
        await submit(server)
    first = await claim(server, tasks_max=300, accept=True)
    for place in range(0, 300, 100):
        saved = {"state": {"json": "1"}, "progress": {"details": details}}
        await report(
            server,
            first.session_id,
            *({"lease_token": task.lease_token, "checkpoint": saved} for task in first.tasks[place : place + 100]),
        )
    await report(server, first.session_id, *({"lease_token": task.lease_token, "released": {}} for task in first.tasks))

    again = await claim(server, tasks_max=CLAIM_TASKS_MAX)

    assert again.tasks[0].progress.details.fields
    assert again.ByteSize() <= MESSAGE_BYTES_MAX


async def test_a_checkpoint_without_progress_fixes_what_was_reported_last(server: Running) -> None:
    """The contract says so; but the next attempt was told of no progress at all, and counted from zero again."""
    await submit(server)
    given = await claim(server, accept=True)
    token = given.tasks[0].lease_token
    await report(
        server,
        given.session_id,
        {"lease_token": token, "progress": {"items_total": 9, "items_processed": 4}},
        {"lease_token": token, "checkpoint": {"state": {"json": "4"}}},
        {"lease_token": token, "released": {}},
    )

    [task] = (await claim(server)).tasks

    assert (task.checkpoint.json, task.progress.items_processed, task.progress.items_total) == ("4", 4, 9)


async def test_a_checkpoint_without_progress_fixes_what_was_said_last_on_the_stream(server: Running) -> None:
    """The same for a stream, whose progress is in the server's memory before it is stored."""
    await submit(server)
    worker = RawWorker(server)
    await worker.hello()
    [task] = await worker.tasks()
    word = {"lease_token": task.lease_token, "progress": {"items_total": 9, "items_processed": 4}}
    await worker.send(task_updates={"updates": [word]})
    await worker.report(task.lease_token, checkpoint={"state": {"json": "4"}})
    await worker.report(task.lease_token, released={})

    [again] = await worker.tasks()

    assert (again.checkpoint.json, again.progress.items_processed, again.progress.items_total) == ("4", 4, 9)


@pytest.mark.parametrize("spelling", ["0190A0B0-0000-7000-8000-00000000ABCD", "0190a0b000007000800000000000abcd"])
async def test_a_session_is_found_however_its_worker_spells_its_id(server: Running, spelling: str) -> None:
    """A UUID in capitals was accepted and kept as it came, but looked up in small letters: such a worker stood in the
    list, and could be neither read nor drained.
    """
    worker = RawWorker(server)
    welcome = await worker.hello(session_id=spelling)

    [listed] = (await server.workers.ListWorkers(pb.ListWorkersRequest())).workers
    found = (await server.workers.GetWorker(pb.GetWorkerRequest(worker_id=listed.id))).worker

    assert found.id == listed.id == welcome.session_id
    assert found.id == "0190a0b0-0000-7000-8000-00000000abcd"


async def test_a_script_whose_session_is_drained_is_told_so_and_not_to_begin_anew(server: Running) -> None:
    """Drained while it held nothing, its session was over at once, and the next claim was answered SESSION_EXPIRED:
    open a new one. The worker that an operator had sent away was back the same second.
    """
    given = await claim(server)

    await server.workers.DrainWorker(pb.DrainWorkerRequest(worker_id=given.session_id))
    error = await refusal(claim(server, session_id=given.session_id))

    assert error.reason == "WORKER_DRAINED"


async def test_bounds_on_more_types_than_a_worker_may_serve_end_its_stream(server: Running) -> None:
    """They were taken without limit, kept, and gone through for each task that the worker held at each claim."""
    types = [{"job_type": f"t{number}", "tasks_max": 1} for number in range(WORKER_JOB_TYPES_MAX + 1)]
    worker, other = RawWorker(server), RawWorker(server)
    await worker.hello()
    await worker.send(capacity={"tasks_max": 1, "types": types})
    hello = {"worker_name": "w", "job_types": ["score"], "protocol_version": 1, "capacity": {"types": types}}
    await other.send(hello=hello)

    ends = [await worker.ended(), await other.ended()]

    assert [end is not None and end.reason for end in ends] == ["PROTOCOL_VIOLATION", "PROTOCOL_VIOLATION"]


async def test_an_answer_to_very_many_bad_reports_can_be_received(server: Running) -> None:
    """Of 20,000 reports each was refused in full, which made an answer of 4.4 MB: the call failed, and so did the same
    call again.
    """
    bad = {"lease_token": b"gone", "completed": {"result": {"json": "{", "content_type": "x"}}}

    answer = await report(server, "", *[bad] * 5000)
    error = await refusal(report(server, "", *[bad] * 5001))

    assert len(answer.rejections) == 5000
    assert answer.ByteSize() <= MESSAGE_BYTES_MAX
    assert (error.reason, [item.field for item in error.violations]) == ("FIELD_INVALID", ["updates"])


async def test_a_task_that_speaks_all_the_time_is_not_silent(server: Running) -> None:
    """Progress is stored once a second, and by what is stored the server judged whether a task is silent: with a
    progress_timeout of a second tasks were stopped that had reported a hundred milliseconds before.
    """
    job = await submit(server, progress_timeout={"seconds": 1})
    worker = RawWorker(server)
    await worker.hello()
    [task] = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    for percent in range(60):
        word = {"lease_token": task.lease_token, "progress": {"percent": percent}}
        await worker.send(task_updates={"updates": [word]})
        await worker.beat(task.lease_token)
        await asyncio.sleep(0.05)  # sleeps: three times the timeout has to pass while the task speaks

    assert not (await worker.report(task.lease_token, completed={})).rejections
    assert (await get(server, job.id)).attempt == 1
    assert JobState((await get(server, job.id)).state) is JobState.COMPLETED


@pytest.mark.parametrize("details", [None, json.dumps({f"k{number}": number for number in range(300)})])
@pytest.mark.parametrize("letter", ["x", "ж", "字", "🙂"])
def test_a_task_is_never_larger_than_it_is_measured(letter: str, details: str | None) -> None:
    """By that measure messages and answers are cut. It left out the names, which make a third of a small task: of a
    thousand of those an answer was larger than it should be by more than the margin.
    """
    text = letter * (250 // len(letter.encode()))
    claimed = assignment(1).claimed._replace(
        labels=json.dumps({f"label-{number}": text for number in range(64)}, ensure_ascii=False),
        path=text * 4,
        file_name=text * 4,
        file_size=2**62,
        owner=text,
        organization_id=text,
        priority=-100,
        attempt=1000,
        max_attempts=1000,
        created_at=2**61,
        rules=Rules(run_timeout_us=2**60, progress_timeout_us=2**60).text(),
        parameters=Payload(json.dumps([text], ensure_ascii=False), text),
        checkpoint=Payload(text.encode(), text),
        progress=Progress(text, text, 2**31 - 1, 2**31 - 1, 99.9, text, 2**62, 2**62, 2**61, 2**61, text[:16], details),
    )
    task = Assignment(claimed, "n" * 63, f"{'c' * 63}:{'t' * 128}", claimed.lease.token())

    assert task_out(task).ByteSize() + 4 <= assignment_bytes(task)
