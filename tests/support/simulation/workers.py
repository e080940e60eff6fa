"""A worker process: the SDK's own stream machine, handlers of a few words, and a driver as small as its I/O thread."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from random import Random
from typing import NamedTuple, Protocol

from jobhall.errors import ApiError, Code
from jobhall.v1 import task_pb2
from jobhall.v1.job_pb2 import Payload, Progress
from jobhall.v1.worker_service_pb2 import (
    DRAIN_REASON_WORKER_DRAIN,
    HELD_TASK_DISPOSITION_LOST,
    Ack,
    Welcome,
    WorkResponse,
)
from jobhall.worker.credit import Credit
from jobhall.worker.ends import After, after
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.outcomes import Outcome, released, stopped
from jobhall.worker.stream import Effects, Introduction, WorkerStream
from tests.support.simulation.network import SimulatedStream, Weather
from tests.support.simulation.timeline import Process

LOOK_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 10.0
STOP_SECONDS = 0.5
"""A handler that obeys ends within this once it is told to stop."""

REFUSED = ApiError("nobody listens", code=Code.UNAVAILABLE)
SILENT = ApiError("it has been silent for too long", code=Code.UNAVAILABLE)


class Execution(NamedTuple):
    """One run of a handler, as its own journal has it."""

    number: int
    job_id: str
    fence: int
    attempt: int
    worker: str
    began_at: float


class Plan(NamedTuple):
    """What a handler is going to do."""

    seconds: float
    end: str
    """complete, fail, fail for good, release."""
    obeys: bool
    """Whether it stops when it is told to."""
    says: int
    """So many times it reports progress."""


class Running(NamedTuple):
    """A task in user code."""

    execution: Execution
    plan: Plan


class World(Protocol):
    """What a worker meets."""

    def dial(self, worker: SimulatedWorker) -> SimulatedStream | None:
        """A new stream to whoever serves; None when nobody answers at all."""

    def began(self, worker: SimulatedWorker, task: HeldTask) -> Execution:
        """User code has begun."""

    def plan(self, execution: Execution) -> Plan:
        """What it will do."""

    def ended(self, execution: Execution, what: str) -> None:
        """User code is over."""

    def accepted(self, token: bytes) -> None:
        """It has said so of that task, or has said something of it, which means the same."""

    def answered(self, token: bytes, *, taken: bool) -> None:
        """The server has confirmed the completion of that task, or has refused it."""

    def told_lost(self, token: bytes) -> None:
        """It came back with that task, which it had begun, and is told that it is not its own."""

    def superseded(self, worker: SimulatedWorker) -> None:
        """Its newest stream was ended because somebody else has its session."""

    def tell(self, what: str) -> None:
        """A line of the story."""


class SimulatedWorker:
    """`current` is its newest stream, `running` what is in user code."""

    def __init__(
        self, world: World, process: Process, weather: Weather, chance: Random, *, name: str, concurrency: int
    ) -> None:
        self.world = world
        self.process = process
        self.weather = weather
        self.name = name
        self.concurrency = concurrency
        self.current: SimulatedStream | None = None
        self.running: dict[HeldTask, Running] = {}
        self.over = self._drained = False
        """It has left, or was told that there is no use."""
        self._chance = chance
        self._handover = Handover()
        handlers = {"work": Handler("work", repr, None, is_async=False)}
        about = Introduction(worker_name=name, namespaces=("default",), job_types=("work",))
        credit = Credit(concurrency=concurrency, prefetch_max=chance.choice((0, 0, 3)), limits={})
        self.machine = WorkerStream(about, handlers, self._handover, credit)
        self._waiting: deque[HeldTask] = deque()
        self._completed: dict[int, bytes] = {}
        """Completions that this stream carried and that are not acked: their numbers and tokens."""
        self._listed: set[bytes] = set()
        """What the last Hello said that was begun."""
        self._tries = 0
        self._known = False
        """It was welcomed once."""
        self._pumping_at = 0.0
        self._farewell_said = False
        process.call_soon(self._connect)
        process.call_later(LOOK_SECONDS, self._look)

    @property
    def living(self) -> bool:
        """Whether it runs, now or when it is let on."""
        return not (self.process.killed or self.over)

    def leave(self) -> None:
        """SIGTERM: what runs may end."""
        self.world.tell(f"{self.name} is told to leave")
        self.machine.leave()
        self._pump()

    # --- its streams ---

    def _connect(self) -> None:
        if self.over or self.machine.finished:
            self.over = True
            return
        self._tries += 1
        self._farewell_said = False
        self._completed.clear()
        stream = self.current = self.world.dial(self)
        hello = self.machine.hello(self.process.time())
        self._listed = {held.lease_token for held in hello.hello.held_tasks if held.started}
        if stream is None:
            self.process.call_later(self.weather.delay(), self._refused)
        else:
            stream.send(hello)

    def _refused(self) -> None:
        if self.current is None:
            self._go_on(REFUSED)

    def hear(self, stream: SimulatedStream, message: WorkResponse) -> None:
        if stream is self.current:
            if message.HasField("ack"):
                self._note_acks(message.ack)
            if message.HasField("welcome"):
                self._note_losses(message.welcome)
            self._perform(self.machine.receive(message, self.process.time()))
            if self.machine.welcomed:
                self._tries, self._known = 0, True
            self._pump()

    def ended(self, stream: SimulatedStream, error: ApiError | None) -> None:
        if stream is self.current:
            self._go_on(error)

    def _go_on(self, error: ApiError | None) -> None:
        self.current = None
        self.machine.closed()
        what = after(error, drained=self._drained, known=self._known)
        why = "OK" if error is None else f"{error.reason or error.code.name}: {error.message[:60]}"
        self.world.tell(f"{self.name}: its stream ended ({why}): {what.name}")
        if what is After.STOP:
            self.over = True
            return
        if what is After.NEW_SESSION:
            self.machine.renew_session()
        elif what is After.START_AFRESH:
            self.world.superseded(self)
            for task in self.machine.drop_all():
                self._stop(task)
            self.machine.renew_session()
        at_once = what is After.NEW_SESSION and self._tries < 2
        longest = min(BACKOFF_MAX_SECONDS, 0.2 * 2**self._tries)
        self.process.call_later(0.0 if at_once else self._chance.uniform(0, longest), self._connect)

    def _look(self) -> None:
        """Now and then: is the server silent?"""
        if self.over:
            return
        self.machine.look(self.process.time())
        if self.current is not None and self.machine.silent(self.process.time()):
            self.current.cancel()
            self._go_on(SILENT)
        self.process.call_later(LOOK_SECONDS, self._look)

    def _pump(self) -> None:
        """Say what there is to say, and come back when there will be more."""
        stream, machine, now = self.current, self.machine, self.process.time()
        if stream is None or self._farewell_said:
            return
        while (message := machine.next_message(now)) is not None:
            for update in message.task_updates.updates:
                self.world.accepted(update.lease_token)
                if update.HasField("completed"):
                    self._completed[update.seq] = update.lease_token
            stream.send(message)
            self._waiting.extend(machine.sent().start)
        self._start_waiting()
        if machine.finished:
            self._farewell_said = True
            stream.send(machine.farewell())
            stream.half_close()
            return
        send_at = machine.send_at
        if send_at is not None and not now < self._pumping_at <= send_at:
            self._pumping_at = max(send_at, now + 0.001)
            self.process.call_at(self._pumping_at, self._pump)

    # --- its tasks ---

    def _perform(self, effects: Effects) -> None:
        self._waiting.extend(effects.start)
        # In an order that a replay has as well: what a server lists may come out of a set.
        for task in sorted(effects.stop, key=lambda task: task.token):
            self._stop(task)
        if effects.drain is not None:
            if effects.drain.reason == DRAIN_REASON_WORKER_DRAIN:
                self._drained = True
                self.leave()
            else:
                within = effects.drain.reconnect_within.ToTimedelta().total_seconds()
                self.process.call_later(self._chance.uniform(0, within), self._move, self.current)
        self._start_waiting()

    def _move(self, stream: SimulatedStream) -> None:
        if stream is self.current and stream is not None:
            stream.cancel()
            self._go_on(None)

    def _start_waiting(self) -> None:
        while self._waiting and len(self.running) < self.concurrency:
            task = self._waiting.popleft()
            if not self._handover.begin(task):
                continue
            execution = self.world.began(self, task)
            plan = self.world.plan(execution)
            self.running[task] = Running(execution, plan)
            for part in range(plan.says):
                at = plan.seconds * (part + 1) / (plan.says + 1)
                self.process.call_later(at, self._report, task, part + 1)
            self.process.call_later(plan.seconds, self._finish, task, execution, plan.end)
        self.machine.collect(self.process.time())

    def _report(self, task: HeldTask, number: int) -> None:
        if task in self.running:
            task.progress = Progress(step=f"part {number}")
            if not task.report_waits:
                task.report_waits = True
                self._handover.report(task)
            self.machine.collect(self.process.time())
            self._pump()

    def _stop(self, task: HeldTask) -> None:
        running = self.running.get(task)
        if running is not None and running.plan.obeys:
            self.process.call_later(self._chance.uniform(0, STOP_SECONDS), self._obey, task, running.execution)

    def _obey(self, task: HeldTask, execution: Execution) -> None:
        self._end(task, execution, "stopped", stopped(task))

    def _finish(self, task: HeldTask, execution: Execution, end: str) -> None:
        self._end(task, execution, end, _OUTCOMES[end](execution))

    def _end(self, task: HeldTask, execution: Execution, end: str, outcome: Outcome) -> None:
        if self.running.pop(task, None) is None:
            return
        self.world.ended(execution, end)
        now = self.process.time()
        self._handover.end(task, outcome)
        task.seconds = now - execution.began_at
        self.machine.collect(now)
        self._start_waiting()
        self._pump()

    def _note_losses(self, welcome: Welcome) -> None:
        for decision in welcome.held_tasks:
            if decision.disposition == HELD_TASK_DISPOSITION_LOST and decision.lease_token in self._listed:
                self.world.told_lost(decision.lease_token)

    def _note_acks(self, ack: Ack) -> None:
        rejected = {rejection.seq for rejection in ack.rejections}
        for seq in [seq for seq in self._completed if seq <= ack.through_seq]:
            token = self._completed.pop(seq)
            self.world.answered(token, taken=seq not in rejected)


def _completed(execution: Execution) -> Outcome:
    said = json.dumps({"fence": execution.fence, "execution": execution.number})
    return task_pb2.TaskCompleted(result=Payload(json=said))


_OUTCOMES: dict[str, Callable[[Execution], Outcome]] = {
    "complete": _completed,
    "fail": lambda execution: task_pb2.TaskFailed(code="TRY_AGAIN", message=f"{execution.number}"),
    "fail for good": lambda execution: task_pb2.TaskFailed(code="NO_USE", message="", retryable=False),
    "release": lambda execution: released(task_pb2.RELEASE_REASON_NO_CAPACITY),
}
