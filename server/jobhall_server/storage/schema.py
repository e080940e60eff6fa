"""The tables, in SQLAlchemy Core; the migrations make what stands here, and a test proves that they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
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
)

from jobhall_server.hall.views import PayloadKind
from jobhall_server.storage.columns import KEY, job_checks, number, place_in_lease, words

PREFIX_DEFAULT = "jobhall_"


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
    exclusions: Table
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
        return (*payloads, self.failures, self.progress, self.item_errors, self.logs, self.exclusions)


def tables(prefix: str = PREFIX_DEFAULT) -> Tables:
    """The tables under that prefix, so that a host application's database can hold them beside its own."""
    metadata = MetaData()
    return Tables(
        metadata=metadata,
        prefix=prefix,
        jobs=_jobs(metadata, prefix),
        parameters=_payload(metadata, f"{prefix}parameters"),
        results=_payload(metadata, f"{prefix}results"),
        # How far the job was then, before the content: SQLite need not walk through that to read it.
        checkpoints=_payload(metadata, f"{prefix}checkpoints", Column("progress", Text)),
        failures=_failures(metadata, prefix),
        progress=_progress(metadata, prefix),
        item_errors=_item_errors(metadata, prefix),
        logs=_logs(metadata, prefix),
        exclusions=_exclusions(metadata, prefix),
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
    table = Table(f"{prefix}jobs", metadata, *_job_columns(), *job_checks(f"{prefix}jobs"))
    _index_jobs(table)
    return table


def _job_columns() -> tuple[Column[Any], ...]:
    return (
        # What decisions read stands first: SQLite walks a row from its start to the last column asked for.
        Column("key", KEY, primary_key=True, autoincrement=False),
        number("state"),
        number("queue_key"),
        number("namespace_key"),
        number("fence", 0),
        number("nonce", 0),
        number("lease", 0),
        number("session_key", nullable=True),
        number("attempt", 0),
        number("max_attempts"),
        number("worker_losses", 0),
        number("outcome_fence", 0),
        number("outcome_digest", 0),
        number("item_error_count", 0),
        number("revision", 1),
        number("due_at", nullable=True),
        number("started_at", nullable=True),
        number("releases", 0),
        Column("rules", Text),
        # Each of the next three is set only in its own states, so that a partial index need not name `state`:
        # SQLite would rewrite such an index at every move.
        number("ready", nullable=True),
        number("held_by", nullable=True),
        number("terminal", nullable=True),
        number("lane", 0),
        number("priority_order", 0),
        number("excluded", 0),
        number("parameters_bytes", nullable=True),
        number("checkpoint_bytes", nullable=True),
        Column("job_id", LargeBinary(16), nullable=False),
        number("submit_digest", 0),
        words("owner", ""),
        words("organization_id", ""),
        words("worker", ""),
        number("failure_kind", 0),
        words("failure_code", ""),
        Column("labels", Text),
        number("created_at"),
        number("ready_at", nullable=True),
        number("claimed_at", nullable=True),
        number("ended_at", nullable=True),
        number("updated_at"),
        Column("path", Text),
        Column("file_name", Text),
        number("file_size", nullable=True),
        words("created_by", ""),
        words("cancel_reason", ""),
        words("cancelled_by", ""),
    )


def _index_jobs(table: Table) -> None:
    name = table.name
    Index(f"{name}_job_id", table.c.job_id, unique=True)
    ready = table.c.ready.is_not(None)
    claim_order = (table.c.queue_key, table.c.lane, table.c.priority_order, table.c.ready, table.c.key)
    Index(f"{name}_ready", *claim_order, sqlite_where=ready, postgresql_where=ready)
    held = table.c.held_by.is_not(None)
    # With the lane, so that a claim finds out by one look whether a session holds a job that was lost before.
    Index(f"{name}_held_by", table.c.held_by, table.c.lane, sqlite_where=held, postgresql_where=held)
    Index(f"{name}_listed", table.c.namespace_key, table.c.key)
    due = table.c.due_at.is_not(None)
    # The reaper asks every second; most jobs are never in it.
    Index(f"{name}_due", table.c.due_at, sqlite_where=due, postgresql_where=due)


def _payload(metadata: MetaData, name: str, *more: Column[str]) -> Table:
    # A table per kind and not one for all: each is appended to in key order and is one tree without an index.
    return Table(
        name,
        metadata,
        Column("job_key", KEY, primary_key=True, autoincrement=False),
        words("content_type", ""),
        *more,
        Column("text", Text),
        Column("data", LargeBinary),
        CheckConstraint("(text IS NULL) <> (data IS NULL)", f"{name}_either"),
    )


def _failures(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}failures",
        metadata,
        Column("job_key", KEY, primary_key=True, autoincrement=False),
        number("kind"),
        words("code", ""),
        words("message", ""),
        number("retryable", 0),
        number("attempt", 0),
        Column("details", Text),
        words("stack", ""),
    )


def _progress(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}progress",
        metadata,
        Column("job_key", KEY, primary_key=True, autoincrement=False),
        number("fence"),
        Column("data", Text, nullable=False),
    )


def _item_errors(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}item_errors",
        metadata,
        *place_in_lease(),
        number("item_index", nullable=True),
        words("item_key", ""),
        words("code", ""),
        words("message", ""),
        sqlite_with_rowid=False,
    )


def _logs(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}logs",
        metadata,
        *place_in_lease(),
        number("at"),
        number("level"),
        words("text", ""),
        Column("raw", LargeBinary),
        Column("fields", Text),
        sqlite_with_rowid=False,
    )


def _exclusions(metadata: MetaData, prefix: str) -> Table:
    names = ("job_key", "session_key")
    pair = (Column(name, KEY, primary_key=True, autoincrement=False) for name in names)
    return Table(f"{prefix}exclusions", metadata, *pair, sqlite_with_rowid=False)


def _events(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}events",
        metadata,
        Column("number", KEY, primary_key=True, autoincrement=False),
        number("job_key"),
        Column("job_id", LargeBinary(16), nullable=False),
        number("namespace_key"),
        number("queue_key"),
        number("event_type"),
        number("state"),
        number("revision"),
        number("attempt"),
        words("worker", ""),
        number("failure_kind", 0),
        words("failure_code", ""),
        words("owner", ""),
        words("organization_id", ""),
        Column("labels", Text),
        number("at"),
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
        number("namespace_key"),
        Column("name", Text, nullable=False),
        number("created_at"),
        UniqueConstraint("namespace_key", "name", name=f"{name}_name"),
    )


def _queues(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}queues"
    return Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        number("namespace_key"),
        number("job_type_key"),
        UniqueConstraint("namespace_key", "job_type_key", name=f"{name}_pair"),
    )


def _sessions(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}sessions"
    table = Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        Column("session_id", Text, nullable=False),
        Column("resume_digest", Text, nullable=False),
        words("worker_name"),
        Column("namespaces", Text, nullable=False),
        Column("job_types", Text, nullable=False),
        Column("labels", Text, nullable=False),
        Column("runtime", Text, nullable=False),
        number("tasks_max"),
        number("state"),
        number("epoch", 1),
        number("connection", 0),
        number("replica_key"),
        number("ttl_us", nullable=True),
        number("created_at"),
        number("detached_at", nullable=True),
        number("ended_at", nullable=True),
        number("drain_at", nullable=True),
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
        number("started_at"),
        number("renewed_at"),
        UniqueConstraint("replica_id", name=f"{name}_replica_id"),
    )


def _counters(metadata: MetaData, prefix: str) -> Table:
    return Table(f"{prefix}counters", metadata, Column("name", Text, primary_key=True), number("value", 0))


def _service(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}service"
    return Table(
        name,
        metadata,
        Column("key", Integer, primary_key=True, autoincrement=False),
        Column("log_id", Text, nullable=False),
        number("created_at"),
        number("resumed_at"),
        number("last_at"),
        CheckConstraint("key = 1", f"{name}_one_row"),
    )
