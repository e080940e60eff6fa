"""The worker stream as a machine without I/O: frames, ticks and commit results in; frames and units of work out.

One machine lives as long as one stream. Whoever drives it (`workers.py`) feeds `receive` and `tick`, runs what `take`
hands out as one report unit at a time, tells the result to `committed`, gives claimed jobs to `deliver`, and sends
`frames` to the worker. All times are seconds of a monotonic clock that the driver passes in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from jobhall.errors import HelloTimeoutError, LeaseLostError, ProtocolViolationError
from jobhall.limits import SILENT_BEATS_MAX
from jobhall_server.domain.job import Lease
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.frames import (
    Ack,
    Assignment,
    Assignments,
    Cancel,
    Cancels,
    Capacity,
    Disposition,
    FrameIn,
    FrameOut,
    Heartbeat,
    HeartbeatReply,
    Hello,
    Rejection,
    Report,
    ReportKind,
    Reports,
    ServerDrain,
    StreamSettings,
    Welcome,
    WorkerDrain,
)
from jobhall_server.hall.held import Batch, HeldTask, Overdue, without_payload
from jobhall_server.hall.registry import split_job_type
from jobhall_server.hall.reports import OUTCOMES, Judged

PROGRESS_SAVED_EVERY_SECONDS = 1.0
REPORTS_PER_UNIT_MAX = 2000
"""What comes at once is taken in units of this size, so that nobody's flood makes everybody's group long."""


class SessionMachine:
    """The server's end of one worker stream."""

    def __init__(self, settings: StreamSettings, now: float) -> None:
        self.settings = settings
        self.hello: Hello | None = None
        self.held: dict[bytes, HeldTask] = {}
        self.latest: dict[int, Progress] = {}
        """The newest progress of held tasks by job key; saved now and then, and replaced by the outcome's."""
        self.tasks_max = 0
        self.type_limits: dict[str, int] = {}
        self.draining = False
        self.confirmed_delivery = 0
        self._opened = False
        self._started_at = now
        self._heard_at = now
        self._ticked_at = now
        self._seq = 0
        self._acked = 0
        self._unacked: deque[tuple[int, int]] = deque()
        self._unacked_bytes = 0
        self._pending: list[Report] = []
        self._in_flight: Batch | None = None
        self._delivery = 0
        self._unaccepted: deque[tuple[float, bytes]] = deque()
        self._overdue = Overdue()
        self._kept: set[bytes] = set()
        self._bad_progress: list[bytes] = []
        self._unsaved: set[bytes] = set()
        self._saved_at = now
        self._urgent: list[FrameOut] = []
        self._replies: list[FrameOut] = []
        self._assignments: list[Assignments] = []

    # --- frames in ---

    def receive(self, frame: FrameIn, now: float) -> None:
        """Take a frame of the worker; ProtocolViolationError ends the stream."""
        self._heard_at = now
        if self.hello is None:
            if not isinstance(frame, Hello):
                raise ProtocolViolationError(f"the first frame must be Hello, not {type(frame).__name__}")
            self.hello = frame
            self._set_capacity(frame.tasks_max, frame.type_limits)
            return
        match frame:
            case Reports():
                self._take_reports(frame.items)
                self._check_unacked(frame.size_bytes)
            case Heartbeat():
                self._beat(frame)
            case Capacity():
                self._set_capacity(frame.tasks_max, frame.type_limits)
            case WorkerDrain():
                self.draining = True
            case Hello():
                raise ProtocolViolationError("a second Hello on one stream; open a new stream for a new session")

    def _set_capacity(self, tasks_max: int, type_limits: dict[str, int]) -> None:
        self.tasks_max = tasks_max
        self.type_limits = type_limits

    def _take_reports(self, items: Sequence[Report]) -> None:
        for report in items:
            task = self.held.get(report.token)
            if report.kind is ReportKind.PROGRESS:
                self._take_progress(report, task)
                continue
            if report.seq != self._seq + 1:
                raise ProtocolViolationError(f"item {self._seq + 1} expected next on this stream, {report.seq} came")
            self._seq = report.seq
            if task is not None:
                if report.kind in OUTCOMES:
                    self._unsaved.discard(report.token)
                    task.ending = True
                task.started = True
            self._pending.append(report)

    def _check_unacked(self, size_bytes: int) -> None:
        if self._seq == (self._unacked[-1][0] if self._unacked else self._acked):
            return  # Progress alone, which is not acked.
        self._unacked.append((self._seq, size_bytes))
        self._unacked_bytes += size_bytes
        items, items_max = self._seq - self._acked, self.settings.unacked_items_max
        if items > items_max:
            raise ProtocolViolationError(f"{items} items are not acked; Welcome allows {items_max}: wait for acks")
        if self._unacked_bytes > self.settings.unacked_bytes_max:
            raise ProtocolViolationError(
                f"{self._unacked_bytes} bytes of items are not acked; "
                f"Welcome allows {self.settings.unacked_bytes_max}: wait for acks"
            )

    def _take_progress(self, report: Report, task: HeldTask | None) -> None:
        assert isinstance(report.body, Progress)
        if report.body.fault() is not None:
            self._bad_progress.append(report.token)
            return
        if task is None:
            if report.token not in self._kept:
                self._bad_progress.append(report.token)
            return
        if not task.started:
            task.started = True
            self._pending.append(Report(0, report.token, ReportKind.ACCEPTED, None))
        self.latest[task.lease.job_key] = report.body
        self._unsaved.add(report.token)

    def _beat(self, beat: Heartbeat) -> None:
        self.confirmed_delivery = max(self.confirmed_delivery, beat.assignments_seen)
        listed = frozenset(beat.tokens)
        for token, task in list(self.held.items()):
            if token not in listed and not task.ending and task.delivery <= beat.assignments_seen:
                task.ending = True
                (self._overdue.lost if task.started else self._overdue.unaccepted).append(task.lease)
        self._kept &= listed
        listed = listed.difference(beat.cancelling)
        known = [held for token in listed if (held := self.held.get(token)) is not None]
        cancels = [held.cancel for held in known if held.cancel is not None and not held.ending]
        self._replies.append(HeartbeatReply(beat.number, lost=(), cancels=cancels))

    # --- the session and its work ---

    def opened(self, session_id: str, resume_token: str, epoch: int) -> None:
        """The session is committed: welcome the worker. Tokens of an earlier session stay with the worker's tasks:
        what is finished late is judged by its token, so each is told KEEP.
        """
        assert self.hello is not None
        self._opened = True
        self._kept = {task.token for task in self.hello.held}
        held = tuple((token, Disposition.KEEP) for token in self._kept)
        self._urgent.append(Welcome(session_id, resume_token, epoch, held, self.settings))

    def free(self) -> int:
        """How many more tasks the worker has asked for."""
        if self.draining or not self._opened:
            return 0
        return max(0, self.tasks_max - len(self.held) - len(self._kept))

    def free_by_type(self) -> dict[str, int]:
        """The same for each type with a number of its own, by the name that the worker gave it."""
        free = dict(self.type_limits)
        if free:
            for task in self.held.values():
                name = task.assignment.job_type
                for spec in free:
                    if split_job_type(spec)[1] == name:
                        free[spec] -= 1
        return free

    def deliver(self, tasks: Sequence[Assignment], now: float) -> None:
        """Hand claimed jobs to the worker; the accept timer starts."""
        self._delivery += 1
        deadline = now + self.settings.accept_seconds
        for assignment in tasks:
            token = assignment.token
            self.held[token] = HeldTask(assignment.claimed.lease, without_payload(assignment), self._delivery)
            self._unaccepted.append((deadline, token))
        self._assignments.append(Assignments(self._delivery, tasks))

    def cancel(self, lease: Lease, reason: str, *, running: bool, now: float) -> bool:
        """Ask the worker to stop a task; False when it does not hold it. One not yet started is gone at once."""
        token = lease.token()
        task = self.held.get(token)
        if task is None or task.ending:
            return False
        cancel = Cancel(token, reason, self.settings.cancel_grace_seconds)
        if running:
            task.cancel, task.stop_at = cancel, now + self.settings.cancel_grace_seconds
        else:
            self._drop(token)
            self._withdraw({token})
        self._urgent.append(Cancels((cancel,)))
        return True

    def forget(self, leases: Sequence[Lease]) -> None:
        """These tasks were returned, lost or stopped: the worker is told at once."""
        tokens = [token for lease in leases if self._drop(token := lease.token())]
        if tokens:
            self._withdraw(set(tokens))
            self._replies.append(HeartbeatReply(0, lost=tokens, cancels=()))

    def _withdraw(self, tokens: set[bytes]) -> None:
        """Take tasks out of assignments not sent yet: those go out last, after the word that the tasks are gone."""
        self._assignments = [
            Assignments(frame.number, [task for task in frame.tasks if task.token not in tokens])
            for frame in self._assignments
        ]

    def _drop(self, token: bytes) -> bool:
        task = self.held.pop(token, None)
        if task is None:
            return False
        self.latest.pop(task.lease.job_key, None)
        self._unsaved.discard(token)
        return True

    def drain(self, reason: str, after_seconds: float) -> None:
        """The server is going: no new work on this stream, and the worker is told to move."""
        self.draining = True
        self._urgent.append(ServerDrain(reason, after_seconds))

    @property
    def finished(self) -> bool:
        """The worker drained and holds nothing: the stream may end with OK."""
        return self.draining and not self.held and not self._pending and self._in_flight is None

    def confirmed_jobs(self) -> frozenset[int]:
        """Keys of held jobs whose delivery a beat confirmed, for counting worker losses after the stream's end."""
        return frozenset(
            task.lease.job_key
            for task in self.held.values()
            if task.started or task.delivery <= self.confirmed_delivery
        )

    # --- reports ---

    def take(self) -> Batch | None:
        """What forms the next report unit; None while one is in flight or nothing waits."""
        if self._in_flight is not None or not self._opened:
            return None
        if not self._pending:
            if self._bad_progress:
                self._replies.append(Ack(self._acked, (), self._bad_progress))
                self._bad_progress = []
            return None
        reports, self._pending = self._pending[:REPORTS_PER_UNIT_MAX], self._pending[REPORTS_PER_UNIT_MAX:]
        through = next((report.seq for report in reversed(reports) if report.seq), self._acked)
        self._in_flight = Batch(reports, through)
        return self._in_flight

    def committed(self, judged: Judged) -> None:
        """The unit of the batch is durable: ack it."""
        batch, self._in_flight = self._in_flight, None
        assert batch is not None
        rejections = []
        for place, error in judged.refused.items():
            report = batch.reports[place]
            if report.seq:
                rejections.append(Rejection(report.seq, report.token, error))
            if isinstance(error, LeaseLostError):
                self._drop(report.token)
        for report in batch.reports:
            if report.kind in OUTCOMES:
                self._drop(report.token)
                self._kept.discard(report.token)
        self._acked = batch.through_seq
        while self._unacked and self._unacked[0][0] <= self._acked:
            self._unacked_bytes -= self._unacked.popleft()[1]
        self._replies.append(Ack(batch.through_seq, rejections, self._bad_progress))
        self._bad_progress = []

    def failed(self) -> None:
        """The unit of the batch was dropped whole (the database was busy or full): it waits to be taken again."""
        batch, self._in_flight = self._in_flight, None
        assert batch is not None
        self._pending = [*batch.reports, *self._pending]

    # --- time ---

    def tick(self, now: float) -> Overdue:
        """Look at the timers; raises what ends the stream: HelloTimeoutError, or TimeoutError for a silent worker.

        A tick that comes late means that this process itself was not running: silence then proves nothing.
        """
        pause = now - self._ticked_at - self.settings.heartbeat_seconds
        if pause > 0:
            self._resume(pause)
        self._ticked_at = now
        if self.hello is None and now - self._started_at > self.settings.hello_seconds:
            raise HelloTimeoutError(f"no Hello within {self.settings.hello_seconds:g} s of the stream's start")
        if now - self._heard_at > SILENT_BEATS_MAX * self.settings.heartbeat_seconds:
            raise TimeoutError
        if now - self._saved_at >= PROGRESS_SAVED_EVERY_SECONDS:
            self._saved_at = now
            self.save_progress()
        overdue = self._still_overdue()
        while self._unaccepted and self._unaccepted[0][0] <= now:
            task = self.held.get(self._unaccepted.popleft()[1])
            if task is not None and not task.started and not task.ending:
                task.ending = True
                overdue.unaccepted.append(task.lease)
        for task in self.held.values():
            if task.cancel is not None and task.stop_at <= now and not task.ending:
                overdue.stopped.append(task.lease)
        return overdue

    def _resume(self, pause: float) -> None:
        """Every timer was at rest with the process: what the worker sent meanwhile is still to be read."""
        self._heard_at += pause
        self._started_at += pause
        self._unaccepted = deque((deadline + pause, token) for deadline, token in self._unaccepted)
        for task in self.held.values():
            task.stop_at += pause

    def _still_overdue(self) -> Overdue:
        """What was found since the last tick, but for deliveries that were accepted after all."""
        found, self._overdue = self._overdue, Overdue()
        overdue = Overdue(lost=found.lost)
        for lease in found.unaccepted:
            task = self.held.get(lease.token())
            if task is not None and task.started:
                task.ending = False
            else:
                overdue.unaccepted.append(lease)
        return overdue

    def save_progress(self) -> None:
        """Put progress that is only in memory among the reports of the next unit: now and then, and at the end."""
        for token in self._unsaved:
            task = self.held.get(token)
            if task is not None:
                self._pending.append(Report(0, token, ReportKind.PROGRESS, self.latest[task.lease.job_key]))
        self._unsaved.clear()

    def again(self, overdue: Overdue) -> None:
        """What a tick found could not be written: it comes with the next one."""
        self._overdue.unaccepted.extend(overdue.unaccepted)
        self._overdue.lost.extend(overdue.lost)

    # --- frames out ---

    def frames(self) -> list[FrameOut]:
        """What is to be sent now, in sending order: welcome and cancels, replies and acks, assignments."""
        out = [*self._urgent, *self._replies, *self._assignments]
        self._urgent, self._replies, self._assignments = [], [], []
        return out
