"""Faults of calls and streams that were found by hunting: each test opens with what went wrong before it was mended."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from jobhall.errors import Code
from jobhall.limits import (
    CAPACITY_MAX,
    LOG_FIELDS_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    STREAM_SUBMIT_MAX,
    STREAM_SUBMIT_UNACKED_MAX,
    TEXT_BYTES_MAX,
)
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1.task_pb2 import TaskLog
from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall.clock import SystemClock
from jobhall_server.hall.frames import Rejection, ReportKind
from jobhall_server.hall.hall import Hall, HallSettings
from jobhall_server.hall.job_type_units import Registration
from jobhall_server.hall.views import JobFilter
from jobhall_server.rpc.caller import set_principal
from jobhall_server.rpc.convert import MALFORMED_PROGRESS, progress_in
from jobhall_server.rpc.convert_work_in import logs_in
from jobhall_server.rpc.pages import page_that_fits
from jobhall_server.rpc.submit_stream import IN_FLIGHT_MAX, serve_submits
from jobhall_server.storage.store import Store
from tests.support.calls import RawWorker, refusal, register, submission, submit
from tests.support.servers import Running
from tests.support.waiting import eventually_async

UNKNOWN_ID = "0190a0b0-0000-7000-8000-000000000000"


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    async with (
        Store.open(f"sqlite:///{tmp_path / 'jobhall.db'}") as store,
        Hall.open(store, HallSettings(), SystemClock()) as opened,
    ):
        await opened.job_types.register(ANYBODY, Registration("default", "score"), replace=False)
        set_principal(ANYBODY)
        yield opened


class HastyClient:
    """The stream of a client that has sent many small messages before the first is looked at."""

    def __init__(self, messages: int) -> None:
        self._requests = iter(
            pb.SubmitJobStreamRequest(first_seq=seq, jobs=[submission()]) for seq in range(1, messages + 1)
        )
        self.answered: list[int] = []

    async def read(self) -> Any:
        return next(self._requests, grpc.aio.EOF)

    async def write(self, answer: pb.SubmitJobStreamResponse) -> None:
        self.answered += [outcome.seq for outcome in answer.outcomes]

    async def close(self) -> None:
        """Nothing is under way."""


async def test_many_small_messages_of_submits_are_all_answered(hall: Hall) -> None:
    # When the messages in flight, sixteen of them, were committed together, each woke the reader while it still counted
    # itself; nobody woke it afterwards, and the stream hung for ever.
    count = 10 * IN_FLIGHT_MAX
    client: Any = HastyClient(count)

    async with asyncio.timeout(10):
        await serve_submits(hall.jobs, client)

    assert sorted(client.answered) == list(range(1, count + 1))


class DeafClient:
    """The stream of a client that submits and submits, and reads no answer."""

    def __init__(self) -> None:
        self.messages = 0

    async def read(self) -> pb.SubmitJobStreamRequest:
        first_seq = self.messages * STREAM_SUBMIT_MAX + 1
        self.messages += 1
        return pb.SubmitJobStreamRequest(first_seq=first_seq, jobs=[submission()] * STREAM_SUBMIT_MAX)

    async def write(self, _: object) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing is under way."""


async def test_a_client_that_reads_no_answers_is_read_no_further(hall: Hall) -> None:
    # A submit counted as answered once its answer waited to be sent: answers that nobody read filled the memory.
    client: Any = DeafClient()
    serving = asyncio.create_task(serve_submits(hall.jobs, client))
    (newest,) = await eventually_async(
        lambda: _if_all_are_there(hall), within=10, what="the submits that may be unanswered are durable"
    )
    for _ in range(3):
        await hall.jobs.get(ANYBODY, newest)

    # One more was read, and waits.
    assert client.messages == STREAM_SUBMIT_UNACKED_MAX // STREAM_SUBMIT_MAX + 1
    serving.cancel()
    await asyncio.wait([serving])


async def _if_all_are_there(hall: Hall) -> list[str]:
    if (await hall.store.reads.log_place()).last < STREAM_SUBMIT_UNACKED_MAX:
        return []
    jobs, _ = await hall.jobs.page(ANYBODY, JobFilter(), page_size=1, page_token_text="", skip=0)
    return [job.job_id for job in jobs]


async def test_a_payload_that_cannot_be_shown_as_an_object_is_shown_as_json(server: Running) -> None:
    # One nested deeper than protobuf reads ended in INTERNAL, and one of a megabyte held up everybody while it was
    # spelled out, to become an answer that is larger than any client takes.
    await register(server)
    deep = '{"a":' * 500 + "1" + "}" * 500
    wide = '{"a":[' + ",".join("0" for _ in range(500_000)) + "]}"
    plain = '{"a":[[{"b":1}]]}'

    for text, kind in ((deep, "json"), (wide, "json"), (plain, "object")):
        job = await submit(server, json=text)
        shown = await server.jobs.GetJob(pb.GetJobRequest(job_id=job.id, object_payloads=True))

        assert shown.job.parameters.WhichOneof("content") == kind
        assert kind != "json" or shown.job.parameters.json == text


async def test_a_filter_by_a_label_that_cannot_be_is_refused_by_name(server: Running) -> None:
    # A quote in a label's name ended up in SQLite's JSON path: INTERNAL, and a traceback in the log.
    await register(server)
    await submit(server, labels={"team": "red"})

    error = await refusal(server.jobs.ListJobs(pb.ListJobsRequest(filter=r'labels."a\"b" = c')))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert "no label's key" in error.message


async def test_numbers_that_the_database_cannot_hold_are_refused_alone(server: Running) -> None:
    # Item errors numbered beyond 63 bits failed the whole commit group, again and again, and then the stream: INTERNAL.
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server, "score")
    (task,) = await worker.tasks()

    errors = {"first_number": 2**63 - 1, "item_errors": [{"key": "a"}, {"key": "b"}]}
    ack = await worker.report(task.lease_token, item_errors=errors)
    done = await worker.report(task.lease_token, completed={})

    assert b"FIELD_INVALID" in ack.rejections[0].SerializeToString()
    assert not done.rejections
    found = await server.jobs.GetJob(pb.GetJobRequest(job_id=job.id))
    assert (found.job.state, found.job.item_error_count) == (job_pb2.JOB_STATE_COMPLETED, 0)
    await worker.end()


async def test_a_worker_cannot_raise_its_credit_above_what_welcome_allows(server: Running) -> None:
    # Hello was checked and Capacity was not: two thousand million tasks might have been held by one stream.
    worker = RawWorker(server)
    await worker.hello()

    await worker.send(capacity={"tasks_max": CAPACITY_MAX + 1})
    error = await worker.ended()

    assert error is not None
    assert error.reason == "PROTOCOL_VIOLATION"


async def test_a_hello_is_held_to_its_bounds(server: Running) -> None:
    # Labels, session and secret were stored as they came, megabytes too.
    for field, value in (
        ("session_id", "no uuid"),
        ("resume_token", "x" * 256),
        ("labels", {"k": "v" * 256}),
    ):
        worker = RawWorker(server)
        hello: dict[str, Any] = {"worker_name": "w", "job_types": ["score"], "protocol_version": 1, field: value}
        await worker.send(hello=hello)
        error = await worker.ended()

        assert error is not None
        assert error.reason == "FIELD_INVALID"
        assert error.violations[0].field.startswith(f"hello.{field}")


def test_progress_with_a_text_beyond_its_bound_is_dropped() -> None:
    # A step of megabytes went to every watcher, in events larger than a message may be.
    assert progress_in(job_pb2.Progress(message="x" * (TEXT_BYTES_MAX + 1))) is MALFORMED_PROGRESS
    assert progress_in(job_pb2.Progress(step="é" * 128)) is MALFORMED_PROGRESS
    assert progress_in(job_pb2.Progress(message="x" * TEXT_BYTES_MAX)).message


async def test_a_large_batch_is_read_in_portions_and_nothing_is_missed(server: Running) -> None:
    # A thousand jobs were read with all their payloads before the answer was cut: up to 2 GiB for 4 MiB.
    await register(server)
    jobs = [await submit(server, json='"' + "x" * 150_000 + '"') for _ in range(60)]
    asked = [UNKNOWN_ID.replace("0190", "0191"), *(job.id for job in jobs), UNKNOWN_ID]
    found: list[str] = []
    missing: list[str] = []

    waiting = asked
    while waiting:
        answer = await server.jobs.BatchGetJobs(pb.BatchGetJobsRequest(job_ids=waiting))
        assert answer.ByteSize() <= MESSAGE_BYTES_MAX
        found += [job.id for job in answer.jobs]
        missing += answer.missing_job_ids
        waiting = list(answer.remaining_job_ids)

    assert found == [job.id for job in jobs]
    assert missing == [asked[0], asked[-1]]


async def test_a_page_cut_short_loses_nothing_when_the_list_changes_meanwhile() -> None:
    # The second reading of a page that was too large could be too large again, when a job had come in between; what was
    # cut off then stood before the token and was never shown.
    entries = [job_pb2.Job(path="x" * 1_500_000, id=str(number)) for number in range(6)]
    readings = 0

    async def ask(size: int) -> tuple[list[job_pb2.Job], str]:
        nonlocal readings
        readings += 1
        if readings == 2:
            entries.insert(0, job_pb2.Job(path="x" * (MESSAGE_BYTES_MAX - 1000), id="new"))
        return entries[:size], f"after {entries[:size][-1].id}"

    async def encode(page: Sequence[job_pb2.Job]) -> list[job_pb2.Job]:
        return list(page)

    shown, page_token = await page_that_fits(ask, encode, 6)

    assert page_token == f"after {shown[-1].id}"
    assert sum(job.ByteSize() for job in shown) <= MESSAGE_BYTES_MAX


async def test_a_stream_of_submits_that_ends_early_leaves_no_reader_waiting(server: Running) -> None:
    # The counterpart of the hanging reader: a client that goes while there is no room must not leave its tasks behind.
    await register(server)
    call = server.jobs.SubmitJobStream(timeout=20)
    for seq in range(1, 3 * IN_FLIGHT_MAX):
        await call.write(pb.SubmitJobStreamRequest(first_seq=seq, jobs=[submission()]))
    assert await call.read() is not grpc.aio.EOF

    call.cancel()

    await eventually_async(
        lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith(("stream-", "submit-stream"))],
        within=5,
        what="the tasks of the stream have ended",
    )


def test_fields_of_a_log_line_are_measured_as_the_sdk_measures_them() -> None:
    # The server measured their JSON, where a control character takes six bytes, and the SDK the message: one such line
    # was refused, and with it all lines that travelled together.
    line = job_pb2.LogEntry(message="odd")
    line.fields["text"] = "\x01" * (LOG_FIELDS_BYTES_MAX - 100)
    malformed: list[Rejection] = []

    (report,) = logs_in([TaskLog(seq=1, first_number=1, log_entries=[line])], malformed)

    assert not malformed
    assert report.kind is ReportKind.LOGS
