"""What happens to jobs while they are watched: deeds of clients and workers, several at once, each as a bare call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import grpc

from jobhall.v1 import batch_service_pb2, job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1 import worker_service_pb2 as worker_pb
from tests.support.servers import Running
from tests.support.watching.oracle import Labels

REFUSALS = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
    }
)
"""Who comes too late or too soon is told so; that is no fault of the watch."""
NAMESPACES = ("default", "other")
JOB_TYPES = ("score", "train")
SUBJECTS = ("alice", "bob")
"""The batches are the first one's: only she submits into them."""
LABELS: tuple[Labels, ...] = (
    (),
    (("team", "red"),),
    (("team", "blue"),),
    (("team", "red"), ("tier", "gold")),
)


class What(Enum):
    SUBMIT = "submit the job of this place, again if it is gone"
    SUBMIT_MANY = "submit a list of new ones"
    LABEL = "give it other labels"
    PRIORITY = "give it another priority"
    CANCEL = "cancel it"
    RETRY = "run it again"
    DELETE = "delete it"
    CANCEL_MANY = "cancel all that have a label"
    WORK = "do what waits, and end it well or badly"
    HALF = "begin what waits, and release it"


@dataclass(frozen=True, slots=True)
class Deed:
    """One of them; `place` is that of a job, `choice` chooses whatever there is to choose."""

    what: What
    place: int
    choice: int


OUTCOMES: tuple[dict[str, Any], ...] = (
    {"completed": {}},
    {"failed": {"code": "BROKEN", "retryable": False}},
    {"failed": {"code": "SHAKY", "retryable": True, "retry_delay": {"seconds": 0}}},
    {"released": {"message": "not now"}},
)


@dataclass(slots=True)
class World:
    """The jobs of one story: their places have fixed ids, so that they can be watched before they are there."""

    server: Running
    job_ids: Sequence[str]
    batch_ids: Sequence[str] = ()
    metadata_of: Callable[[str], Any] = lambda _: ()
    """Of a call by that subject; empty is the admin."""
    refused: list[str] = field(default_factory=list)

    async def do_all(self, actors: Sequence[Sequence[Deed]]) -> None:
        """All actors at once, the deeds of each one after the other."""
        await asyncio.gather(*(self._do_these(deeds) for deeds in actors))

    async def _do_these(self, deeds: Sequence[Deed]) -> None:
        for deed in deeds:
            try:
                await _DEEDS[deed.what](self, deed)
            except grpc.aio.AioRpcError as error:
                if error.code() not in REFUSALS:
                    raise
                self.refused.append(str(error.details()))

    async def submit(self, submission: job_pb2.JobSubmission, owner: str) -> None:
        await self.server.jobs.SubmitJob(pb.SubmitJobRequest(job=submission), metadata=self.metadata_of(owner))

    async def delete(self, job_id: str) -> None:
        await self.server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=job_id), metadata=self.metadata_of(""))

    def submission(self, choice: int, **fields: Any) -> job_pb2.JobSubmission:
        """A job of that kind: half of those of the first namespace are of a batch."""
        namespace = NAMESPACES[choice % 2]
        batch = {"batch_id": self.batch_ids[choice // 4 % 2]} if self.batch_ids and choice % 4 == 2 else {}
        given: dict[str, Any] = {
            "namespace": namespace,
            "job_type": JOB_TYPES[choice // 2 % 2],
            "labels": dict(LABELS[choice // 8 % len(LABELS)]),
            "path": f"/rooms/{choice}" if choice % 3 == 0 else "",
            "retry_policy": {"initial_delay": {"nanos": 1_000_000}, "max_delay": {"nanos": 5_000_000}},
            **batch,
            **fields,
        }
        return job_pb2.JobSubmission(**given)

    # --- the deeds ---

    async def _submit(self, deed: Deed) -> None:
        submission = self.submission(deed.choice, job_id=self.job_ids[deed.place])
        owner = SUBJECTS[0] if submission.batch_id else SUBJECTS[deed.choice // 5 % 2]
        await self.submit(submission, owner)

    async def _submit_many(self, deed: Deed) -> None:
        jobs = [self.submission(deed.choice + number) for number in range(2 + deed.choice % 11)]
        request = pb.BatchSubmitJobsRequest(jobs=jobs)
        await self.server.jobs.BatchSubmitJobs(request, metadata=self.metadata_of(SUBJECTS[0]))

    async def _label(self, deed: Deed) -> None:
        labels = LABELS[deed.choice % len(LABELS)]
        await self._update(deed, "labels", labels=dict(labels))

    async def _priority(self, deed: Deed) -> None:
        await self._update(deed, "priority", priority=deed.choice % 50)

    async def _update(self, deed: Deed, *paths: str, **fields: Any) -> None:
        request = pb.UpdateJobRequest(job=job_pb2.Job(id=self.job_ids[deed.place], **fields))
        request.update_mask.paths.extend(paths)
        await self.server.jobs.UpdateJob(request, metadata=self.metadata_of(""))

    async def _cancel(self, deed: Deed) -> None:
        request = pb.CancelJobRequest(job_id=self.job_ids[deed.place], reason="unwanted", grace={"seconds": 60})  # type: ignore[arg-type]
        await self.server.jobs.CancelJob(request, metadata=self.metadata_of(""))

    async def _retry(self, deed: Deed) -> None:
        request = pb.RetryJobRequest(job_id=self.job_ids[deed.place])
        await self.server.jobs.RetryJob(request, metadata=self.metadata_of(""))

    async def _delete(self, deed: Deed) -> None:
        await self.delete(self.job_ids[deed.place])

    async def _cancel_many(self, deed: Deed) -> None:
        request = pb.CancelJobsRequest(namespace=NAMESPACES[deed.choice % 2], filter="labels.team = red")
        await self.server.jobs.CancelJobs(request, metadata=self.metadata_of(""))

    async def _work(self, deed: Deed) -> None:
        given = await self._claim(deed)
        updates = []
        for number, task in enumerate(given.tasks, 1):
            outcome = OUTCOMES[(deed.choice + number) % len(OUTCOMES)]
            updates.append({"seq": number, "lease_token": task.lease_token, **outcome})
        await self._report(given.session_id, updates)

    async def _half(self, deed: Deed) -> None:
        given = await self._claim(deed)
        updates: list[dict[str, Any]] = []
        for task in given.tasks:
            token = task.lease_token
            updates += [
                {"seq": len(updates) + 1, "lease_token": token, "accepted": {}},
                {"seq": len(updates) + 2, "lease_token": token, "released": {"message": "half done"}},
            ]
        await self._report(given.session_id, updates)

    async def _claim(self, deed: Deed) -> Any:
        request = worker_pb.ClaimTasksRequest(
            namespaces=["-"],
            job_types=JOB_TYPES,
            worker_name=f"worker-{deed.choice % 3}",
            tasks_max=1 + deed.choice % 7,
            accept=bool(deed.choice % 2),
        )
        return await self.server.workers.ClaimTasks(request, metadata=self.metadata_of(""))

    async def _report(self, session_id: str, updates: list[dict[str, Any]]) -> None:
        if updates:
            request = worker_pb.ReportTasksRequest(session_id=session_id, updates=updates)  # type: ignore[arg-type]
            await self.server.workers.ReportTasks(request, metadata=self.metadata_of(""))


_DEEDS: Mapping[What, Callable[[World, Deed], Any]] = {
    What.SUBMIT: World._submit,
    What.SUBMIT_MANY: World._submit_many,
    What.LABEL: World._label,
    What.PRIORITY: World._priority,
    What.CANCEL: World._cancel,
    What.RETRY: World._retry,
    What.DELETE: World._delete,
    What.CANCEL_MANY: World._cancel_many,
    What.WORK: World._work,
    What.HALF: World._half,
}


async def open_batch(world: World, batch_id: str) -> None:
    request = batch_service_pb2.CreateBatchRequest(batch_id=batch_id)
    await world.server.batches.CreateBatch(request, metadata=world.metadata_of(SUBJECTS[0]))
