"""One commit group: what its units name is loaded at once, what they decide is kept in memory and saved at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

import sqlalchemy as sa

from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import ItemError, JobFailure, JobRecord, NewJob, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import NewSession, SessionRecord, SessionState
from jobhall_server.hall.store import Claimed, Unit, Want
from jobhall_server.hall.views import LogLine, PayloadKind
from jobhall_server.storage import schema, statements_cut, statements_jobs, statements_write
from jobhall_server.storage.claims import claim
from jobhall_server.storage.codec import STATES, id_of_hex, progress_of, progress_text
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.overlays import Moved, moved_on, record_after, record_of_new
from jobhall_server.storage.read_clauses import listed, listed_ids
from jobhall_server.storage.saving import save
from jobhall_server.storage.schema import Tables
from jobhall_server.storage.staged import Staged

T = TypeVar("T")
K = TypeVar("K")

_STATE = statements_jobs.RECORD_BY_KEY.index("state")
_JOB_ID = statements_jobs.RECORD_BY_KEY.index("job_id")
_FIRST = itemgetter(0)
_KEY = attrgetter("key")
_SESSION_STATE = statements_write.SESSION.index("state")


class SpoiledGroupError(RuntimeError):
    """A unit raised after its claim was written: the group has to be run again without it."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Group:
    """`hall.store.Group` over the writer's transaction, which its owner begins and commits.

    The order is load, decide for each unit, save, decide for the units `after_save`, finish.
    """

    def __init__(self, execution: Execution, *, now: int) -> None:
        self._execution = execution
        self._jobs: dict[int, JobRecord] = {}
        self._keys_by_id: dict[str, int] = {}
        self._after_moves: dict[int, tuple[Moved, JobRecord]] = {}
        self._sessions: dict[int, SessionRecord] = {}
        self._session_keys: dict[str, int] = {}
        self._keys_given: dict[str, int] = {}
        self._staged = Staged(now)
        self._saved = False
        self._claimed = False

    @property
    def now(self) -> int:
        return self._staged.now

    @property
    def execution(self) -> Execution:
        """For the store's own units."""
        return self._execution

    @property
    def touched(self) -> int:
        """How many rows it has to write by now, roughly: when it is time to save."""
        return self._staged.size

    # --- the life of a group ---

    def load(self, units: Iterable[Unit[Any]]) -> None:
        """Read what the units name, with one statement per table."""
        job_keys: set[int] = set()
        job_ids: set[str] = set()
        session_keys: set[int] = set()
        session_ids: set[str] = set()
        for unit in units:
            job_keys.update(unit.job_keys)
            job_ids.update(unit.job_ids)
            session_keys.update(unit.session_keys)
            session_ids.update(unit.session_ids)
        tables = self._execution.tables
        if session_keys:
            self._take_sessions(self._execution.rows(statements_write.sessions_by_key(tables), keys=keys(session_keys)))
        if session_ids:
            named = {"session_ids": listed(session_ids)}
            self._take_sessions(self._execution.rows(statements_write.sessions_by_id(tables), **named))
        if job_keys:
            self._take_jobs(self._execution.rows(statements_jobs.jobs_by_key(tables), keys=keys(job_keys)))
        if job_ids:
            # After those by key: a job named both ways is to have what only this statement reads.
            loaded = self._execution.rows(statements_jobs.jobs_by_id(tables), **listed_ids(job_ids))
            self._keys_by_id = {job.job_id: job.key for job in self._take_jobs(loaded)}

    def decide(self, unit: Unit[T]) -> T:
        """What the unit answers; when it raises, what it had told the group is dropped."""
        self._staged.begin()
        try:
            return unit.decide(self)
        except Exception as error:
            self._staged.undo()
            if self._claimed:
                raise SpoiledGroupError(error) from error
            raise

    def save(self) -> None:
        """Write all that was decided."""
        save(self._execution, self._staged)
        self._saved = True

    def finish(self) -> int | None:
        """Write the counters; answers the number of the last event, if there is any."""
        if self._staged.counters:
            rows = list(self._staged.counters.items())
            self._execution.write_rows(statements_write.set_counters(self._execution.tables), rows)
        return self._staged.last_event

    # --- jobs ---

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

    def change(self, job: JobRecord, change: Change, values: Values = ()) -> None:
        staged = self._staged
        if job.state is not change.source or self._saved:
            raise ValueError(f"{change.move} of job {job.key} in {job.state.name} cannot be taken here")
        earlier = staged.moved.get(job.key)
        if earlier is None:
            moved = Moved(change, values, (), job, change, values)
        else:
            moved = moved_on(earlier, job, change, values)
        staged.put(staged.moved, job.key, moved)
        if "session_key" in change.row_columns:
            staged.put(staged.handed_over, job.key, None)

    def insert_job(self, new: NewJob) -> int:
        assert not self._saved
        staged = self._staged
        key = self._next_key(schema.COUNTER_JOB)
        staged.put(staged.new_jobs, key, new)
        staged.put(staged.new_keys, new.job_id, key)
        if new.parameters is not None:
            staged.put(staged.payloads[PayloadKind.PARAMETERS], key, new.parameters)
        return key

    def delete_job(self, job: JobRecord) -> None:
        assert not self._saved
        self._staged.put(self._staged.deleted, job.key, None)

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

    # --- what goes with a job ---

    def save_payload(self, job_key: int, kind: PayloadKind, payload: Payload) -> None:
        self._staged.put(self._staged.payloads[kind], job_key, payload)

    def save_checkpoint(self, job_key: int, state: Payload, progress: Progress | None) -> None:
        self.save_payload(job_key, PayloadKind.CHECKPOINT, state)
        told = None if progress is None else progress_text(progress)
        self._staged.put(self._staged.checkpoint_progress, job_key, told)

    def save_failure(self, job_key: int, failure: JobFailure) -> None:
        job = self._jobs.get(job_key)
        self._staged.put(self._staged.failures, (job_key, 0 if job is None else job.fence), failure)

    def save_progress(self, job_key: int, fence: int, progress: Progress) -> None:
        self._staged.put(self._staged.progress, (job_key, fence), progress_text(progress))

    def progress(self, job_key: int, fence: int) -> Progress | None:
        told = self._staged.progress.get((job_key, fence))
        if told is None:
            statement = statements_jobs.saved_progress(self._execution.tables)
            told = self._execution.scalar(statement, job_key=job_key, fence=fence)
        return None if told is None else progress_of(told)

    def add_item_errors(self, job_key: int, fence: int, first_number: int, errors: Sequence[ItemError]) -> None:
        for number, error in enumerate(errors, first_number):
            self._staged.put_new(self._staged.item_errors, (job_key, fence, number), error)

    def add_logs(self, job_key: int, fence: int, first_number: int, lines: Sequence[LogLine]) -> None:
        for number, line in enumerate(lines, first_number):
            self._staged.put_new(self._staged.logs, (job_key, fence, number), line)

    # --- sessions and claims ---

    def session(self, key: int) -> SessionRecord | None:
        moved = self._staged.sessions.get(key)
        return self._sessions.get(key) if moved is None else moved

    def session_by_id(self, session_id: str) -> SessionRecord | None:
        key = self._staged.session_keys.get(session_id) or self._session_keys.get(session_id)
        return None if key is None else self.session(key)

    def open_session(self, new: NewSession) -> SessionRecord:
        assert not self._saved
        key = self._next_key(schema.COUNTER_SESSION)
        unary = new.ttl_us is not None
        session = SessionRecord(
            key=key,
            session_id=new.session_id,
            resume_digest=new.resume_digest,
            state=SessionState.DETACHED if unary else SessionState.ATTACHED,
            epoch=1,
            replica_key=new.replica_key,
            connection=new.connection,
            ttl_us=new.ttl_us,
            detached_at=self.now if unary else None,
            ended_at=None,
            drain_at=None,
        )
        self._staged.put(self._staged.new_sessions, key, new)
        self._staged.put(self._staged.session_keys, new.session_id, key)
        self._staged.put(self._staged.sessions, key, session)
        return session

    def save_session(self, session: SessionRecord, hello: NewSession | None = None) -> None:
        assert not self._saved
        staged = self._staged
        staged.put(staged.sessions, session.key, session)
        if hello is not None:
            staged.put(staged.new_sessions if session.key in staged.new_sessions else staged.hellos, session.key, hello)

    def exclude(self, job_key: int, session_key: int) -> None:
        self._staged.put(self._staged.exclusions, (job_key, session_key), None)

    def claim(self, wants: Sequence[Want]) -> list[list[Claimed]]:
        if not self._saved:
            raise ValueError("only a unit with after_save may claim")
        self._claimed = True
        welcome = [place for place, want in enumerate(wants) if self._may_claim(want)]
        won, last_event = claim(self._execution, [wants[place] for place in welcome], self.now)
        self._staged.last_event = last_event or self._staged.last_event
        given = dict(zip(welcome, won, strict=True))
        return [given.get(place, []) for place in range(len(wants))]

    def cut_old(self, *, before: int, limit: int) -> int:
        if not self._saved:
            raise ValueError("only a unit with after_save may remove what is old")
        tables, step = self._execution.tables, {"before": before, "limit": limit}
        events = self._execution.write(statements_cut.cut_events(tables), **step)
        return events + self._execution.write(statements_cut.cut_sessions(tables), **step)

    # --- names ---

    def namespace_key(self, name: str) -> int:
        found = self._known(self._staged.namespaces, name, statements_write.namespace_key, {"name": name})
        return found or self._new_name(self._staged.namespaces, name, schema.COUNTER_NAMESPACE)

    def job_type_key(self, namespace_key: int, name: str) -> tuple[int, bool]:
        pair = (namespace_key, name)
        values = {"namespace_key": namespace_key, "name": name}
        found = self._known(self._staged.job_types, pair, statements_write.job_type_key, values)
        return (
            (found, False) if found else (self._new_name(self._staged.job_types, pair, schema.COUNTER_JOB_TYPE), True)
        )

    def has_job_type(self, namespace: str, name: str) -> bool:
        within = self._known(self._staged.namespaces, namespace, statements_write.namespace_key, {"name": namespace})
        if not within:
            return False
        values = {"namespace_key": within, "name": name}
        return bool(self._known(self._staged.job_types, (within, name), statements_write.job_type_key, values))

    def queue_key(self, namespace_key: int, job_type_key: int) -> int:
        pair = (namespace_key, job_type_key)
        values = {"namespace_key": namespace_key, "job_type_key": job_type_key}
        found = self._known(self._staged.queues, pair, statements_write.queue_key, values)
        return found or self._new_name(self._staged.queues, pair, schema.COUNTER_QUEUE)

    def _known(
        self, staged: dict[K, int], name: K, statement: Callable[[Tables], sa.Select[Any]], values: dict[str, Any]
    ) -> int | None:
        """The key of a name, made in this group or before it."""
        key = staged.get(name)
        if key is None:
            key = self._execution.scalar(statement(self._execution.tables), **values)
        return key

    def _new_name(self, staged: dict[K, int], name: K, counter: str) -> int:
        assert not self._saved
        key = self._next_key(counter)
        self._staged.put(staged, name, key)
        return key

    def _next_key(self, counter: str) -> int:
        """A key that none of its kind ever had: lease tokens and cursors outlive what they name."""
        counters = self._staged.counters
        last = counters.get(counter)
        if last is None:
            if not self._keys_given:
                self._keys_given = dict(self._execution.rows(statements_write.keys_given(self._execution.tables)))
            last = self._keys_given[counter]
        self._staged.put(counters, counter, last + 1)
        return last + 1

    def _record_of(self, key: int, moved: Moved) -> JobRecord:
        """The job after its moves, made when the first asks for it: most jobs move once in a group."""
        known = self._after_moves.get(key)
        if known is None or known[0] is not moved:
            record = record_after(moved.before, moved.last, moved.last_values, self._staged.now)
            known = self._after_moves[key] = (moved, record)
        return known[1]

    def _take_jobs(self, rows: list[list[Any]]) -> list[JobRecord]:
        taken = []
        for row in rows:
            job = self._jobs[row[0]] = _record(row)
            taken.append(job)
        return taken

    def _take_sessions(self, rows: list[list[Any]]) -> None:
        for row in rows:
            row[_SESSION_STATE] = SessionState(row[_SESSION_STATE])
            session = self._sessions[row[0]] = SessionRecord(*row)
            self._session_keys[session.session_id] = session.key

    def _may_claim(self, want: Want) -> bool:
        session = self.session(want.session_key)
        if session is None or session.epoch != want.epoch or session.drain_at is not None:
            return False
        return session.state is SessionState.ATTACHED or (session.unary and session.state is SessionState.DETACHED)


def _record(row: list[Any]) -> JobRecord:
    row[_STATE] = STATES[row[_STATE]]
    row[_JOB_ID] = id_of_hex(row[_JOB_ID])
    return JobRecord(*row)
