"""A client that submits, cancels and retries until it is told the outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, Protocol
from uuid import UUID

from jobhall.errors import ApiError
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.job import Payload
from jobhall_server.domain.moves import JobUpdate
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.submits import Submission
from tests.support.simulation.calls import Calls, Service
from tests.support.simulation.timeline import Process


class Listener(Service, Protocol):
    """Who is told what clients are told."""

    def submitted(self, job_id: str) -> None:
        """The submit was acknowledged."""


class SimulatedClient:
    """Its calls are repeated until they are answered, as the SDK's are."""

    def __init__(self, listener: Listener, process: Process, chance: Random) -> None:
        self.calls = Calls(listener, process, chance)
        self._listener = listener

    def submit(self, number: int, **asked: Any) -> None:
        """`asked` are fields of the Submission."""
        job_id = id_of(number)
        submission = Submission(
            "work", parameters=Payload(f'{{"job": {number}}}'), job_id=job_id, digest=number + 1, **asked
        )
        self._do(self._submit(submission))

    def update(self, job_id: str, update: JobUpdate) -> None:
        self.call(lambda hall: hall.jobs.update(ANYBODY, job_id, update))

    def cancel(self, job_id: str, *, grace_seconds: float) -> None:
        self.call(lambda hall: hall.jobs.cancel(ANYBODY, job_id, reason="unwanted", grace_seconds=grace_seconds))

    def retry(self, job_id: str) -> None:
        self.call(lambda hall: hall.jobs.retry(ANYBODY, job_id))

    def delete(self, job_id: str) -> None:
        self.call(lambda hall: hall.jobs.delete(ANYBODY, job_id))

    def drain(self, session_id: str, *, timeout_seconds: float) -> None:
        """As an operator does."""
        self.call(lambda hall: hall.roster.drain(session_id, timeout_seconds=timeout_seconds, reason="maintenance"))

    def call(self, call: Callable[[Hall], Awaitable[Any]], then: Callable[[], None] = lambda: None) -> None:
        """Until it is answered."""
        self._do(self._calling(call, then))

    async def _calling(self, call: Callable[[Hall], Awaitable[Any]], then: Callable[[], None]) -> None:
        await self.calls.answer(call)
        then()

    def _do(self, what: Coroutine[Any, Any, Any]) -> None:
        _ = self.calls.process.create_task(what, name="client")

    async def _submit(self, submission: Submission) -> None:
        answer = await self.calls.answer(lambda hall: hall.jobs.submit(ANYBODY, submission))
        if not isinstance(answer, ApiError):
            job, _ = answer
            self._listener.submitted(job.job_id)


def id_of(number: int) -> str:
    """The id of the job of that number."""
    return str(UUID(int=(7 << 76) | (2 << 62) | number))
