"""The first schema: jobs and what belongs to them, the event log, what groups jobs, sessions, the service's rows."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
GIVEN = ("event", "job", "session", "namespace", "job_type", "queue", "replica", "counters", "batch")
STATES = ("scheduled", "pending", "claimed", "running", "cancelling", "completed", "failed", "cancelled")


def upgrade() -> None:
    prefix: str = op.get_context().opts["prefix"]
    op.add_column(f"{prefix}schema", sa.Column("oldest_server", sa.String(32), nullable=False, server_default="0001"))
    _jobs(f"{prefix}jobs")
    _of_one_job(prefix)
    _events(f"{prefix}events")
    _log_gaps(f"{prefix}log_gaps")
    _names(prefix)
    _counted(prefix)
    _sessions(f"{prefix}sessions")
    _service(prefix)


def _jobs(name: str) -> None:
    op.create_table(name, *_decided(), *_told(), *_job_checks(name))
    op.create_index(f"{name}_job_id", name, ["job_id"], unique=True)
    _partial_index(f"{name}_ready", name, ["queue_key", "lane", "priority_order", "ready", "key"], "ready IS NOT NULL")
    _partial_index(f"{name}_held_by", name, ["held_by", "lane"], "held_by IS NOT NULL")
    op.create_index(f"{name}_listed", name, ["queue_key", "key"])
    _partial_index(f"{name}_aside", name, ["queue_key", "aside", "key"], "aside IS NOT NULL")
    _partial_index(f"{name}_batch", name, ["batch_key", "key"], "batch_key IS NOT NULL")
    _partial_index(f"{name}_unique", name, ["unique_key", "key"], "unique_key IS NOT NULL")
    _partial_index(f"{name}_due", name, ["due_at"], "due_at IS NOT NULL")


def _decided() -> tuple[sa.Column[Any], ...]:
    return (
        _key("key"),
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
        _number("due_at", nullable=True),
        _number("started_at", nullable=True),
        _number("releases", 0),
        sa.Column("rules", sa.Text),
        _number("batch_key", nullable=True),
        _number("stats_key", 0),
        _number("start_deadline", nullable=True),
        _number("ready", nullable=True),
        _number("held_by", nullable=True),
        _number("terminal", nullable=True),
        _number("aside", nullable=True),
        _number("held_back", 0),
        _number("lane", 0),
        _number("priority_order", 0),
        _number("excluded", 0),
        _number("parameters_bytes", nullable=True),
        _number("checkpoint_bytes", nullable=True),
    )


def _told() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("job_id", sa.LargeBinary(16), nullable=False),
        _number("submit_digest", 0),
        _words("owner", ""),
        _words("organization_id", ""),
        _words("worker", ""),
        _number("failure_kind", 0),
        _words("failure_code", ""),
        sa.Column("labels", sa.Text),
        sa.Column("access", sa.Text),
        sa.Column("path", sa.Text),
        sa.Column("trace", sa.Text),
        _number("type_version", 0),
        _number("created_at"),
        _number("ready_at", nullable=True),
        _number("claimed_at", nullable=True),
        _number("ended_at", nullable=True),
        _number("updated_at"),
        sa.Column("file_name", sa.Text),
        _number("file_size", nullable=True),
        sa.Column("unique_key", sa.Text),
        _number("unique_until", nullable=True),
        _number("schedule_at", nullable=True),
        _number("retention_us", nullable=True),
        _words("created_by", ""),
        _words("cancel_reason", ""),
        _words("cancelled_by", ""),
    )


def _job_checks(name: str) -> tuple[sa.CheckConstraint, ...]:
    return (
        sa.CheckConstraint("state BETWEEN 1 AND 8", f"{name}_state_known"),
        sa.CheckConstraint(_just_when("ready", "state = 2 AND held_back = 0"), f"{name}_ready_is_pending"),
        sa.CheckConstraint(_just_when("held_by", "state BETWEEN 3 AND 5"), f"{name}_held_by_a_session"),
        sa.CheckConstraint(_just_when("terminal", "state BETWEEN 6 AND 8"), f"{name}_terminal_is_ended"),
        sa.CheckConstraint("aside IS NULL OR aside = state", f"{name}_aside_in_its_state"),
        sa.CheckConstraint("lane BETWEEN 0 AND 1", f"{name}_lane_known"),
        sa.CheckConstraint("(state <> 1 AND state <> 5) OR due_at IS NOT NULL", f"{name}_due_by_itself"),
        sa.CheckConstraint("terminal IS NULL OR due_at IS NULL", f"{name}_terminal_is_not_due"),
    )


def _just_when(column: str, condition: str) -> str:
    return f"({column} IS NULL OR ({condition})) AND ({column} IS NOT NULL OR NOT ({condition}))"


def _of_one_job(prefix: str) -> None:
    for kind in ("parameters", "results", "checkpoints"):
        either = sa.CheckConstraint("(text IS NULL) <> (data IS NULL)", f"{prefix}{kind}_either")
        more = [sa.Column("progress", sa.Text)] if kind == "checkpoints" else []
        content = (sa.Column("text", sa.Text), sa.Column("data", sa.LargeBinary))
        op.create_table(f"{prefix}{kind}", _key("job_key"), _words("content_type", ""), *more, *content, either)
    _of_one_lease(prefix)
    op.create_table(f"{prefix}exclusions", _key("job_key"), _key("session_key"), sqlite_with_rowid=False)
    words_of_it = (sa.Column(word, sa.Text, primary_key=True) for word in ("scope", "text"))
    _clustered(f"{prefix}unique_keys", _key("queue_key"), *words_of_it, _number("job_key"))
    op.create_index(f"{prefix}unique_keys_job_key", f"{prefix}unique_keys", ["job_key"])


def _of_one_lease(prefix: str) -> None:
    lease = ("job_key", "fence")
    _clustered(
        f"{prefix}failures",
        *map(_key, lease),
        _number("kind"),
        _words("code", ""),
        _words("message", ""),
        _number("retryable", 0),
        _number("attempt", 0),
        sa.Column("details", sa.Text),
        _words("stack", ""),
    )
    _clustered(f"{prefix}progress", *map(_key, lease), sa.Column("data", sa.Text, nullable=False))
    _clustered(
        f"{prefix}item_errors",
        *map(_key, (*lease, "number")),
        _number("item_index", nullable=True),
        _words("item_key", ""),
        _words("code", ""),
        _words("message", ""),
    )
    _clustered(
        f"{prefix}logs",
        *map(_key, (*lease, "number")),
        _number("at"),
        _number("level"),
        _words("text", ""),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("fields", sa.Text),
    )
    _clustered(f"{prefix}log_drops", *map(_key, lease), _number("through_number"))
    _clustered(
        f"{prefix}attempts",
        *map(_key, lease),
        _number("attempt"),
        _words("worker", ""),
        _number("session_key", nullable=True),
        _number("claimed_at", nullable=True),
        _number("started_at"),
        _number("ended_at"),
        _number("outcome"),
        _number("failure_kind", 0),
        _words("failure_code", ""),
        _number("item_error_count", 0),
    )


def _events(name: str) -> None:
    op.create_table(
        name,
        _key("number"),
        _number("job_key"),
        sa.Column("job_id", sa.LargeBinary(16), nullable=False),
        _number("namespace_key"),
        _number("queue_key"),
        _number("batch_key", nullable=True),
        _number("event_type"),
        _number("state"),
        _number("revision"),
        _number("attempt"),
        _number("fence", 0),
        _words("worker", ""),
        _number("failure_kind", 0),
        _words("failure_code", ""),
        _words("owner", ""),
        _words("organization_id", ""),
        sa.Column("labels", sa.Text),
        _number("at"),
        sa.Column("access", sa.Text),
        sa.Column("path", sa.Text),
        sa.Column("previous", sa.Text),
    )


def _log_gaps(name: str) -> None:
    op.create_table(name, _key("after_number"), _number("until_number"))


def _names(prefix: str) -> None:
    op.create_table(
        f"{prefix}namespaces",
        _key("key"),
        sa.Column("name", sa.Text, nullable=False),
        sa.UniqueConstraint("name", name=f"{prefix}namespaces_name"),
    )
    op.create_table(
        f"{prefix}job_types",
        _key("key"),
        _number("namespace_key"),
        sa.Column("name", sa.Text, nullable=False),
        _number("created_at"),
        _number("updated_at", 0),
        _words("description", ""),
        *(sa.Column(name, sa.Text) for name in ("parameters_schema", "result_schema", "defaults")),
        _number("version", 1),
        _number("revision", 1),
        _number("paused", 0),
        _number("auto", 0),
        _number("retired", 0),
        sa.UniqueConstraint("namespace_key", "name", name=f"{prefix}job_types_name"),
    )
    schemas = (sa.Column(name, sa.Text) for name in ("parameters_schema", "result_schema"))
    _clustered(f"{prefix}type_schemas", _key("job_type_key"), _key("version"), *schemas)
    op.create_table(
        f"{prefix}queues",
        _key("key"),
        _number("namespace_key"),
        _number("job_type_key"),
        sa.UniqueConstraint("namespace_key", "job_type_key", name=f"{prefix}queues_pair"),
    )


def _counted(prefix: str) -> None:
    counters = op.create_table(
        f"{prefix}counters",
        _key("key"),
        _number("queue_key", 0),
        _words("owner", ""),
        _words("organization_id", ""),
        *(_number(state, 0) for state in STATES),
        *(_number(f"removed_{state}", 0) for state in STATES[-3:]),
        *(_number(name, 0) for name in ("minute", "completed_now", "completed_before", "failed_now", "failed_before")),
        *(_number(f"last_{kind}", 0) for kind in GIVEN),
        sa.UniqueConstraint("queue_key", "owner", "organization_id", name=f"{prefix}counters_whose"),
    )
    op.bulk_insert(counters, [{"key": 0}])
    _batches(f"{prefix}batches")


def _batches(name: str) -> None:
    op.create_table(
        name,
        _key("key"),
        sa.Column("batch_id", sa.LargeBinary(16), nullable=False),
        _number("namespace_key"),
        _words("name", ""),
        _number("closed", 0),
        _number("active", 1),
        _number("completion_policy"),
        _number("completion", 0),
        sa.Column("completion_job", sa.Text),
        *(_words(column, "") for column in ("completion_job_id", "owner", "organization_id", "created_by")),
        sa.Column("access", sa.Text),
        _number("request_digest", 0),
        *(_number(state, 0) for state in STATES),
        *(_number(f"items_{kind}", 0) for kind in ("total", "processed", "succeeded", "failed")),
        _number("created_at"),
        _number("updated_at"),
        _number("started_at", nullable=True),
        _number("ended_at", nullable=True),
        _number("revision", 1),
        _number("sweep", 0),
        _words("sweep_reason", ""),
        _words("sweep_by", ""),
        _number("sweep_after", 0),
    )
    op.create_index(f"{name}_batch_id", name, ["batch_id"], unique=True)
    op.create_index(f"{name}_listed", name, ["namespace_key", "key"])
    due = "completion = 1 AND ended_at IS NOT NULL AND (completion_policy = 2 OR failed + cancelled = 0)"
    _partial_index(f"{name}_at_work", name, ["key"], f"sweep <> 0 OR ({due})")


def _sessions(name: str) -> None:
    op.create_table(
        name,
        _key("key"),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("resume_digest", sa.Text, nullable=False),
        _words("worker_name"),
        *(sa.Column(column, sa.Text, nullable=False) for column in ("namespaces", "job_types", "labels", "runtime")),
        _number("tasks_max"),
        _number("state"),
        _number("epoch", 1),
        _number("connection", 0),
        _number("replica_key"),
        _number("ttl_us", nullable=True),
        _number("created_at"),
        _number("detached_at", nullable=True),
        _number("ended_at", nullable=True),
        _number("drain_at", nullable=True),
        sa.UniqueConstraint("session_id", name=f"{name}_session_id"),
    )
    _partial_index(f"{name}_living", name, ["state", "detached_at"], "ended_at IS NULL")


def _service(prefix: str) -> None:
    op.create_table(
        f"{prefix}replicas",
        _key("key"),
        sa.Column("replica_id", sa.Text, nullable=False),
        _number("started_at"),
        _number("renewed_at"),
        sa.UniqueConstraint("replica_id", name=f"{prefix}replicas_replica_id"),
    )
    op.create_table(
        f"{prefix}service",
        sa.Column("key", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("log_id", sa.Text, nullable=False),
        _number("created_at"),
        _number("resumed_at"),
        _number("last_at"),
        _number("synced", 1),
        sa.CheckConstraint("key = 1", f"{prefix}service_one_row"),
    )


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _clustered(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(name, *columns, sqlite_with_rowid=False)


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, KEY, primary_key=True, autoincrement=False)


def _number(name: str, default: int | None = None, *, nullable: bool = False) -> sa.Column[int]:
    written = None if default is None else sa.text(str(default))
    return sa.Column(name, sa.BigInteger, nullable=nullable, server_default=written)


def _words(name: str, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default=default)
