"""The job library's routes, a thin layer over the SDK; whose client they use, the host says by `get_client`.

Without `from __future__ import annotations`: FastAPI reads the annotations when the routes are made.
"""

import asyncio
import base64
import re
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from pydantic import BaseModel, Field

from jobhall import AsyncClient, ClaimedTask, Job, JobFailedError, JobTimeoutError, JobType, TaskStatus, reports
from jobhall.reports import TaskReport

T = TypeVar("T")
router = APIRouter(prefix="/v1/joblib", tags=["jobs"])
WAIT_SECONDS_MAX = 60


async def get_client() -> AsyncClient:
    """A client that calls as the user of this request; the host overrides it."""
    raise NotImplementedError("set app.dependency_overrides[get_client]")


Caller = Annotated[AsyncClient, Depends(get_client)]


class NewJob(BaseModel):
    """A job to register: in jobhall's words a job type."""

    name: str
    parameters_schema: dict[str, Any] | None = Field(None, alias="schema")
    description: str = ""


class NewTask(BaseModel):
    """A task to push: in jobhall's words a job."""

    payload: Any = None
    max_attempts: int = 0


class ClaimRequest(BaseModel):
    """What a worker asks for; `worker_id` is what its first claim answered."""

    jobs: list[str]
    rooms: list[str]
    worker_id: str = ""
    name: str = ""
    wait: float = Field(0, ge=0, le=WAIT_SECONDS_MAX)
    lease: float = Field(60, ge=1, le=3600)
    """How long the worker may be silent; in seconds, as `wait`."""


class TaskUpdate(BaseModel):
    """How a claimed task goes on; the lease token proves that it is the worker's."""

    status: Literal["running", "completed", "failed"]
    worker_id: str
    lease_token: str
    result: Any = None
    error: str = ""


class Beat(BaseModel):
    """The tasks that a worker has begun."""

    lease_tokens: list[str] = []


class JobView(BaseModel):
    """A registered job."""

    name: str
    room_id: str
    parameters_schema: Any = Field(serialization_alias="schema")
    description: str
    workers: Sequence[str]

    @classmethod
    def of(cls, kind: JobType) -> "JobView":
        return cls(
            name=kind.name,
            room_id=kind.namespace,
            parameters_schema=kind.parameters_schema,
            description=kind.description,
            workers=kind.worker_names,
        )


class TaskView(BaseModel):
    """A task, wherever it is."""

    id: str
    job: str
    room_id: str
    worker_id: str | None
    created_by: str
    payload: Any
    status: str
    created_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    result: Any
    error: str | None

    @classmethod
    def of(cls, job: Job) -> "TaskView":
        return cls(
            id=job.id,
            job=job.job_type,
            room_id=job.namespace,
            worker_id=job.current_task.session_id if job.current_task else None,
            created_by=job.created_by,
            payload=job.parameters,
            status=TaskStatus.of(job),
            created_at=job.created_at,
            started_at=job.started_at,
            completed_at=job.ended_at,
            result=job.result,
            error=job.error.message if job.error else None,
        )


class ClaimedView(BaseModel):
    """A task in a worker's hands."""

    id: str
    job: str
    room_id: str
    payload: Any
    lease_token: str

    @classmethod
    def of(cls, task: ClaimedTask) -> "ClaimedView":
        return cls(
            id=task.job_id,
            job=task.job_type,
            room_id=task.namespace,
            payload=task.parameters,
            lease_token=f"{task.job_id}.{base64.urlsafe_b64encode(task.lease_token).decode()}",
        )


class ClaimView(BaseModel):
    """What a worker got, and what it is called from now on."""

    worker_id: str
    tasks: list[ClaimedView]


@router.put("/rooms/{room_id}/jobs")
async def register(room_id: str, job: NewJob, client: Caller) -> JobView:
    """Registers a job for a room, or in @global for all rooms, which takes an admin; another schema is a conflict."""
    kind = await client.types.register(
        job.name, namespace=room_id, description=job.description, parameters_schema=job.parameters_schema
    )
    return JobView.of(kind)


@router.get("/rooms/{room_id}/jobs")
async def list_jobs(room_id: str, client: Caller) -> list[JobView]:
    """The jobs of the room and those of all rooms."""
    return [JobView.of(kind) async for kind in client.types.list(namespace=room_id)]


@router.get("/rooms/{room_id}/jobs/{job_name}")
async def get_job(room_id: str, job_name: str, client: Caller) -> JobView:
    """One job: the room's own, or else the one of all rooms."""
    return JobView.of(await client.types.get(job_name, namespace=room_id))


@router.post("/rooms/{room_id}/tasks/{job_name}", status_code=202)
async def push(room_id: str, job_name: str, task: NewTask, client: Caller) -> TaskView:
    """Pushes a task; the job is named `public:category:name`, `private:category:name`, or without a prefix."""
    job = await client.jobs.submit(job_name, task.payload, namespace=room_id, max_attempts=task.max_attempts)
    return TaskView.of(job)


@router.post("/tasks/claim")
async def claim(asked: ClaimRequest, client: Caller, request: Request) -> ClaimView:
    """Claims the next task of those jobs for a worker, waiting for it if asked to, and as long as the worker does."""
    call = client.workers.claim_tasks(
        asked.jobs,
        namespaces=asked.rooms,
        session_id=asked.worker_id,
        worker_name=asked.name,
        timeout=asked.wait,
        lease=asked.lease,
    )
    answer = await _while_there(request, call)
    return ClaimView(worker_id=answer.session_id, tasks=[ClaimedView.of(task) for task in answer.tasks])


@router.get("/tasks/{task_id}")
async def get_task(
    task_id: str, client: Caller, request: Request, response: Response, prefer: Annotated[str, Header()] = ""
) -> TaskView:
    """A task; with `Prefer: wait=N` as soon as it has ended, or as it is after N seconds."""
    if found := re.search(r"\bwait\s*=\s*(\d+)", prefer, re.IGNORECASE):
        wait = min(int(found[1]), WAIT_SECONDS_MAX)
        response.headers["Preference-Applied"] = f"wait={wait}"
        with suppress(JobTimeoutError, JobFailedError):
            await _while_there(request, client.jobs.wait_for_job(task_id, timeout=wait))
    return TaskView.of(await client.jobs.get_job(task_id))


@router.patch("/tasks/{task_id}")
async def update_task(task_id: str, update: TaskUpdate, client: Caller) -> TaskView:
    """Says that a claimed task has begun, or how it ended."""
    if not update.lease_token.startswith(f"{task_id}."):
        raise HTTPException(422, "lease_token: not that of this task's claim")
    token = _token(update.lease_token)
    report: TaskReport
    match update.status:
        case "running":
            report = reports.Accepted(token)
        case "completed":
            report = reports.Completed(token, update.result)
        case "failed":
            report = reports.Failed(token, update.error)
    answer = await client.workers.report_tasks(update.worker_id, [report])
    for rejection in answer.rejections:
        raise rejection.error
    return TaskView.of(await client.jobs.get_job(task_id))


@router.patch("/workers/{worker_id}")
async def heartbeat(worker_id: str, beat: Beat, client: Caller) -> dict[str, list[str]]:
    """Says that a worker lives and what it holds; the answer names what it is to stop, and what it has lost."""
    texts = {_token(text): text for text in beat.lease_tokens}
    answer = await client.workers.heartbeat(worker_id, list(texts))
    return {"stop": [texts[it.lease_token] for it in answer.stops], "lost": [texts[it] for it in answer.lost]}


async def _while_there(request: Request, call: Coroutine[Any, Any, T]) -> T:
    """What the call answers; it ends with its caller, for nobody would use what comes of it, such as a claimed task."""
    answer, gone = asyncio.create_task(call), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise HTTPException(499, "the caller has gone")
    except asyncio.CancelledError:
        raise HTTPException(503, "the host stops; ask again") from None
    finally:
        answer.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _token(text: str) -> bytes:
    try:
        return base64.b64decode(text.rpartition(".")[2], altchars=b"-_", validate=True)
    except ValueError:
        raise HTTPException(422, "lease_token: not as the claim answered it") from None
