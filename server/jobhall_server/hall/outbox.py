"""What waits to be sent on a worker stream: in sending order, in messages of bounded size, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from jobhall.limits import PROGRESS_DETAILS_BYTES_MAX
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.frames import (
    Ack,
    Assignment,
    Assignments,
    Cancel,
    Cancels,
    FrameOut,
    HeartbeatReply,
    Rejection,
    ServerDrain,
    Welcome,
)
from jobhall_server.hall.store import Claimed

DROPPED_PROGRESS_NAMED_MAX = 1000
"""Tokens of dropped progress in one Ack; a worker that sends more of it hears of the others when it sends again."""
_TASK_BYTES_ABOUT = 130
"""An assignment without its texts and payloads: token, id, numbers and time."""
_MORE_BYTES_ABOUT = 100
"""What else some have beside their texts: priority, the file's size, time limits."""
_NUMBERS_BYTES_MAX = 100
"""The counters of a progress, its percentage and its time."""
_CANCEL_BYTES_ABOUT = 60


class Outbox:
    """Frames are merged while they wait, so that a worker that does not read costs no more than what it holds."""

    def __init__(self, message_bytes: int) -> None:
        self.waiting_bytes = 0
        """Of assignments that are not sent yet."""
        self._message_bytes = message_bytes
        self._welcome: Welcome | None = None
        self._drain: ServerDrain | None = None
        self._cancels: dict[bytes, Cancel] = {}
        self._ack = _NO_ACK
        self._bad_progress: dict[bytes, None] = {}
        self._reply: HeartbeatReply | None = None
        self._lost: dict[bytes, None] = {}
        self._assignments: deque[tuple[int, Assignments]] = deque()
        self._number = 0

    # --- what is to be said ---

    def welcome(self, frame: Welcome) -> None:
        """Goes out first. Its cancels say no reasons where those would make a message too large."""
        left = 1024 * 1024
        held = []
        for decision in frame.held:
            if decision.cancel is not None:
                left -= len(decision.cancel.reason.encode())
                if left < 0:
                    decision = replace(decision, cancel=replace(decision.cancel, reason=""))
            held.append(decision)
        self._welcome = replace(frame, held=held)

    def drain(self, frame: ServerDrain) -> None:
        """The worker is to leave; the newest word counts."""
        self._drain = frame

    def cancel(self, cancel: Cancel) -> None:
        """The worker is to stop a task."""
        self._cancels[cancel.token] = cancel

    def lost(self, tokens: Iterable[bytes]) -> None:
        """Tasks that are not the worker's any more: what it was not told of yet, it need not be told."""
        gone = dict.fromkeys(tokens)
        self._lost |= gone
        self.withdraw(gone)

    def withdraw(self, tokens: Iterable[bytes]) -> None:
        """Take tasks out of assignments not sent yet: those go out last, after the word that the tasks are gone."""
        gone = frozenset(tokens)
        for token in gone:
            self._cancels.pop(token, None)
        self._assignments = deque(
            (size, Assignments(frame.number, [task for task in frame.tasks if task.token not in gone]))
            for size, frame in self._assignments
        )

    def reply(self, number: int, unknown: Sequence[bytes], cancels: Iterable[Cancel]) -> None:
        """The answer to a beat; that to a newer one stands for those before it."""
        # The others come again with the next beat.
        self._reply = HeartbeatReply(number, unknown, cancels_within(self._message_bytes, cancels))

    def ack(self, through_seq: int, rejections: Sequence[Rejection] = ()) -> None:
        """Everything up to `through_seq` is dealt with."""
        self._ack = Ack(through_seq, [*self._ack.rejections, *rejections])

    def bad_progress(self, token: bytes) -> None:
        """Progress of that task was dropped; said with the next Ack."""
        if len(self._bad_progress) < DROPPED_PROGRESS_NAMED_MAX:
            self._bad_progress[token] = None

    def deliver(self, tasks: Sequence[Assignment]) -> list[Assignments]:
        """Tasks for the worker, cut into messages: of `message_bytes` or one task each, so that what is more urgent can
        go in between.
        """
        parts: list[tuple[int, list[Assignment]]] = []
        part: list[Assignment] = []
        size = 0
        for task in tasks:
            task_bytes = assignment_bytes(task)
            if size and size + task_bytes > self._message_bytes:
                parts.append((size, part))
                part, size = [], 0
            part.append(task)
            size += task_bytes
        parts.append((size, part))
        frames = [Assignments(number, part) for number, (_, part) in enumerate(parts, self._number + 1)]
        self._number += len(parts)
        self._assignments.extend(zip([size for size, _ in parts], frames, strict=True))
        self.waiting_bytes += sum(size for size, _ in parts)
        return frames

    def drop_assignments(self) -> None:
        """The stream is over: nobody will start them."""
        self._assignments.clear()
        self.waiting_bytes = 0

    # --- what is sent ---

    def frames(self, acked: int) -> list[FrameOut]:
        """What to send next, in sending order; more assignments come with the next call. `acked` is how far items
        were acked before.
        """
        out: list[FrameOut] = []
        if self._welcome is not None:
            out.append(self._welcome)
            self._welcome = None
        if self._cancels:
            out.append(Cancels(self._next_cancels()))
        if self._drain is not None:
            out.append(self._drain)
            self._drain = None
        if self._ack is not _NO_ACK or self._bad_progress:
            through_seq = max(acked, self._ack.through_seq)
            out.append(Ack(through_seq, self._ack.rejections, [*self._bad_progress]))
            self._ack, self._bad_progress = _NO_ACK, {}
        if self._reply is not None or self._lost:
            reply = self._reply or HeartbeatReply(0, [], [])
            out.append(replace(reply, lost=[*(self._lost | dict.fromkeys(reply.lost))]))
            self._reply, self._lost = None, {}
        if self._assignments:
            size, frame = self._assignments.popleft()
            self.waiting_bytes -= size
            out.append(frame)
        return out

    def _next_cancels(self) -> list[Cancel]:
        """So many that a message holds; the others come with the next call."""
        taken = cancels_within(self._message_bytes, self._cancels.values())
        for cancel in taken:
            del self._cancels[cancel.token]
        return taken


def cancels_within(bytes_max: int, cancels: Iterable[Cancel]) -> list[Cancel]:
    """So many of them, and at least one, as a message of about that size holds."""
    taken: list[Cancel] = []
    left = bytes_max
    for cancel in cancels:
        left -= _CANCEL_BYTES_ABOUT + len(cancel.reason.encode())
        if left < 0 and taken:
            break
        taken.append(cancel)
    return taken


def assignment_bytes(assignment: Assignment) -> int:
    """About what the task takes on the wire, and never less: what few tasks have is counted only for those."""
    job, namespace, job_type, _ = assignment
    owner, parameters = job.owner, job.parameters
    size = _TASK_BYTES_ABOUT + len(namespace) + len(job_type) + (len(owner) if owner.isascii() else _text_bytes(owner))
    if parameters is not None:
        size += parameters.size_bytes
        if parameters.content_type:
            size += _text_bytes(parameters.content_type)
    described = job.labels or job.path or job.file_name or job.file_size or job.organization_id
    if described or job.priority or job.rules or job.checkpoint is not None:
        size += _more_bytes(job)
    return size


def _more_bytes(job: Claimed) -> int:
    texts = (job.organization_id, job.labels, job.path, job.file_name)
    size = _MORE_BYTES_ABOUT + sum(_text_bytes(text) for text in texts if text)
    if job.labels:
        # On the wire a label takes a little more than its quotes in JSON do.
        size += job.labels.count('"')
    if job.checkpoint is not None:
        size += job.checkpoint.size_bytes + _text_bytes(job.checkpoint.content_type)
        size += _progress_bytes(job.progress) if job.progress is not None else 0
    return size


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _progress_bytes(progress: Progress) -> int:
    size = _NUMBERS_BYTES_MAX + 4 * (
        len(progress.step) + len(progress.stage) + len(progress.message) + len(progress.unit)
    )
    # A Struct takes more than its JSON where that has many short numbers, but never more than was let in.
    return size + (min(8 * len(progress.details), PROGRESS_DETAILS_BYTES_MAX) if progress.details else 0)


_NO_ACK = Ack(0, [])
