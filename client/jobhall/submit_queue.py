"""What both submit streams keep: the submits that wait and those that were sent; no I/O, and no lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from jobhall.errors import ApiError, Code, MessageTooLargeError
from jobhall.limits import MESSAGE_BYTES_MAX, STREAM_SUBMIT_MAX, STREAM_SUBMIT_UNACKED_MAX
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.wire import outcome_from_wire


class Flag(Protocol):
    """An Event, of asyncio or of threading."""

    def set(self) -> None: ...
    def clear(self) -> None: ...


class Future(Protocol):
    """Where an answer goes, of asyncio or of concurrent.futures."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, error: Any, /) -> None: ...


F = TypeVar("F", bound=Future)
_ENTRY_BYTES: Final = 8
"""At most, of an entry's tag and length."""


@dataclass(slots=True)
class SubmitQueue(Generic[F]):
    """The submits that wait and those that were sent, numbered as the stream wants it."""

    filled: Flag
    """Set while something may be sent."""
    answered: int = 0
    _waiting: deque[tuple[job_pb2.JobSubmission, F]] = field(default_factory=deque)
    _sent: dict[int, tuple[job_pb2.JobSubmission, F]] = field(default_factory=dict)
    _next_seq: int = 1

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    def put(self, message: job_pb2.JobSubmission, future: F) -> None:
        """One more, with the place for its answer; MessageTooLargeError where no message could hold it."""
        if (size := message.ByteSize()) + _ENTRY_BYTES > MESSAGE_BYTES_MAX:
            # It would break the stream, and take along all that is on its way.
            raise MessageTooLargeError(f"the job has {size} bytes; the limit is {MESSAGE_BYTES_MAX}: pass a reference")
        self._waiting.append((message, future))
        self.filled.set()

    def next_request(self) -> jobs_pb2.SubmitJobStreamRequest | None:
        """The next message: all that waits, within the bounds of a message and of what may be unanswered."""
        request = jobs_pb2.SubmitJobStreamRequest(first_seq=self._next_seq)
        room = min(STREAM_SUBMIT_MAX, STREAM_SUBMIT_UNACKED_MAX - len(self._sent))
        room_bytes = MESSAGE_BYTES_MAX
        batch: list[job_pb2.JobSubmission] = []
        while self._waiting and len(batch) < room:
            entry = self._waiting[0]
            room_bytes -= entry[0].ByteSize() + _ENTRY_BYTES
            if room_bytes < 0 and batch:
                break
            self._waiting.popleft()
            self._sent[self._next_seq] = entry
            self._next_seq += 1
            batch.append(entry[0])
        if not self._waiting or not batch:
            self.filled.clear()
        if not batch:
            return None
        request.jobs.extend(batch)
        return request

    def take(self, outcomes: Iterable[jobs_pb2.SubmitOutcome]) -> list[tuple[F, jobs_pb2.SubmitOutcome]]:
        """Who is answered by these, and with what."""
        answers = [(self._sent.pop(message.seq)[1], message) for message in outcomes]
        self.answered += len(answers)
        if self._waiting:
            self.filled.set()
        return answers

    def rewind(self) -> None:
        """What was sent and not answered waits again, in its order; the next stream counts from 1."""
        self._waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()
        self._next_seq = 1
        if self._waiting:
            self.filled.set()
        else:
            self.filled.clear()

    def give_up(self) -> list[F]:
        """Forgets all; whom that leaves without an answer."""
        futures = self.futures()
        self._waiting.clear()
        self._sent.clear()
        self.filled.clear()
        return futures

    def futures(self) -> list[F]:
        """The places of the answers that are still to come."""
        entries = [*self._sent.values(), *self._waiting]
        return [future for _, future in entries if not future.done()]


def settle(answers: Iterable[tuple[Future, jobs_pb2.SubmitOutcome]]) -> None:
    """Tells each what became of its submit."""
    for future, message in answers:
        if future.done():  # Its caller was cancelled.
            continue
        outcome = outcome_from_wire(message)
        if isinstance(outcome, ApiError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def stream_closed() -> ApiError:
    """What a submit ends with that a closed stream leaves without an answer."""
    return ApiError("the submit stream was closed", code=Code.CANCELLED)
