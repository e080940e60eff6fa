"""A worker by hand that comes back: one session, and a Hello with a greater connection each time."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from jobhall.v1 import worker_service_pb2 as pb
from tests.support.calls import RawWorker
from tests.support.servers import Running

KEEP = pb.HELD_TASK_DISPOSITION_KEEP
LOST = pb.HELD_TASK_DISPOSITION_LOST
CANCEL = pb.HELD_TASK_DISPOSITION_CANCEL


class Returning:
    """What such a worker knows across its streams; `tasks_max` is the capacity of each."""

    def __init__(self, *, tasks_max: int = 10) -> None:
        self.session_id = str(uuid.uuid4())
        self.resume_token = str(uuid.uuid4())
        self.connection = 0
        self._tasks_max = tasks_max

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
        worker = RawWorker(server, tasks_max=self._tasks_max)
        return worker, await worker.hello(**(self.hello(held) | fields))

    def renamed(self) -> "Returning":
        """The same program after its session was over: a new one."""
        return Returning(tasks_max=self._tasks_max)


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
