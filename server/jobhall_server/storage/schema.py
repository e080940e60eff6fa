"""The tables, in SQLAlchemy Core; the migrations make what stands here, and a test proves that they agree."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, Table, Text, UniqueConstraint, column

from jobhall_server.hall.views import PayloadKind
from jobhall_server.storage import schema_groups, schema_jobs
from jobhall_server.storage.columns import KEY, number, words

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
    log_drops: Table
    exclusions: Table
    attempts: Table
    unique_keys: Table
    events: Table
    log_gaps: Table
    namespaces: Table
    job_types: Table
    type_schemas: Table
    queues: Table
    batches: Table
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
        told = (self.failures, self.progress, self.item_errors, self.logs, self.log_drops)
        return (*payloads, *told, self.exclusions, self.attempts, self.unique_keys)


@lru_cache(maxsize=8)
def tables(prefix: str = PREFIX_DEFAULT) -> Tables:
    """The tables under that prefix, so that a host application's database can hold them beside its own.

    Stores of one prefix share them, and with them the statements that were compiled for them.
    """
    metadata = MetaData()
    return Tables(
        metadata=metadata,
        prefix=prefix,
        jobs=schema_jobs.jobs(metadata, prefix),
        parameters=schema_jobs.payload(metadata, f"{prefix}parameters"),
        results=schema_jobs.payload(metadata, f"{prefix}results"),
        # How far the job was then, before the content: SQLite need not walk through that to read it.
        checkpoints=schema_jobs.payload(metadata, f"{prefix}checkpoints", Column("progress", Text)),
        failures=schema_jobs.failures(metadata, prefix),
        progress=schema_jobs.progress(metadata, prefix),
        item_errors=schema_jobs.item_errors(metadata, prefix),
        logs=schema_jobs.logs(metadata, prefix),
        log_drops=schema_jobs.log_drops(metadata, prefix),
        exclusions=schema_jobs.exclusions(metadata, prefix),
        attempts=schema_jobs.attempts(metadata, prefix),
        unique_keys=schema_jobs.unique_keys(metadata, prefix),
        events=schema_jobs.events(metadata, prefix),
        log_gaps=schema_jobs.log_gaps(metadata, prefix),
        namespaces=schema_groups.namespaces(metadata, prefix),
        job_types=schema_groups.job_types(metadata, prefix),
        type_schemas=schema_groups.type_schemas(metadata, prefix),
        queues=schema_groups.queues(metadata, prefix),
        batches=schema_groups.batches(metadata, prefix),
        sessions=_sessions(metadata, prefix),
        replicas=_replicas(metadata, prefix),
        counters=schema_groups.counters(metadata, prefix),
        service=_service(metadata, prefix),
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
        # Whether the last run waited for the disk at each commit; a power cut may have taken the newest ones else.
        number("synced", 1),
        CheckConstraint("key = 1", f"{name}_one_row"),
    )
