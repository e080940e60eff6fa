"""What a commit group does to batches: they are loaded and changed like jobs, but a whole row at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import Any

from jobhall.states import CompletionPolicy
from jobhall_server.domain.batch import BatchRecord, Completion, Counts, NewBatch, Sweep
from jobhall_server.storage import schema_groups, statements_batches, statements_write
from jobhall_server.storage.codec import id_bytes, id_of_hex
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.loaded import Loaded
from jobhall_server.storage.read_clauses import listed_ids
from jobhall_server.storage.staged import Staged

_FOUND = statements_batches.FOUND.split()
_SET = statements_batches.SET_BY_UNITS.split()
_set_by_units = attrgetter(*_SET)
_COUNTS = len(Counts._fields)


class Batches(Loaded):
    """The part of a group that knows batches."""

    def _load_batches(self, batch_keys: Collection[int], batch_ids: Collection[str]) -> None:
        """Read those that units name."""
        rows: list[list[Any]] = []
        if batch_keys:
            rows += self._execution.rows(
                statements_batches.batches_by_key(self._execution.tables), keys=keys(batch_keys)
            )
        if batch_ids:
            rows += self._execution.rows(
                statements_batches.batches_by_id(self._execution.tables), **listed_ids(batch_ids)
            )
        for batch in map(record, rows):
            self._batches[batch.key] = batch
            self._batch_keys[batch.batch_id] = batch.key

    def open_batch(self, new: NewBatch) -> BatchRecord:
        assert not self._saved
        staged = self._staged
        batch = new.record(self._numbers.next_key(schema_groups.LAST_BATCH), self.now)
        staged.put(staged.new_batches, batch.key, None)
        staged.put(staged.batch_keys, batch.batch_id, batch.key)
        staged.put(staged.batches, batch.key, batch)
        return batch

    def batch(self, key: int) -> BatchRecord | None:
        staged = self._staged
        if key in staged.deleted_batches:
            return None
        return staged.batches.get(key) or self._batches.get(key)

    def batch_by_id(self, batch_id: str) -> BatchRecord | None:
        key = self._staged.batch_keys.get(batch_id) or self._batch_keys.get(batch_id)
        return None if key is None else self.batch(key)

    def save_batch(self, batch: BatchRecord) -> None:
        assert not self._saved
        self._staged.put(self._staged.batches, batch.key, batch)

    def delete_batch(self, batch: BatchRecord) -> None:
        assert not self._saved
        self._staged.put(self._staged.deleted_batches, batch.key, None)

    def hold_back(self, job_keys: Sequence[int], *, held_back: bool) -> None:
        if not self._saved:
            raise ValueError("only a unit with after_save may hold jobs back")
        statement = statements_batches.hold_back if held_back else statements_batches.hand_out
        self._execution.write(statement(self._execution.tables), keys=keys(job_keys))


def record(row: Sequence[Any]) -> BatchRecord:
    """The batch in a row of `statements_batches.record_columns`, whose bytes come as they are or as hex."""
    key, *found, updated_at, started_at, ended_at = row[: -_COUNTS - 1]
    values = dict(zip(_FOUND, found, strict=True))
    stored = values["batch_id"]
    values |= {
        "batch_id": id_of_hex(stored if isinstance(stored, str) else stored.hex()),
        "closed": bool(values["closed"]),
        "active": bool(values["active"]),
        "completion_policy": CompletionPolicy(values["completion_policy"]),
        "completion": Completion(values["completion"]),
        "sweep": Sweep(values["sweep"]),
    }
    return BatchRecord(
        key=key,
        namespace=row[-1],
        counts=Counts(*row[-_COUNTS - 1 : -1]),
        updated_at=updated_at,
        started_at=started_at,
        ended_at=ended_at,
        **values,
    )


def save_batches(execution: Execution, staged: Staged) -> None:
    """Write those that units opened, changed or removed."""
    tables, now = execution.tables, staged.now
    # First: one that is opened may have the id of one that goes.
    removed = [key for key in staged.deleted_batches if key not in staged.new_batches]
    if removed:
        execution.write_keys(statements_batches.delete_batches(tables), removed)
    opened = [staged.batches[key] for key in staged.new_batches if key not in staged.deleted_batches]
    if opened:
        rows = [(batch.key, id_bytes(batch.batch_id), *attrgetter(*_FOUND[1:])(batch)) for batch in opened]
        statement = statements_write.insert(tables.batches, ("updated_at",), ("key", *_FOUND))
        execution.write_rows(statement, rows, all_updated_at=now)
    # A new one too: one that is closed from birth and has no jobs is over.
    changed = [(key, *_set_by_units(one)) for key, one in staged.batches.items() if key not in staged.deleted_batches]
    if changed:
        execution.write_rows(statements_batches.set_batches(tables), changed, now=now)
