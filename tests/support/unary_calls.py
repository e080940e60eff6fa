"""A worker without a stream, call by call: it claims, reports and beats; and where its jobs are meanwhile."""

from typing import Any

from jobhall.states import JobState
from jobhall.v1 import job_pb2
from jobhall.v1 import worker_service_pb2 as pb
from tests.support.calls import get
from tests.support.servers import Running

SOON: Any = {"seconds": 10}
"""How long a claim may wait for what is about to come."""


async def claim(server: Running, **fields: Any) -> pb.ClaimTasksResponse:
    """Of the type `score`, unless the jobs are named."""
    given: dict[str, Any] = {"job_types": [] if "job_ids" in fields else ["score"], "worker_name": "cron", **fields}
    answer: pb.ClaimTasksResponse = await server.workers.ClaimTasks(pb.ClaimTasksRequest(**given))
    return answer


async def report(server: Running, session_id: str, *updates: Any, **fields: Any) -> pb.ReportTasksResponse:
    """The updates, numbered from 1."""
    numbered: list[Any] = [{"seq": number, **update} for number, update in enumerate(updates, 1)]
    request = pb.ReportTasksRequest(session_id=session_id, updates=numbered, **fields)
    answer: pb.ReportTasksResponse = await server.workers.ReportTasks(request)
    return answer


async def beat(server: Running, session_id: str, *tokens: bytes) -> pb.HeartbeatResponse:
    request = pb.HeartbeatRequest(session_id=session_id, lease_tokens=tokens)
    answer: pb.HeartbeatResponse = await server.workers.Heartbeat(request)
    return answer


async def state(server: Running, job_id: str) -> JobState:
    return JobState((await get(server, job_id)).state)


async def fail(server: Running, **failed: Any) -> job_pb2.Job:
    """The next job's next attempt fails; answers the job as it is then."""
    given = await claim(server, accept=True, timeout=SOON)
    [task] = given.tasks
    failed = {"message": "no", "code": "BROKEN", **failed}
    answer = await report(server, given.session_id, {"lease_token": task.lease_token, "failed": failed})
    assert not answer.rejections
    return await get(server, task.job_id)
