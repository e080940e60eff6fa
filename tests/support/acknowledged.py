"""Jobs submitted and completed without pause, all that the server says noted with its time, and looked for in files."""

from __future__ import annotations

import asyncio
import random
import secrets
import sqlite3
import time
from collections import deque
from dataclasses import dataclass
from typing import Self
from uuid import UUID

import grpc.aio

import jobhall
from jobhall.channel import CHANNEL_OPTIONS
from jobhall.states import EventType, JobState
from jobhall.v1 import worker_service_pb2, worker_service_pb2_grpc
from tests.support.stored import Stored
from tests.support.waiting import eventually_async

JOB_TYPE = "note"
SINGLES = 3
STREAMED = 6
WORKERS = 3
TEXT_BYTES = (8, 8, 8, 3000)
"""Of parameters and results; the long ones reach over several pages of the file."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that the server said of a job: to its submitter, to its worker, or to a watcher."""

    what: str
    """`submitted`, `completed` or `event`."""
    job_id: str
    value: object
    """The parameters, the result, or the revision and type of the event."""


Said = list[tuple[int, Fact]]
"""Each with the time at which it had been heard, in nanoseconds as `time.time_ns` has them."""


class Acknowledging:
    """Submitters, workers and a watch on one server; leaving the block stops them when all is completed and seen."""

    def __init__(self, address: str) -> None:
        self.said: Said = []
        self._address = address
        self._client = jobhall.AsyncClient(address)
        self._stream = self._client.jobs.submit_stream()
        self._submitters: list[asyncio.Task[None]] = []
        self._listeners: list[asyncio.Task[None]] = []
        self._stopping = False
        self._ended: set[str] = set()
        """The jobs whose end the watch has seen."""

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        await self._client.types.register(JOB_TYPE)
        await self._stream.__aenter__()
        watching = asyncio.Event()
        self._listeners = [asyncio.create_task(self._watch(watching))]
        await asyncio.wait_for(watching.wait(), 10)
        self._listeners += [asyncio.create_task(self._work(f"worker-{number}")) for number in range(WORKERS)]
        self._submitters = [asyncio.create_task(self._submit_single()) for _ in range(SINGLES)]
        self._submitters += [asyncio.create_task(self._submit_streamed()) for _ in range(STREAMED)]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._stopping = True
        try:
            await asyncio.gather(*self._submitters)
            await eventually_async(self._all_seen, within=20, what="worker and watcher have heard of every job's end")
        finally:
            for listener in self._listeners:
                listener.cancel()
            await asyncio.wait(self._listeners)
            await self._stream.__aexit__(None, None, None)
            await self._client.__aexit__(None, None, None)

    def count(self, what: str) -> int:
        """How often that was said so far; raises what ended a submitter, a worker or the watch."""
        self._check()
        return sum(fact.what == what for _, fact in self.said)

    def _all_seen(self) -> bool:
        self._check()
        submitted = {fact.job_id for _, fact in self.said if fact.what == "submitted"}
        completed = {fact.job_id for _, fact in self.said if fact.what == "completed"}
        return submitted <= completed & self._ended

    def _check(self) -> None:
        for task in (*self._submitters, *self._listeners):
            if task.done():
                task.result()

    def _heard(self, what: str, job_id: str, value: object) -> None:
        self.said.append((time.time_ns(), Fact(what, job_id, value)))

    async def _submit_single(self) -> None:
        while not self._stopping:
            text = _text()
            job = await self._client.jobs.submit(JOB_TYPE, text)
            self._heard("submitted", job.id, f'"{text}"')

    async def _submit_streamed(self) -> None:
        while not self._stopping:
            text = _text()
            submitted = await self._stream.submit(JOB_TYPE, text)
            self._heard("submitted", submitted.job_id, f'"{text}"')

    async def _watch(self, opened: asyncio.Event) -> None:
        async for update in self._client.jobs.watch():
            opened.set()
            for event in update.events:
                if event.event_type not in (EventType.PROGRESS, EventType.LOG):
                    self._heard("event", event.job_id, (event.revision, event.event_type))
                if event.state.terminal:
                    self._ended.add(event.job_id)

    async def _work(self, name: str) -> None:
        """A worker by hand, since the SDK does not tell a handler when its result was acknowledged."""
        unacked: deque[tuple[int, str, str]] = deque()
        seq = 0
        async with grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS) as channel:
            stream = worker_service_pb2_grpc.WorkerServiceStub(channel).Work()
            hello = worker_service_pb2.Hello(worker_name=name, job_types=[JOB_TYPE], protocol_version=1)
            hello.capacity.tasks_max = 20
            await stream.write(worker_service_pb2.WorkRequest(hello=hello))
            async for message in stream:
                assert not message.ack.rejections
                while unacked and unacked[0][0] <= message.ack.through_seq:
                    _, job_id, result = unacked.popleft()
                    self._heard("completed", job_id, result)
                updates = worker_service_pb2.TaskUpdates()
                for task in message.task_assignments.tasks:
                    result = f'{{"found": "{_text()}"}}'
                    seq += 2
                    updates.updates.add(seq=seq - 1, lease_token=task.lease_token).accepted.SetInParent()
                    updates.updates.add(seq=seq, lease_token=task.lease_token).completed.result.json = result
                    unacked.append((seq, task.job_id, result))
                if updates.updates:
                    await stream.write(worker_service_pb2.WorkRequest(task_updates=updates))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with files that a power cut left."""

    broken: str
    """Why they are no whole database, or nothing."""
    lost: set[Fact]
    """What had been said and is not in them."""


def judge(stored: Stored, said: Said, *, before: int) -> Verdict:
    """Whether the files are whole and hold all that had been said by then, word by word."""
    due = {fact for at, fact in said if at < before}
    if not stored.path.exists():
        return Verdict("", due)
    try:
        if not due:
            return Verdict("" if stored.rows("PRAGMA integrity_check") == [("ok",)] else "not whole", due)
        stored.check()
        return Verdict("", due - _facts(stored))
    except (sqlite3.DatabaseError, AssertionError) as error:
        return Verdict(f"{type(error).__name__}: {error}", due)


def _facts(stored: Stored) -> set[Fact]:
    submitted = stored.rows("SELECT job_id, text FROM jobhall_parameters JOIN jobhall_jobs ON key = job_key")
    completed = stored.rows(
        "SELECT job_id, text FROM jobhall_results JOIN jobhall_jobs ON key = job_key WHERE state = ?",
        [JobState.COMPLETED],
    )
    return {
        *(Fact("submitted", _id(job_id), text) for job_id, text in submitted),
        *(Fact("completed", _id(job_id), text) for job_id, text in completed),
        *(Fact("event", job_id, (revision, kind)) for job_id, revision, kind in stored.events()),
    }


def _id(stored: object) -> str:
    assert isinstance(stored, bytes)
    return str(UUID(bytes=stored))


def _text() -> str:
    return secrets.token_hex(random.choice(TEXT_BYTES))
