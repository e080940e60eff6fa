"""What the server does to all jobs of a batch, step by step: units that look first whether it is still to be done."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from jobhall.errors import JobTerminalError
from jobhall_server.domain import moves
from jobhall_server.domain.batch import BatchRecord, Completion, Sweep, next_sweep
from jobhall_server.hall.job_units import Asked, cancel_job
from jobhall_server.hall.store import Group, Unit
from jobhall_server.hall.submits import SubmitJobs, Submitted

DELETED = "its batch was deleted"
"""What is said to workers that were given a job of it at the last moment."""


def _as_read(group: Group, batch: BatchRecord) -> BatchRecord | None:
    """The batch, if it is still where it was in its sweep when it was read; else somebody else was quicker."""
    now = group.batch(batch.key)
    same = now is not None and (now.sweep, now.sweep_after) == (batch.sweep, batch.sweep_after)
    return now if same else None


class SweepStep(Unit[list[Asked]]):
    """Cancels or deletes those jobs, and remembers how far the sweep is. Answers what workers are to be told."""

    def __init__(self, batch: BatchRecord, job_keys: Sequence[int], grace_us: int) -> None:
        self._batch = batch
        self._grace_us = grace_us
        self.batch_keys = (batch.key,)
        self.job_keys = job_keys

    def decide(self, group: Group) -> list[Asked]:
        batch = _as_read(group, self._batch)
        if batch is None:
            return []
        group.save_batch(replace(batch, sweep_after=self.job_keys[-1]))
        if batch.sweep is Sweep.CANCEL:
            return self._cancel(group, batch.sweep_reason, batch.sweep_by)
        return self._delete(group) if batch.sweep is Sweep.DELETE else []

    def _cancel(self, group: Group, reason: str, by: str) -> list[Asked]:
        asked = []
        for job in filter(None, map(group.job, self.job_keys)):
            with suppress(JobTerminalError):
                asked.append(cancel_job(group, job, reason=reason, by=by, grace_us=self._grace_us))
        return [one for one in asked if one.lease is not None]

    def _delete(self, group: Group) -> list[Asked]:
        asked = []
        for job in filter(None, map(group.job, self.job_keys)):
            if moves.delete(job) is None:
                group.delete_job(job)
            else:
                # A worker was given it since: it is deleted when it has stopped.
                asked.append(cancel_job(group, job, reason=DELETED, by="", grace_us=self._grace_us))
        return [one for one in asked if one.lease is not None]


class HoldStep(Unit[None]):
    """Holds those jobs back, or hands them out."""

    after_save = True

    def __init__(self, batch: BatchRecord, job_keys: Sequence[int]) -> None:
        self._batch = batch
        self._job_keys = job_keys
        self.batch_keys = (batch.key,)

    def decide(self, group: Group) -> None:
        if _as_read(group, self._batch) is not None:
            group.hold_back(self._job_keys, held_back=self._batch.sweep is Sweep.HOLD_BACK)


class EndSweep(Unit[None]):
    """The sweep is at its end; another may follow, or the same from the beginning."""

    def __init__(self, batch: BatchRecord) -> None:
        self._batch = batch
        self.batch_keys = (batch.key,)

    def decide(self, group: Group) -> None:
        batch = _as_read(group, self._batch)
        if batch is not None:
            group.save_batch(replace(batch, sweep=next_sweep(batch), sweep_after=0))


class RemoveBatch(Unit[None]):
    """The batch has no job any more, and can get none."""

    def __init__(self, batch: BatchRecord) -> None:
        self.batch_keys = (batch.key,)

    def decide(self, group: Group) -> None:
        batch = group.batch(self.batch_keys[0])
        if batch is not None:
            group.delete_batch(batch)


class SubmitCompletion(Unit[str | None]):
    """Submits the completion job and says so in the batch, both or neither; None when it is not due any more."""

    def __init__(self, batch_key: int, submits: SubmitJobs) -> None:
        self._submits = submits
        self.job_ids = submits.job_ids
        self.batch_keys = (batch_key,)

    def decide(self, group: Group) -> str | None:
        batch = group.batch(self.batch_keys[0])
        if batch is None or not batch.completion_due:
            return None
        (written,) = self._submits.write(group)
        assert isinstance(written, Submitted)
        group.save_batch(batch.changed(completion=Completion.SUBMITTED, completion_job_id=written.job_id))
        return written.job_id
