"""Writing what a group has decided: one statement per distinct change, one per table for the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from jobhall.states import EventType, JobState
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import NewJob
from jobhall_server.storage import statements_jobs, statements_write
from jobhall_server.storage.codec import id_bytes
from jobhall_server.storage.dialect import keys as key_list
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.inserting import as_columns, insert_columns
from jobhall_server.storage.numbers import Numbers
from jobhall_server.storage.overlays import unique_until
from jobhall_server.storage.saving_details import save_attempts, save_details
from jobhall_server.storage.saving_imports import import_jobs
from jobhall_server.storage.saving_names import save_names, save_sessions
from jobhall_server.storage.staged import Staged

Wave = dict[Change, list[tuple[int, Values]]]
"""Row writes of which each job has at most one: the keys, with their own values, of every distinct change."""

Events = tuple[tuple[EventType, JobState], ...]
"""What a change logs."""


def save(execution: Execution, staged: Staged, numbers: Numbers) -> None:
    """Write all of it within the open transaction, and number its events: of one job always in the order decided."""
    save_names(execution, staged)
    save_sessions(execution, staged)
    waves = _waves(staged)
    moves = sum(len(change.events) * len(jobs) for wave in waves for change, jobs in wave.items())
    events = len(staged.new_jobs) + len(staged.imported) + moves + len(staged.deleted)
    number = numbers.take_events(events) if events else 0
    # First, so that whoever submits one of them again in this very group finds its id free.
    fresh = staged.new_jobs.keys() | staged.imported.keys() if staged.imported else staged.new_jobs
    gone = [key for key in staged.deleted if key not in staged.moved and key not in fresh]
    if gone:
        _delete_jobs(execution, staged, gone, number)
        number += len(gone)
    if staged.new_jobs:
        _insert_jobs(execution, staged, number)
        number += len(staged.new_jobs)
    if staged.imported:
        import_jobs(execution, staged, number)
        number += len(staged.imported)
    save_attempts(execution, staged)
    previous = {key: iter(told) for key, told in staged.previous.items()}
    for wave in waves:
        number = _move_jobs(execution, staged, wave, number, previous)
    save_details(execution, staged)
    moved_and_gone = staged.deleted.keys() - gone
    if moved_and_gone:
        _delete_jobs(execution, staged, sorted(moved_and_gone), number)


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


def _move_jobs(
    execution: Execution, staged: Staged, wave: Wave, number: int, previous: dict[int, Iterator[str | None]]
) -> int:
    """Make the changes and log their events from `number` on; answers the next number. `previous` tells what was
    before each job's next UPDATED.
    """
    tables, now = execution.tables, staged.now
    logged: dict[tuple[Events, bool], list[int]] = defaultdict(list)
    for change, jobs in wave.items():
        keys = [key for key, _ in jobs]
        statement, bound, fails = statements_jobs.move_statement(tables, change)
        if change.row_columns:
            execution.write_rows(statement, [(key, *values) for key, values in jobs], now=now, **bound)
        else:
            execution.write_keys(statement, keys, now=now, **bound)
        logged[change.events, fails] += keys
    for (events, fails), keys in logged.items():
        later = len(events)
        if events:
            staged.logged.append(keys)
        for event_type, state in events:
            later -= 1
            # The failure belongs to the last event of the move that it ends.
            failed = int(fails and not later)
            kind: dict[str, Any] = {
                "event_type": event_type,
                "state": state,
                "later": later,
                "failed": failed,
                "now": now,
            }
            if event_type is EventType.UPDATED:
                rows = [(key, place, next(previous[key])) for place, key in enumerate(keys, number)]
                execution.write_rows(statements_jobs.log_updated(tables), rows, **kind)
            else:
                execution.write_keys(statements_jobs.log_events(tables), keys, base=number, **kind)
            number += len(keys)
    return number


_NEW_JOB_NAMES = (
    "namespace_key queue_key max_attempts owner organization_id created_by labels path file_name file_size "
    "submit_digest rules"
)
_NEW_JOB = _NEW_JOB_NAMES.split()
_MANAGED_NAMES = "batch_key schedule_at start_deadline unique_key retention_us access trace type_version"
_MANAGED = _MANAGED_NAMES.split()
_PLAIN = {name: NewJob._field_defaults[name] for name in (*_MANAGED, "held_back")}


def _insert_jobs(execution: Execution, staged: Staged, number: int) -> None:
    keys, jobs = list(staged.new_jobs), list(staged.new_jobs.values())
    now = staged.now
    given = as_columns(NewJob._fields, jobs)
    columns: dict[str, Sequence[Any]] = {
        "key": keys,
        "job_id": [id_bytes(job_id) for job_id in given["job_id"]],
        "priority_order": [-priority for priority in given["priority"]],
        "parameters_bytes": [payload and payload.size_bytes for payload in given["parameters"]],
        "stats_key": [staged.stats_keys[key] for key in keys],
        **{name: given[name] for name in _NEW_JOB},
    }
    same: dict[str, Any] = {"created_at": now, "updated_at": now}
    # Most jobs are plain, and have nothing to be written of all this.
    if all(given[name].count(nothing) == len(jobs) for name, nothing in _PLAIN.items()):
        same |= {"state": int(JobState.PENDING), "ready": now, "ready_at": now}
    else:
        columns |= _managed(jobs, now) | {name: given[name] for name in _MANAGED}
    insert_columns(execution, statements_write.insert, execution.tables.jobs, columns, same=same)
    staged.logged.append(keys)
    first, last, kind = keys[0], keys[-1], EventType.SUBMITTED
    if last - first + 1 == len(keys):
        events = statements_write.log_submitted(execution.tables)
        written = execution.write(events, base=number, event_type=kind, first=first, last=last)
        assert written == len(keys), "a group's new jobs have keys that no other job has"
    else:
        # There are keys of jobs from elsewhere between them.
        events = statements_jobs.log_as_they_are(execution.tables)
        execution.write_keys(events, keys, base=number, now=now, event_type=kind, later=0, failed=0)


def _managed(jobs: Sequence[NewJob], now: int) -> dict[str, Sequence[Any]]:
    """The columns of jobs that wait for a time or belong to something."""
    entries = [job.entry(now) for job in jobs]
    pending = [state is JobState.PENDING for state, _ in entries]
    ready = [waits and not job.held_back for waits, job in zip(pending, jobs, strict=True)]
    return {
        "state": [int(state) for state, _ in entries],
        "due_at": [due_at for _, due_at in entries],
        "ready": [now if is_ready else None for is_ready in ready],
        "ready_at": [now if waits else None for waits in pending],
        "aside": [None if is_ready else int(state) for is_ready, (state, _) in zip(ready, entries, strict=True)],
        "held_back": [int(job.held_back) for job in jobs],
        "unique_until": [None if job.unique_key is None else unique_until(job, now) for job in jobs],
    }


def _delete_jobs(execution: Execution, staged: Staged, keys: Sequence[int], number: int) -> None:
    tables = execution.tables
    staged.logged.append(keys)
    # The row goes, so its revision cannot be raised for the event; `later` lets the event be one ahead of the row.
    event = {"event_type": EventType.DELETED, "later": -1, "failed": 0}
    execution.write_keys(statements_jobs.log_as_they_are(tables), keys, base=number, now=staged.now, **event)
    for table in tables.of_one_job:
        execution.write(statements_jobs.delete_side_rows(table), keys=key_list(keys))
    execution.write_keys(statements_jobs.delete_jobs(tables), keys)
