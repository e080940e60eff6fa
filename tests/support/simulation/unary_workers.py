"""A worker without a stream: it claims, says that it lives, and reports by calls, as a shell script would."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Protocol

from jobhall.errors import ApiError, LeaseLostError
from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall.frames import Assignment, Report
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.unary import Asked, Beaten, Given, Reported
from tests.support.simulation.calls import Calls, Service
from tests.support.simulation.timeline import Process
from tests.support.simulation.workers import Execution, Plan
from tests.support.worker_frames import accepted, completed, failed, released

LEASE_US = 20_000_000
CLAIM_SECONDS = 3.0
BEAT_SECONDS = 4.0
BYTES_MAX = 1_000_000


class Stage(Service, Protocol):
    """What such a worker meets."""

    def execution_of(self, worker: str, *, job_id: str, fence: int, attempt: int) -> Execution:
        """It begins a task."""

    def plan(self, execution: Execution) -> Plan:
        """What it will do."""

    def ended(self, execution: Execution, what: str) -> None:
        """It is done with it."""

    def answered(self, token: bytes, *, taken: bool) -> None:
        """The server has taken its completion, or has refused it."""


class SimulatedUnaryWorker:
    """One task at a time."""

    def __init__(self, stage: Stage, process: Process, chance: Random, *, name: str) -> None:
        self.name = name
        self._stage = stage
        self._calls = Calls(stage, process, chance)
        self._session_id = ""
        self._beaten_at = 0.0
        _ = process.create_task(self._work(), name=name)

    async def _work(self) -> None:
        while True:
            given = await self._ask(lambda hall: hall.unary.claim(ANYBODY, self._asked(), bytes_max=BYTES_MAX))
            if isinstance(given, Given):
                self._session_id = given.session_id
                for assignment in given.tasks:
                    await self._run(assignment)

    def _asked(self) -> Asked:
        about: dict[str, Any] = {"namespaces": ("default",), "job_types": ("work",), "worker_name": self.name}
        return Asked(session_id=self._session_id, timeout_seconds=CLAIM_SECONDS, lease_us=LEASE_US, **about)

    async def _run(self, assignment: Assignment) -> None:
        token, told = assignment.token, assignment.claimed
        execution = self._stage.execution_of(
            self.name, job_id=told.job_id, fence=told.lease.fence, attempt=told.attempt
        )
        if not await self._report(accepted(0, token)):
            self._stage.ended(execution, "not begun")
            return
        plan = self._stage.plan(execution)
        left = plan.seconds
        while left > 0:
            await self._calls.pause(min(left, BEAT_SECONDS))
            left -= BEAT_SECONDS
            beaten = await self._ask(lambda hall: hall.unary.beat(self._session_id, [token]))
            if plan.obeys and not (isinstance(beaten, Beaten) and not beaten.lost and not beaten.cancels):
                self._stage.ended(execution, "stopped")
                await self._report(released(0, token))
                return
        self._stage.ended(execution, plan.end)
        taken = await self._report(_outcome(execution, token, plan.end))
        if plan.end == "complete":
            self._stage.answered(token, taken=taken)

    async def _report(self, report: Report) -> bool:
        """Whether it was taken."""
        reported = await self._ask(lambda hall: hall.unary.report(self._session_id, [report]))
        if isinstance(reported, ApiError):
            # Its session is over: the token alone tells whose the task is.
            reported = await self._ask(lambda hall: hall.unary.report("", [report]))
        assert isinstance(reported, Reported)
        for _, error in reported.refused:
            assert isinstance(error, LeaseLostError), error
        return not reported.refused

    async def _ask(self, call: Callable[[Hall], Awaitable[Any]]) -> Any:
        answer = await self._calls.answer(call)
        if isinstance(answer, ApiError):
            self._session_id = ""
            await self._calls.pause(0.5)
        return answer


def _outcome(execution: Execution, token: bytes, end: str) -> Report:
    if end == "complete":
        said = json.dumps({"fence": execution.fence, "execution": execution.number})
        return completed(0, token, result=said, digest=execution.number + 100)
    if end == "release":
        return released(0, token, digest=execution.number + 100)
    return failed(0, token, retryable=end == "fail", digest=execution.number + 100)
