"""What a worker stream holds, what it reports in one unit, what is past its time, and what it lets lie."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TypeVar

from jobhall_server.domain.job import Lease
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.timing import Pace
from jobhall_server.hall.frames import Cancel, Report, ReportKind
from jobhall_server.hall.store import Claimed
from jobhall_server.hall.views import HeldRow

K = TypeVar("K", bytes, int)


@dataclass(slots=True, eq=False)
class HeldTask:
    """A task that the worker of a stream has in its hands, and whose end is not committed yet."""

    facts: Claimed | HeldRow
    """As it was claimed on this stream, without its payloads; or as it was found when the stream took it over."""
    job_type: str
    delivery: int
    """The message that brought it; 0 where the worker had it before."""
    started: bool = False
    ending: bool = False
    cancel: Cancel | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Reports for one unit, and what the ack of them will say; 0 where none of them is acked."""

    reports: Sequence[Report]
    through_seq: int


@dataclass(slots=True)
class Overdue:
    """Leases that a beat or a tick found past their time: to return unaccepted, and to lose."""

    unaccepted: list[Lease] = field(default_factory=list)
    lost: list[Lease] = field(default_factory=list)

    def add(self, more: Overdue) -> None:
        """These too."""
        self.unaccepted += more.unaccepted
        self.lost += more.lost

    def still(self, held: Mapping[bytes, HeldTask]) -> Overdue:
        """The same but for deliveries that were accepted after all."""
        still = Overdue(lost=self.lost)
        for lease in self.unaccepted:
            task = held.get(lease.token())
            if task is not None and task.started:
                task.ending = False
            else:
                still.unaccepted.append(lease)
        return still


_PAYLOAD_KEPT_LENGTH = 4096
"""Making the facts anew costs more than to keep so much while the task runs."""


def without_payloads(claimed: Claimed) -> Claimed:
    """The facts as they are kept while the worker holds the task: ten thousand of 1 MiB would be 10 GiB."""
    parameters, checkpoint = claimed.parameters, claimed.checkpoint
    kept = len(parameters.content) if parameters is not None else 0
    kept += len(checkpoint.content) if checkpoint is not None else 0
    return claimed if kept <= _PAYLOAD_KEPT_LENGTH else claimed._replace(parameters=None, checkpoint=None)


class AcceptTimers:
    """Deliveries by the time at which they must have been accepted."""

    def __init__(self) -> None:
        self._deadlines: deque[tuple[float, bytes]] = deque()

    def start(self, deadline: float, tokens: Iterable[bytes]) -> None:
        """Deadlines never go back: the oldest delivery stands first."""
        self._deadlines.extend([(deadline, token) for token in tokens])

    def pause(self, seconds: float) -> None:
        """The clock stood still for so long."""
        self._deadlines = deque([(deadline + seconds, token) for deadline, token in self._deadlines])

    def due(self, now: float) -> Iterator[bytes]:
        """Those whose time has come, once each."""
        while self._deadlines and self._deadlines[0][0] <= now:
            yield self._deadlines.popleft()[1]


class LiveProgress:
    """The newest progress of held tasks: shown at once, saved now and then, and replaced by that of the outcome."""

    def __init__(self) -> None:
        self.latest: dict[int, Progress] = {}
        """By job key."""
        self._paces: dict[int, Pace] = {}
        self._unsaved: dict[bytes, int] = {}
        self._untold: dict[bytes, int] = {}

    def report(self, token: bytes, job_key: int, progress: Progress) -> None:
        """The latest wins: by its number, where it has one."""
        if progress.late(self.latest.get(job_key)):
            return
        self.latest[job_key] = paced(self._paces, job_key, progress)
        self._unsaved[token] = self._untold[token] = job_key

    def untold(self) -> Mapping[bytes, int]:
        """Tasks, with the keys of their jobs, that reported since this was asked last."""
        untold = self._untold
        if untold:
            self._untold = {}
        return untold

    def ending(self, token: bytes) -> None:
        """The outcome brings the last progress with it."""
        self._unsaved.pop(token, None)

    def forget(self, token: bytes, job_key: int) -> None:
        """The task is not held any more."""
        if self.latest:
            self.latest.pop(job_key, None)
            self._paces.pop(job_key, None)
            self._unsaved.pop(token, None)
            self._untold.pop(token, None)

    def speaking(self, job_keys: AbstractSet[int]) -> set[int]:
        """Those of the jobs of which something is not saved yet."""
        return {job_key for job_key in self._unsaved.values() if job_key in job_keys}

    def of(self, token: bytes) -> Progress | None:
        """What is not saved yet of one task; it is as good as saved then."""
        job_key = self._unsaved.pop(token, None)
        return None if job_key is None else self.latest[job_key]

    def take(self) -> list[Report]:
        """What is not saved yet, as reports that nobody waits for."""
        unsaved, self._unsaved = self._unsaved, {}
        return [Report(0, token, ReportKind.PROGRESS, self.latest[job_key]) for token, job_key in unsaved.items()]


def paced(paces: dict[K, Pace], key: K, progress: Progress) -> Progress:
    """The progress of the task `key`, with what it and those before it say of its pace."""
    if not progress.processed or progress.reported_at is None:
        return progress
    recent = paces.setdefault(key, Pace()).take(progress.reported_at, progress.processed)
    return progress if recent is None else replace(progress, recent_per_second=recent)


def cancel_of(row: HeldRow, now_us: int) -> Cancel:
    """How a worker is asked to stop a task that the store says is cancelled."""
    left_us = max(0, (row.due_at or now_us) - now_us)
    return Cancel(row.lease.token(), row.cancel_reason, left_us / 1e6)


UNACCEPTED_MAX = 3
SHUT_SECONDS = 60.0
SHUT_SECONDS_MAX = 600.0


class Unwanted:
    """Queues whose tasks this worker lets lie: after three in a row it is given none of them for a minute, then two,
    up to ten. A start of one ends that, as does the next Hello.
    """

    def __init__(self) -> None:
        self._in_a_row: dict[int, int] = {}
        self._shut: dict[int, tuple[float, float]] = {}

    def let_lie(self, queue_key: int, now: float) -> None:
        """A delivery was not accepted in time. Those that came before the queue was shut count no more."""
        until, before = self._shut.get(queue_key, (now, SHUT_SECONDS / 2))
        if until > now:
            return
        self._in_a_row[queue_key] = self._in_a_row.get(queue_key, 0) + 1
        if self._in_a_row[queue_key] >= UNACCEPTED_MAX:
            seconds = min(2 * before, SHUT_SECONDS_MAX)
            self._shut[queue_key] = (now + seconds, seconds)
            self._in_a_row[queue_key] = 0

    def started(self, queue_key: int) -> None:
        """It takes them after all."""
        if self._in_a_row:
            self._in_a_row.pop(queue_key, None)
            self._shut.pop(queue_key, None)

    def shut(self, now: float) -> frozenset[int]:
        """Queues of which it is given nothing now."""
        return frozenset(key for key, (until, _) in self._shut.items() if until > now)
