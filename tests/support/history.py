"""Judges a recorded history: who called what and when, what was answered, what the log says and what is stored.

A program of its own, which knows the promises and nothing of the server but its table of moves. It trusts no clock
beyond this: of two calls the one that was answered before the other was made came first.

    python -m tests.support.history FOLDER      the calls of all FOLDER/*.calls; exits with 1 where they contradict
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

from jobhall.states import EventType, JobState
from jobhall_server.domain.moves import MOVES


class What(StrEnum):
    """What a call wants. Those of a task have its fence."""

    SUBMIT = "submit"
    READ = "read"
    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"
    CLAIM = "claim"
    ACCEPT = "accept"
    COMPLETE = "complete"
    FAIL = "fail"
    RELEASE = "release"


class Answer(StrEnum):
    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """Nobody knows whether it was done: the connection, the server or the caller died."""


WRITES = frozenset({What.ACCEPT, What.COMPLETE, What.FAIL, What.RELEASE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    process: str
    what: What
    job_id: str
    fence: int = 0
    value: str = ""
    """Of a completion: its result. A report that is sent again has the same."""
    called_at: float
    answered_at: float = float("inf")
    answer: Answer = Answer.UNKNOWN
    revision: int = 0
    """Of a read: what it saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An entry of the server's log, in the log's order."""

    job_id: str
    revision: int
    event_type: EventType
    state: JobState
    attempt: int = 0
    worker: str = ""
    at: float = 0.0
    """Seconds since the epoch, by the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A job as it is stored in the end."""

    state: JobState
    value: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class History:
    calls: Sequence[Call]
    events: Sequence[Event] = ()
    finals: Mapping[str, Kept] = field(default_factory=dict)


Of = TypeVar("Of", Call, Event)


def contradictions(history: History) -> list[str]:
    """Every promise that the history breaks, a line each."""
    deleted = {call.job_id for call in history.calls if call.what is What.DELETE and call.answer is not Answer.REFUSED}
    return [
        *_owners(history.calls),
        *_stale_writes(history.calls),
        *_completions(history),
        *_lost_writes(history, deleted),
        *_reads(history.calls, deleted),
        *_order(history.events),
        *_stored(history),
    ]


def check(history: History) -> None:
    """AssertionError with all that is wrong."""
    found = contradictions(history)
    assert not found, "\n".join([f"{len(found)} contradictions:", *found[:50]])


class Recorder:
    """Writes down the calls of one process as they happen, so that its death leaves what it did not live to hear."""

    def __init__(self, path: Path, process: str) -> None:
        self._path = path
        self._process = process
        self._lock = threading.Lock()

    @contextmanager
    def call(self, what: What, job_id: str, *, fence: int = 0, value: str = "") -> Iterator[Outcome]:
        """A call; what the block says of its outcome is its answer, an exception or silence leaves it unknown."""
        call = Call(
            process=self._process, what=what, job_id=job_id, fence=fence, value=value, called_at=time.monotonic()
        )
        self._write(call)
        outcome = Outcome()
        yield outcome
        if outcome.answer is not Answer.UNKNOWN:
            self._write(replace(call, answered_at=time.monotonic(), answer=outcome.answer, revision=outcome.revision))

    def claimed(self, job_id: str, *, fence: int, called_at: float) -> None:
        """A claim has no job before its answer."""
        now = time.monotonic()
        claim = Call(
            process=self._process,
            what=What.CLAIM,
            job_id=job_id,
            fence=fence,
            called_at=called_at,
            answered_at=now,
            answer=Answer.OK,
        )
        self._write(claim)

    def _write(self, call: Call) -> None:
        with self._lock, self._path.open("a") as file:
            file.write(f"{json.dumps(asdict(call))}\n")


@dataclass(slots=True)
class Outcome:
    """What a call was answered; set by who made it."""

    answer: Answer = Answer.UNKNOWN
    revision: int = 0


def read_calls(folder: Path) -> list[Call]:
    """The calls of all `*.calls` in the folder; an answer's line takes the place of its call's."""
    calls: dict[tuple[object, ...], Call] = {}
    for path in sorted(folder.glob("*.calls")):
        for line in path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                continue  # The process died as it wrote.
            read = json.loads(line)
            call = Call(**{**read, "what": What(read["what"]), "answer": Answer(read["answer"])})
            calls[call.process, call.what, call.job_id, call.fence, call.value, call.called_at] = call
    return sorted(calls.values(), key=lambda call: call.called_at)


# --- the promises ---


def _owners(calls: Sequence[Call]) -> Iterator[str]:
    """One owner for each fence, and fences that grow in the order of their claims."""
    by_job = _by_job(call for call in calls if call.what is What.CLAIM and call.answer is Answer.OK)
    for job_id, claims in by_job.items():
        owners: dict[int, str] = {}
        for claim in claims:
            owner = owners.setdefault(claim.fence, claim.process)
            if owner != claim.process:
                yield f"{job_id}: fence {claim.fence} is owned by {owner} and {claim.process}"
        for first in claims:
            for second in claims:
                if first.answered_at < second.called_at and first.fence >= second.fence:
                    yield f"{job_id}: fence {second.fence} was claimed after fence {first.fence}"


def _stale_writes(calls: Sequence[Call]) -> Iterator[str]:
    """No report is taken that was first sent after a claim with a greater fence was answered."""
    claims = _by_job(call for call in calls if call.what is What.CLAIM and call.answer is Answer.OK)
    first_sent: dict[tuple[object, ...], float] = {}
    for write in sorted((call for call in calls if call.what in WRITES), key=lambda call: call.called_at):
        # What was sent before may have been recorded then; the same again is answered as it was.
        sent_at = first_sent.setdefault((write.what, write.job_id, write.fence, write.value), write.called_at)
        if write.answer is Answer.OK:
            for claim in claims.get(write.job_id, ()):
                if claim.fence > write.fence and claim.answered_at < sent_at:
                    yield (
                        f"{write.job_id}: {write.what} of {write.process} with fence {write.fence} was taken "
                        f"after {claim.process} had claimed fence {claim.fence}"
                    )


def _completions(history: History) -> Iterator[str]:
    """One completion is accepted, and logged once."""
    taken = _by_job(call for call in history.calls if call.what is What.COMPLETE and call.answer is Answer.OK)
    for job_id, completions in taken.items():
        if len(different := {(call.fence, call.value) for call in completions}) > 1:
            yield f"{job_id}: {len(different)} different completions were taken: {sorted(different)}"
    logged: dict[str, int] = defaultdict(int)
    for event in history.events:
        logged[event.job_id] += event.event_type is EventType.COMPLETED
    yield from (f"{job_id}: completed {count} times in the log" for job_id, count in logged.items() if count > 1)


def _lost_writes(history: History, deleted: set[str]) -> Iterator[str]:
    """What was acknowledged is there in the end."""
    logged: dict[str, set[EventType]] = defaultdict(set)
    for event in history.events:
        logged[event.job_id].add(event.event_type)
    for call in history.calls:
        if call.answer is not Answer.OK:
            continue
        final = history.finals.get(call.job_id)
        match call.what:
            case What.SUBMIT if final is None and call.job_id not in deleted:
                yield f"{call.job_id}: its submit was acknowledged, and it is not there"
            case What.DELETE if final is not None:
                yield f"{call.job_id}: its deletion was acknowledged, and it is there"
            case What.COMPLETE if call.job_id not in deleted:
                if final is None or (final.state, final.value) != (JobState.COMPLETED, call.value):
                    yield f"{call.job_id}: the completion with {call.value!r} was acknowledged, and it is {final}"
            case What.CANCEL if not logged[call.job_id] & {EventType.CANCELLING, EventType.CANCELLED}:
                yield f"{call.job_id}: its cancel was acknowledged, and the log does not know of it"
            case _:
                pass


def _reads(calls: Sequence[Call], deleted: set[str]) -> Iterator[str]:
    """Whoever reads later sees no less; a job is there from its acknowledgement on."""
    for job_id, own in _by_job(call for call in calls if call.answer is not Answer.UNKNOWN).items():
        reads = [call for call in own if call.what is What.READ]
        submits = [call.answered_at for call in own if call.what is What.SUBMIT and call.answer is Answer.OK]
        for earlier, later in ((one, two) for one in reads for two in reads if one.answered_at < two.called_at):
            if later.answer is Answer.OK and earlier.revision > later.revision:
                yield f"{job_id}: a read saw revision {earlier.revision}, a later one {later.revision}"
        for read in reads:
            if read.answer is Answer.REFUSED and job_id not in deleted and any(at < read.called_at for at in submits):
                yield f"{job_id}: not found after its submit was acknowledged"


STATES_AFTER: Final[Mapping[EventType, frozenset[JobState]]] = {
    EventType.SUBMITTED: frozenset({JobState.PENDING, JobState.SCHEDULED}),
    EventType.SCHEDULED: frozenset({JobState.SCHEDULED}),
    EventType.READY: frozenset({JobState.PENDING}),
    EventType.RETRIED: frozenset({JobState.PENDING}),
    EventType.CLAIMED: frozenset({JobState.CLAIMED}),
    EventType.RUNNING: frozenset({JobState.RUNNING}),
    EventType.CANCELLING: frozenset({JobState.CANCELLING}),
    EventType.COMPLETED: frozenset({JobState.COMPLETED}),
    EventType.FAILED: frozenset({JobState.FAILED}),
    EventType.CANCELLED: frozenset({JobState.CANCELLED}),
}
LEGAL: Final = frozenset(
    (source, target) for ways in MOVES.values() for source, targets in ways.items() for target in targets
)
STARTED_BY_ITS_END: Final = frozenset(
    {(JobState.CLAIMED, JobState.RUNNING), (JobState.PENDING, JobState.RUNNING), (JobState.SCHEDULED, JobState.RUNNING)}
)
"""An outcome of a task that was never said to have started is logged as its start and its end."""


def _order(events: Sequence[Event]) -> Iterator[str]:
    """Each job's events count up from 1, each is a legal move from the one before, and only a start is an attempt."""
    for job_id, own in _by_job(events).items():
        if (counted := [event.revision for event in own]) != list(range(1, len(own) + 1)):
            yield f"{job_id}: its revisions are {counted}"
        if own[0].event_type is not EventType.SUBMITTED:
            yield f"{job_id}: its first event is {own[0].event_type.name}"
        for event in own:
            allowed = STATES_AFTER.get(event.event_type)
            if allowed is not None and event.state not in allowed:
                yield f"{job_id}: {event.event_type.name} leads to {event.state.name}"
        for before, after in pairwise(own):
            if after.event_type in {EventType.UPDATED, EventType.DELETED}:
                continue
            grown = after.attempt - before.attempt
            if grown > (after.event_type is EventType.RUNNING):
                yield f"{job_id}: {after.event_type.name} counts {grown} attempts"
            way = (before.state, after.state)
            if before.event_type is EventType.DELETED or way not in LEGAL | STARTED_BY_ITS_END:
                yield f"{job_id}: {before.event_type.name} is followed by {after.event_type.name}"


def _stored(history: History) -> Iterator[str]:
    """A job is stored as its last event left it."""
    last = {event.job_id: event for event in history.events}
    for job_id, event in last.items():
        final = history.finals.get(job_id)
        if (final is None) != (event.event_type is EventType.DELETED):
            yield f"{job_id}: its last event is {event.event_type.name}, and it is {final}"
        elif final is not None and (final.state, final.revision) != (event.state, event.revision):
            yield f"{job_id}: its last event is {event}, and it is {final}"
    if history.events:
        yield from (f"{job_id}: stored without any event" for job_id in history.finals.keys() - last.keys())


def _by_job(items: Iterable[Of]) -> dict[str, list[Of]]:
    found: dict[str, list[Of]] = defaultdict(list)
    for item in items:
        found[item.job_id].append(item)
    return found


def main() -> int:
    found = contradictions(History(read_calls(Path(sys.argv[1]))))
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
