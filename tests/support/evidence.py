"""What a server left behind, as the history checker wants it, and how long the dead kept their jobs."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from jobhall.states import EventType, JobState
from tests.support import journal
from tests.support.history import Answer, Call, Event, History, Kept, What, read_calls
from tests.support.processes import Server
from tests.support.stored import Stored
from tests.support.waiting import eventually_async

STILL_HELD = frozenset({EventType.RUNNING, EventType.CANCELLING, EventType.UPDATED})


def history(stored: Stored, folder: Path) -> History:
    """The recorded calls of the folder, the starts in its journals as claims, the log, and the jobs in the end."""
    calls = [*read_calls(folder), *_claims(folder)]
    return History(sorted(calls, key=lambda call: call.called_at), _events(stored), _kept(stored))


def executed_twice(folder: Path) -> list[tuple[str, int]]:
    """The jobs and fences that more than one handler was started for: never any."""
    starts = Counter((entry.job_id, entry.fence) for entry in journal.read(folder) if entry.what == "start")
    return [start for start, count in starts.items() if count > 1]


def image_check(acknowledged: Sequence[str], folder: Path) -> Callable[[Server], None]:
    """To be called when a server is gone: its files, as it left them, hold all that was acknowledged so far."""
    numbers = count()

    def check_image(server: Server) -> None:
        expected = set(acknowledged)
        image = Stored(server.database).copy(folder / f"image-{next(numbers)}")
        assert expected <= image.states().keys()
        image.check()

    return check_image


async def all_completed(stored: Stored, *, within: float) -> None:
    """Waits until every job is terminal; each must be COMPLETED then."""

    def all_terminal() -> bool:
        return all(state.terminal for state in stored.states().values())

    await eventually_async(all_terminal, within=within, what="every job is terminal")
    others = {job_id: state for job_id, state in stored.states().items() if state is not JobState.COMPLETED}
    assert not others, [stored.job(job_id) for job_id in others]


@dataclass(frozen=True, slots=True)
class Rescue:
    """A job that was taken from a dead worker."""

    job_id: str
    worker: str
    seconds: float


def rescues(events: Sequence[Event], *, deaths: Mapping[str, float], ready: Sequence[float]) -> list[Rescue]:
    """How long each job stayed with a worker after its death, by the log alone.

    `deaths` and `ready` are seconds since the epoch: when which worker was killed, and when a server was ready. The
    clock runs from the death, the delivery or the newest server's beginning, whichever was last: a worker is detached
    anew by a server that finds it attached to a dead one. It stops when the job leaves the worker, so that back-off
    and the queue count for nothing.
    """
    found: list[Rescue] = []
    held: dict[str, Event] = {}
    for event in events:
        holding = held.pop(event.job_id, None)
        if holding is not None and event.event_type in STILL_HELD:
            held[event.job_id] = holding
        elif event.event_type in {EventType.CLAIMED, EventType.RUNNING}:
            held[event.job_id] = event
        if holding is None or event.event_type in STILL_HELD:
            continue
        died_at = deaths.get(holding.worker)
        if died_at is not None and died_at < event.at:
            newest = ready[bisect_right(ready, event.at) - 1]
            since = max(died_at, holding.at, newest)
            found.append(Rescue(event.job_id, holding.worker, max(0.0, event.at - since)))
    return found


def _claims(folder: Path) -> list[Call]:
    return [
        Call(
            process=entry.worker,
            what=What.CLAIM,
            job_id=entry.job_id,
            fence=entry.fence,
            called_at=entry.at,
            answered_at=entry.at,
            answer=Answer.OK,
        )
        for entry in journal.read(folder)
        if entry.what == "start"
    ]


def _events(stored: Stored) -> list[Event]:
    rows: list[tuple[Any, ...]] = stored.rows(
        "SELECT job_id, revision, event_type, state, attempt, worker, at FROM jobhall_events ORDER BY number"
    )
    return [
        Event(
            job_id=str(UUID(bytes=job_id)),
            revision=revision,
            event_type=EventType(kind),
            state=JobState(state),
            attempt=attempt,
            worker=worker,
            at=at / 1e6,
        )
        for job_id, revision, kind, state, attempt, worker, at in rows
    ]


def _kept(stored: Stored) -> dict[str, Kept]:
    rows: list[tuple[Any, ...]] = stored.rows(
        "SELECT job_id, state, revision, jobhall_results.text FROM jobhall_jobs "
        "LEFT JOIN jobhall_results ON job_key = jobhall_jobs.key"
    )
    return {
        str(UUID(bytes=job_id)): Kept(state=JobState(state), value=text or "", revision=revision)
        for job_id, state, revision, text in rows
    }
