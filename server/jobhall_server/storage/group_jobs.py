"""What a commit group does to jobs: moves, new ones, deletes, unique keys, and the attempts that end."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from operator import attrgetter, itemgetter
from typing import Any

import orjson

from jobhall.states import TERMINAL_STATES, AttemptOutcome, EventType
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import JobRecord, NewJob
from jobhall_server.hall.store import Holder, UniqueKey
from jobhall_server.hall.views import PayloadKind
from jobhall_server.storage import schema_groups, statements_jobs
from jobhall_server.storage.codec import STATES, id_of_hex
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.loaded import Loaded
from jobhall_server.storage.overlays import Moved, closed_attempt, moved_on, record_after, record_of_new, unique_until
from jobhall_server.storage.read_clauses import listed_ids

_STATE = statements_jobs.RECORD_BY_KEY.index("state")
_JOB_ID = statements_jobs.RECORD_BY_ID.index("job_id")
_FIRST = itemgetter(0)
_KEY = attrgetter("key")


class Jobs(Loaded):
    """The part of a group that knows jobs."""

    def job(self, key: int) -> JobRecord | None:
        staged = self._staged
        moved = staged.moved.get(key)
        if moved is None:
            found = self._jobs.get(key)
            if found is None and key in staged.new_jobs:
                found = record_of_new(key, staged.new_jobs[key], staged.now)
        else:
            found = self._record_of(key, moved)
        return None if key in staged.deleted else found

    def job_by_id(self, job_id: str) -> JobRecord | None:
        key = self._staged.new_keys.get(job_id) or self._keys_by_id.get(job_id)
        return None if key is None else self.job(key)

    def job_id(self, key: int) -> str:
        stored: bytes = self._execution.scalar(statements_jobs.job_id(self._execution.tables), job_key=key)
        return id_of_hex(stored.hex())

    def change(self, job: JobRecord, change: Change, values: Values = ()) -> None:
        staged = self._staged
        if job.state is not change.source or self._saved:
            raise ValueError(f"{change.move} of job {job.key} in {job.state.name} cannot be taken here")
        if change.closes is not None:
            self._close_attempt(job, change, values)
        earlier = staged.moved.get(job.key)
        if earlier is None:
            moved = Moved(change, values, (), job, change, values)
        else:
            moved = moved_on(earlier, job, change, values)
        staged.put(staged.moved, job.key, moved)
        # Each completion's own cost: those without values of their own are neither.
        if change.row_columns:
            if "session_key" in change.row_columns:
                staged.put(staged.handed_over, job.key, None)
            if change.events and change.events[0][0] is EventType.UPDATED:
                told = staged.previous.get(job.key, ())
                staged.put(staged.previous, job.key, (*told, _previous(job, change)))

    def insert_job(self, new: NewJob) -> int:
        assert not self._saved
        staged = self._staged
        key = self._numbers.next_key(schema_groups.LAST_JOB)
        staged.put(staged.new_jobs, key, new)
        staged.put(staged.new_keys, new.job_id, key)
        if new.parameters is not None:
            staged.put(staged.payloads[PayloadKind.PARAMETERS], key, new.parameters)
        if new.unique_key is not None:
            staged.put(staged.unique, UniqueKey.of(new), key)
        return key

    def delete_job(self, job: JobRecord, *, purged: bool = False) -> None:
        assert not self._saved
        self._staged.put(self._staged.deleted, job.key, (job, purged))

    def held(self, session_key: int) -> list[JobRecord]:
        statement = statements_jobs.held_jobs(self._execution.tables)
        rows = self._execution.rows(statement, session_key=session_key)
        jobs: Iterable[JobRecord | None]
        if self._saved:
            jobs = sorted(map(_record, rows), key=_KEY)
        else:
            # What was loaded before may be more, by id; and what is decided already counts.
            self._take_jobs([row for row in rows if row[0] not in self._jobs])
            jobs = map(self.job, sorted({*map(_FIRST, rows), *self._staged.handed_over}))
        return [job for job in jobs if job is not None and job.session_key == session_key and job.state.held]

    # --- unique keys ---

    def holder(self, unique: UniqueKey) -> Holder | None:
        key = self._staged.unique.get(unique)
        if key is None:
            return self._loaded_holder(unique)
        job = self.job(key)
        return None if job is None else Holder(job, self._held_until(key))

    def take_unique_key(self, job: JobRecord) -> None:
        assert not self._saved
        self._staged.put(self._staged.unique, UniqueKey.of(job), job.key)

    def _loaded_holder(self, unique: UniqueKey) -> Holder | None:
        execution = self._execution
        found = execution.rows(statements_jobs.job_of_unique_key(execution.tables), **unique._asdict())
        if not found:
            return None
        until = found[0].pop()
        [loaded] = self._take_jobs(found)
        job = self.job(loaded.key)
        if job is None:
            return None
        # A unit before that named it by key has moved it without them.
        for name in statements_jobs.FIXED_BY_ID:
            setattr(job, name, getattr(loaded, name))
        return Holder(job, until)

    def _held_until(self, key: int) -> int | None:
        new = self._staged.new_jobs.get(key)
        if new is not None:
            return unique_until(new, self.now)
        until: int | None = self._execution.scalar(statements_jobs.unique_until(self._execution.tables), job_key=key)
        return until

    # --- in detail ---

    def _load_jobs(self, job_keys: Collection[int], job_ids: Collection[str]) -> None:
        tables = self._execution.tables
        if job_keys:
            self._take_jobs(self._execution.rows(statements_jobs.jobs_by_key(tables), keys=keys(job_keys)))
        if job_ids:
            # After those by key: a job named both ways is to have what only this statement reads.
            loaded = self._execution.rows(statements_jobs.jobs_by_id(tables), **listed_ids(job_ids))
            self._keys_by_id = {job.job_id: job.key for job in self._take_jobs(loaded)}

    def _take_jobs(self, rows: list[list[Any]]) -> list[JobRecord]:
        taken = []
        for row in rows:
            job = self._jobs[row[0]] = _record(row)
            taken.append(job)
        return taken

    def _record_of(self, key: int, moved: Moved) -> JobRecord:
        """The job after its moves, made when the first asks for it: most jobs move once in a group."""
        known = self._after_moves.get(key)
        if known is None or known[0] is not moved:
            record = record_after(moved.before, moved.last, moved.last_values, self._staged.now)
            known = self._after_moves[key] = (moved, record)
        return known[1]

    def _close_attempt(self, job: JobRecord, change: Change, values: Values) -> None:
        staged, lease = self._staged, (job.key, job.fence)
        if change.closes is AttemptOutcome.UNSPECIFIED:
            staged.put(staged.attempts, lease, None)
            return
        told = closed_attempt(job, change, values, staged.moved.get(job.key), staged.now)
        if change.source in TERMINAL_STATES:
            # A retry: where the attempt was not the last word on the job, it is history already.
            staged.put(staged.attempts_if_new, lease, told)
        else:
            staged.put(staged.attempts, lease, told)


def _record(row: list[Any]) -> JobRecord:
    row[_STATE] = STATES[row[_STATE]]
    if len(row) > _JOB_ID:
        row[_JOB_ID] = id_of_hex(row[_JOB_ID])
    return JobRecord(*row)


def _previous(job: JobRecord, change: Change) -> str | None:
    """What was before of that which filters and access rules name, as JSON."""
    told = {name: getattr(job, name) for name in ("labels", "access") if name in change.row_columns}
    return orjson.dumps(told).decode() if told else None
