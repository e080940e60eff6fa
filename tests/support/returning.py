"""A worker by hand that comes back: one session, and a Hello with a greater connection each time."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from jobhall.states import JobState
from jobhall.v1 import worker_service_pb2 as pb
from tests.support.calls import RawWorker, get, submit
from tests.support.servers import Running
from tests.support.waiting import eventually_async

KEEP = pb.HELD_TASK_DISPOSITION_KEEP
LOST = pb.HELD_TASK_DISPOSITION_LOST
CANCEL = pb.HELD_TASK_DISPOSITION_CANCEL


class Returning:
    """What such a worker knows across its streams; `tasks_max` is the capacity of each."""

    def __init__(self, *, tasks_max: int = 10) -> None:
        self.session_id = str(uuid.uuid4())
        self.resume_token = str(uuid.uuid4())
        self.connection = 0
        self.tasks_max = tasks_max

    def hello(self, held: Mapping[bytes, bool] | None = None) -> dict[str, Any]:
        """What the next Hello says; `held` are tokens, and whether user code has begun."""
        self.connection += 1
        return {
            "session_id": self.session_id,
            "resume_token": self.resume_token,
            "connection": self.connection,
            "held_tasks": [{"lease_token": token, "started": started} for token, started in (held or {}).items()],
        }

    async def come(
        self, server: Running, held: Mapping[bytes, bool] | None = None, **fields: Any
    ) -> tuple[RawWorker, pb.Welcome]:
        """A new stream of the session, welcomed."""
        worker = RawWorker(server, tasks_max=self.tasks_max)
        return worker, await worker.hello(**(self.hello(held) | fields))

    def renamed(self) -> "Returning":
        """The same program after its session was over: a new one."""
        return Returning(tasks_max=self.tasks_max)


def dispositions(welcome: pb.Welcome) -> dict[bytes, int]:
    """What the Welcome says of each task."""
    return {decision.lease_token: decision.disposition for decision in welcome.held_tasks}


def reasons(rejections: Iterable[Any]) -> list[str]:
    """Why each of these items was rejected."""
    known = ("LEASE_LOST", "RESULT_CONFLICT", "FIELD_INVALID")
    return [
        next((name for name in known if name.encode() in one.SerializeToString()), one.status.message)
        for one in rejections
    ]


async def state(server: Running, job_id: str) -> JobState:
    return JobState((await get(server, job_id)).state)


async def reaches(server: Running, job_id: str, wanted: JobState) -> None:
    async def there() -> bool:
        return await state(server, job_id) is wanted

    await eventually_async(there, within=10, what=f"the job is {wanted.name}")


async def begun(server: Running, program: Returning) -> tuple[RawWorker, str, bytes]:
    """The program's first stream with one task that it has started: the stream, the job's id and the token."""
    worker, _ = await program.come(server)
    job = await submit(server)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    return worker, job.id, task.lease_token


async def lost(server: Running, program: Returning) -> tuple[str, bytes]:
    """The same after the session is over: the job waits for anybody."""
    worker, job_id, token = await begun(server, program)
    worker.cut()
    await reaches(server, job_id, JobState.PENDING)
    return job_id, token
