"""The tables, in SQLAlchemy Core; the migrations make what stands here, and a test proves that they agree."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    column,
    text,
)

from jobhall.states import HELD_STATES, JobState
from jobhall_server.domain.moves import MOVES, TERMINAL
from jobhall_server.hall.store import PayloadKind

PREFIX_DEFAULT = "jobhall_"

KEY = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit key. On SQLite the very word INTEGER makes it the row's own number, which needs no second tree."""


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Every table of one prefix. Times are microseconds UTC, ids 16 bytes, JSON is text as it came."""

    metadata: MetaData
    prefix: str
    jobs: Table
    parameters: Table
    results: Table
    checkpoints: Table
    failures: Table
    progress: Table
    item_errors: Table
    logs: Table
    events: Table
    namespaces: Table
    job_types: Table
    queues: Table
    sessions: Table
    replicas: Table
    counters: Table
    service: Table

    def payloads(self, kind: PayloadKind) -> Table:
        """The table of that kind of payload."""
        return {
            PayloadKind.PARAMETERS: self.parameters,
            PayloadKind.RESULT: self.results,
            PayloadKind.CHECKPOINT: self.checkpoints,
        }[kind]

    @property
    def of_one_job(self) -> tuple[Table, ...]:
        """The side tables, with a `job_key` each, whose rows go when their job goes."""
        payloads = (self.parameters, self.results, self.checkpoints)
        return (*payloads, self.failures, self.progress, self.item_errors, self.logs)


def tables(prefix: str = PREFIX_DEFAULT) -> Tables:
    """The tables under that prefix, so that a host application's database can hold them beside its own."""
    metadata = MetaData()
    return Tables(
        metadata=metadata,
        prefix=prefix,
        jobs=_jobs(metadata, prefix),
        parameters=_payload(metadata, f"{prefix}parameters"),
        results=_payload(metadata, f"{prefix}results"),
        checkpoints=_payload(metadata, f"{prefix}checkpoints"),
        failures=_failures(metadata, prefix),
        progress=_progress(metadata, prefix),
        item_errors=_item_errors(metadata, prefix),
        logs=_logs(metadata, prefix),
        events=_events(metadata, prefix),
        namespaces=_namespaces(metadata, prefix),
        job_types=_job_types(metadata, prefix),
        queues=_queues(metadata, prefix),
        sessions=_sessions(metadata, prefix),
        replicas=_replicas(metadata, prefix),
        counters=_counters(metadata, prefix),
        service=_service(metadata, prefix),
    )


COUNTER_EVENT = "event"
COUNTER_JOB = "job"
COUNTER_SESSION = "session"
COUNTER_NAMESPACE = "namespace"
COUNTER_JOB_TYPE = "job_type"
COUNTER_QUEUE = "queue"
COUNTER_REPLICA = "replica"
COUNTERS = (
    COUNTER_EVENT,
    COUNTER_JOB,
    COUNTER_SESSION,
    COUNTER_NAMESPACE,
    COUNTER_JOB_TYPE,
    COUNTER_QUEUE,
    COUNTER_REPLICA,
)
"""The rows that the first migration puts into `counters`, each with the last number given: 0. None is given twice."""


def _jobs(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}jobs"
    table = Table(
        name,
        metadata,
        # What decisions read stands first: SQLite walks a row from its start to the last column asked for.
        Column("key", KEY, primary_key=True, autoincrement=False),
        _number("state"),
        _number("queue_key"),
        _number("namespace_key"),
        _number("fence", 0),
        _number("nonce", 0),
        _number("lease", 0),
        _number("session_key", nullable=True),
        _number("attempt", 0),
        _number("max_attempts"),
        _number("worker_losses", 0),
        _number("outcome_fence", 0),
        _number("outcome_digest", 0),
        _number("item_error_count", 0),
        _number("revision", 1),
        # Each of the next three is set only in its own states, so that a partial index need not name `state`:
        # SQLite would rewrite such an index at every move.
        _number("ready", nullable=True),
        _number("held_by", nullable=True),
        _number("terminal", nullable=True),
        _number("lane", 0),
        _number("priority_order", 0),
        _number("parameters_bytes", nullable=True),
        Column("job_id", LargeBinary(16), nullable=False),
        _number("submit_digest", 0),
        _words("owner", ""),
        _words("organization_id", ""),
        _words("worker", ""),
        _number("failure_kind", 0),
        _words("failure_code", ""),
        Column("labels", Text),
        _number("created_at"),
        _number("ready_at", nullable=True),
        _number("claimed_at", nullable=True),
        _number("started_at", nullable=True),
        _number("ended_at", nullable=True),
        _number("updated_at"),
        Column("path", Text),
        Column("file_name", Text),
        _number("file_size", nullable=True),
        _words("created_by", ""),
        _words("cancel_reason", ""),
        _words("cancelled_by", ""),
        *_checks(name),
    )
    Index(f"{name}_job_id", table.c.job_id, unique=True)
    ready = table.c.ready.is_not(None)
    claim_order = (table.c.queue_key, table.c.lane, table.c.priority_order, table.c.ready, table.c.key)
    Index(f"{name}_ready", *claim_order, sqlite_where=ready, postgresql_where=ready)
    held = table.c.held_by.is_not(None)
    # With the lane, so that a claim finds out by one look whether a session holds a job that was lost before.
    Index(f"{name}_held_by", table.c.held_by, table.c.lane, sqlite_where=held, postgresql_where=held)
    Index(f"{name}_listed", table.c.namespace_key, table.c.key)
    return table


def _checks(name: str) -> tuple[CheckConstraint, ...]:
    """What ties the columns to the state, after the table of moves."""
    return (
        CheckConstraint(_state_among(_known_states()), f"{name}_state_known"),
        # One way only: a later job may be PENDING and held back, out of the ready index.
        CheckConstraint(f"ready IS NULL OR state = {JobState.PENDING:d}", f"{name}_ready_is_pending"),
        CheckConstraint(f"(held_by IS NOT NULL) = ({_state_among(HELD_STATES)})", f"{name}_held_by_a_session"),
        CheckConstraint(f"(terminal IS NOT NULL) = ({_state_among(TERMINAL)})", f"{name}_terminal_is_ended"),
        CheckConstraint("lane BETWEEN 0 AND 1", f"{name}_lane_known"),
    )


def _payload(metadata: MetaData, name: str) -> Table:
    # A table per kind and not one for all: each is appended to in key order and is one tree without an index.
    return Table(
        name,
        metadata,
        Column("job_key", KEY, primary_key=True, autoincrement=False),
        _words("content_type", ""),
        Column("text", Text),
        Column("data", LargeBinary),
        CheckConstraint("(text IS NULL) <> (data IS NULL)", f"{name}_either"),
    )


def _failures(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}failures",
        metadata,
        Column("job_key", KEY, primary_key=True, autoincrement=False),
        _number("kind"),
        _words("code", ""),
        _words("message", ""),
        _number("retryable", 0),
        _number("attempt", 0),
        Column("details", Text),
        _words("stack", ""),
    )


def _progress(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}progress",
        metadata,
        Column("job_key", KEY, primary_key=True, autoincrement=False),
        _number("fence"),
        Column("data", Text, nullable=False),
    )


def _item_errors(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}item_errors",
        metadata,
        *_place_in_lease(),
        _number("item_index", nullable=True),
        _words("item_key", ""),
        _words("code", ""),
        _words("message", ""),
        sqlite_with_rowid=False,
    )


def _logs(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}logs",
        metadata,
        *_place_in_lease(),
        _number("at"),
        _number("level"),
        _words("text", ""),
        Column("raw", LargeBinary),
        Column("fields", Text),
        sqlite_with_rowid=False,
    )


def _events(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}events",
        metadata,
        Column("number", KEY, primary_key=True, autoincrement=False),
        _number("job_key"),
        Column("job_id", LargeBinary(16), nullable=False),
        _number("namespace_key"),
        _number("queue_key"),
        _number("event_type"),
        _number("state"),
        _number("revision"),
        _number("attempt"),
        _words("worker", ""),
        _number("failure_kind", 0),
        _words("failure_code", ""),
        _words("owner", ""),
        _words("organization_id", ""),
        Column("labels", Text),
        _number("at"),
    )


def _namespaces(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}namespaces"
    return Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        Column("name", Text, nullable=False),
        UniqueConstraint("name", name=f"{name}_name"),
    )


def _job_types(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}job_types"
    return Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        _number("namespace_key"),
        Column("name", Text, nullable=False),
        _number("created_at"),
        UniqueConstraint("namespace_key", "name", name=f"{name}_name"),
    )


def _queues(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}queues"
    return Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        _number("namespace_key"),
        _number("job_type_key"),
        UniqueConstraint("namespace_key", "job_type_key", name=f"{name}_pair"),
    )


def _sessions(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}sessions"
    table = Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        Column("session_id", Text, nullable=False),
        Column("resume_token", LargeBinary, nullable=False),
        _words("worker_name"),
        Column("namespaces", Text, nullable=False),
        Column("job_types", Text, nullable=False),
        Column("labels", Text, nullable=False),
        Column("runtime", Text, nullable=False),
        _number("tasks_max"),
        _number("state"),
        _number("epoch", 1),
        _number("connection", 0),
        _number("replica_key"),
        _number("created_at"),
        _number("detached_at", nullable=True),
        _number("ended_at", nullable=True),
        UniqueConstraint("session_id", name=f"{name}_session_id"),
    )
    # The reaper asks every second which sessions live; those that ended are many and are of no interest to it.
    living = column("ended_at", Integer).is_(None)
    Index(f"{name}_living", table.c.state, table.c.detached_at, sqlite_where=living, postgresql_where=living)
    return table


def _replicas(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}replicas"
    return Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        Column("replica_id", Text, nullable=False),
        _number("started_at"),
        _number("renewed_at"),
        UniqueConstraint("replica_id", name=f"{name}_replica_id"),
    )


def _counters(metadata: MetaData, prefix: str) -> Table:
    return Table(f"{prefix}counters", metadata, Column("name", Text, primary_key=True), _number("value", 0))


def _service(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}service"
    return Table(
        name,
        metadata,
        Column("key", Integer, primary_key=True, autoincrement=False),
        Column("log_id", Text, nullable=False),
        _number("created_at"),
        _number("resumed_at"),
        _number("last_at"),
        CheckConstraint("key = 1", f"{name}_one_row"),
    )


def _place_in_lease() -> tuple[Column[int], ...]:
    names = ("job_key", "fence", "number")
    return tuple(Column(name, KEY, primary_key=True, autoincrement=False) for name in names)


def _number(name: str, default: int | None = None, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, server_default=None if default is None else text(str(default)))


def _words(name: str, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _known_states() -> frozenset[JobState]:
    ways = [way for moves in MOVES.values() for way in moves.items()]
    return frozenset(source for source, _ in ways) | frozenset(state for _, targets in ways for state in targets)


def _state_among(states: Collection[JobState]) -> str:
    """A range: for `IN` in a CHECK, SQLite builds a table for each row that is written."""
    first, last = min(states), max(states)
    assert len(states) == last - first + 1, "the states of one kind follow each other"
    return f"state BETWEEN {first:d} AND {last:d}"
