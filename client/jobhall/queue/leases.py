"""The jobs that a session without a stream holds, and what it says of them: procedures, without the I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final, TypeVar

from jobhall import calls_tasks
from jobhall.calls import Call
from jobhall.errors import (
    ApiError,
    FieldInvalidError,
    LeaseLostError,
    ResultConflictError,
    SchemaMismatchError,
    SessionExpiredError,
)
from jobhall.ids import canonical_id
from jobhall.limits import LEASE_DURATION_MAX, LEASE_DURATION_MIN
from jobhall.procedures import Procedure, Procedures
from jobhall.retry import passes
from jobhall.task import StopCause, Task
from jobhall.v1 import task_pb2
from jobhall.v1 import worker_service_pb2 as workers_pb2
from jobhall.wire_errors import error_from_status
from jobhall.wire_values import duration_to_wire
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.outcomes import Outcome, refused, released, write_outcome

T = TypeVar("T")

_log = logging.getLogger("jobhall.queue")
_NO_HANDLER: Final = Handler("", lambda _task: None, None, is_async=False)
_BEATS_PER_LEASE: Final = 3
_KEEPING_SECONDS: Final = 5.0
"""At the most, for a call that is made again soon, or is but a courtesy."""
_OVER: Final = (LeaseLostError, ResultConflictError, SchemaMismatchError)
"""What an outcome is answered with that changes nothing, or has ended the job in another way, for good."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A job in this session's hands: what is known of it, and what reports on it."""

    held: HeldTask
    task: Task


class Leases:
    """The session's book. `woken` is called when a task has new progress, `stopped` when one is to stop.

    The session is opened by the first claim, and anew after it was lost; what it held by then is the server's again,
    but for a completion that comes before anybody else has the job.
    """

    def __init__(self, procedures: Procedures, *, worker_name: str, namespace: str, lease: timedelta) -> None:
        if not LEASE_DURATION_MIN <= lease <= LEASE_DURATION_MAX:
            raise FieldInvalidError("lease", f"is {lease}; it goes from {LEASE_DURATION_MIN} to {LEASE_DURATION_MAX}")
        self.woken: Callable[[], object] | None = None
        self.stopped: Callable[[HeldTask], object] | None = None
        self.beat_seconds = lease.total_seconds() / _BEATS_PER_LEASE
        self._procedures = procedures
        self._worker_name = worker_name
        self._namespaces = (namespace,) if namespace else ()
        self._lease = lease
        self._session_id = ""
        self._leases: dict[str, Lease] = {}
        self._bell = _Bell(self)

    def get(self, job_id: str) -> Lease | None:
        """The lease of the job, lost ones included, until its end was reported."""
        return self._leases.get(canonical_id(job_id))

    # --- claiming ---

    def claim(
        self, *, job_types: Sequence[str] = (), job_ids: Sequence[str] = (), wait_seconds: float = 0.0
    ) -> Procedure[Lease | None]:
        """Takes the next job of the types, or that very job, waiting so long for it; None where there was none.

        It is not begun by that: one that nothing is reported of within the server's accept time goes back, at no cost.
        """
        request = workers_pb2.ClaimTasksRequest(
            session_id=self._session_id,
            namespaces=self._namespaces,
            worker_name=self._worker_name,
            job_types=job_types,
            job_ids=job_ids,
            timeout=duration_to_wire(timedelta(seconds=wait_seconds)),
            lease_duration=duration_to_wire(self._lease),
        )
        try:
            answer = yield from self._procedures.call(calls_tasks.claim_tasks(request))
        except SessionExpiredError:
            self._lose_session(request.session_id)
            request.session_id = ""
            answer = yield from self._procedures.call(calls_tasks.claim_tasks(request))
        self._session_id = answer.session_id
        for assignment in answer.tasks:
            held = HeldTask(assignment, _NO_HANDLER, monotonic())
            lease = self._leases[assignment.job_id] = Lease(held, Task(held, self._bell))
            return lease
        return None

    def accept(self, lease: Lease) -> Procedure[None]:
        """Begins the job: from here on it is RUNNING, and the attempt counts."""
        try:
            yield from self._report(lease, _accepted(lease))
        except ApiError:
            self._forget(lease)
            raise
        lease.held.accepted = True

    # --- reporting ---

    def report_progress(self, lease: Lease) -> Procedure[None]:
        """Says how far the job has come; raises LeaseLostError where it is another's by now."""
        # Progress that comes too late is dropped without a word. An accept, which changes nothing here, is answered.
        updates = [_accepted(lease)]
        if lease.held.progress is not None:
            updates.append(_progress(lease))
        try:
            yield from self._report(lease, *updates)
        except LeaseLostError:
            self._forget(lease)
            raise
        lease.held.accepted = True

    def end(self, lease: Lease, outcome: Outcome) -> Procedure[None]:
        """Reports the end; after an error but those that end the lease as well it may be reported again."""
        update = task_pb2.TaskUpdate(lease_token=lease.held.token)
        write_outcome(update, lease.held, outcome)
        try:
            yield from self._report(lease, update)
        except _OVER:
            self._forget(lease)
            raise
        self._forget(lease)

    def deliver(self, lease: Lease, outcome: Outcome, *, leaving: Callable[[], bool]) -> Procedure[None]:
        """The same for one who must not lose it: outages of any length are waited out, unless the caller is `leaving`.

        What the server does not take is made a failure that says so; nothing is raised.
        """
        while True:
            try:
                yield from self.end(lease, outcome)
            except _OVER as error:
                _log.warning("%s: %s", lease.held, error)
            except ApiError as error:
                if passes(error):
                    if not leaving():
                        continue
                elif not lease.held.refused:
                    lease.held.refused = True
                    outcome = refused(error)
                    continue
                _log.warning("%s: its end could not be reported: %s", lease.held, error)
                self._forget(lease)
            return

    def give_back(self) -> Procedure[None]:
        """Releases all that is held: the attempts are not counted."""
        stopping = released(task_pb2.RELEASE_REASON_STOPPING, f"{self._worker_name} stops")
        request = workers_pb2.ReportTasksRequest(session_id=self._session_id)
        for lease in self._leases.values():
            if not lease.held.lost:
                write_outcome(request.updates.add(lease_token=lease.held.token), lease.held, stopping)
        self._leases.clear()
        if request.updates:
            try:
                yield from self._procedures.call(calls_tasks.report_tasks(request), until=self._soon())
            except ApiError as error:
                _log.warning(
                    "%s: its jobs could not be given back before their leases end: %s", self._worker_name, error
                )

    # --- being alive ---

    def beat(self) -> Procedure[None]:
        """Says that the session lives and what it holds; what it does not hold any more is told to stop."""
        tokens = [lease.held.token for lease in self._leases.values() if not lease.held.lost]
        if not tokens:
            return
        request = workers_pb2.HeartbeatRequest(session_id=self._session_id, lease_tokens=tokens)
        answer = yield from self._kept_alive(calls_tasks.heartbeat(request), request.session_id)
        if answer is not None:
            self._lose(answer.lost_lease_tokens)
            self._hear(answer.cancels)

    def say(self) -> Procedure[None]:
        """Reports the newest progress of each job that has some."""
        request = workers_pb2.ReportTasksRequest(session_id=self._session_id)
        for lease in tuple(self._leases.values()):
            held = lease.held
            if held.accepted and not held.lost and held.progress is not held.progress_sent:
                held.progress_sent = held.progress
                request.updates.append(_progress(lease))
        if not request.updates:
            return
        answer = yield from self._kept_alive(calls_tasks.report_tasks(request), request.session_id)
        if answer is not None:
            self._lose(answer.dropped_progress_lease_tokens)
            self._hear(answer.cancels)

    # --- the book ---

    def _kept_alive(self, call: Call[T], session_id: str) -> Procedure[T | None]:
        """What is said again soon in any case: an outage is no error, the session's end is noted."""
        try:
            return (yield from self._procedures.call(call, until=self._soon()))
        except SessionExpiredError:
            self._lose_session(session_id)
        except ApiError as error:
            _log.warning("%s: its leases were not renewed: %s", self._worker_name, error)
        return None

    def _soon(self) -> float:
        return self._procedures.clock() + min(_KEEPING_SECONDS, self.beat_seconds)

    def _report(self, lease: Lease, *updates: task_pb2.TaskUpdate) -> Procedure[None]:
        session_id = "" if lease.held.lost else self._session_id
        request = workers_pb2.ReportTasksRequest(session_id=session_id, updates=updates)
        try:
            answer = yield from self._procedures.call(calls_tasks.report_tasks(request))
        except SessionExpiredError:
            # The token alone may still do: a completion is taken as long as nobody else has the job.
            self._lose_session(session_id)
            request.session_id = ""
            answer = yield from self._procedures.call(calls_tasks.report_tasks(request))
        self._hear(answer.cancels)
        for rejection in answer.rejections:
            raise error_from_status(rejection.status)

    def _forget(self, lease: Lease) -> None:
        if self._leases.get(lease.task.job_id) is lease:
            del self._leases[lease.task.job_id]

    def _hear(self, cancels: Sequence[task_pb2.CancelTask]) -> None:
        reasons = {cancel.lease_token: cancel.reason for cancel in cancels}
        for lease in self._named(reasons):
            self._stop(lease.held, StopCause.CANCELLED, reasons[lease.held.token])

    def _lose(self, tokens: Collection[bytes]) -> None:
        for lease in self._named(tokens):
            lease.held.lost = True
            self._stop(lease.held, StopCause.LEASE_LOST)
            if not lease.held.accepted:
                # It was never begun, and nobody will ask how it went on.
                self._forget(lease)

    def _lose_session(self, session_id: str) -> None:
        # Its id is kept for the next claim, which may hear that it was drained, and must not go on under a new one.
        if session_id == self._session_id:
            self._lose([lease.held.token for lease in tuple(self._leases.values())])

    def _named(self, tokens: Collection[bytes]) -> list[Lease]:
        return [lease for lease in tuple(self._leases.values()) if lease.held.token in tokens]

    def _stop(self, held: HeldTask, cause: StopCause, reason: str = "") -> None:
        if held.cancel_reason is None:
            held.ask_to_stop(cause, reason)
            if self.stopped is not None:
                self.stopped(held)


class _Bell(Handover):
    """Hears that a task has something to report, and keeps nothing: its newest progress stands in the task."""

    def __init__(self, leases: Leases) -> None:
        super().__init__()
        self._leases = leases

    def report(self, task: HeldTask) -> None:
        task.report_waits = False
        if task.progress is not None:
            # Numbered by the thread that says it, so that whoever sends it need not agree with others.
            task.progress_number += 1
            task.progress.number = task.progress_number
        if self._leases.woken is not None:
            self._leases.woken()


def _accepted(lease: Lease) -> task_pb2.TaskUpdate:
    return task_pb2.TaskUpdate(lease_token=lease.held.token, accepted=task_pb2.TaskAccepted())


def _progress(lease: Lease) -> task_pb2.TaskUpdate:
    return task_pb2.TaskUpdate(lease_token=lease.held.token, progress=lease.held.progress)
