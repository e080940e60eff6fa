"""A worker's session: its presence on the service, attached to a stream or detached, and what it said of itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class SessionState(IntEnum):
    """Whether a session lives; only ATTACHED ones are given work, only DETACHED ones expire."""

    ATTACHED = 1
    """A stream of this replica carries it."""
    DETACHED = 2
    """Its stream ended; until its time to live is over its tasks are still its own."""
    LOST = 3
    """Its time to live is over: what it held goes back to the queue."""
    CLOSED = 4
    """It left by itself, holding nothing."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """The columns of a session that decisions read."""

    key: int
    session_id: str
    state: SessionState
    epoch: int
    replica_key: int


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a worker said in its first Hello; `labels` and `runtime` are JSON objects."""

    session_id: str
    resume_token: str
    worker_name: str
    namespaces: tuple[str, ...]
    job_types: tuple[str, ...]
    labels: str
    runtime: str
    tasks_max: int
    replica_key: int
    connection: int
