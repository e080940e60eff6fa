"""A worker's stream machine with a server played by hand: what tests of the SDK's worker side speak to it with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from jobhall.api_error import ApiError
from jobhall.task import Task
from jobhall.v1.task_pb2 import CancelTask, Rejection, TaskAssignment, TaskLog, TaskUpdate
from jobhall.v1.worker_service_pb2 import (
    Ack,
    CancelTasks,
    Heartbeat,
    HeartbeatReply,
    HeldTaskDecision,
    HeldTaskDisposition,
    Hello,
    TaskAssignments,
    Welcome,
    WorkRequest,
    WorkResponse,
    WorkSettings,
)
from jobhall.wire_errors import status_from_error
from jobhall.worker.credit import Credit
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.outcomes import Outcome, outcome_of_result
from jobhall.worker.stream import Effects, Introduction, WorkerStream

QUICK_SECONDS = 0.001


def token_of(number: int) -> bytes:
    return b"%020d" % number


def assignment(number: int, *, job_type: str = "resize", **fields: Any) -> TaskAssignment:
    return TaskAssignment(
        lease_token=token_of(number), job_id=f"job-{number}", job_type=job_type, attempt=1, fence=1, **fields
    )


def held_task(number: int = 1, function: Callable[[Task], Any] = repr, *, is_async: bool = False) -> HeldTask:
    return HeldTask(assignment(number), Handler("resize", function, None, is_async=is_async), 0.0)


def decided(number: int, disposition: HeldTaskDisposition.ValueType, reason: str = "") -> HeldTaskDecision:
    token = token_of(number)
    return HeldTaskDecision(
        lease_token=token, disposition=disposition, cancel=CancelTask(lease_token=token, reason=reason)
    )


@dataclass
class Bench:
    """A machine, the hands of its runners, the voice of its server, and a clock that a test moves."""

    concurrency: int = 4
    prefetch: int = 100
    settings: WorkSettings = field(default_factory=WorkSettings)

    def __post_init__(self) -> None:
        self.now = 100.0
        self.handover = Handover()
        self.credit = Credit(concurrency=self.concurrency, prefetch_max=self.prefetch, limits={})
        handlers = {"resize": Handler("resize", repr, None, is_async=False)}
        about = Introduction(worker_name="bench", namespaces=("default",), job_types=("resize",))
        self.stream = WorkerStream(about, handlers, self.handover, self.credit)
        self.delivery = 0

    # --- the server ---

    def open(self, **decisions: Any) -> Hello:
        """A new stream, welcomed, its first beat taken; what the Hello said."""
        hello = self.stream.hello(self.now).hello
        self.delivery = 0
        self.hear(welcome=Welcome(settings=self.settings, **decisions))
        assert self.say_one().WhichOneof("request") == "heartbeat"
        return hello

    def hear(self, **response: Any) -> Effects:
        return self.stream.receive(WorkResponse(**response), self.now)

    def deliver(self, *numbers: int, **fields: Any) -> list[HeldTask]:
        """Tasks of those numbers; the ones to start."""
        self.delivery += 1
        tasks = [assignment(number, **fields) for number in numbers]
        return self.hear(task_assignments=TaskAssignments(assignments_seq=self.delivery, tasks=tasks)).start

    def ack(self, through_seq: int, *rejected: tuple[int, ApiError]) -> Effects:
        rejections = [Rejection(seq=seq, status=status_from_error(error)) for seq, error in rejected]
        return self.hear(ack=Ack(through_seq=through_seq, rejections=rejections))

    def cancel(self, number: int, reason: str = "") -> Effects:
        return self.hear(cancel_tasks=CancelTasks(cancels=[CancelTask(lease_token=token_of(number), reason=reason)]))

    def lose(self, *numbers: int) -> Effects:
        return self.hear(heartbeat_reply=HeartbeatReply(lost_lease_tokens=map(token_of, numbers)))

    # --- the runners ---

    def begin(self, *tasks: HeldTask) -> list[HeldTask]:
        """Those that may begin."""
        begun = [task for task in tasks if self.handover.begin(task)]
        self.stream.collect(self.now)
        return begun

    def end(self, *tasks: HeldTask, outcome: Outcome | None = None, seconds: float = QUICK_SECONDS) -> None:
        for task in tasks:
            self.handover.end(task, outcome or outcome_of_result(None))
            task.seconds = seconds
        self.stream.collect(self.now)

    def run(self, *tasks: HeldTask, outcome: Outcome | None = None, seconds: float = QUICK_SECONDS) -> None:
        """From begin to end between two looks of the I/O thread."""
        begun = [task for task in tasks if self.handover.begin(task)]
        self.end(*begun, outcome=outcome, seconds=seconds)

    # --- what is said ---

    def say_one(self) -> WorkRequest:
        message = self.stream.next_message(self.now)
        assert message is not None, "the machine has nothing to say"
        return message

    def say(self) -> list[WorkRequest]:
        """All there is to say now."""
        said = []
        while (message := self.stream.next_message(self.now)) is not None:
            said.append(message)
        return said

    def say_items(self) -> list[TaskUpdate | TaskLog]:
        """All reports that there are now, whatever message they are in."""
        return items_of(self.say())

    def beat(self) -> Heartbeat:
        """The next beat, whose time has come."""
        self.now += 5.0
        message = self.say_one()
        assert message.HasField("heartbeat")
        return message.heartbeat

    @property
    def held(self) -> set[bytes]:
        """What a beat would list."""
        return set(self.beat().lease_tokens)


def items_of(messages: Iterable[WorkRequest]) -> list[TaskUpdate | TaskLog]:
    items: list[TaskUpdate | TaskLog] = []
    for message in messages:
        items += message.task_updates.updates
        items += message.task_logs.logs
    return items


def kinds_of(items: Iterable[TaskUpdate | TaskLog]) -> list[str]:
    return ["log" if isinstance(item, TaskLog) else str(item.WhichOneof("update")) for item in items]
