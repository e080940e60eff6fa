"""Writing what a group has decided of names and sessions."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import orjson

from jobhall_server.domain.session import NewSession
from jobhall_server.storage import statements_names, statements_write
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.inserting import as_columns, insert_columns
from jobhall_server.storage.staged import Staged


def save_names(execution: Execution, staged: Staged) -> None:
    """Write new namespaces and queues, and what was made of job types."""
    tables = execution.tables
    if staged.namespaces:
        names = [(key, name) for name, key in staged.namespaces.items()]
        insert_columns(execution, statements_write.insert, tables.namespaces, as_columns(["key", "name"], names))
    if staged.job_types:
        _save_job_types(execution, staged)
    if staged.queues:
        queues = [(key, *pair) for pair, key in staged.queues.items()]
        columns = as_columns(["key", "namespace_key", "job_type_key"], queues)
        insert_columns(execution, statements_write.insert, tables.queues, columns)


_TYPE_TOLD = statements_names.JOB_TYPE_TOLD.split()
_told_of_type = attrgetter(*_TYPE_TOLD)


def _save_job_types(execution: Execution, staged: Staged) -> None:
    tables, types = execution.tables, staged.job_types
    new = [(one.key, *place, *_told_of_type(one)) for place, one in types.items() if one.key in staged.new_types]
    known = [(one.key, *_told_of_type(one)) for one in types.values() if one.key not in staged.new_types]
    if new:
        columns = as_columns(["key", "namespace_key", "name", *_TYPE_TOLD], new)
        insert_columns(execution, statements_write.insert, tables.job_types, columns)
    if known:
        execution.write_rows(statements_write.set_rows(tables.job_types, tuple(_TYPE_TOLD)), known)
    names = ["job_type_key", "version", "parameters_schema", "result_schema"]
    versions = [(one.key, one.version, one.parameters_schema, one.result_schema) for one in types.values()]
    insert_columns(execution, statements_write.replace, tables.type_schemas, as_columns(names, versions))


_SESSION_TOLD = ["worker_name", "labels", "runtime", "tasks_max"]
_SESSION_MOVES = ["state", "epoch", "replica_key", "connection", "ttl_us", "detached_at", "ended_at", "drain_at"]
_told_by_session = attrgetter(*_SESSION_TOLD)
_moved_of_session = attrgetter(*_SESSION_MOVES)


def save_sessions(execution: Execution, staged: Staged) -> None:
    """Write sessions that are new, that moved, and whose worker told of itself anew."""
    tables = execution.tables
    if staged.new_sessions:
        keys, told = list(staged.new_sessions), list(staged.new_sessions.values())
        records = [staged.sessions[key] for key in keys]
        columns: dict[str, Sequence[Any]] = {
            "key": keys,
            "session_id": [record.session_id for record in records],
            "resume_digest": [record.resume_digest for record in records],
            **as_columns(_SESSION_MOVES, [_moved_of_session(record) for record in records]),
            **_told(told),
        }
        insert_columns(execution, statements_write.insert, tables.sessions, columns, same={"created_at": staged.now})
    moved = [
        (key, *_moved_of_session(record)) for key, record in staged.sessions.items() if key not in staged.new_sessions
    ]
    if moved:
        execution.write_rows(statements_write.set_rows(tables.sessions, tuple(_SESSION_MOVES)), moved)
    if staged.hellos:
        columns = _told(list(staged.hellos.values()))
        rows = list(zip(staged.hellos, *columns.values(), strict=True))
        execution.write_rows(statements_write.set_rows(tables.sessions, tuple(columns)), rows)


def _told(sessions: Sequence[NewSession]) -> dict[str, Sequence[Any]]:
    """What workers say of themselves, as columns."""
    return {
        **as_columns(_SESSION_TOLD, [_told_by_session(session) for session in sessions]),
        "namespaces": [orjson.dumps(session.namespaces).decode() for session in sessions],
        "job_types": [orjson.dumps(session.job_types).decode() for session in sessions],
    }
