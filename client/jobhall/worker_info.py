"""A worker as operators see it: a session of a named program, told by the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from jobhall.plain import Plain
from jobhall.spans import seconds
from jobhall.states import WorkerState


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo(Plain):
    """What a worker runs on, in its own words."""

    language: str = ""
    language_version: str = ""
    sdk_name: str = ""
    sdk_version: str = ""
    hostname: str = ""
    process_id: int = 0
    """0 where there is none."""
    platform: str = ""
    """Operating system and processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo(Plain):
    """A worker that is there: one session of a named program that runs tasks."""

    id: str
    """Its session's id."""
    name: str
    """What it calls itself; several may have the same."""
    state: WorkerState
    namespaces: tuple[str, ...] = ()
    job_types: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: int = 0
    """How many tasks it may hold; 0 where it takes none."""
    capacity_by_type: Mapping[str, int] = field(default_factory=dict)
    """The same of single types; one that is not named has no bound but `capacity`."""
    held_count: int = 0
    """How many tasks it holds."""
    last_seen_at: datetime | None = None
    created_at: datetime | None = None
    """When its session began."""
    expires_at: datetime | None = None
    """When its session ends unless it is heard of; None while its stream is open."""
    runtime: RuntimeInfo = field(default_factory=RuntimeInfo)
    epoch: int = 0
    """Counts the takeovers of the session."""
    replica_id: str = ""
    """Replica of the server that its stream is at."""
    unary: bool = False
    """Whether it works without a stream, by the unary twins."""

    def is_alive(self, threshold: float | timedelta, *, now: datetime | None = None) -> bool:
        """Whether the server heard of it less than `threshold` ago; `now` is this machine's time where it is left out.

        What the server makes of silence is its own setting, `session_ttl_seconds`: then the worker is in no list.
        """
        limit = timedelta(seconds=seconds(threshold, field="threshold"))
        return self.last_seen_at is not None and (now or datetime.now(UTC)) - self.last_seen_at < limit
