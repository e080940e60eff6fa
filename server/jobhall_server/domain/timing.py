"""What the times and counters of a job say: waits, rates, estimates, its end of keeping; never a division by zero."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from jobhall.states import WAITING_STATES
from jobhall_server.domain.job import JobView

_SECOND_US = 1_000_000
RECENT_US = 10 * _SECOND_US
"""What "recent" is, about."""
_MARK_EVERY_US = _SECOND_US
_PACE_AFTER_US = _SECOND_US // 2
"""Two words that come closer together say nothing of a pace."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds, and items a second; None is "cannot be said yet"."""

    queue_us: int
    run_us: int | None = None
    items_per_second: float | None = None
    recent_per_second: float | None = None
    remaining_us: int | None = None
    """Estimated, while the job runs."""


def timing(job: JobView, now_us: int) -> Timing:
    """How long the latest attempt waited and ran, how fast it goes, and when it may be done.

    The rate is items processed by run time. Before the first item, and when the job does not run, there is no estimate.
    """
    # What waits to be tried again does not run, though an attempt before it did.
    started_at = None if job.state in WAITING_STATES else job.started_at
    waits_until = started_at or job.ended_at or now_us
    queue_us = max(0, waits_until - job.created_at)
    if started_at is None:
        return Timing(queue_us)
    run_us = max(0, (job.ended_at or now_us) - started_at)
    progress = job.progress
    processed = progress.processed if progress is not None else None
    if progress is None or not processed or not run_us:
        return Timing(queue_us, run_us)
    rate = processed * _SECOND_US / run_us
    if job.ended_at is not None or not job.state.held:
        return Timing(queue_us, run_us, rate)
    fresh = progress.reported_at is not None and now_us - progress.reported_at <= RECENT_US
    recent = progress.recent_per_second if fresh else None
    if progress.total is None:
        return Timing(queue_us, run_us, rate, recent)
    remaining_us = round((progress.total - processed) * _SECOND_US / rate)
    return Timing(queue_us, run_us, rate, recent, max(0, remaining_us))


class Pace:
    """How fast one task has gone lately, from what it says of the items that it has processed."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque()

    def take(self, at: int, processed: int) -> float | None:
        """The items a second since about ten seconds before `at` (microseconds UTC); None after its first word, and
        where it counts anew.
        """
        marks = self._marks
        if marks and (processed < marks[-1][1] or at < marks[-1][0]):
            marks.clear()
        # The newest mark that is old enough is where the rate begins.
        while len(marks) > 1 and marks[1][0] <= at - RECENT_US:
            marks.popleft()
        if not marks or at - marks[-1][0] >= _MARK_EVERY_US:
            marks.append((at, processed))
        since, before = marks[0]
        if at - since < _PACE_AFTER_US:
            return None
        return (processed - before) * _SECOND_US / (at - since)


def purge_at(job: JobView, kept_us: int | None) -> int | None:
    """When a job that has ended is to be removed; `kept_us` is how long it is kept where it says nothing itself (None:
    for ever).
    """
    own = kept_us if job.retention_us is None else job.retention_us
    return None if own is None or job.terminal_at is None else job.terminal_at + own
