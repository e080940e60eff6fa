"""The worker's side of the stream as a machine without I/O: what it holds, asks for, says and is told."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from jobhall.errors import Code, LeaseLostError, SchemaMismatchError
from jobhall.ids import new_id
from jobhall.limits import PROTOCOL_VERSION
from jobhall.v1 import task_pb2, worker_service_pb2
from jobhall.v1.worker_pb2 import RuntimeInfo
from jobhall.v1.worker_service_pb2 import (
    Ack,
    ReportTasksRequest,
    ReportTasksResponse,
    ServerDrain,
    Welcome,
    WorkRequest,
    WorkResponse,
)
from jobhall.worker.credit import Credit
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.holdings import Holdings
from jobhall.worker.outcomes import refused
from jobhall.worker.pace import Pace
from jobhall.worker.reports import Rejected, Reports

_log = logging.getLogger("jobhall.worker")
_STALE_CHECKS: Final = 20
"""So often within the time to accept it is looked for tasks that wait too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """What the worker says of itself in each Hello."""

    worker_name: str
    namespaces: tuple[str, ...]
    job_types: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    runtime: RuntimeInfo = field(default_factory=RuntimeInfo)


@dataclass(slots=True)
class Effects:
    """What the stream's driver has to do after a message."""

    start: list[HeldTask] = field(default_factory=list)
    stop: list[HeldTask] = field(default_factory=list)
    """Their handlers are to be told; cancel_reason stands in each."""
    drain: ServerDrain | None = None


class WorkerStream:
    """Knows no clock, socket or thread: `now` comes in, messages and effects go out.

    One object lives as long as the worker does, through all its streams and sessions.
    """

    def __init__(
        self, introduction: Introduction, handlers: Mapping[str, Handler], handover: Handover, credit: Credit
    ) -> None:
        self.introduction = introduction
        self._credit = credit
        self._reports = Reports()
        self._holdings = Holdings(handlers, handover, self._reports)
        self._pace = Pace()
        self._session_id = ""
        self._resume_token = ""
        self._connection = 0
        self._welcomed = False
        self._opened_at = 0.0
        self._heard_at = 0.0
        self._beat_at = 0.0
        self._stale_at = 0.0
        self._beats = 0
        self._assignments_seen = 0
        self._assignments_said = 0
        self._unsaid: list[HeldTask] = []
        """Delivered with a task that was given out before and never begun: not to be begun before the server knows that
        it has come. If it kills its worker at once, it was not lost on the way.
        """
        self._capacity_sent = task_pb2.Capacity()
        self._leaving = False
        self.renew_session()

    # --- opening and closing ---

    def hello(self, now: float) -> WorkRequest:
        """The first message of a new stream."""
        self.look(now)
        self._connection += 1
        self._welcomed = False
        self._opened_at = now
        self._assignments_seen = self._assignments_said = self._beats = 0
        self._reports.reconnect(self._holdings.tasks)
        self._capacity_sent = self._credit.capacity(zombies=self._holdings.zombies)
        about = self.introduction
        hello = worker_service_pb2.Hello(
            namespaces=about.namespaces,
            worker_name=about.worker_name,
            job_types=about.job_types,
            labels=about.labels,
            capacity=self._capacity_sent,
            runtime=about.runtime,
            protocol_version=PROTOCOL_VERSION,
            session_id=self._session_id,
            resume_token=self._resume_token,
            connection=self._connection,
        )
        for task in self._holdings.tasks:
            hello.held_tasks.add(lease_token=task.token, started=task.started_at > 0)
        return WorkRequest(hello=hello)

    def renew_session(self) -> None:
        """From the next Hello on it is another session; what is held goes along."""
        self._session_id, self._resume_token = new_id(), secrets.token_urlsafe(32)
        self._connection = 0

    def drop_all(self) -> list[HeldTask]:
        """Another process has the session and its tasks: the handlers to stop."""
        return self._holdings.lose_all()

    def closed(self) -> None:
        """The stream has ended; what is held stays."""
        self._welcomed = False

    def look(self, now: float) -> None:
        """To be asked often while there is no stream: after too long an absence nothing is begun that was waiting."""
        if now - self._heard_at > self._pace.session:
            self._holdings.forget_unstarted()

    # --- what the server says ---

    def receive(self, response: WorkResponse, now: float) -> Effects:
        """Takes a message of the server."""
        self._heard_at = now
        effects = Effects()
        match response.WhichOneof("response"):
            case "task_assignments":
                self._assignments_seen = response.task_assignments.assignments_seq
                tasks = response.task_assignments.tasks
                delivered = self._holdings.take(tasks, now, leaving=self._leaving)
                effects.start = self._begin_with_care(delivered) if any(map(_needs_care, delivered)) else delivered
            case "ack":
                self._acked(response.ack, effects)
            case "heartbeat_reply":
                for token in response.heartbeat_reply.lost_lease_tokens:
                    effects.stop += self._holdings.lose(token)
                for cancel in response.heartbeat_reply.cancels:
                    effects.stop += self._holdings.cancel(cancel.lease_token, cancel)
            case "cancel_tasks":
                for cancel in response.cancel_tasks.cancels:
                    effects.stop += self._holdings.cancel(cancel.lease_token, cancel)
            case "welcome":
                self._welcome(response.welcome, effects)
            case "drain":
                effects.drain = response.drain
            case None:
                # A newer server's word; what matters, it says in the beats' replies as well.
                pass
        return effects

    def silent(self, now: float) -> bool:
        """Whether the server has said nothing for so long that the stream must be taken for dead."""
        patience = self._pace.silence if self._welcomed else self._pace.welcome
        return now - max(self._heard_at, self._opened_at) > patience

    # --- what the handlers do ---

    def collect(self, now: float) -> list[HeldTask]:
        """Takes what the runners handed over; the tasks whose runners are free again."""
        over = self._holdings.collect(now)
        # Those that were withdrawn before they began tell nothing of how long handlers take.
        if ran := [task for task in over if task.over]:
            self._credit.note(ran)
        return over

    # --- what to say ---

    def next_message(self, now: float) -> WorkRequest | None:
        """The next message to send, in the order of the protocol; None when there is nothing to say now."""
        if not self._welcomed:
            return None
        if now >= self._beat_at:
            return self._beat(now)
        if self._unsaid and self._assignments_said < self._assignments_seen:
            return self._confirmation()
        if now >= self._stale_at:
            self._stale_at = now + self._pace.accept / _STALE_CHECKS
            self._holdings.release_stale(delivered_before=now - self._pace.accept / 2)
        self._credit.check(now, running=self._holdings.running)
        self._credit.full = self._reports.full
        if (capacity := self._credit.capacity(zombies=self._holdings.zombies)) != self._capacity_sent:
            self._capacity_sent = capacity
            return WorkRequest(capacity=capacity)
        return self._reports.next_message(now)

    def sent(self) -> Effects:
        """The last message is on its way: what waited for the server to know that it has come may begin."""
        effects = Effects()
        if self._unsaid and self._welcomed and self._assignments_said == self._assignments_seen:
            effects.start, self._unsaid = self._unsaid, []
        return effects

    @property
    def send_at(self) -> float | None:
        """When to ask for the next message though nothing happens; None before the server's Welcome."""
        if not self._welcomed:
            return None
        stale_at = self._stale_at if self._holdings.any_unstarted else None
        times = (self._beat_at, stale_at, self._reports.send_at, self._credit.check_at)
        return min(at for at in times if at is not None)

    # --- without a stream ---

    def begin_flush(self) -> None:
        """From here on `flush` says what is unacked, numbered anew; until the next Hello."""
        self._reports.reconnect(self._holdings.tasks)

    def flush(self) -> ReportTasksRequest | None:
        """The next list of what goes by ReportTasks; None when no outcome is left to be confirmed.

        Nothing on tasks that go on: if the session is over, that is refused, and the next Hello may bring them back.
        """
        if (message := self._reports.next_of_ended()) is None:
            return None
        return ReportTasksRequest(
            session_id=self._session_id, updates=message.task_updates.updates, logs=message.task_logs.logs
        )

    def flushed(self, response: ReportTasksResponse) -> Effects:
        """All of the last list is dealt with."""
        effects = Effects()
        self._acked(Ack(through_seq=self._reports.last_seq, rejections=response.rejections), effects)
        for cancel in response.cancels:
            effects.stop += self._holdings.cancel(cancel.lease_token, cancel)
        return effects

    # --- leaving ---

    def leave(self) -> None:
        """Asks for no more and gives back what was not started."""
        self._leaving = self._credit.paused = True
        self._holdings.release_unstarted()

    def farewell(self) -> WorkRequest:
        """The last message: the session may end with the stream. Not before all is said and acked, or it would."""
        return WorkRequest(drain=worker_service_pb2.WorkerDrain())

    def stop_running(self) -> list[HeldTask]:
        """The handlers to stop since the worker cannot wait for them; their tasks are given back."""
        return self._holdings.stop_running()

    def abandon_running(self) -> int:
        """Gives back what runs on though it was told to stop; how many those are."""
        return self._holdings.abandon_running()

    @property
    def finished(self) -> bool:
        """Whether the worker leaves, and has nothing left to do or to say."""
        return self._leaving and not self._holdings and self._reports.done

    @property
    def leaving(self) -> bool:
        """Whether the worker leaves."""
        return self._leaving

    @property
    def running_count(self) -> int:
        """Tasks whose handlers are not done, those included that have not begun."""
        return sum(1 for task in self._holdings.tasks if not task.ended)

    @property
    def welcomed(self) -> bool:
        """Whether the stream is open, as the server sees it."""
        return self._welcomed

    def unready(self, now: float) -> str:
        """Why the worker would not get a task now, for people; empty where it would. From any thread."""
        if self._leaving:
            return "draining"
        if not self._welcomed:
            return "not connected"
        silence = now - max(self._heard_at, self._opened_at)
        return f"no word from the server for {silence:.0f} s" if self.silent(now) else ""

    @property
    def held_count(self) -> int:
        """Tasks delivered whose end is not acked."""
        return len(self._holdings)

    @property
    def unacked_count(self) -> int:
        """Outcomes that the server has not confirmed."""
        return self._reports.kept_count

    @property
    def session_seconds(self) -> float:
        """How long the server keeps what is held while there is no stream."""
        return self._pace.session

    @property
    def session_id(self) -> str:
        """The session, as the server's operators see it."""
        return self._session_id

    # --- in detail ---

    def _welcome(self, welcome: Welcome, effects: Effects) -> None:
        self._welcomed = True
        self._session_id = welcome.session_id or self._session_id
        self._resume_token = welcome.resume_token or self._resume_token
        self._beat_at = 0.0
        # The Hello listed them.
        effects.start, self._unsaid = self._unsaid, []
        self._pace.obey(welcome.settings)
        self._reports.limits.obey(welcome.settings)
        self._credit.tasks_max = welcome.settings.tasks_max or self._credit.tasks_max
        for decision in welcome.held_tasks:
            match decision.disposition:
                case worker_service_pb2.HELD_TASK_DISPOSITION_KEEP:
                    pass
                case worker_service_pb2.HELD_TASK_DISPOSITION_CANCEL:
                    effects.stop += self._holdings.cancel(decision.lease_token, decision.cancel)
                case _:
                    effects.stop += self._holdings.lose(decision.lease_token)

    def _begin_with_care(self, delivered: list[HeldTask]) -> list[HeldTask]:
        """What of it may begin at once, where not all may: a last attempt begins when the server has that on record, or
        a crash in between would run it once more; a delivery like one that came to no start, when it is confirmed.
        """
        others = []
        for task in delivered:
            if _is_last(task):
                self._reports.accept_first(task)
            else:
                others.append(task)
        if any(task.assignment.fence > task.assignment.attempt for task in others):
            self._unsaid += others
            return []
        return others

    def _confirmation(self) -> WorkRequest:
        self._assignments_said = self._assignments_seen
        return WorkRequest(task_updates=worker_service_pb2.TaskUpdates(assignments_seen=self._assignments_said))

    def _beat(self, now: float) -> WorkRequest:
        self._beat_at = now + self._pace.heartbeat
        self._beats += 1
        self._assignments_said = self._assignments_seen
        return WorkRequest(
            heartbeat=worker_service_pb2.Heartbeat(
                number=self._beats,
                lease_tokens=self._holdings.tokens,
                assignments_seen=self._assignments_seen,
                cancelling_lease_tokens=[task.token for task in self._holdings.tasks if task.cancel_reason is not None],
            )
        )

    def _acked(self, ack: Ack, effects: Effects) -> None:
        ended, rejected = self._reports.acked(ack)
        effects.start += self._reports.take_accepted()
        for task in ended:
            self._holdings.drop(task)
        for rejection in rejected:
            self._rejected(rejection, effects)

    def _rejected(self, rejection: Rejected, effects: Effects) -> None:
        task, error, ends = rejection
        if not ends:
            _log.warning("a report on %s was not taken: %s", task, error)
            if isinstance(error, LeaseLostError):
                effects.stop += self._holdings.lose(task.token)
        elif error.code is Code.INVALID_ARGUMENT and not isinstance(error, SchemaMismatchError) and not task.refused:
            # Nobody else would end this task: it would run until it counts as lost, and then again.
            task.refused = True
            self._reports.ended(task, refused(error))
        else:
            # Of a task that was cancelled before it began, the server needs none.
            level = logging.WARNING if task.cancel_reason is None else logging.DEBUG
            _log.log(level, "the outcome of %s was not taken: %s", task, error)
            self._holdings.drop(task)


def _needs_care(task: HeldTask) -> bool:
    """Whether it is the job's last attempt, or an earlier claim of the job came to no start or was given back."""
    assignment = task.assignment
    attempt = assignment.attempt
    return assignment.fence > attempt or 0 < assignment.max_attempts <= attempt


def _is_last(task: HeldTask) -> bool:
    return 0 < task.assignment.max_attempts <= task.assignment.attempt
