"""Writing what a group has decided of attempts, and of what goes with a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from jobhall_server.domain.job import Payload
from jobhall_server.hall.views import PayloadKind
from jobhall_server.storage import statements_attempts, statements_write
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.inserting import as_columns, insert_columns
from jobhall_server.storage.overlays import ClosedAttempt
from jobhall_server.storage.staged import LeaseKey, Staged


def save_attempts(execution: Execution, staged: Staged) -> None:
    """Write those that ended, before their jobs' rows are moved on; what goes on after all is history no more."""
    tables = execution.tables
    if staged.attempts:
        ended = {lease: told for lease, told in staged.attempts.items() if told is not None}
        gone_on = [lease for lease in staged.attempts if lease not in ended]
        if gone_on:
            execution.write_rows(statements_attempts.forget_attempts(tables), gone_on, exactly=False)
        if ended:
            execution.write_rows(statements_attempts.close_attempts(tables), _rows(ended), now=staged.now)
    if staged.attempts_if_new:
        again = statements_attempts.close_attempts_if_new(tables)
        execution.write_rows(again, _rows(staged.attempts_if_new), exactly=False, now=staged.now)


def _rows(attempts: Mapping[LeaseKey, ClosedAttempt]) -> list[tuple[Any, ...]]:
    return [(*lease, *told) for lease, told in attempts.items()]


def save_details(execution: Execution, staged: Staged) -> None:
    """Write the side tables."""
    for kind, payloads in staged.payloads.items():
        if payloads:
            _save_payloads(execution, staged, kind, payloads)
    _save_failures_and_progress(execution, staged)
    _save_reports(execution, staged)
    if staged.exclusions:
        columns = as_columns(["job_key", "session_key"], list(staged.exclusions))
        insert_columns(execution, statements_write.insert_new, execution.tables.exclusions, columns, exactly=False)
    if staged.unique:
        rows = [(*unique, key) for unique, key in staged.unique.items()]
        columns = as_columns(["queue_key", "scope", "text", "job_key"], rows)
        insert_columns(execution, statements_write.replace, execution.tables.unique_keys, columns)


def _save_payloads(execution: Execution, staged: Staged, kind: PayloadKind, payloads: Mapping[int, Payload]) -> None:
    contents = [payload.content for payload in payloads.values()]
    columns: dict[str, Sequence[Any]] = {
        "job_key": list(payloads),
        "content_type": [payload.content_type for payload in payloads.values()],
        "text": [content if isinstance(content, str) else None for content in contents],
        "data": [None if isinstance(content, str) else content for content in contents],
    }
    if kind is PayloadKind.CHECKPOINT:
        columns["progress"] = [staged.checkpoint_progress.get(key) for key in payloads]
    insert = statements_write.insert if kind is PayloadKind.PARAMETERS else statements_write.replace
    insert_columns(execution, insert, execution.tables.payloads(kind), columns)


_FAILURE = ["kind", "code", "message", "retryable", "attempt", "details", "stack"]
_told_by_failure = attrgetter(*_FAILURE)


def _save_failures_and_progress(execution: Execution, staged: Staged) -> None:
    tables, lease = execution.tables, ["job_key", "fence"]
    if staged.failures:
        failures = [(*key, *_told_by_failure(failure)) for key, failure in staged.failures.items()]
        columns = as_columns([*lease, *_FAILURE], failures)
        insert_columns(execution, statements_write.replace, tables.failures, columns)
    if staged.progress:
        columns = as_columns([*lease, "data"], [(*key, text) for key, text in staged.progress.items()])
        insert_columns(execution, statements_write.replace, tables.progress, columns)


def _save_reports(execution: Execution, staged: Staged) -> None:
    tables, place, new = execution.tables, ["job_key", "fence", "number"], statements_write.insert_new
    if staged.item_errors:
        errors = [(*key, told.index, told.key, told.code, told.message) for key, told in staged.item_errors.items()]
        columns = as_columns([*place, "item_index", "item_key", "code", "message"], errors)
        insert_columns(execution, new, tables.item_errors, columns, exactly=False)
    if staged.logs:
        lines = [(*key, *line) for key, line in staged.logs.items()]
        columns = as_columns([*place, "at", "level", "text", "raw", "fields"], lines)
        insert_columns(execution, new, tables.logs, columns, exactly=False)
    if staged.log_drops:
        drops = [(*key, through) for key, through in staged.log_drops.items()]
        execution.write_rows(statements_attempts.drop_logs(tables), drops, exactly=False)
