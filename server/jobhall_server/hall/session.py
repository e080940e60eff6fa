"""The worker stream as a machine without I/O: frames, ticks and commit results in; frames and units of work out.

One machine lives as long as one stream. Whoever drives it (`connection.py`) feeds `receive` and `tick`, runs what
`take` hands out as one report unit at a time, tells the result to `committed`, gives claimed jobs to `deliver`, tells
it what the store says that it holds (`agree`), and sends `frames` to the worker. All times are seconds of a monotonic
clock that the driver passes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from jobhall.errors import DrainingError, HelloTimeoutError, LeaseLostError, ProtocolViolationError
from jobhall.limits import SILENT_BEATS_MAX
from jobhall_server.domain.job import Lease
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.frames import (
    Ack,
    Assignment,
    Cancel,
    Capacity,
    CheckpointBody,
    DrainReason,
    FrameIn,
    FrameOut,
    Heartbeat,
    HeldDecision,
    Hello,
    Report,
    ReportKind,
    Reports,
    ServerDrain,
    StreamSettings,
    Welcome,
    WorkerDrain,
)
from jobhall_server.hall.held import (
    AcceptTimers,
    Batch,
    HeldTask,
    Overdue,
    Unwanted,
    cancel_of,
    without_payloads,
)
from jobhall_server.hall.holdings import Holdings
from jobhall_server.hall.intake import Intake
from jobhall_server.hall.outbox import Outbox
from jobhall_server.hall.repairs import Repair
from jobhall_server.hall.reports import OUTCOMES, Judged
from jobhall_server.hall.store import Claimed
from jobhall_server.hall.views import HeldRow

PROGRESS_SAVED_EVERY_SECONDS = 1.0
UNSENT_BYTES_MAX = 1024 * 1024
"""With so much waiting to be sent a worker is given no more: it does not read, or its connection is slow."""
_MOVE_SECONDS = 1.0
"""Beyond the time within which a worker was told to move: then its stream is ended."""


class SessionMachine:
    """The server's end of one worker stream."""

    def __init__(self, settings: StreamSettings, now: float) -> None:
        self.settings = settings
        self.hello: Hello | None = None
        self.holdings = Holdings()
        self.tasks_max = 0
        self.type_limits: dict[str, int] = {}
        self.draining = False
        """It is given no more work."""
        self.leaving = False
        """It is for good: the stream ends when nothing is held."""
        self.unwanted = Unwanted()
        self.delivery = 0
        """The last message of assignments that was made."""
        self._confirmed_delivery = 0
        self._opened = False
        self._started_at = now
        self._heard_at = now
        self._ticked_at = now
        self._move_at: float | None = None
        self._accept_timers = AcceptTimers()
        self._overdue = Overdue()
        self._saved_at = now
        self._intake = Intake(settings)
        self._outbox = Outbox(settings.message_bytes)

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
                self._seen(frame.assignments_seen)
                self._take_reports(frame.items)
                self._intake.check(frame.size_bytes)
            case Heartbeat():
                self._beat(frame)
            case Capacity():
                self._set_capacity(frame.tasks_max, frame.type_limits)
            case WorkerDrain():
                self.draining = self.leaving = True
            case Hello():
                raise ProtocolViolationError("a second Hello on one stream; open a new stream for a new session")

    def _set_capacity(self, tasks_max: int, type_limits: dict[str, int]) -> None:
        self.tasks_max = tasks_max
        self.type_limits = type_limits

    def _take_reports(self, items: Sequence[Report]) -> None:
        add, held = self._intake.add, self.holdings.tasks
        for report in items:
            task, kind = held.get(report.token), report.kind
            if kind in OUTCOMES:
                add(report)
                if task is not None:
                    self.holdings.progress.ending(report.token)
                    task.ending = True
            elif kind is ReportKind.PROGRESS:
                self._take_progress(report, task)
                continue
            else:
                if kind is ReportKind.CHECKPOINT:
                    self._before_checkpoint(report)
                add(report)
            if task is not None and not task.started:
                self._start(task)

    def _before_checkpoint(self, report: Report) -> None:
        """A checkpoint without progress is of the last that was reported: the store must have seen that one."""
        if isinstance(report.body, CheckpointBody) and report.body.progress is None:
            progress = self.holdings.progress.of(report.token)
            if progress is not None:
                self._intake.add_unnumbered(Report(0, report.token, ReportKind.PROGRESS, progress))

    def _start(self, task: HeldTask) -> None:
        task.started = True
        self.unwanted.started(task.facts.queue_key)

    def _take_progress(self, report: Report, task: HeldTask | None) -> None:
        assert isinstance(report.body, Progress)
        if report.body.fault() is not None:
            self._outbox.bad_progress(report.token)
            return
        if task is None:
            if report.token not in self.holdings.recorded:
                self._outbox.bad_progress(report.token)
            return
        if not task.started:
            self._start(task)
            self._intake.add_unnumbered(Report(0, report.token, ReportKind.ACCEPTED, None))
        self.holdings.progress.report(report.token, task.facts.lease.job_key, report.body)

    def _beat(self, beat: Heartbeat) -> None:
        listed, holdings = frozenset(beat.tokens), self.holdings
        self._overdue.add(holdings.listed(listed, seen=self._seen(beat.assignments_seen)))
        unknown = holdings.unknown(listed) if self._opened else ()
        self._outbox.reply(beat.number, unknown, holdings.cancels(listed.difference(beat.cancelling)))

    def _seen(self, assignments: int) -> int:
        """The worker has read so many messages of assignments; not more than there are, whatever it says."""
        seen = min(assignments, self.delivery)
        self._confirmed_delivery = max(self._confirmed_delivery, seen)
        return seen

    # --- the session and its work ---

    def opened(
        self,
        session_id: str,
        resume_token: str,
        epoch: int,
        *,
        decisions: Sequence[HeldDecision] = (),
        held: Iterable[HeldTask] = (),
        now: float = 0.0,
    ) -> None:
        """The session is committed: welcome the worker. `held` are the tasks that it has in its hands from before. What
        else it is to keep has its outcome on record: the worker says it again, and is told so.
        """
        assert self.hello is not None
        self._opened = True
        waiting = self.holdings.bring(held, decisions)
        self._accept_timers.start(now + self.settings.accept_seconds, waiting)
        self._outbox.welcome(Welcome(session_id, resume_token, epoch, decisions, self.settings))

    def free(self) -> int:
        """How many more tasks the worker has asked for."""
        if self.draining or not self._opened or self.unsent_bytes > UNSENT_BYTES_MAX:
            return 0
        return max(0, self.tasks_max - self.holdings.count)

    @property
    def unsent_bytes(self) -> int:
        """Of tasks that wait to be sent."""
        return self._outbox.waiting_bytes

    def free_by_type(self) -> dict[str, int]:
        """The same for each type with a number of its own, by the name that the worker gave it."""
        return self.holdings.left_by_type(self.type_limits)

    def wanted(self, claimed: Sequence[Claimed], names: Mapping[int, str]) -> Sequence[Claimed]:
        """Those that still fit, of what was claimed for it: capacity may have been lowered since, in all or of a type.
        `names` are those of the queues that it serves.
        """
        left = self.free_by_type()
        if left:
            fitting = []
            for job in claimed:
                name = names.get(job.queue_key, "")
                if name in left:
                    left[name] -= 1
                if left.get(name, 0) >= 0:
                    fitting.append(job)
            claimed = fitting
        return claimed[: self.free()]

    def deliver(self, tasks: Sequence[Assignment], now: float) -> None:
        """Hand claimed jobs to the worker; the accept timer starts."""
        self._accept_timers.start(now + self.settings.accept_seconds, [task.token for task in tasks])
        held = self.holdings.tasks
        for frame in self._outbox.deliver(tasks):
            for task in frame.tasks:
                held[task.token] = HeldTask(without_payloads(task.claimed), task.job_type, frame.number)
            self.delivery = frame.number

    def cancel(self, cancel: Cancel, *, running: bool) -> bool:
        """Ask the worker to stop a task; False when it does not hold it. One not yet started is gone at once."""
        task = self.holdings.tasks.get(cancel.token)
        if task is None or task.ending:
            return False
        if running:
            task.cancel = cancel
        else:
            self.holdings.drop(cancel.token)
            self._outbox.withdraw((cancel.token,))
        self._outbox.cancel(cancel)
        return True

    def time_out(self, cancel: Cancel) -> None:
        """The task's time was over. It is not held any more, but its worker is told to stop until it does."""
        if self.holdings.time_out(cancel):
            self._outbox.cancel(cancel)

    def forget(self, leases: Iterable[Lease]) -> None:
        """These tasks were returned, lost or stopped: the worker is told at once."""
        tokens = [token for lease in leases if self.holdings.drop(token := lease.token())]
        if tokens:
            self._outbox.lost(tokens)

    def agree(self, rows: Mapping[bytes, HeldRow], *, delivery: int, now_us: int) -> list[HeldRow]:
        """Compare with what the store said that the session holds, when `delivery` was the last message of assignments.

        What is not there any more is forgotten, and what is cancelled there is cancelled here. Answers what nobody here
        knows, though it stood there the last time too: its delivery was lost.
        """
        self.forget(self.holdings.missing(rows, delivery=delivery))
        for row in self.holdings.cancelled(rows):
            self.cancel(cancel_of(row, now_us), running=True)
        return self.holdings.strays(rows)

    def told_to_leave(self, message: str, within_seconds: float) -> None:
        """Somebody drained the worker: it finishes what it holds, and stops."""
        self.draining = self.leaving = True
        self._outbox.drain(ServerDrain(DrainReason.WORKER_DRAIN, message, within_seconds))

    def told_to_move(self, message: str, within_seconds: float, now: float) -> None:
        """The server is going: no new work on this stream, and the worker is to go elsewhere with what it holds."""
        self.draining = True
        self._move_at = now + within_seconds + _MOVE_SECONDS
        self._outbox.drain(ServerDrain(DrainReason.SERVER_STOPPING, message, within_seconds))

    def over(self) -> None:
        """The stream ends: what was not sent of it is not begun any more."""
        self.draining = True
        self._outbox.drop_assignments()

    @property
    def finished(self) -> bool:
        """The worker is given nothing more, holds nothing and has nothing to say: the stream may end with OK."""
        return self.draining and self._intake.idle and not self.holdings

    def confirmed_jobs(self) -> frozenset[int]:
        """Keys of held jobs whose delivery a beat confirmed, for counting worker losses after the stream's end."""
        return self.holdings.confirmed(self._confirmed_delivery)

    # --- reports ---

    def take(self) -> Batch | None:
        """What forms the next report unit; None while one is in flight or nothing waits."""
        return self._intake.take() if self._opened else None

    def committed(self, judged: Judged) -> None:
        """The unit of the batch is durable: ack it."""
        batch, rejections = self._intake.committed(judged)
        for place, error in judged.refused.items():
            if isinstance(error, LeaseLostError):
                self.holdings.drop(batch.reports[place].token)
        for report in batch.reports:
            if report.kind in OUTCOMES:
                self.holdings.ended(report.token)
        if batch.through_seq:
            self._outbox.ack(batch.through_seq, rejections)

    def failed(self) -> None:
        """The unit of the batch was dropped whole (the database was busy or full): it waits to be taken again."""
        self._intake.failed()

    def save_progress(self) -> None:
        """Put progress that is only in memory among the reports of the next unit: now and then, and at the end."""
        for report in self.holdings.progress.take():
            self._intake.add_unnumbered(report)

    # --- time ---

    def tick(self, now: float) -> Overdue:
        """Look at the timers; raises what ends the stream: HelloTimeoutError, DrainingError for a worker that was told
        to move and did not, or TimeoutError for a silent one.

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
        if self._move_at is not None and now >= self._move_at:
            raise DrainingError("this server is stopping; connect again")
        if now - self._saved_at >= PROGRESS_SAVED_EVERY_SECONDS:
            self._saved_at = now
            self.save_progress()
        overdue, self._overdue = self._overdue.still(self.holdings.tasks), Overdue()
        for token in self._accept_timers.due(now):
            task = self.holdings.tasks.get(token)
            if task is not None and not task.started and not task.ending:
                task.ending = True
                overdue.unaccepted.append(task.facts.lease)
                self.unwanted.let_lie(task.facts.queue_key, now)
                self.holdings.repairs[Repair.NEVER_ACCEPTED] += 1
        return overdue

    def _resume(self, pause: float) -> None:
        """Every timer was at rest with the process: what the worker sent meanwhile is still to be read."""
        self._heard_at += pause
        self._started_at += pause
        self._accept_timers.pause(pause)

    def again(self, overdue: Overdue) -> None:
        """What a tick found could not be written: it comes with the next one."""
        self._overdue.add(overdue)

    # --- frames out ---

    def frames(self) -> list[FrameOut]:
        """What is to be sent now, in sending order: welcome and cancels, replies and acks, assignments."""
        out = self._outbox.frames(self._intake.acked) if self._opened else []
        for frame in out:
            if isinstance(frame, Ack):
                self._intake.told(frame.through_seq)
        return out
