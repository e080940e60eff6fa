"""The tables of what jobs are grouped by: namespaces, types, queues, batches, kept counters."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Index, LargeBinary, MetaData, Table, Text, UniqueConstraint, text

from jobhall.states import CompletionPolicy
from jobhall_server.domain.batch import Completion, Counts, Sweep
from jobhall_server.storage.columns import KEY, keyed, number, words


def namespaces(metadata: MetaData, prefix: str) -> Table:
    """Names of namespaces."""
    name = f"{prefix}namespaces"
    return Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        Column("name", Text, nullable=False),
        UniqueConstraint("name", name=f"{name}_name"),
    )


def job_types(metadata: MetaData, prefix: str) -> Table:
    """Registered types; a retired one stays for the sake of its old jobs."""
    name = f"{prefix}job_types"
    return Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        number("namespace_key"),
        Column("name", Text, nullable=False),
        number("created_at"),
        number("updated_at", 0),
        words("description", ""),
        Column("parameters_schema", Text),
        Column("result_schema", Text),
        Column("defaults", Text),
        number("version", 1),
        number("revision", 1),
        number("paused", 0),
        number("auto", 0),
        number("retired", 0),
        UniqueConstraint("namespace_key", "name", name=f"{name}_name"),
    )


def type_schemas(metadata: MetaData, prefix: str) -> Table:
    """The schemas of every version of a type that had some."""
    schemas = (Column("parameters_schema", Text), Column("result_schema", Text))
    of_version = keyed("job_type_key", "version")
    return Table(f"{prefix}type_schemas", metadata, *of_version, *schemas, sqlite_with_rowid=False)


def queues(metadata: MetaData, prefix: str) -> Table:
    """Pairs of namespace and type."""
    name = f"{prefix}queues"
    return Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        number("namespace_key"),
        number("job_type_key"),
        UniqueConstraint("namespace_key", "job_type_key", name=f"{name}_pair"),
    )


LAST_EVENT = "last_event"
LAST_JOB = "last_job"
LAST_SESSION = "last_session"
LAST_NAMESPACE = "last_namespace"
LAST_JOB_TYPE = "last_job_type"
LAST_QUEUE = "last_queue"
LAST_REPLICA = "last_replica"
LAST_COUNTERS = "last_counters"
LAST_BATCH = "last_batch"
LAST_NUMBERS = (
    LAST_EVENT,
    LAST_JOB,
    LAST_SESSION,
    LAST_NAMESPACE,
    LAST_JOB_TYPE,
    LAST_QUEUE,
    LAST_REPLICA,
    LAST_COUNTERS,
    LAST_BATCH,
)
"""The columns of the last number given of each kind; none is given twice."""

OF_THE_SERVICE = 0
"""The key of the row of `counters` that the first migration makes: the last numbers given stand there."""


def counters(metadata: MetaData, prefix: str) -> Table:
    """Kept counters of each queue's jobs, by whose they are; rates by what ended in this minute and the one before.

    The numbers given stand in a row of the same table: nearly every commit group writes both, and each page that it
    touches is written and synced as a whole.
    """
    name = f"{prefix}counters"
    return Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        number("queue_key", 0),
        words("owner", ""),
        words("organization_id", ""),
        *_counts(),
        number("removed_completed", 0),
        number("removed_failed", 0),
        number("removed_cancelled", 0),
        number("minute", 0),
        number("completed_now", 0),
        number("completed_before", 0),
        number("failed_now", 0),
        number("failed_before", 0),
        *(number(last, 0) for last in LAST_NUMBERS),
        UniqueConstraint("queue_key", "owner", "organization_id", name=f"{name}_whose"),
    )


def batches(metadata: MetaData, prefix: str) -> Table:
    """One row a batch, with the counters kept of its jobs."""
    name = f"{prefix}batches"
    table = Table(
        name,
        metadata,
        Column("key", KEY, primary_key=True, autoincrement=False),
        Column("batch_id", LargeBinary(16), nullable=False),
        number("namespace_key"),
        words("name", ""),
        number("closed", 0),
        number("active", 1),
        number("completion_policy"),
        number("completion", 0),
        Column("completion_job", Text),
        words("completion_job_id", ""),
        words("owner", ""),
        words("organization_id", ""),
        words("created_by", ""),
        Column("access", Text),
        number("request_digest", 0),
        *_counts(),
        number("items_total", 0),
        number("items_processed", 0),
        number("items_succeeded", 0),
        number("items_failed", 0),
        number("created_at"),
        number("updated_at"),
        number("started_at", nullable=True),
        number("ended_at", nullable=True),
        number("revision", 1),
        number("sweep", 0),
        words("sweep_reason", ""),
        words("sweep_by", ""),
        number("sweep_after", 0),
    )
    Index(f"{name}_batch_id", table.c.batch_id, unique=True)
    Index(f"{name}_listed", table.c.namespace_key, table.c.key)
    work = text(AT_WORK)
    Index(f"{name}_at_work", table.c.key, sqlite_where=work, postgresql_where=work)
    return table


AT_WORK = (
    f"sweep <> {Sweep.NONE:d} OR (completion = {Completion.WANTED:d} AND ended_at IS NOT NULL"
    f" AND (completion_policy = {CompletionPolicy.ALL_TERMINAL:d} OR failed + cancelled = 0))"
)
"""The batches that the server looks at by itself; a query says these very words to be given them by their index."""


def _counts() -> tuple[Column[Any], ...]:
    return tuple(number(state, 0) for state in Counts._fields)
