"""What a worker stream holds, what it reports in one unit, and what is past its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from jobhall_server.domain.job import Lease
from jobhall_server.hall.frames import Assignment, Cancel, Report


@dataclass(slots=True, eq=False)
class HeldTask:
    """A task that this stream delivered and whose end is not committed yet."""

    lease: Lease
    assignment: Assignment
    delivery: int
    started: bool = False
    ending: bool = False
    cancel: Cancel | None = None
    stop_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Reports for one unit, and what the ack of them will say."""

    reports: Sequence[Report]
    through_seq: int


@dataclass(slots=True)
class Overdue:
    """Leases that a beat or a tick found past their time: to return unaccepted, to lose, and to stop."""

    unaccepted: list[Lease] = field(default_factory=list)
    lost: list[Lease] = field(default_factory=list)
    stopped: list[Lease] = field(default_factory=list)


_PAYLOAD_KEPT_LENGTH = 4096
"""Making an assignment anew costs more than to keep so much of it while the task runs."""


def without_payload(assignment: Assignment) -> Assignment:
    """The assignment as it is kept while the worker holds the task: ten thousand of 1 MiB would be 10 GiB."""
    parameters = assignment.claimed.parameters
    if parameters is None or len(parameters.content) <= _PAYLOAD_KEPT_LENGTH:
        return assignment
    return replace(assignment, claimed=assignment.claimed._replace(parameters=None))
