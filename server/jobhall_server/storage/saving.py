"""Writing what a group has decided: one statement per distinct change, one per table for the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import orjson
import sqlalchemy as sa

from jobhall.states import EventType, JobState
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.session import NewSession
from jobhall_server.hall.views import PayloadKind
from jobhall_server.storage import statements_jobs, statements_write
from jobhall_server.storage.codec import id_bytes
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.staged import Staged

Wave = dict[Change, list[tuple[int, Values]]]
"""Row writes of which each job has at most one: the keys, with their own values, of every distinct change."""

Events = tuple[tuple[EventType, JobState], ...]
"""What a change logs."""

Insert = Callable[[sa.Table, tuple[str, ...], tuple[str, ...]], sa.ClauseElement]


def save(execution: Execution, staged: Staged) -> None:
    """Write all of it within the open transaction, and number its events: of one job always in the order decided."""
    _save_names(execution, staged)
    _save_sessions(execution, staged)
    waves = _waves(staged)
    moves = sum(len(change.events) * len(jobs) for wave in waves for change, jobs in wave.items())
    number = _take_numbers(execution, staged, len(staged.new_jobs) + moves + len(staged.deleted))
    if staged.new_jobs:
        _insert_jobs(execution, staged, number)
        number += len(staged.new_jobs)
    for wave in waves:
        number = _move_jobs(execution, wave, number, staged.now)
    _save_side_rows(execution, staged)
    if staged.deleted:
        _delete_jobs(execution, list(staged.deleted), number, staged.now)


def _take_numbers(execution: Execution, staged: Staged, count: int) -> int:
    """Numbers for so many events; answers the first."""
    if not count:
        return 0
    last: int = execution.scalar(statements_write.number_events(execution.tables), count=count)
    staged.last_event = last
    return last - count + 1


def _waves(staged: Staged) -> list[Wave]:
    waves: list[Wave] = [defaultdict(list)]
    first = waves[0]
    for key, moved in staged.moved.items():
        if not moved.earlier:
            first[moved.change].append((key, moved.values))
            continue
        for place, (change, values) in enumerate(moved.writes):
            if place == len(waves):
                waves.append(defaultdict(list))
            waves[place][change].append((key, values))
    return waves


def _move_jobs(execution: Execution, wave: Wave, number: int, now: int) -> int:
    """Make the changes and log their events from `number` on; answers the next number."""
    tables = execution.tables
    logged: dict[tuple[Events, bool], list[int]] = defaultdict(list)
    for change, jobs in wave.items():
        keys = [key for key, _ in jobs]
        statement = statements_jobs.move_jobs(tables, statements_jobs.ChangeShape.of(change))
        bound = statements_jobs.change_values(change, now)
        if change.row_columns:
            execution.write_rows(statement, [(key, *values) for key, values in jobs], **bound)
        else:
            execution.write_keys(statement, keys, **bound)
        fails = any(name == "failure_kind" for name, _ in change.sets)
        logged[change.events, fails] += keys
    for (events, fails), keys in logged.items():
        later = len(events)
        for event_type, state in events:
            later -= 1
            # The failure belongs to the last event of the move that it ends.
            failed = int(fails and not later)
            kind = {"event_type": event_type, "state": state, "later": later, "failed": failed}
            execution.write_keys(statements_jobs.log_events(tables), keys, base=number, now=now, **kind)
            number += len(keys)
    return number


_NEW_JOB_NAMES = (
    "namespace_key queue_key max_attempts owner organization_id created_by labels path file_name file_size "
    "submit_digest rules"
)
_NEW_JOB = _NEW_JOB_NAMES.split()
_values_of_new_job = attrgetter(*_NEW_JOB)


def _insert_jobs(execution: Execution, staged: Staged, number: int) -> None:
    keys, jobs = list(staged.new_jobs), list(staged.new_jobs.values())
    columns: dict[str, Sequence[Any]] = {
        "key": keys,
        "job_id": [id_bytes(job.job_id) for job in jobs],
        "priority_order": [-job.priority for job in jobs],
        "parameters_bytes": [job.parameters.size_bytes if job.parameters is not None else None for job in jobs],
        **dict(zip(_NEW_JOB, zip(*map(_values_of_new_job, jobs), strict=True), strict=True)),
    }
    now = staged.now
    same = {"state": int(JobState.PENDING), "ready": now, "ready_at": now, "created_at": now, "updated_at": now}
    _write(execution, statements_write.insert, execution.tables.jobs, columns, same=same)
    events = statements_write.log_submitted(execution.tables)
    span = {"first": keys[0], "last": keys[-1]}
    written = execution.write(events, base=number, event_type=EventType.SUBMITTED, **span)
    assert written == len(keys) == keys[-1] - keys[0] + 1, "the keys of a group's new jobs follow each other"


def _save_side_rows(execution: Execution, staged: Staged) -> None:
    tables = execution.tables
    for kind, payloads in staged.payloads.items():
        if payloads:
            contents = [payload.content for payload in payloads.values()]
            columns: dict[str, Sequence[Any]] = {
                "job_key": list(payloads),
                "content_type": [payload.content_type for payload in payloads.values()],
                "text": [content if isinstance(content, str) else None for content in contents],
                "data": [None if isinstance(content, str) else content for content in contents],
            }
            if kind is PayloadKind.CHECKPOINT:
                columns["progress"] = [staged.checkpoint_progress.get(key) for key in payloads]
            new = kind is PayloadKind.PARAMETERS
            _write(
                execution, statements_write.insert if new else statements_write.replace, tables.payloads(kind), columns
            )
    if staged.failures:
        names = ["kind", "code", "message", "retryable", "attempt", "details", "stack"]
        rows = [(*lease, *attrgetter(*names)(failure)) for lease, failure in staged.failures.items()]
        _write(execution, statements_write.replace, tables.failures, _columns(["job_key", "fence", *names], rows))
    if staged.progress:
        rows = [(*lease, text) for lease, text in staged.progress.items()]
        _write(execution, statements_write.replace, tables.progress, _columns(["job_key", "fence", "data"], rows))
    place = ["job_key", "fence", "number"]
    if staged.item_errors:
        rows = [(*key, error.index, error.key, error.code, error.message) for key, error in staged.item_errors.items()]
        names = [*place, "item_index", "item_key", "code", "message"]
        _write(execution, statements_write.insert_new, tables.item_errors, _columns(names, rows), exactly=False)
    if staged.logs:
        rows = [(*key, *line) for key, line in staged.logs.items()]
        names = [*place, "at", "level", "text", "raw", "fields"]
        _write(execution, statements_write.insert_new, tables.logs, _columns(names, rows), exactly=False)
    if staged.exclusions:
        columns = _columns(["job_key", "session_key"], list(staged.exclusions))
        _write(execution, statements_write.insert_new, tables.exclusions, columns, exactly=False)


def _delete_jobs(execution: Execution, keys: Sequence[int], number: int, now: int) -> None:
    tables = execution.tables
    # The row goes, so its revision cannot be raised for the event; `later` lets the event be one ahead of the row.
    event = {"event_type": EventType.DELETED, "later": -1, "failed": 0}
    execution.write_keys(statements_jobs.log_deleted(tables), keys, base=number, now=now, **event)
    for table in tables.of_one_job:
        execution.write(statements_jobs.delete_side_rows(table), keys=orjson.dumps(keys).decode())
    execution.write_keys(statements_jobs.delete_jobs(tables), keys)


def _save_names(execution: Execution, staged: Staged) -> None:
    tables = execution.tables
    if staged.namespaces:
        names = [(key, name) for name, key in staged.namespaces.items()]
        _write(execution, statements_write.insert, tables.namespaces, _columns(["key", "name"], names))
    if staged.job_types:
        types = [(key, *pair) for pair, key in staged.job_types.items()]
        columns = _columns(["key", "namespace_key", "name"], types)
        _write(execution, statements_write.insert, tables.job_types, columns, same={"created_at": staged.now})
    if staged.queues:
        queues = [(key, *pair) for pair, key in staged.queues.items()]
        columns = _columns(["key", "namespace_key", "job_type_key"], queues)
        _write(execution, statements_write.insert, tables.queues, columns)


_SESSION_TOLD = ["worker_name", "labels", "runtime", "tasks_max"]
_SESSION_MOVES = ["state", "epoch", "replica_key", "connection", "ttl_us", "detached_at", "ended_at", "drain_at"]
_told_by_session = attrgetter(*_SESSION_TOLD)
_moved_of_session = attrgetter(*_SESSION_MOVES)


def _save_sessions(execution: Execution, staged: Staged) -> None:
    tables = execution.tables
    if staged.new_sessions:
        keys, told = list(staged.new_sessions), list(staged.new_sessions.values())
        records = [staged.sessions[key] for key in keys]
        columns: dict[str, Sequence[Any]] = {
            "key": keys,
            "session_id": [record.session_id for record in records],
            "resume_digest": [record.resume_digest for record in records],
            **_columns(_SESSION_MOVES, [_moved_of_session(record) for record in records]),
            **_told(told),
        }
        _write(execution, statements_write.insert, tables.sessions, columns, same={"created_at": staged.now})
    moved = [
        (key, *_moved_of_session(record)) for key, record in staged.sessions.items() if key not in staged.new_sessions
    ]
    if moved:
        execution.write_rows(statements_write.set_sessions(tables, tuple(_SESSION_MOVES)), moved)
    if staged.hellos:
        columns = _told(list(staged.hellos.values()))
        rows = list(zip(staged.hellos, *columns.values(), strict=True))
        execution.write_rows(statements_write.set_sessions(tables, tuple(columns)), rows)


def _told(sessions: Sequence[NewSession]) -> dict[str, Sequence[Any]]:
    """What workers say of themselves, as columns."""
    return {
        **_columns(_SESSION_TOLD, [_told_by_session(session) for session in sessions]),
        "namespaces": [orjson.dumps(session.namespaces).decode() for session in sessions],
        "job_types": [orjson.dumps(session.job_types).decode() for session in sessions],
    }


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Sequence[Any]]:
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def _write(
    execution: Execution,
    insert: Insert,
    table: sa.Table,
    columns: dict[str, Sequence[Any]],
    *,
    exactly: bool = True,
    same: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Insert the columns as rows, the first being their key, and `same` for all; equal values are bound once."""
    constant = dict(same)
    varying: dict[str, Sequence[Any]] = {}
    for name, values in columns.items():
        if varying and values.count(values[0]) == len(values):
            constant[name] = values[0]
        else:
            varying[name] = values
    rows = list(zip(*varying.values(), strict=True))
    shared = {f"all_{name}": value for name, value in constant.items()}
    execution.write_rows(insert(table, tuple(constant), tuple(varying)), rows, exactly=exactly, **shared)
