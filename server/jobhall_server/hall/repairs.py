"""Where a worker and the store did not agree on what the worker holds: what was repaired, and how often."""

from __future__ import annotations

from collections import Counter
from enum import Enum


class Repair(Enum):
    """A kind of disagreement, and so of its repair."""

    LOST_BY_WORKER = "lost_by_worker"
    """A beat did not list a task that had started: it is run again."""
    NEVER_ARRIVED = "never_arrived"
    """A beat did not list a delivery that it should have seen: back to the queue, free."""
    NEVER_ACCEPTED = "never_accepted"
    """A delivery was not begun in time: back to the queue, free."""
    NEVER_DELIVERED = "never_delivered"
    """A claim was committed and nobody heard of it: back to the queue."""
    UNKNOWN_HERE = "unknown_here"
    """A beat listed a task that is not the worker's any more: it is told so."""
    MOVED_ON_ELSEWHERE = "moved_on_elsewhere"
    """A task was moved on without its stream: the worker is told so."""
    CANCELLED_ELSEWHERE = "cancelled_elsewhere"
    """A task was cancelled without its stream: the worker is told so."""
    NOT_BROUGHT_BACK = "not_brought_back"
    """A worker came back without a task that it had: back to the queue."""
    TAKEN_OVER_ELSEWHERE = "taken_over_elsewhere"
    """A session was taken over without its old stream hearing of it: that one is ended."""


class Repairs:
    """The counters of one process."""

    def __init__(self) -> None:
        self.counts: Counter[Repair] = Counter()

    def take(self, found: Counter[Repair]) -> None:
        """Take over what a stream counted."""
        self.counts += found
        found.clear()

    def features(self) -> tuple[str, ...]:
        """As they are shown to operators: `repairs.never_arrived=3`; those that never happened are left out."""
        return tuple(f"repairs.{repair.value}={self.counts[repair]}" for repair in Repair if self.counts[repair])
