"""The tables of jobs and of what belongs to each: payloads, progress, errors, logs, attempts, events."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, MetaData, Table, Text

from jobhall_server.storage.columns import KEY, job_checks, keyed, number, words


def jobs(metadata: MetaData, prefix: str) -> Table:
    """One row a job."""
    table = Table(f"{prefix}jobs", metadata, *_decided(), *_told(), *job_checks(f"{prefix}jobs"))
    _index_jobs(table)
    return table


def _decided() -> tuple[Column[Any], ...]:
    """What decisions and claims read stands first: SQLite walks a row from its start to the last column asked for."""
    return (
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
        number("batch_key", nullable=True),
        number("stats_key", 0),
        number("start_deadline", nullable=True),
        # Each of the next four is set only in its own states, so that a partial index need not name `state`:
        # SQLite would rewrite such an index at every move. `aside` is the state of those that the hot path never sees.
        number("ready", nullable=True),
        number("held_by", nullable=True),
        number("terminal", nullable=True),
        number("aside", nullable=True),
        number("held_back", 0),
        number("lane", 0),
        number("priority_order", 0),
        number("excluded", 0),
        number("parameters_bytes", nullable=True),
        number("checkpoint_bytes", nullable=True),
    )


def _told() -> tuple[Column[Any], ...]:
    return (
        Column("job_id", LargeBinary(16), nullable=False),
        number("submit_digest", 0),
        words("owner", ""),
        words("organization_id", ""),
        words("worker", ""),
        number("failure_kind", 0),
        words("failure_code", ""),
        Column("labels", Text),
        Column("access", Text),
        Column("path", Text),
        Column("trace", Text),
        number("type_version", 0),
        number("created_at"),
        number("ready_at", nullable=True),
        number("claimed_at", nullable=True),
        number("ended_at", nullable=True),
        number("updated_at"),
        Column("file_name", Text),
        number("file_size", nullable=True),
        Column("unique_key", Text),
        number("unique_until", nullable=True),
        number("schedule_at", nullable=True),
        number("retention_us", nullable=True),
        words("created_by", ""),
        words("cancel_reason", ""),
        words("cancelled_by", ""),
    )


def _index_jobs(table: Table) -> None:
    name, column = table.name, table.c
    Index(f"{name}_job_id", column.job_id, unique=True)
    claim_order = (column.queue_key, column.lane, column.priority_order, column.ready, column.key)
    _partial(f"{name}_ready", column.ready, *claim_order)
    # With the lane, so that a claim finds out by one look whether a session holds a job that was lost before.
    _partial(f"{name}_held_by", column.held_by, column.held_by, column.lane)
    Index(f"{name}_listed", column.queue_key, column.key)
    # Those that people look for are few among many that went well.
    _partial(f"{name}_aside", column.aside, column.queue_key, column.aside, column.key)
    _partial(f"{name}_batch", column.batch_key, column.batch_key, column.key)
    _partial(f"{name}_unique", column.unique_key, column.unique_key, column.key)
    # The reaper asks every second; most jobs are never in it.
    _partial(f"{name}_due", column.due_at, column.due_at)


def _partial(name: str, given: Column[Any], *columns: Column[Any]) -> None:
    """An index of the rows only that have a value there."""
    Index(name, *columns, sqlite_where=given.is_not(None), postgresql_where=given.is_not(None))


def payload(metadata: MetaData, name: str, *more: Column[str]) -> Table:
    """Payloads of one kind. A table for each: it is appended to in key order and is one tree without an index."""
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


def failures(metadata: MetaData, prefix: str) -> Table:
    """Why a job failed, once for each lease."""
    return Table(
        f"{prefix}failures",
        metadata,
        *keyed("job_key", "fence"),
        number("kind"),
        words("code", ""),
        words("message", ""),
        number("retryable", 0),
        number("attempt", 0),
        Column("details", Text),
        words("stack", ""),
        sqlite_with_rowid=False,
    )


def progress(metadata: MetaData, prefix: str) -> Table:
    """How far each lease of a job is."""
    of_lease, data = keyed("job_key", "fence"), Column("data", Text, nullable=False)
    return Table(f"{prefix}progress", metadata, *of_lease, data, sqlite_with_rowid=False)


def item_errors(metadata: MetaData, prefix: str) -> Table:
    """Errors of items, numbered in their lease."""
    return Table(
        f"{prefix}item_errors",
        metadata,
        *keyed("job_key", "fence", "number"),
        number("item_index", nullable=True),
        words("item_key", ""),
        words("code", ""),
        words("message", ""),
        sqlite_with_rowid=False,
    )


def logs(metadata: MetaData, prefix: str) -> Table:
    """Log lines, numbered in their lease."""
    return Table(
        f"{prefix}logs",
        metadata,
        *keyed("job_key", "fence", "number"),
        number("at"),
        number("level"),
        words("text", ""),
        Column("raw", LargeBinary),
        Column("fields", Text),
        sqlite_with_rowid=False,
    )


def log_drops(metadata: MetaData, prefix: str) -> Table:
    """Up to which number the lines of a lease were not kept beyond the bound."""
    of_lease = keyed("job_key", "fence")
    return Table(f"{prefix}log_drops", metadata, *of_lease, number("through_number"), sqlite_with_rowid=False)


def exclusions(metadata: MetaData, prefix: str) -> Table:
    """Which sessions gave a job back as not theirs."""
    return Table(f"{prefix}exclusions", metadata, *keyed("job_key", "session_key"), sqlite_with_rowid=False)


def attempts(metadata: MetaData, prefix: str) -> Table:
    """Attempts that are over, of jobs that went on; the newest one stands in the job's own row."""
    return Table(
        f"{prefix}attempts",
        metadata,
        *keyed("job_key", "fence"),
        number("attempt"),
        words("worker", ""),
        number("session_key", nullable=True),
        number("claimed_at", nullable=True),
        number("started_at"),
        number("ended_at"),
        number("outcome"),
        number("failure_kind", 0),
        words("failure_code", ""),
        number("item_error_count", 0),
        sqlite_with_rowid=False,
    )


def unique_keys(metadata: MetaData, prefix: str) -> Table:
    """Which job has a unique key."""
    name = f"{prefix}unique_keys"
    words_of_it = (Column(word, Text, primary_key=True) for word in ("scope", "text"))
    table = Table(name, metadata, *keyed("queue_key"), *words_of_it, number("job_key"), sqlite_with_rowid=False)
    Index(f"{name}_job_key", table.c.job_key)
    return table


def events(metadata: MetaData, prefix: str) -> Table:
    """The event log."""
    return Table(
        f"{prefix}events",
        metadata,
        Column("number", KEY, primary_key=True, autoincrement=False),
        number("job_key"),
        Column("job_id", LargeBinary(16), nullable=False),
        number("namespace_key"),
        number("queue_key"),
        # What slices are chosen by stands first.
        number("batch_key", nullable=True),
        number("event_type"),
        number("state"),
        number("revision"),
        number("attempt"),
        number("fence", 0),
        words("worker", ""),
        number("failure_kind", 0),
        words("failure_code", ""),
        words("owner", ""),
        words("organization_id", ""),
        Column("labels", Text),
        number("at"),
        Column("access", Text),
        Column("path", Text),
        Column("previous", Text),
    )


def log_gaps(metadata: MetaData, prefix: str) -> Table:
    """Numbers of the event log that were left out: those after one and up to another."""
    after, until = keyed("after_number"), number("until_number")
    return Table(f"{prefix}log_gaps", metadata, *after, until)
