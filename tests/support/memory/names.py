"""What a group does to names, job types and batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from jobhall.states import TERMINAL_STATES, JobState
from jobhall_server.domain.batch import COUNTED_STATES, BatchRecord, Completion, Counts, NewBatch
from jobhall_server.hall.store import Unit
from jobhall_server.hall.views import JobTypeView
from tests.support.memory.tables import Journal, Row, Tables


class Names:
    """The part of a group that knows namespaces, types, queues and batches."""

    def __init__(self, tables: Tables, units: Iterable[Unit[Any]], *, now: int) -> None:
        self._tables = tables
        self._now = now
        self._journal = Journal()
        self._after_save = False
        ids = {name for unit in units for name in unit.batch_ids}
        self._batch_keys = {key for unit in units for key in unit.batch_keys}
        self._batch_keys |= {key for key, batch in tables.batches.items() if batch.batch_id in ids}
        self._batches_before = dict(tables.batches)
        self._begun: set[int] = set()
        """Batches of which a job was begun in this group."""
        self.ended_batches: list[int] = []

    @property
    def now(self) -> int:
        return self._now

    def namespace_key(self, name: str) -> int:
        return self._named(self._tables.namespaces, name, "namespace")[0]

    # --- job types ---

    def job_type_key(self, namespace_key: int, name: str) -> tuple[int, bool]:
        key, new = self._named(self._tables.job_types, (namespace_key, name), "job_type")
        known = self._tables.types.get(key)
        if known is None:
            namespace = self._tables.namespace(namespace_key)
            known = JobTypeView(key, namespace, name, self._now, updated_at=self._now, auto=True)
        elif not known.retired:
            return key, new
        else:
            # Its old jobs keep the schemas of their version.
            version = known.version + (known.parameters_schema is not None or known.result_schema is not None)
            known = replace(
                known,
                version=version,
                retired=False,
                auto=True,
                updated_at=self._now,
                revision=known.revision + 1,
                **_PLAIN,
            )
        self._journal.put(self._tables.types, key, known)
        return key, True

    def has_job_type(self, namespace: str, name: str) -> bool:
        known = self.job_type(namespace, name)
        return known is not None and not known.retired

    def job_type(self, namespace: str, name: str) -> JobTypeView | None:
        key = self._tables.job_types.get((self._tables.namespaces.get(namespace, 0), name))
        return None if key is None else self._tables.types[key]

    def save_job_type(self, job_type: JobTypeView) -> None:
        self._journal.put(self._tables.types, job_type.key, job_type)
        schemas = (job_type.parameters_schema, job_type.result_schema)
        self._journal.put(self._tables.schemas, (job_type.key, job_type.version), schemas)

    def jobs_waiting(self, job_type_key: int) -> int:
        queues = {key for (_, of_type), key in self._tables.queues.items() if of_type == job_type_key}
        rows = [row for row in self._tables.jobs.values() if row["queue_key"] in queues]
        return sum(1 for row in rows if row["state"] not in TERMINAL_STATES)

    def queue_key(self, namespace_key: int, job_type_key: int) -> int:
        return self._named(self._tables.queues, (namespace_key, job_type_key), "queue")[0]

    # --- batches ---

    def open_batch(self, new: NewBatch) -> BatchRecord:
        key = self._next("batch")
        batch = BatchRecord(
            key=key,
            batch_id=new.batch_id,
            namespace_key=new.namespace_key,
            namespace=new.namespace,
            name=new.name,
            closed=new.closed,
            active=new.active,
            completion_policy=new.completion_policy,
            completion=Completion.NONE if new.completion_job is None else Completion.WANTED,
            completion_job=new.completion_job,
            completion_job_id="",
            owner=new.owner,
            organization_id=new.organization_id,
            created_by=new.created_by,
            access=new.access,
            request_digest=new.request_digest,
            counts=Counts(),
            created_at=self._now,
            updated_at=self._now,
        )
        self._batch_keys.add(key)
        self._journal.put(self._tables.batches, key, batch)
        return batch

    def batch(self, key: int) -> BatchRecord | None:
        return self._tables.batches.get(key) if key in self._batch_keys else None

    def batch_by_id(self, batch_id: str) -> BatchRecord | None:
        found = [key for key, batch in self._tables.batches.items() if batch.batch_id == batch_id]
        return self.batch(found[0]) if found else None

    def save_batch(self, batch: BatchRecord) -> None:
        self._journal.put(self._tables.batches, batch.key, replace(batch, updated_at=self._now))

    def delete_batch(self, batch: BatchRecord) -> None:
        self._journal.remove(self._tables.batches, batch.key)

    def hold_back(self, job_keys: Sequence[int], *, held_back: bool) -> None:
        if not self._after_save:
            raise ValueError("only a unit with after_save may hold jobs back")
        for key in job_keys:
            row = self._tables.jobs.get(key)
            if row is not None and row["state"] is not JobState.COMPLETED:
                ready = row["ready_at"] if row["state"] is JobState.PENDING and not held_back else None
                self._journal.put(self._tables.jobs, key, row | {"held_back": int(held_back), "ready": ready})

    def finish(self) -> None:
        """Count the members of every batch anew, at the group's end."""
        for key, batch in list(self._tables.batches.items()):
            states = [row["state"] for row in self._members(key)]
            counts = Counts(*(states.count(s) + self._tables.purged.get((key, s), 0) for s in COUNTED_STATES))
            over = batch.closed and counts.ended == counts.total
            counted = replace(
                batch,
                counts=counts,
                started_at=batch.started_at or (self._now if key in self._begun else None),
                ended_at=(batch.ended_at or self._now) if over else None,
            )
            if counted != self._batches_before.get(key):
                counted = replace(counted, updated_at=self._now)
                self._journal.put(self._tables.batches, key, counted)
            if counted.ended_at is not None and batch.ended_at is None:
                self.ended_batches.append(key)

    def _members(self, batch_key: int) -> list[Row]:
        return [row for row in self._tables.jobs.values() if row["batch_key"] == batch_key]

    # --- in detail ---

    def _named(self, table: dict[Any, int], name: object, counter: str) -> tuple[int, bool]:
        known = table.get(name)
        if known is not None:
            return known, False
        key = self._next(counter)
        self._journal.put(table, name, key)
        return key, True

    def _next(self, counter: str) -> int:
        number = self._tables.counters.get(counter, 0) + 1
        self._journal.put(self._tables.counters, counter, number)
        return number


_PLAIN: dict[str, Any] = {
    "description": "",
    "parameters_schema": None,
    "result_schema": None,
    "defaults": None,
    "paused": False,
}
"""What a type has that only a worker's Hello registered."""
