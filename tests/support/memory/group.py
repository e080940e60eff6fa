"""One commit group over the tables: a unit writes at once what it decides; one that raises takes back its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from jobhall.states import TERMINAL_STATES, AttemptOutcome, EventType, FailureKind, JobState
from jobhall_server.domain.access import unique_scope
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import (
    AttemptView,
    ItemError,
    JobFailure,
    JobRecord,
    JobView,
    LeaseState,
    NewJob,
    Payload,
)
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import NewSession, SessionRecord, SessionState
from jobhall_server.hall.store import Claimed, Holder, Home, UniqueKey, Unit, Want
from jobhall_server.hall.store import Group as GroupProtocol
from jobhall_server.hall.views import EventRow, LogLine, PayloadKind
from tests.support.memory.claims import Claims
from tests.support.memory.imports import import_attempts, imported_row
from tests.support.memory.names import Names
from tests.support.memory.rows import moved_row, new_row, record_of
from tests.support.memory.tables import ClosedAttempt, Ended, Row, Session, Tables

T = TypeVar("T")


class Move(NamedTuple):
    """What happened to one job, for whoever looks on: its row before and after, None where there is none."""

    name: str
    before: Row | None
    after: Row | None


class Group(Names, GroupProtocol):
    """`hall.store.Group`. Its owner lets it decide all units, those with `after_save` last, and keeps or undoes it."""

    def __init__(self, tables: Tables, units: Iterable[Unit[Any]], *, now: int) -> None:
        units = list(units)
        super().__init__(tables, units, now=now)
        # What no unit named is not there, as in a database, where only that is loaded and locked.
        self._job_keys = {key for unit in units for key in unit.job_keys}
        self._session_keys = {key for unit in units for key in unit.session_keys}
        ids = {name for unit in units for name in unit.job_ids}
        self._job_keys |= {tables.keys_of_ids[job_id] for job_id in ids if job_id in tables.keys_of_ids}
        session_ids = {name for unit in units for name in unit.session_ids}
        if session_ids:
            self._session_keys |= {key for key, one in tables.sessions.items() if one.record.session_id in session_ids}
        self.last_event: int | None = None
        self.logged: list[int] = []
        self.moves: list[Move] = []

    def decide(self, unit: Unit[T]) -> T:
        """What the unit answers; when it raises, what it had told the group is dropped."""
        begun, last_event, moved, logged = self._journal.length, self.last_event, len(self.moves), len(self.logged)
        self._after_save = unit.after_save
        try:
            return unit.decide(self)
        except Exception:
            self._journal.undo(begun)
            self.last_event = last_event
            del self.logged[logged:]
            del self.moves[moved:]
            raise

    def undo(self) -> None:
        """None of it was ever there."""
        self._journal.undo(0)

    # --- jobs ---

    def job(self, key: int) -> JobRecord | None:
        row = self._tables.jobs.get(key) if key in self._job_keys else None
        return None if row is None else record_of(row)

    def job_id(self, key: int) -> str:
        return str(self._tables.jobs[key]["job_id"])

    def job_by_id(self, job_id: str) -> JobRecord | None:
        key = self._tables.keys_of_ids.get(job_id)
        return None if key is None else self.job(key)

    def held(self, session_key: int) -> list[JobRecord]:
        rows = [row for row in self._tables.jobs.values() if row["held_by"] == session_key]
        return [record_of(row) for row in sorted(rows, key=lambda row: int(row["key"]))]

    def change(self, job: JobRecord, change: Change, values: Values = ()) -> None:
        before = self._tables.jobs[job.key]
        if before["state"] is not change.source or self._after_save:
            raise ValueError(f"{change.move} of job {job.key} in {before['state'].name} cannot be taken here")
        row = moved_row(before, change, values, self._now)
        if change.closes is AttemptOutcome.UNSPECIFIED:
            self._journal.remove(self._tables.attempts, (job.key, job.fence))
        elif change.closes is not None:
            self._close_attempt(before, row, change)
        self._journal.put(self._tables.jobs, job.key, row)
        self._count_end(before, row)
        self.moves.append(Move(change.move, before, row))
        later = len(change.events)
        failed = any(name == "failure_kind" for name, _ in change.sets)
        for event_type, state in change.events:
            later -= 1
            previous = _previous(before, change) if event_type is EventType.UPDATED else None
            self._log(row, event_type, state, later=later, failed=failed and later == 0, previous=previous)

    def _close_attempt(self, before: Row, after: Row, change: Change) -> None:
        place = (before["key"], before["fence"])
        again = change.source in TERMINAL_STATES
        if again and place in self._tables.attempts:
            return
        failure = before if again else after
        failed = change.closes is AttemptOutcome.FAILED
        closed = ClosedAttempt(
            attempt=before["attempt"] + max(0, dict(change.adds).get("attempt", 0)),
            worker=before["worker"],
            session_key=before["session_key"],
            claimed_at=before["claimed_at"],
            started_at=before["started_at"] or self._now,
            ended_at=before["ended_at"] or self._now,
            outcome=change.closes or AttemptOutcome.UNSPECIFIED,
            failure_kind=failure["failure_kind"] if failed else FailureKind.UNSPECIFIED,
            failure_code=failure["failure_code"] if failed else "",
            item_error_count=before["item_error_count"],
        )
        self._journal.put(self._tables.attempts, place, closed)

    def _count_end(self, before: Row, after: Row) -> None:
        if after["state"] in TERMINAL_STATES and before["state"] is not after["state"]:
            whose = (after["queue_key"], after["owner"], after["organization_id"], after["state"])
            end = Ended(*whose, self._now // 60_000_000)
            self._journal.put(self._tables.ended, end, self._tables.ended.get(end, 0) + 1)

    def insert_job(self, new: NewJob) -> int:
        assert not self._after_save
        if new.job_id in self._tables.keys_of_ids:
            raise ValueError(f"there is a job {new.job_id} already")
        key = self._next("job")
        row = new_row(key, new, self._now)
        self._journal.put(self._tables.jobs, key, row)
        self.moves.append(Move("submit", None, row))
        self._journal.put(self._tables.keys_of_ids, new.job_id, key)
        self._job_keys.add(key)
        if new.parameters is not None:
            self.save_payload(key, PayloadKind.PARAMETERS, new.parameters)
        if new.unique_key is not None:
            window = new.unique_window_us
            self._journal.put(
                self._tables.unique_keys, _unique(row), (key, None if window is None else self._now + window)
            )
        self._log(row, EventType.SUBMITTED, row["state"])
        return key

    def import_job(self, job: JobView, attempts: Sequence[AttemptView], home: Home) -> JobRecord:
        assert not self._after_save
        key = self._next("job")
        row = imported_row(key, job, attempts, home, self._now)
        self._journal.put(self._tables.jobs, key, row)
        self.moves.append(Move("import", None, row))
        self._journal.put(self._tables.keys_of_ids, job.job_id, key)
        self._job_keys.add(key)
        import_attempts(self._tables, self._journal, key, attempts)
        if home.batch_key is not None and job.started_at is not None:
            self._begun.add(home.batch_key)
        self._log(row, EventType.IMPORTED, row["state"], failed=True)
        return record_of(row)

    def delete_job(self, job: JobRecord, *, purged: bool = False) -> None:
        tables = self._tables
        row = tables.jobs[job.key]
        self._log(row, EventType.DELETED, row["state"], later=-1)
        if purged:
            self._count_purged(row)
        self._journal.remove(tables.jobs, job.key)
        self.moves.append(Move("purge" if purged else "delete", row, None))
        self._journal.remove(tables.keys_of_ids, row["job_id"])
        for table in (*tables.payloads.values(), tables.checkpoints):
            self._journal.remove(table, job.key)  # type: ignore[arg-type]  # tables of different things by one key
        many_of_one_job: list[dict[Any, Any]] = [
            tables.failures,
            tables.progress,
            tables.attempts,
            tables.log_drops,
            tables.item_errors,
            tables.logs,
            tables.exclusions,
        ]
        for many in many_of_one_job:
            for place in [place for place in many if place[0] == job.key]:
                self._journal.remove(many, place)
        for unique in [unique for unique, (key, _) in tables.unique_keys.items() if key == job.key]:
            self._journal.remove(tables.unique_keys, unique)

    def _count_purged(self, row: Row) -> None:
        tables, state = self._tables, row["state"]
        whose = (row["queue_key"], row["owner"], row["organization_id"], state)
        self._journal.put(tables.removed, whose, tables.removed.get(whose, 0) + 1)
        if row["batch_key"] is not None:
            member = (row["batch_key"], state)
            self._journal.put(tables.purged, member, tables.purged.get(member, 0) + 1)
            told = tables.newest_progress(row["key"])
            if told is not None:
                self._journal.put(tables.purged_progress, row["key"], (row["batch_key"], told))

    def holder(self, unique: UniqueKey) -> Holder | None:
        key, until = self._tables.unique_keys.get(unique, (0, None))
        row = self._tables.jobs.get(key)
        self._job_keys.add(key)
        return None if row is None else Holder(record_of(row), until)

    def take_unique_key(self, job: JobRecord) -> None:
        row = self._tables.jobs[job.key]
        until = row["unique_until"]
        self._journal.put(self._tables.unique_keys, _unique(row), (job.key, until))

    # --- what goes with a job ---

    def save_payload(self, job_key: int, kind: PayloadKind, payload: Payload) -> None:
        self._journal.put(self._tables.payloads[kind], job_key, payload)

    def save_checkpoint(self, job_key: int, state: Payload, progress: Progress | None) -> None:
        self._journal.put(self._tables.checkpoints, job_key, (state, progress))

    def save_failure(self, job_key: int, failure: JobFailure) -> None:
        fence = self._tables.jobs[job_key]["fence"]
        self._journal.put(self._tables.failures, (job_key, fence), failure)

    def save_progress(self, job_key: int, fence: int, progress: Progress) -> None:
        self._journal.put(self._tables.progress, (job_key, fence), progress)

    def progress(self, job_key: int, fence: int) -> Progress | None:
        progress = self._tables.progress.get((job_key, fence))
        return progress or self._tables.checkpoints.get(job_key, (None, None))[1]

    def add_item_errors(self, job_key: int, fence: int, first_number: int, errors: Sequence[ItemError]) -> None:
        self._add_new(self._tables.item_errors, job_key, fence, first_number, errors)

    def add_logs(self, job_key: int, fence: int, first_number: int, lines: Sequence[LogLine]) -> None:
        self._add_new(self._tables.logs, job_key, fence, first_number, lines)

    def drop_logs(self, job_key: int, fence: int, through_number: int) -> None:
        known = self._tables.log_drops.get((job_key, fence), 0)
        self._journal.put(self._tables.log_drops, (job_key, fence), max(known, through_number))

    def _add_new(
        self, table: dict[tuple[int, int, int], T], job_key: int, fence: int, first_number: int, items: Sequence[T]
    ) -> None:
        for number, item in enumerate(items, first_number):
            if (job_key, fence, number) not in table:
                self._journal.put(table, (job_key, fence, number), item)

    # --- sessions and claims ---

    def session(self, key: int) -> SessionRecord | None:
        session = self._tables.sessions.get(key) if key in self._session_keys else None
        return None if session is None else session.record

    def session_by_id(self, session_id: str) -> SessionRecord | None:
        for key, session in self._tables.sessions.items():
            if session.record.session_id == session_id:
                return self.session(key)
        return None

    def open_session(self, new: NewSession) -> SessionRecord:
        key = self._next("session")
        unary = new.ttl_us is not None
        record = SessionRecord(
            key=key,
            session_id=new.session_id,
            resume_digest=new.resume_digest,
            state=SessionState.DETACHED if unary else SessionState.ATTACHED,
            epoch=1,
            replica_key=new.replica_key,
            connection=new.connection,
            ttl_us=new.ttl_us,
            detached_at=self._now if unary else None,
            ended_at=None,
            drain_at=None,
        )
        self._journal.put(self._tables.sessions, key, Session(record, new, self._now))
        self._session_keys.add(key)
        return record

    def save_session(self, session: SessionRecord, hello: NewSession | None = None) -> None:
        known = self._tables.sessions[session.key]
        self._journal.put(self._tables.sessions, session.key, Session(session, hello or known.about, known.created_at))

    def exclude(self, job_key: int, session_key: int) -> None:
        self._journal.put(self._tables.exclusions, (job_key, session_key), None)

    def claim(self, wants: Sequence[Want]) -> list[list[Claimed]]:
        if not self._after_save:
            raise ValueError("only a unit with after_save may claim")
        return Claims(self._tables, self._lease, self._now).share(wants)

    def cut_old(self, *, before: int, events_max: int, limit: int) -> int:
        if not self._after_save:
            raise ValueError("only a unit with after_save may remove what is old")
        tables = self._tables
        oldest = min(tables.events, default=0)
        too_many = max(tables.events, default=0) - events_max
        old = [n for n, event in tables.events.items() if event.at < before or n <= too_many]
        events = [n for n in old if n < oldest + limit]
        holders = {row["held_by"] for row in tables.jobs.values()}
        over = [
            key
            for key, session in tables.sessions.items()
            if session.record.ended_at is not None and session.record.ended_at < before and key not in holders
        ]
        for number in events:
            self._journal.remove(tables.events, number)
        for key in over[:limit]:
            self._journal.remove(tables.sessions, key)
        return len(events) + len(over[:limit])

    # --- in detail ---

    def _lease(self, row: Row, want: Want) -> Row:
        """The row as it is leased by a claim."""
        leased = row | {
            "state": JobState.CLAIMED,
            "fence": row["fence"] + 1,
            "nonce": want.nonce,
            "lease": LeaseState.OPEN,
            "session_key": want.session_key,
            "held_by": want.session_key,
            "worker": want.worker,
            "ready": None,
            "due_at": None if want.accept_us is None else self._now + want.accept_us,
            "claimed_at": self._now,
            "started_at": None,
            "updated_at": self._now,
            "revision": row["revision"] + 1,
        }
        self._journal.put(self._tables.jobs, row["key"], leased)
        self.moves.append(Move("claim", row, leased))
        self._log(leased, EventType.CLAIMED, JobState.CLAIMED)
        return leased

    def _log(
        self,
        row: Row,
        event_type: EventType,
        state: JobState,
        *,
        later: int = 0,
        failed: bool = False,
        previous: str | None = None,
    ) -> None:
        """One event of a job after its move; `later` ones of the same move follow; `failed`: it tells the failure."""
        batch = self._tables.batches.get(row["batch_key"])
        if batch is not None and event_type in (EventType.RUNNING, EventType.COMPLETED):
            self._begun.add(batch.key)
        _, _, job_type = self._tables.queue(row["queue_key"])
        event = EventRow(
            number=self._next("event"),
            job_key=row["key"],
            job_id=row["job_id"],
            namespace=self._tables.namespace(row["namespace_key"]),
            job_type=job_type,
            event_type=event_type,
            state=state,
            revision=row["revision"] - later,
            attempt=row["attempt"],
            worker=row["worker"],
            failure_kind=FailureKind(row["failure_kind"]) if failed else FailureKind.UNSPECIFIED,
            failure_code=row["failure_code"] if failed else "",
            owner=row["owner"],
            organization_id=row["organization_id"],
            labels=row["labels"],
            at=self._now,
            batch_id="" if batch is None else batch.batch_id,
            access=row["access"],
            previous=previous,
            batch_key=row["batch_key"],
            fence=row["fence"],
            path=row["path"] or "",
        )
        self._journal.put(self._tables.events, event.number, event)
        self.logged.append(row["key"])
        self.last_event = event.number


def _unique(row: Row) -> UniqueKey:
    scope = unique_scope(owner=row["owner"], organization_id=row["organization_id"])
    return UniqueKey(row["queue_key"], scope, row["unique_key"])


def _previous(before: Row, change: Change) -> str | None:
    """What was before of that which filters and access rules name."""
    told = {name: before[name] for name in ("labels", "access") if name in change.row_columns}
    return json.dumps(told) if told else None
